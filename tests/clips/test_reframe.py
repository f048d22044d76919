from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.clips.colours import TAGS, frame_of, resized, rgb_of, steps_apart, to_8_bits
from video_pipeline.clips import reframe
from video_pipeline.clips.crop import Crop, Shape, cut_around
from video_pipeline.clips.interpolation import Curve
from video_pipeline.clips.reframe import Reframer, resize_frame
from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.models.srvgg import SRVGGNetCompact, SrvggSize
from video_pipeline.models.upscaler import Upscaler, load_upscaler

FIXTURES = Path(__file__).parents[1] / "fixtures" / "clips"
BEGIN, END = Fraction(0), Fraction(1)

TWO_ROUNDINGS = 1.13
"""Half a step for each direction; the first is spread by weights whose sizes sum to 1.25 at most."""

Rect = tuple[float, float, float, float]


def still(*rect: float) -> Curve:
    return Curve([BEGIN], np.array([rect]))


def moving(first: Rect, last: Rect) -> Curve:
    return Curve([BEGIN, END], np.array([first, last]))


def picture(index: int = 0) -> CroppedFrame:
    """192x144 of a street with people, another part for each index."""
    whole = np.asarray(Image.open(FIXTURES / "street_008.jpg").convert("RGB"))
    top, left = 60 + 4 * index, 100 + 10 * index
    return frame_of(whole[top : top + 144, left : left + 192])


def repeating_net() -> Upscaler:
    """The network with weights of 0: what is left of it repeats every pixel 4x4 times."""
    net = SRVGGNetCompact(SrvggSize(features=4, middle=0, scale=4))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    return Upscaler(net, device=torch.device("cpu"), sha256="")


def pictures_seen(upscaler: Upscaler) -> list[int]:
    """The number of pictures in each pass through the network, from now on."""
    seen: list[int] = []
    upscaler.net.register_forward_hook(lambda _net, given, _out: seen.append(len(given[0])))
    return seen


def reference(upscaler: Upscaler, frame: CroppedFrame, crop: Crop, shape: Shape) -> CroppedFrame:
    """The network path, step by step and rounded at each: `Upscaler.upscale` on the cut, the exact part of
    its grid, a resize and a conversion in float64."""
    cut = cut_around(crop, shape)
    whole = to_8_bits(rgb_of(frame))
    part = whole[cut.top : cut.top + cut.height, cut.left : cut.left + cut.width].copy()
    enlarged = upscaler.upscale(torch.from_numpy(part)[None])[0].numpy()
    top, left = crop.top - 4 * cut.top, crop.left - 4 * cut.left
    exact = enlarged[top : top + crop.height, left : left + crop.width]
    size = (shape.output_height, shape.output_width)
    if exact.shape[:2] != size:
        colours = [
            resized(exact[..., colour], (0, crop.height), (0, crop.width), *size) for colour in range(3)
        ]
        exact = np.stack(colours, axis=2)
    return frame_of(exact)


