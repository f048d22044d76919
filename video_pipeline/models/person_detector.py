"""People (and COCO's other 79 classes) in 8-bit pictures: where they are, and how sure the network is.

Belongs here: loading the detector's weights, letterboxing, thresholds, the removal of doubles, boxes in the
given picture's pixels, and a picture of them. Does not belong here: the network (`nanodet.py`), following a
person from frame to frame, decoding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional

from video_pipeline.errors import BadInput
from video_pipeline.models.nanodet import ARCHITECTURE, COCO_CLASSES, STRIDES, NanoDetG
from video_pipeline.models.shipped import DETECTOR_WEIGHTS

SHIPPED_DETECTOR_WEIGHTS = DETECTOR_WEIGHTS

MAX_FILE_BYTES = 64 << 20
"""The network's weights take 7.6 MB, in float32 15 MB; a file beyond this is something else."""

INPUT_SIDE = 416
"""The longer side of the network's input, as in training. The shorter one is the picture's, in proportion and
rounded up to a multiple of COARSEST: 62 % of a square's work for 16:9. At DEFAULT_CONFIDENCE it made no
difference on the tuning pictures."""

COARSEST = STRIDES[-1]
"""Both sides of the input are multiples of this."""

MEAN_BGR = (103.53, 116.28, 123.675)
DEVIATION_BGR = (57.375, 57.12, 58.395)
"""What is subtracted from 0..255 and what that is divided by: `normalize` in NanoDet's configuration."""

DEFAULT_CONFIDENCE = 0.5
"""Best F1 on the ten tuning pictures of `tests/fixtures/clips/people.json`: 48 of 49 people, one false find.
At 0.4 the same 48 come with seven false ones."""

OVERLAP = 0.6
"""Of two boxes of a class that overlap by more than this (intersection over union), the surer one stays."""

CANDIDATES = 256
"""Positions per picture that may become a detection: the surest ones."""

BLACK, YELLOW = (0, 0, 0), (255, 208, 0)
"""Of what `draw_detections` draws: together they stand out from any picture."""

BATCH = 16
"""Pictures that go through the network at once, unless they are large."""

BATCH_PIXELS = BATCH * 1920 * 1080
"""Pixels of pictures that are resized at once: 400 MB as float32, which they are on a GPU."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One object: its box in pixels of the given picture, from the left and top edge, and what it is."""

    x: float
    y: float
    width: float
    height: float
    centre_x: float
    centre_y: float
    confidence: float
    class_name: str


