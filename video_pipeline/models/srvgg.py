"""SRVGGNetCompact: the small super-resolution network of Real-ESRGAN's video models.

Belongs here: the network and what its tensors' shapes say about its size. Does not belong here: reading
weight files, batches, tiles and 8-bit pictures (`upscaler.py`).

Architecture and tensor names are those of Real-ESRGAN's `realesrgan/archs/srvgg_arch.py` (BSD-3-Clause), so
that a checkpoint published for it loads as it is: 3x3 convolutions at the input's resolution with PReLU
between them, then a pixel shuffle, added to the input enlarged by repeating its pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

COLOURS = 3


class SrvggSize(NamedTuple):
    """What distinguishes one SRVGGNetCompact from another."""

    features: int
    """Channels between the convolutions."""

    middle: int
    """Convolutions between the first and the last."""

    scale: int
    """How many times larger the output is, per side."""


class SRVGGNetCompact(nn.Module):
    """RGB (B, 3, H, W) in 0..1 to (B, 3, scale H, scale W), about 0..1 and not clamped. For inference: a step
    in place would not be differentiated."""

    def __init__(self, size: SrvggSize) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = [nn.Conv2d(COLOURS, size.features, 3, padding=1), nn.PReLU(size.features)]
        for _ in range(size.middle):
            layers += [nn.Conv2d(size.features, size.features, 3, padding=1), nn.PReLU(size.features)]
        layers.append(nn.Conv2d(size.features, COLOURS * size.scale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)

    @property
    def reach(self) -> int:
        """How many input pixels away, along a side, a pixel can still change an output pixel.

        One per 3x3 convolution. The nearest-neighbour path reaches nowhere.
        """
        return self.size.middle + 2

    def forward(self, rgb: Tensor) -> Tensor:
        """The output's planes lie one after the other in memory.

        The repeated pixels are added before the shuffle, where those of one input pixel are neighbouring
        channels: for 812x1444 that and the shuffle took 12 ms on one core, and 29 ms after it.
        """
        scale, maps = self.size.scale, self.body(rgb)
        count, _, height, width = maps.shape
        maps.view(count, COLOURS, scale**2, height, width).add_(rgb[:, :, None])
        maps = maps.view(count, COLOURS, scale, scale, height, width).permute(0, 1, 4, 2, 5, 3)
        return maps.reshape(count, COLOURS, scale * height, scale * width)


def size_of(tensors: Mapping[str, Tensor]) -> SrvggSize:
    """The size of the SRVGGNetCompact (3 channels in and out, PReLU) that holds exactly these tensors.

    ValueError, in words for a person, where no such network does.
    """
    indices = {int(key.split(".")[1]) for key in tensors if key.startswith("body.") and key.count(".") == 2}
    if not indices or not all(key.startswith("body.") for key in tensors):
        raise ValueError("its tensors are not named body.0.weight, body.0.bias, body.1.weight and so on")
    last = max(indices)
    first, final = tensors.get("body.0.weight"), tensors.get(f"body.{last}.weight")
    if first is None or final is None or first.ndim != 4 or final.ndim != 4 or last < 2 or last % 2:
        raise ValueError("its layers are not convolutions with a PReLU between each two")
    scale = round((final.shape[0] / COLOURS) ** 0.5)
    if scale < 1 or scale**2 * COLOURS != final.shape[0]:
        raise ValueError(f"its last layer has {final.shape[0]} channels, which is not 3 times a square")
    size = SrvggSize(features=first.shape[0], middle=last // 2 - 1, scale=scale)
    for key, wanted in expected_shapes(size).items():
        if key not in tensors:
            raise ValueError(f"{key} is missing")
        if tuple(tensors[key].shape) != wanted:
            raise ValueError(f"{key} has shape {tuple(tensors[key].shape)}, needed is {wanted}")
    if extra := sorted(set(tensors) - set(expected_shapes(size))):
        raise ValueError(f"it holds tensors the network does not have: {', '.join(extra[:4])}")
    return size


def expected_shapes(size: SrvggSize) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a network of this size."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = COLOURS
    for layer in range(size.middle + 2):
        outputs = size.features if layer <= size.middle else COLOURS * size.scale**2
        shapes[f"body.{2 * layer}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"body.{2 * layer}.bias"] = (outputs,)
        if layer <= size.middle:
            shapes[f"body.{2 * layer + 1}.weight"] = (outputs,)
        inputs = outputs
    return shapes