def use_the_way_of_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on a GPU, on the CPU."""
    cpu = torch.device("cpu")
    monkeypatch.setattr(reframe, "_rgb_on_cpu", lambda planes: reframe._rgb_on_device(planes, cpu))
    monkeypatch.setattr(reframe, "_finish_on_cpu", reframe._finish_on_device)


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return load_upscaler("cpu")


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize(
    ("rect", "output"),
    [
        ((31.3, 20.8, 50, 90), (200, 360)),
        ((31.3, 20.8, 50, 90), (180, 320)),
        ((31.3, 20.8, 40, 30), (240, 180)),
        ((-9, 100, 41, 61), (82, 122)),
    ],
)
def test_the_picture_is_the_networks_cut_resized_and_converted(
    upscaler: Upscaler,
    rect: Rect,
    output: tuple[int, int],
    on_device: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if on_device:
        use_the_way_of_other_devices(monkeypatch)
    shape = Shape(192, 144, *output)
    reframer = Reframer(still(*rect), shape, upscaler)
    ours = reframer.render([(picture(), BEGIN)])[0]
    expected = reference(upscaler, picture(), reframer.crop_at(BEGIN), shape)
    assert steps_apart(ours, expected) <= 2
    assert float(np.abs(ours.y.astype(int) - expected.y).mean()) < 0.3
    assert (ours.width, ours.height) == output
    assert ours.tags == TAGS
    assert all(plane.flags.c_contiguous and plane.dtype == np.uint8 for plane in (ours.y, ours.u, ours.v))


def test_of_a_batch_on_a_device_its_planes_alone_come_to_the_host_in_one_copy(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_the_way_of_other_devices(monkeypatch)
    copied: list[tuple[torch.dtype, int]] = []
    to_host = torch.Tensor.cpu

    def watched(tensor: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        copied.append((tensor.dtype, tensor.numel()))
        return to_host(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "cpu", watched)
    shape = Shape(192, 144, 80, 144)
    Reframer(still(5, 10, 50, 90), shape, upscaler).render([(picture(n), BEGIN) for n in range(3)])
    assert copied == [(torch.uint8, 3 * 80 * 144 * 3 // 2)]


def test_a_batch_gives_the_pictures_that_they_give_one_by_one(upscaler: Upscaler) -> None:
    curve = moving((5, 10, 30, 54), (80, 30, 40, 72))
    reframer = Reframer(curve, Shape(192, 144, 80, 144), upscaler)
    batch = [(picture(index), Fraction(index, 6)) for index in range(6)]
    together = reframer.render(batch)
    one_by_one = [reframer.render([item])[0] for item in batch]
    assert max(steps_apart(a, b) for a, b in zip(together, one_by_one, strict=True)) <= 1
    assert len({picture.y.tobytes() for picture in together}) == 6


def test_the_crops_of_a_pan_go_through_the_network_in_one_batch() -> None:
    upscaler = repeating_net()
    seen = pictures_seen(upscaler)
    reframer = Reframer(moving((3, 5, 50, 90), (90, 40, 50, 90)), Shape(192, 144, 200, 360), upscaler)
    reframer.render([(picture(index), Fraction(index, 8)) for index in range(8)])
    assert seen == [8]


def test_pictures_beyond_the_memory_limit_go_through_in_several_batches() -> None:
    whole, tight = repeating_net(), repeating_net()
    tight.memory_limit = 3 * (tight.memory_limit // whole.plan(94, 54, (376, 216)).pictures)
    seen = pictures_seen(tight)
    batch = [(picture(index), Fraction(index, 8)) for index in range(8)]
    curve, shape = moving((3, 5, 50, 90), (90, 40, 50, 90)), Shape(192, 144, 200, 360)
    few, many = (Reframer(curve, shape, each).render(batch) for each in (tight, whole))
    assert len(seen) > 1
    assert sum(seen) == 8
    assert all(steps_apart(a, b) == 0 for a, b in zip(few, many, strict=True))


def test_a_picture_shown_twice_goes_through_the_network_once() -> None:
    upscaler = repeating_net()
    seen = pictures_seen(upscaler)
    one, two = picture(0), picture(1)
    reframer = Reframer(still(10, 10, 50, 90), Shape(192, 144, 200, 360), upscaler)
    shown = reframer.render([(one, BEGIN), (one, Fraction(1, 4)), (two, Fraction(1, 2)), (one, END)])
    assert seen == [2]
    assert shown[0] is shown[1] is shown[3]
    assert steps_apart(shown[0], shown[2]) > 0


def wave_phase(frame: CroppedFrame, period: float) -> float:
    """Where a wave along x stands, in pixels of the frame."""
    row = frame.y.astype(float).mean(axis=0)
    angle = 2 * np.pi * np.arange(len(row)) / period
    return float(np.angle(((row - row.mean()) * np.exp(-1j * angle)).sum()) * period / (2 * np.pi))


@pytest.mark.parametrize("network", [True, False])
def test_a_slow_pan_moves_the_picture_evenly(network: bool) -> None:
    """0.1 pixel of the source a frame, snapped to quarters: never more than half a quarter off."""
    x = np.arange(192)
    gray = np.repeat((127.5 + 90 * np.sin(2 * np.pi * x / 16))[None, :, None], 144, axis=0).repeat(3, axis=2)
    frame = frame_of(gray)
    output = (256, 256) if network else (64, 64)
    enlarging = output[0] / 64
    curve = moving((20, 30, 64, 64), (26, 30, 64, 64))
    reframer = Reframer(curve, Shape(192, 144, *output), repeating_net() if network else None)
    shown = reframer.render([(frame, Fraction(step, 60)) for step in range(61)])
    phases = [wave_phase(one, 16 * enlarging) / enlarging for one in shown]
    moved = np.unwrap(np.array(phases) - phases[0], period=16)
    assert float(np.abs(moved - np.arange(61) / 10).max()) <= 0.125 + 0.01
    steps = np.diff(moved)
    assert float(steps.min()) > -0.01
    assert float(steps.max()) < 0.26


@pytest.mark.parametrize("network", [True, False])
def test_a_zoom_enlarges_as_the_curve_says(network: bool) -> None:
    """A bright square of 20 pixels takes 20 x output / crop of them, as its brightness adds up."""
    gray = np.full((144, 192, 3), 40.0)
    gray[62:82, 86:106] = 220
    frame = frame_of(gray)
    output = 320 if network else 60
    curve = moving((96 - 60, 72 - 60, 120, 120), (96 - 30, 72 - 30, 60, 60))
    reframer = Reframer(curve, Shape(192, 144, output, output), repeating_net() if network else None)
    times = [Fraction(step, 10) for step in range(11)]
    for t, one in zip(times, reframer.render([(frame, t) for t in times]), strict=True):
        crop = 120 - 60 * float(t)
        row = one.y[one.height // 2].astype(float)
        wide = (row - row[0]).sum() / (row[one.width // 2] - row[0])
        assert abs(wide - 20 * output / crop) <= 0.01 * wide + 0.25
        assert abs(float((row - row[::-1]).mean())) < 0.5


@pytest.mark.parametrize(
    ("rect", "output"),
    [
        ((10.25, 7.5, 160, 120), (80, 60)),
        ((30.5, 20.25, 64, 48), (64, 48)),
        ((0, 0, 192, 144), (100, 76)),
        ((101, 55, 48, 36), (120, 90)),
    ],
)
def test_without_the_network_a_crop_is_resized_as_the_reference_does(
    rect: Rect, output: tuple[int, int]
) -> None:
    width, height = output
    shape = Shape(192, 144, width, height)
    frame, crop = picture(2), Reframer(still(*rect), shape, None).crop_at(BEGIN)
    ours = resize_frame(frame, crop, shape)
    left, top, wide, tall = (value / 4 for value in (crop.left, crop.top, crop.width, crop.height))
    luma = resized(frame.y, (top, top + tall), (left, left + wide), height, width)
    assert float(np.abs(ours.y - luma.clip(0, 255)).max()) <= TWO_ROUNDINGS
    # An output's chroma sample k lies at luma 2 k + 1/2, a source's at 2 i + 1/2.
    step = wide / width
    first = (left + 0.5 * step - 0.5) / 2 + 0.5 - 0.5 * step
    for plane, got in ((frame.u, ours.u), (frame.v, ours.v)):
        padded = np.pad(plane, ((0, 0), (1, 1)), mode="edge")
        columns = (first + 1, first + 1 + wide / 2)
        chroma = resized(padded, (top / 2, (top + tall) / 2), columns, height // 2, width // 2)
        assert float(np.abs(got - chroma).max()) <= TWO_ROUNDINGS


@pytest.mark.parametrize("network", [True, False])
def test_a_plain_colour_stays_what_it_is(network: bool) -> None:
    flat = CroppedFrame(
        y=np.full((144, 192), 120, np.uint8),
        u=np.full((72, 96), 110, np.uint8),
        v=np.full((72, 96), 150, np.uint8),
        tags=TAGS,
    )
    reframer = Reframer(still(20, 20, 50, 90), Shape(192, 144, 90, 162), repeating_net() if network else None)
    shown = reframer.render([(flat, BEGIN)])[0]
    for plane, value in ((shown.y, 120), (shown.u, 110), (shown.v, 150)):
        assert int(np.abs(plane.astype(int) - value).max()) <= 1


def test_the_network_is_left_out_where_the_source_has_pixels_enough() -> None:
    upscaler = repeating_net()
    seen = pictures_seen(upscaler)
    shape = Shape(192, 144, 50, 90)
    enough = Reframer(moving((5, 5, 50, 90), (90, 40, 60, 100)), shape, upscaler)
    assert not enough.upscales_at(BEGIN)
    shown = enough.render([(picture(), BEGIN), (picture(), END)])
    assert seen == []
    assert steps_apart(shown[0], Reframer(enough.curve, shape, None).render([(picture(), BEGIN)])[0]) == 0
    mixed = Reframer(moving((5, 5, 50, 90), (90, 40, 40, 72)), shape, upscaler)
    assert mixed.upscales_at(END)
    assert len(mixed.render([(picture(), BEGIN), (picture(), END)])) == 2
    assert seen == [1]


def test_a_picture_that_the_network_fails_on_fails_the_batch() -> None:
    """Test double: weights that give no numbers for the second picture's white only."""
    upscaler = repeating_net()

    def fail_on_white(_net: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return torch.where(given[0].mean() > 0.99, torch.full_like(out, torch.nan), out)

    upscaler.net.register_forward_hook(fail_on_white)
    reframer = Reframer(still(10, 10, 50, 90), Shape(192, 144, 200, 360), upscaler)
    white = frame_of(np.full((144, 192, 3), 255.0))
    assert len(reframer.render([(picture(), BEGIN)])) == 1
    with pytest.raises(Internal, match="not numbers"):
        reframer.render([(white, BEGIN)])


def test_frames_of_another_size_or_other_colours_are_refused() -> None:
    reframer = Reframer(still(10, 10, 50, 90), Shape(190, 144, 200, 360), None)
    with pytest.raises(Internal, match=r"192x144, not 190x144"):
        reframer.render([(picture(), BEGIN)])
    frame = picture()
    for tags in (ColourTags(1, 1, 6, 1), ColourTags(1, 1, 1, 2), ColourTags()):
        other = CroppedFrame(y=frame.y[:, :190], u=frame.u[:, :95], v=frame.v[:, :95], tags=tags)
        with pytest.raises(Internal, match=r"not BT\.709 in limited range"):
            reframer.render([(other, BEGIN)])


@pytest.mark.parametrize("size", [(201, 360), (200, 359), (0, 2)])
def test_an_output_of_odd_or_no_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match=f"{size[0]}x{size[1]}"):
        Reframer(still(0, 0, 10, 10), Shape(192, 144, *size), None)


def test_a_key_frame_without_a_width_is_refused_before_any_picture() -> None:
    with pytest.raises(BadInput, match="above 0"):
        Reframer(moving((0, 0, 10, 10), (0, 0, 0, 10)), Shape(192, 144, 20, 20), None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("output", [(200, 360), (180, 320)])
def test_a_gpu_gives_the_same_pictures(upscaler: Upscaler, output: tuple[int, int]) -> None:
    curve, shape = moving((5, 10, 50, 90), (80, 30, 50, 90)), Shape(192, 144, *output)
    batch = [(picture(index), Fraction(index, 3)) for index in range(3)]
    here = Reframer(curve, shape, upscaler).render(batch)
    there = Reframer(curve, shape, load_upscaler("cuda")).render(batch)
    # cuDNN's float32 convolutions keep 10 bits of the mantissa (TF32).
    assert max(steps_apart(a, b) for a, b in zip(here, there, strict=True)) <= 4