class Detector:
    """A loaded network on a device, in evaluation mode."""

    def __init__(self, net: NanoDetG, *, device: torch.device, sha256: str, metadata: dict[str, str]) -> None:
        self.device = device
        self.sha256 = sha256
        self.metadata = metadata
        self.net = net.to(device).eval()
        # torch's own signature leaves this argument out.
        self.net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.net.requires_grad_(False)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(MEAN_BGR, device=device).reshape(shape)
        self._deviation = torch.tensor(DEVIATION_BGR, device=device).reshape(shape)

    def detect(
        self,
        rgb: Tensor,
        *,
        min_confidence: float = DEFAULT_CONFIDENCE,
        classes: Sequence[str] = ("person",),
    ) -> list[list[Detection]]:
        """What is in each of the pictures (B, H, W, 3) uint8, full-range RGB in any memory, the surest first.

        Boxes lie inside the picture. `classes` are names of COCO_CLASSES. BadInput for another shape or type,
        a confidence outside 0..1, and a class the network does not know.
        """
        if rgb.dtype != torch.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3 or 0 in rgb.shape[1:3]:
            raise BadInput(
                "The detector takes 8-bit RGB pictures of shape (batch, height, width, 3).",
                input=f"{rgb.dtype} of shape {tuple(rgb.shape)}",
                what_to_do="give a uint8 tensor with the colours last",
            )
        if not 0 <= min_confidence <= 1:
            raise BadInput(
                "A confidence lies between 0 and 1.",
                input=str(min_confidence),
                what_to_do="give min_confidence as a share, 0.5 say",
            )
        unknown = [name for name in classes if name not in COCO_CLASSES]
        if unknown or not classes:
            raise BadInput(
                "The detector does not know this class." if unknown else "No class is asked for.",
                input=", ".join(unknown) or "classes",
                what_to_do=f"choose among: {', '.join(COCO_CLASSES)}",
            )
        found: list[list[Detection]] = []
        with torch.inference_mode():
            at_once = max(1, min(BATCH, BATCH_PIXELS // (rgb.shape[1] * rgb.shape[2])))
            for start in range(0, len(rgb), at_once):
                found += self._detect_some(rgb[start : start + at_once], min_confidence, sorted(set(classes)))
        return found

    def _detect_some(
        self, rgb: Tensor, min_confidence: float, classes: Sequence[str]
    ) -> list[list[Detection]]:
        height, width = rgb.shape[1:3]
        frame = Letterbox(height, width)
        logits, boxes = self.net(self._prepare(rgb, frame))
        columns = torch.tensor([COCO_CLASSES.index(name) for name in classes], device=self.device)
        scores = logits[:, :, columns].sigmoid().flatten(1)
        best = scores.topk(min(CANDIDATES, scores.shape[1]), dim=1)
        places = best.indices.div(len(classes), rounding_mode="floor").unsqueeze(2).expand(-1, -1, 4)
        which = best.indices.remainder(len(classes))
        # One copy per batch: everything about a candidate side by side.
        candidates = torch.cat(
            (frame.to_picture(boxes.gather(1, places)), best.values.unsqueeze(2), which.unsqueeze(2)), dim=2
        ).cpu()
        return [chosen(one, min_confidence, classes) for one in candidates]

    def _prepare(self, rgb: Tensor, frame: Letterbox) -> Tensor:
        """Pictures (B, H, W, 3) uint8 to the network's input: normalised BGR, the mean around the picture."""
        inside = shrunk(rgb.to(self.device).permute(0, 3, 1, 2), frame.inner_height, frame.inner_width)
        normalised = (inside.flip(1).float() - self._mean) / self._deviation
        return functional.pad(normalised, frame.padding).contiguous(memory_format=torch.channels_last)


def shrunk(pictures: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, 3, H, W) uint8 resized (bilinear, antialiased) to (B, 3, height, width) uint8.

    On the CPU by torch's resize for 8-bit pictures: 1.1 ms for 1920x1080 to 416x234, in float32 25 ms. It
    knows no other device; there the float32 one is rounded, which differs by at most one step.
    """
    if pictures.device.type == "cpu":
        return functional.interpolate(pictures, size=(height, width), mode="bilinear", antialias=True)
    exact = functional.interpolate(pictures.float(), size=(height, width), mode="bilinear", antialias=True)
    return exact.round_().clamp_(0, 255).to(torch.uint8)


class Letterbox:
    """Where a picture lies, proportions kept and centred, in the network's input."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        ratio = INPUT_SIDE / max(height, width)
        self.inner_height, self.inner_width = max(1, round(height * ratio)), max(1, round(width * ratio))
        spare_height, spare_width = -self.inner_height % COARSEST, -self.inner_width % COARSEST
        self.top, self.left = spare_height // 2, spare_width // 2
        self.padding = (self.left, spare_width - self.left, self.top, spare_height - self.top)

    def to_picture(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) in the input's pixels to the picture's, clipped to it: left, top, right, bottom."""
        across, down = self.width / self.inner_width, self.height / self.inner_height
        x = ((boxes[..., 0::2] - self.left) * across).clamp(0, self.width)
        y = ((boxes[..., 1::2] - self.top) * down).clamp(0, self.height)
        return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), dim=-1)


def chosen(candidates: Tensor, min_confidence: float, classes: Sequence[str]) -> list[Detection]:
    """One picture's candidates (N, 6), the surest first, to detections: sure enough, not empty, no doubles.

    A row is left, top, right, bottom, confidence and the index of its class in `classes`.
    """
    sizes = (candidates[:, 2:4] - candidates[:, 0:2]).amin(dim=1)
    candidates = candidates[(candidates[:, 4] >= min_confidence) & (sizes > 0)]
    rows = candidates[without_doubles(candidates[:, :4], candidates[:, 5])].tolist()
    return [
        Detection(
            x=left,
            y=top,
            width=right - left,
            height=bottom - top,
            centre_x=(left + right) / 2,
            centre_y=(top + bottom) / 2,
            confidence=confidence,
            class_name=classes[int(which)],
        )
        for left, top, right, bottom, confidence, which in rows
    ]


def without_doubles(boxes: Tensor, classes: Tensor) -> list[int]:
    """Which boxes (N, 4), the surest first, stay: those no surer one of their class that stays overlaps."""
    covers = (overlaps(boxes, boxes) > OVERLAP) & (classes[:, None] == classes[None, :])
    stay = torch.ones(len(boxes), dtype=torch.bool)
    for index in range(len(boxes)):
        if stay[index]:
            stay[index + 1 :] &= ~covers[index, index + 1 :]
    return stay.nonzero().flatten().tolist()


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4): left, top, right, bottom."""
    corner = torch.maximum(one[:, None, :2], other[None, :, :2])
    opposite = torch.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (opposite - corner).clamp(min=0).prod(dim=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (one, other)]
    return shared / (areas[0][:, None] + areas[1][None, :] - shared).clamp(min=1e-9)


def draw_detections(rgb: Tensor, detections: Sequence[Detection]) -> Tensor:
    """A copy of a picture (H, W, 3) uint8 RGB on the CPU, with each box and its confidence in per cent.

    Lines and letters grow with the picture. A box of another class than person also says its class.
    """
    image = Image.fromarray(rgb.cpu().numpy())
    draw = ImageDraw.Draw(image)
    line = max(1, round(max(image.size) / 500))
    font = ImageFont.load_default(size=max(10, round(max(image.size) / 55)))
    for found in detections:
        right, bottom = max(found.x, found.x + found.width - 1), max(found.y, found.y + found.height - 1)
        draw.rectangle((found.x, found.y, right, bottom), outline=BLACK, width=line + 2)
        draw.rectangle((found.x, found.y, right, bottom), outline=YELLOW, width=line)
    for found in reversed(detections):  # no box crosses out a number, and the surest is on top
        name = "" if found.class_name == "person" else f"{found.class_name} "
        text = f"{name}{found.confidence:.0%}"
        _, _, wide, tall = draw.textbbox((0, 0), text, font=font)
        left = min(max(0, found.x), max(0, image.width - wide - 4))
        top = found.y - tall - 4 if found.y >= tall + 4 else found.y
        draw.rectangle((left, top, left + wide + 4, top + tall + 4), fill=BLACK)
        draw.text((left + 2, top + 2), text, font=font, fill=YELLOW)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(rgb.shape)


def load_detector(device: torch.device | str, weights: Path | None = None) -> Detector:
    """The detector with the shipped weights, or with those at `weights` (`.safetensors`), ready on a device.

    BadInput when the file is missing, damaged, of another architecture, with tensors missing, left over,
    misshapen or not finite.
    """
    path = weights or SHIPPED_DETECTOR_WEIGHTS
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _bad(path, f"the file is larger than {MAX_FILE_BYTES >> 20} MiB")
        data = path.read_bytes()
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        tensors = load(data)
    except OSError as error:
        raise _bad(path, f"the file cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise _bad(path, f"the file is damaged or not a safetensors file ({error})") from error
    architecture = metadata.get("architecture", "not stated")
    if architecture != ARCHITECTURE:
        raise _bad(path, f"their architecture is {architecture}, needed is {ARCHITECTURE}")
    net = NanoDetG()
    expected = net.state_dict()
    if different := sorted(set(expected) ^ set(tensors)):
        raise _bad(path, f"these tensors are missing or left over: {', '.join(different[:4])}")
    for key, wanted in expected.items():
        if tensors[key].shape != wanted.shape:
            raise _bad(path, f"{key} has shape {tuple(tensors[key].shape)}, needed is {tuple(wanted.shape)}")
        if not tensors[key].isfinite().all():
            raise _bad(path, f"{key} holds values that are not numbers")
    net.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    return Detector(net, device=torch.device(device), sha256=digest, metadata=metadata)


def _bad(path: Path, reason: str) -> BadInput:
    return BadInput(
        f"These are not usable detector weights: {reason}.",
        input=str(path),
        what_to_do="give a file written by scripts/convert_detector.py, or leave it out",
    )
