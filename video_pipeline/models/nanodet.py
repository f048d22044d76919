"""NanoDet-g: a small object detector of plain convolutions, trained on COCO's 80 classes.

Belongs here: the network, the names of its classes, and what its outputs mean. Does not belong here:
pictures, thresholds and the removal of doubles (`person_detector.py`), how the shipped weights were made
(`scripts/convert_detector.py`).

Architecture: NanoDet's `config/legacy_v0.x_configs/nanodet-g.yml` (Apache-2.0): a cross-stage-partial
backbone, one lateral convolution for each of three levels that are summed downwards and upwards, and one head
per level. Batch norms are folded into the convolutions. It is fully convolutional: any sides that are
multiples of 32 will do.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

ARCHITECTURE = "nanodet_g/1"
"""Stands in every weight file; changes with any change to layers, names or channels."""

STRIDES = (8, 16, 32)
"""Input pixels per position of each level."""

DISTANCE_BINS = 11
"""A distance from a position to a side of its box is a distribution over 0..10 strides."""

CHANNELS = 128

# fmt: off
COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase",
    "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard",
    "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl",
    "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake",
    "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote",
    "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock",
    "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
"""In the order of the network's outputs: COCO 2017's."""
# fmt: on


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3, then a leaky ReLU of slope 0.1."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.LeakyReLU(0.1, inplace=True)
    )


class Narrow(nn.Module):
    """Half the channels, twice: (B, C, H, W) to (B, C, H, W) of two halves, the deeper one first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels // 2)
        self.second = convolution(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.first(x)
        return torch.cat((self.second(shallow), shallow), dim=1)


class CrossStage(nn.Module):
    """(B, C, H, W) to (B, 2 C, H / stride, W / stride): what goes through `depth` blocks, and what not."""

    def __init__(self, channels: int, depth: int, stride: int) -> None:
        super().__init__()
        self.enter = convolution(channels, channels, stride)
        self.blocks = nn.Sequential(*(Narrow(channels) for _ in range(depth)))
        self.leave = convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        return torch.cat((self.leave(self.blocks(entered)), entered), dim=1)


class Head(nn.Sequential):
    """One level's features to class logits and distance distributions, (B, 80 + 4 x 11, H, W)."""

    def __init__(self) -> None:
        super().__init__(
            convolution(CHANNELS, CHANNELS),
            nn.Conv2d(CHANNELS, len(COCO_CLASSES) + 4 * DISTANCE_BINS, 1),
        )


class NanoDetG(nn.Module):
    """Normalised BGR (B, 3, H, W), sides multiples of 32, to a prediction for each position of each level."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, 32, stride=2)
        self.stage1 = CrossStage(32, depth=1, stride=1)
        self.stage2 = CrossStage(64, depth=2, stride=2)
        self.stage3 = CrossStage(128, depth=2, stride=2)
        self.stage4 = CrossStage(256, depth=3, stride=2)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, CHANNELS, 1) for channels in (128, 256, 512))
        self.heads = nn.ModuleList(Head() for _ in STRIDES)

    def forward(self, bgr: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (B, N, 80) and boxes (B, N, 4): left, top, right, bottom in the input's pixels.

        N counts the positions of all levels, the finest first, row by row.
        """
        quarter = self.stage1(functional.max_pool2d(self.stem(bgr), 3, stride=2, padding=1))
        fine = self.stage2(quarter)
        middle = self.stage3(fine)
        coarse = self.stage4(middle)
        levels = self._exchange(
            [layer(x) for layer, x in zip(self.lateral, (fine, middle, coarse), strict=True)]
        )
        outputs = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        classes = len(COCO_CLASSES)
        logits = [output[:, :classes].flatten(2).transpose(1, 2) for output in outputs]
        boxes = [
            boxes_of(output[:, classes:], stride) for output, stride in zip(outputs, STRIDES, strict=True)
        ]
        return torch.cat(logits, dim=1), torch.cat(boxes, dim=1)

    def _exchange(self, levels: list[Tensor]) -> Iterable[Tensor]:
        """The three levels, each summed with its coarser neighbour and then with its finer one."""
        fine, middle, coarse = levels
        middle = middle + resized(coarse, middle)
        fine = fine + resized(middle, fine)
        middle = middle + resized(fine, middle)
        return fine, middle, coarse + resized(middle, coarse)


def resized(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def boxes_of(distributions: Tensor, stride: int) -> Tensor:
    """A level's distance distributions (B, 4 x 11, H, W), as logits, to boxes (B, H W, 4) in input pixels.

    Each distance (to the left, top, right and bottom of the position's centre) is its distribution's mean, as
    in Generalized Focal Loss (Li et al., 2020, section 3). The centre of column i lies at (i + 1/2) stride.
    """
    batch, _, height, width = distributions.shape
    shares = distributions.reshape(batch, 4, DISTANCE_BINS, height * width).softmax(dim=2)
    steps = torch.arange(DISTANCE_BINS, device=shares.device, dtype=shares.dtype)
    distances = torch.einsum("bdkn,k->bnd", shares, steps) * stride
    down = (torch.arange(height, device=shares.device, dtype=shares.dtype) + 0.5) * stride
    across = (torch.arange(width, device=shares.device, dtype=shares.dtype) + 0.5) * stride
    y, x = (axis.flatten() for axis in torch.meshgrid(down, across, indexing="ij"))
    centres = torch.stack((x, y), dim=1)
    return torch.cat((centres - distances[..., :2], centres + distances[..., 2:]), dim=2)
