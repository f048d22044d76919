"""EfficientNet-Lite0, an image classifier that is quick on a CPU: the network, its two weight layouts.

Belongs here: layers, the folding of batch norms, and what tensors a state dict must hold. Does not belong
here: files and sources of weights (`image_classifier.py`), pixels (`sampling/preprocess.py`).

Architecture: Tan and Le, "EfficientNet" (2019), table 1, in the Lite variant of TensorFlow's TPU models
(`efficientnet/lite/efficientnet_lite_builder.py`): no squeeze and excitation, ReLU6 for swish, stem and head
of fixed width. 4.7 million parameters, 0.4 G multiply-adds for 224 x 224.
Padding is TensorFlow's SAME: at stride 2 an even side gets one pixel more on the right and bottom than on the
left and top. Symmetric padding, torch's own, shifts every stage and changes the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

ARCHITECTURE = "efficientnet_lite0"
INPUT_SIZE = 224
BATCH_NORM_EPSILON = 1e-3
STEM, HEAD = 32, 1280


class BlockRow(NamedTuple):
    """`repeats` blocks of one width; the first has `stride`, the others 1."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    width: int


ROWS = (
    BlockRow(1, 3, 1, 1, 16),
    BlockRow(2, 3, 2, 6, 24),
    BlockRow(2, 5, 2, 6, 40),
    BlockRow(3, 3, 2, 6, 80),
    BlockRow(3, 5, 1, 6, 112),
    BlockRow(4, 5, 2, 6, 192),
    BlockRow(1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, whatever size comes in.

    Total padding along a side of `n` pixels: `max((ceil(n / s) - 1) * s + k - n, 0)`, the odd one last.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=True)

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return functional.conv2d(
                input, self.weight, self.bias, stride=1, padding=kernel // 2, groups=self.groups
            )
        top, bottom = _same_padding(input.shape[-2], kernel, stride)
        left, right = _same_padding(input.shape[-1], kernel, stride)
        padded = functional.pad(input, (left, right, top, bottom))
        return functional.conv2d(padded, self.weight, self.bias, stride=stride, groups=self.groups)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class MBConv(nn.Module):
    """Expand (unless the factor is 1), filter each channel, project; add the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        self.expand = SameConv(inputs, inner, 1) if expand != 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride=stride, groups=inner)
        self.project = SameConv(inner, outputs, 1)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else functional.relu6(self.expand(x))
        out = self.project(functional.relu6(self.depthwise(inner)))
        return out + x if self.adds_input else out


class EfficientNetLite0(nn.Module):
    """`(B, 3, H, W)` float RGB, `(x - 127) / 128` of 0..255, H = W = 224 as trained -> logits `(B, classes)`.

    Batch norms are folded into the convolutions, so this network is for inference.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, stride=2)
        blocks, width = [], STEM
        for row in ROWS:
            for repeat in range(row.repeats):
                stride = row.stride if repeat == 0 else 1
                blocks.append(MBConv(width, row.width, row.kernel, stride, row.expand))
                width = row.width
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConv(width, HEAD, 1)
        self.classifier = nn.Linear(HEAD, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = functional.relu6(self.head(x))
        return self.classifier(x.mean((2, 3)))


def network_for(state: Mapping[str, Tensor]) -> tuple[EfficientNetLite0, dict[str, Tensor]]:
    """An uninitialised network of as many classes as `state` has, and `state` in its layout (float32).

    `state` is in this module's layout, or in that of the `efficientnet_pytorch` family (`_conv_stem.weight`,
    `_bn0.running_mean`, ...), whose batch norms are folded. Raises KeyError naming a tensor that is missing,
    ValueError for tensors left over. Shapes are the caller's to check against the network.
    """
    folded = fold_batch_norms(state) if "_conv_stem.weight" in state else dict(state)
    with torch.device("meta"):
        net = EfficientNetLite0(folded["classifier.weight"].shape[0])
    return net, {name: tensor.float() for name, tensor in folded.items()}


def fold_batch_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An `efficientnet_pytorch` state dict in this module's layout, float32, computed in float64.

    `w' = w * g / sqrt(var + eps)`, `b' = beta - mean * g / sqrt(var + eps)`. KeyError and ValueError as in
    `network_for`.
    """
    folded: dict[str, Tensor] = {}
    used: set[str] = set()
    for ours, convolution, norm in _layout():
        names = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        gain, beta, mean, variance = (state[name].double() for name in names)
        scale = gain / (variance + BATCH_NORM_EPSILON).sqrt()
        weight = state[f"{convolution}.weight"].double()
        folded[f"{ours}.weight"] = (weight * scale[:, None, None, None]).float()
        folded[f"{ours}.bias"] = (beta - mean * scale).float()
        used.update(names, (f"{convolution}.weight", f"{norm}.num_batches_tracked"))
    for part in ("weight", "bias"):
        folded[f"classifier.{part}"] = state[f"_fc.{part}"].float()
        used.add(f"_fc.{part}")
    if extra := sorted(set(state) - used):
        raise ValueError(f"it holds tensors that are no part of {ARCHITECTURE}: {', '.join(extra[:4])}")
    return folded


def _layout() -> Iterator[tuple[str, str, str]]:
    """(our convolution, theirs, the batch norm after it), in order of use."""
    yield "stem", "_conv_stem", "_bn0"
    number = 0
    for row in ROWS:
        for _ in range(row.repeats):
            ours, theirs = f"blocks.{number}", f"_blocks.{number}"
            if row.expand != 1:
                yield f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"
            yield f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
            yield f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"
            number += 1
    yield "head", "_conv_head", "_bn1"
