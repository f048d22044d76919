"""The caption pair network: are two neighbouring frames of a caption strip empty, the same, or different?

Belongs here: the network, the one function that turns luma planes into its input, and the sizes both agree
on. Does not belong here: reading weight files (`weights.py`), batching over a video
(`captions/inference.py`), training (`captions/train/`).

A convolutional encoder sees each frame once and keeps its spatial layout. A small head then compares two such
maps position by position (what either shows, their absolute difference, their product), so that a stroke that
stays while the background moves is visible to it, and pools the evidence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

ARCHITECTURE = "caption_pairs/2"
"""Stands in every weight file; changes with any change to layers, channels or `prepare`."""

LABEL_COUNT = 5
"""same, different, empty_empty, empty_valid, valid_empty: `captions.labels` names them, in this order."""

INPUT_PIXELS = 32768
"""Area of the network's input: 512x64 for a strip of 8:1; text a fifth of it high keeps 13 pixels."""

ASPECT_RANGE = (2.0, 20.0)
"""Width over height that keeps its proportions; strips beyond are stretched to the nearer end."""

STRIDE = 16
"""Both input sides are multiples of this, so no layer ever pads or drops a ragged edge."""


def input_size(height: int, width: int) -> tuple[int, int]:
    """Network input (height, width) for strips of `height` x `width` pixels: one size for a whole video.

    The strip's proportions are kept (within rounding to STRIDE) and the area is about INPUT_PIXELS, so text
    looks alike whatever the crop's shape, no pixels are spent on letterbox bars, and the cost is constant.
    """
    aspect = min(max(width / height, ASPECT_RANGE[0]), ASPECT_RANGE[1])
    rows = max(STRIDE, STRIDE * round(math.sqrt(INPUT_PIXELS / aspect) / STRIDE))
    columns = max(STRIDE, STRIDE * round(rows * aspect / STRIDE))
    return rows, columns


def prepare(planes: Tensor) -> Tensor:
    """Luma planes (B, H, W) uint8, limited or full range, to network input (B, 1, H_in, W_in) float32.

    One antialiased bilinear resize (triangle filter, as in Pillow and torch) to whole luma steps, then a
    fixed affine map to about -2..2. The same function runs in training, on the CPU and on the GPU; chroma is
    never looked at. On the CPU the resize is torch's for 8-bit pictures: 0.21 ms for 1280x160, in float 0.30.
    """
    return as_input(resize(planes))


def resize(planes: Tensor) -> Tensor:
    """Luma planes (B, H, W) uint8 to (B, H_in, W_in) uint8."""
    batch, height, width = planes.shape
    size = input_size(height, width)
    if (height, width) == size:
        return planes
    picture = planes.reshape(batch, 1, height, width)
    if planes.is_cuda:  # torch resizes 8-bit pictures on the CPU only
        wide = functional.interpolate(picture.float(), size=size, mode="bilinear", antialias=True)
        picture = wide.round().clamp(0, 255).to(torch.uint8)
    else:
        picture = functional.interpolate(picture, size=size, mode="bilinear", antialias=True)
    return picture[:, 0]


def as_input(resized: Tensor) -> Tensor:
    """`resize`'s pictures (B, H_in, W_in) uint8 to the network's input (B, 1, H_in, W_in) float32."""
    return ((resized.to(torch.float32) - 112.0) / 56.0).unsqueeze(1)


def stack_planes(planes: Sequence[np.ndarray | Tensor], device: torch.device | str = "cpu") -> Tensor:
    """Equal-sized (H, W) uint8 planes, numpy on the host or torch on any device, to (B, H, W) on `device`."""
    tensors = [plane if isinstance(plane, Tensor) else torch.from_numpy(plane) for plane in planes]
    return torch.stack(tensors).to(device)


WIDTH = 32
"""Channels of a frame's fine map, at a quarter of the input's size."""

DEPTH = 64
"""Channels of a frame's coarse map, at an eighth."""

HEAD = 48
"""Channels of the pair head."""


class Features(NamedTuple):
    """What a pair needs of a frame. Index and concatenate with `select` and `join`."""

    maps: Tensor
    """(B, WIDTH, H_in / 4, W_in / 4)"""

    sides: Tensor
    """(B, 2 HEAD, H_in / 8, W_in / 8): the frame's part of the head's first layer, as first and as second."""

    def select(self, which: slice | Sequence[int] | Tensor) -> Features:
        """The features of some of the frames, in the order given."""
        return Features(self.maps[which], self.sides[which])

    def copy(self) -> Features:
        """The same values in memory of their own, so that keeping one frame does not keep its whole batch."""
        return Features(self.maps.clone(), self.sides.clone())

    def join(self, later: Features) -> Features:
        """These frames followed by those."""
        return Features(torch.cat((self.maps, later.maps)), torch.cat((self.sides, later.sides)))


class CaptionPairNet(nn.Module):
    """Encoder and pair head. Weights are plain convolutions: training folds its batch norms into them.

    A frame has two maps. The fine one (a quarter of the input's size) is for comparing strokes with those of
    the neighbour; the coarse one (an eighth) says what stands there: lettering of a caption or anything else.

    The head's first layer is a strided convolution over (|left - right|, left * right) of the fine maps plus
    a pointwise one over each coarse map. The latter is linear, so it is computed with the frame's features,
    once; only the part for difference and product is per pair, and both directions of a pair share it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, WIDTH, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            Residual(WIDTH),
        )
        self.deepen = nn.Sequential(
            nn.Conv2d(WIDTH, DEPTH, 3, stride=2, padding=1), nn.ReLU(inplace=True), Residual(DEPTH)
        )
        self.as_side = nn.Conv2d(DEPTH, 2 * HEAD, 1)
        self.as_pair = nn.Conv2d(2 * WIDTH, HEAD, 3, stride=2, padding=1, bias=False)
        self.compare = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(HEAD, HEAD, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(HEAD, 64, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.decide = nn.Sequential(nn.Linear(2 * 64, 64), nn.ReLU(inplace=True), nn.Linear(64, LABEL_COUNT))

    def encode(self, luma: Tensor) -> Features:
        """`prepare`'s output (B, 1, H_in, W_in) to the features of B frames."""
        maps = self.encoder(luma.contiguous(memory_format=torch.channels_last))
        return Features(maps, self.as_side(self.deepen(maps)))

    def classify(self, left: Features, right: Features) -> tuple[Tensor, Tensor]:
        """Features of B left and B right frames to two times logits (B, 5), in the order of the labels.

        The first is the label of (left, right), the second that of (right, left).
        """
        both = self.as_pair(torch.cat(((left.maps - right.maps).abs_(), left.maps * right.maps), dim=1))
        left_first, left_second = left.sides.chunk(2, dim=1)
        right_first, right_second = right.sides.chunk(2, dim=1)
        forward, backward = left_first + right_second + both, right_first + left_second + both
        evidence = self.compare(torch.cat((forward, backward)))
        pooled = torch.cat((evidence.amax(dim=(2, 3)), evidence.mean(dim=(2, 3))), dim=1)
        forward_logits, backward_logits = self.decide(pooled).chunk(2)
        return forward_logits, backward_logits


class Residual(nn.Module):
    """relu(x + conv(x)), 3x3, `channels` in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.conv(x))
