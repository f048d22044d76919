"""What one asks of an image classifier and what it answers: JSON on the wire, strict models in code.

Belongs here: the description of a classifier in a request, how pictures are prepared for it, its answers, and
label files. Does not belong here: weights, torch (`image_classifier.py`), pixels (`sampling/preprocess.py`).
"""

from __future__ import annotations

import json
import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from video_pipeline.errors import BadInput

Interpolation = Literal["bicubic", "bilinear"]
PixelRange = Literal["0..255", "0..1"]

MAX_SIDE = 2048
"""The largest input of a classifier, in pixels; a frame is never enlarged beyond it."""
MAX_LABELS = 1_000_000


class PreprocessSpec(BaseModel):
    """How a picture becomes a network's input: `(x - mean) / std` of a resized, cropped RGB picture.

    `resize` is the short side in pixels after resizing (antialiased, sides in proportion), `input_size` the
    side of the square cut from its centre; `mean` and `std` are for R, G and B, counted in `pixel_range`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_size: int = Field(default=224, ge=8, le=MAX_SIDE)
    resize: int = Field(default=256, ge=8, le=MAX_SIDE)
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    pixel_range: PixelRange = "0..255"
    interpolation: Interpolation = "bicubic"

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.resize < self.input_size:
            raise ValueError(f"resize {self.resize} is smaller than input_size {self.input_size}")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)):
            raise ValueError("mean and std must be finite numbers")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std {self.std} must be positive")
        # torchvision counts in 0..1: its 0.485 and 0.229 taken for 0..255 would give noise, not an error.
        if self.pixel_range == "0..255" and max(self.std) < 1:
            raise ValueError(f"std {self.std} is far too small for values 0..255: say pixel_range '0..1'")
        if self.pixel_range == "0..1" and (max(self.mean) > 1 or max(self.std) > 1):
            raise ValueError(
                f"mean {self.mean}, std {self.std} are no values of 0..1: say pixel_range '0..255'"
            )
        return self


class ClassifierSpec(BaseModel):
    """The classifier of a request. With nothing set: the shipped EfficientNet-Lite0, ImageNet's 1000 classes.

    At most one of `weights_key` (a key in the store), `path` (a file of the worker) and `import_path`
    (`package.module:callable`, returns an `nn.Module`, code that the worker has). A file is a `torch.export`
    program (`.pt2`) or a state dict (`.safetensors`, `.pt`, `.pth`), which needs `architecture`.
    At most one of `labels` and `labels_key` (text, one a line, or JSON, a list or index to name).
    The rest overrides how pictures are prepared (`PreprocessSpec`); what is left out is as the shipped
    classifier has it, which a classifier of one's own rarely wants.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights_key: str | None = None
    path: str | None = None
    import_path: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    architecture: str | None = None
    labels: tuple[str, ...] | None = None
    labels_key: str | None = None
    input_size: int | None = None
    resize: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    pixel_range: PixelRange | None = None
    interpolation: Interpolation | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("weights_key", "path", "import_path") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: a classifier has one source")
        if self.labels is not None and self.labels_key is not None:
            raise ValueError("labels and labels_key exclude each other")
        if self.architecture and not (self.weights_key or self.path):
            raise ValueError("an architecture without weights_key or path: it would classify at random")
        if not given and (self.labels or self.labels_key):
            raise ValueError("the shipped classifier has its own labels: give weights with other labels")
        if not given and self.prepares():
            raise ValueError(
                f"the shipped classifier takes its own input: leave out {', '.join(self.prepares())}"
            )
        self.preprocess()
        return self

    def prepares(self) -> dict[str, object]:
        """The fields of `PreprocessSpec` that are set."""
        fields = {name: getattr(self, name) for name in PreprocessSpec.model_fields}
        return {name: value for name, value in fields.items() if value is not None}

    def preprocess(self) -> PreprocessSpec:
        """How pictures are prepared. `resize` left out keeps 256 : 224 to `input_size`."""
        fields = self.prepares()
        if "input_size" in fields and "resize" not in fields:
            fields["resize"] = min(MAX_SIDE, round(int(str(fields["input_size"])) * 256 / 224))
        return PreprocessSpec.model_validate(fields)


class ClassScore(BaseModel):
    """One class of a prediction. `confidence` is its softmax, 0..1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    index: int
    confidence: float


class Prediction(BaseModel):
    """What a classifier says of one picture: `top`, the likeliest classes, best first, at least one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top: tuple[ClassScore, ...] = Field(min_length=1)

    @property
    def label(self) -> str:
        return self.top[0].label

    @property
    def index(self) -> int:
        return self.top[0].index

    @property
    def confidence(self) -> float:
        return self.top[0].confidence


def parse_labels(content: bytes, *, name: str) -> tuple[str, ...]:
    """Class names from a label file: a JSON list, a JSON object of index to name, or text with one a line.

    Indices must run from 0 without a gap. BadInput that names the file for anything else.
    """
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise _bad_labels(name, "it is not UTF-8 text") from error
    if text.startswith(("[", "{")):
        try:
            labels = _from_json(json.loads(text))
        except (ValueError, RecursionError) as error:  # the latter for brackets within brackets without end
            raise _bad_labels(name, str(error)) from error
    else:
        labels = [line.strip() for line in text.splitlines()]
    if not labels or not all(labels):
        raise _bad_labels(name, "it holds no names" if not labels else "one of its names is empty")
    if len(labels) > MAX_LABELS:
        raise _bad_labels(name, f"it holds more than {MAX_LABELS} names")
    return tuple(labels)


def _from_json(data: object) -> list[str]:
    if isinstance(data, dict):
        try:
            by_index = {int(key): value for key, value in data.items()}
        except ValueError:
            raise ValueError("its keys are not class indices") from None
        if sorted(by_index) != list(range(len(data))):
            raise ValueError(f"its indices are not 0 to {len(data) - 1}")
        data = [by_index[index] for index in range(len(data))]
    if not isinstance(data, list) or not all(isinstance(label, str) for label in data):
        raise ValueError("it is neither a list of names nor an object of index to name")
    return data


def _bad_labels(name: str, reason: str) -> BadInput:
    return BadInput(
        f"This is not a usable label file: {reason}.",
        input=name,
        what_to_do="give one class name a line, a JSON list of names, or a JSON object of index to name",
    )


def bad_classifier(name: str, reason: str) -> BadInput:
    return BadInput(
        f"This is not a usable image classifier: {reason}.",
        input=name,
        what_to_do="give a torch.export program (.pt2), a state dict (.safetensors, .pt, .pth) with its "
        "architecture, or nothing for the shipped classifier",
    )
