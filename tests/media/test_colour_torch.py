"""Both conversions: every test runs on that for a CPU and on that for other devices."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from tests.clips.colours import TAGS, frame_of, rgb_of, steps_apart, to_8_bits
from video_pipeline.media import colour_cpu, colour_torch
from video_pipeline.media.colour_cpu import STRIP_ROWS
from video_pipeline.media.colour_torch import BT709_LIMITED, cut_planes, frame_from_planes
from video_pipeline.media.frames import CroppedFrame

SMOOTH = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


def noise(height: int, width: int, seed: int = 0) -> CroppedFrame:
    """Every legal value next to every other, many of them outside RGB."""
    draw = np.random.default_rng(seed)
    y = draw.integers(16, 236, (height, width), dtype=np.uint8)
    u, v = draw.integers(16, 241, (2, height // 2, width // 2), dtype=np.uint8)
    return CroppedFrame(y=y, u=u, v=v, tags=TAGS)


class OnCpu:
    """`colour_cpu`."""

    def rgb(self, frame: CroppedFrame, left: int, top: int, width: int, height: int) -> np.ndarray:
        return colour_cpu.rgb_from_planes(*cut_planes(frame, left, top, width, height))

    def planes(self, picture: torch.Tensor) -> np.ndarray:
        return colour_cpu.planes_from_rgb(picture.numpy())

    def frame(self, rgb: np.ndarray, dtype: torch.dtype = torch.uint8) -> CroppedFrame:
        picture = torch.from_numpy(rgb).permute(2, 0, 1)
        picture = picture.to(dtype) if dtype == torch.uint8 else picture.to(dtype) / 255
        return frame_from_planes(self.planes(picture), *rgb.shape[:2])


class OnDevice(OnCpu):
    """`colour_torch`, here on the device that every machine has."""

    def rgb(self, frame: CroppedFrame, left: int, top: int, width: int, height: int) -> np.ndarray:
        cut = cut_planes(frame, left, top, width, height)
        y, u, v = (torch.from_numpy(np.ascontiguousarray(plane))[None] for plane in cut)
        return colour_torch.rgb_from_planes(y, u, v)[0].numpy()

    def planes(self, picture: torch.Tensor) -> np.ndarray:
        return colour_torch.planes_from_rgb(picture).numpy()


@pytest.fixture(params=[OnCpu, OnDevice])
def colours(request: pytest.FixtureRequest) -> OnCpu:
    return request.param()


def waves(height: int, width: int) -> np.ndarray:
    """Smooth RGB (H, W, 3), 0..255, with a wave of its own in each colour."""
    y, x = np.mgrid[:height, :width]
    parts = [np.sin(x / 9 + y / 23), np.sin(x / 14 - y / 17 + 1), np.sin(x / 31 + y / 11 + 2)]
    return to_8_bits(127.5 + 110 * np.stack(parts, axis=2))


def test_a_frame_becomes_the_rgb_of_the_standard_with_chroma_where_it_lies(colours: OnCpu) -> None:
    frame = noise(36, 50)
    ours = colours.rgb(frame, 0, 0, 50, 36)
    expected = to_8_bits(rgb_of(frame))
    assert int(np.abs(ours.astype(int) - expected).max()) <= 1
    assert float((ours != expected).mean()) < 1e-3


@pytest.mark.parametrize("rect", [(0, 0, 12, 10), (8, 6, 20, 18), (30, 22, 20, 14), (48, 34, 2, 2)])
def test_a_cut_is_the_same_part_of_the_whole_picture(colours: OnCpu, rect: tuple[int, int, int, int]) -> None:
    frame = noise(36, 50, seed=1)
    left, top, width, height = rect
    whole = colours.rgb(frame, 0, 0, 50, 36)
    assert np.array_equal(colours.rgb(frame, *rect), whole[top : top + height, left : left + width])


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("height", [2, STRIP_ROWS, 2 * STRIP_ROWS + 6])
def test_rgb_becomes_the_planes_of_the_standard(colours: OnCpu, height: int, dtype: torch.dtype) -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (height, 34, 3), dtype=np.uint8)
    ours, expected = colours.frame(rgb, dtype), frame_of(rgb)
    assert steps_apart(ours, expected) <= 1
    differing = [float((a != b).mean()) for a, b in ((ours.y, expected.y), (ours.u, expected.u))]
    assert max(differing) < 0.02
    assert ours.tags == BT709_LIMITED == TAGS


def by_libswscale(rgb: np.ndarray) -> CroppedFrame:
    """With chroma half-way between columns, where libswscale puts it unless told otherwise."""
    converted = VideoReformatter().reformat(
        av.VideoFrame.from_ndarray(rgb, format="rgb24"),
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=SMOOTH,
    )
    return frame_from_planes(converted.to_ndarray().reshape(-1), *rgb.shape[:2])


def test_libswscale_makes_the_same_planes(colours: OnCpu) -> None:
    """Half-way before and half-way behind an even column average to that column."""
    rgb = waves(120, 160)
    ours = colours.frame(rgb)
    behind, before = by_libswscale(rgb), by_libswscale(np.roll(rgb, 1, axis=1))
    assert int(np.abs(ours.y.astype(int) - behind.y).max()) <= 1
    for a, b, c in ((ours.u, behind.u, before.u), (ours.v, behind.v, before.v)):
        assert float(np.abs(a - (b.astype(float) + c) / 2)[1:-1, 1:-1].max()) <= 1.5


def test_values_beyond_0_and_1_are_clamped_and_the_picture_is_left_as_it_was(colours: OnCpu) -> None:
    picture = torch.tensor([-0.5, 1.5, 0.25]).view(3, 1, 1).expand(3, 4, 6).contiguous()
    before = picture.clone()
    beyond = colours.planes(picture)
    assert np.array_equal(beyond, colours.planes(picture.clamp(0, 1)))
    assert torch.equal(picture, before)


def test_half_precision_is_converted_in_full_precision(colours: OnCpu) -> None:
    rgb = waves(40, 30)
    assert steps_apart(colours.frame(rgb, torch.float16), frame_of(rgb)) <= 1


def test_colours_side_by_side_in_memory_give_the_same_planes(colours: OnCpu) -> None:
    picture = torch.rand(3, 70, 20, generator=torch.Generator().manual_seed(1))
    other = picture.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert np.array_equal(colours.planes(picture), colours.planes(other))


def test_colour_bars_survive_both_ways(colours: OnCpu) -> None:
    """75 % bars, BT.709 limited range, each 16 columns wide; the columns where two meet are left out."""
    bars = [(180, 128, 128), (168, 44, 136), (145, 147, 44), (133, 63, 52)]
    bars += [(63, 193, 204), (51, 109, 212), (28, 212, 120), (16, 128, 128)]
    y, u, v = (
        np.repeat(np.array([bar[index] for bar in bars], np.uint8)[None], 32, axis=0).repeat(16, axis=1)
        for index in range(3)
    )
    given = CroppedFrame(y=y, u=u[::2, ::2].copy(), v=v[::2, ::2].copy(), tags=TAGS)
    back = colours.frame(colours.rgb(given, 0, 0, 128, 32))
    inside = [column for column in range(64) if 1 <= column % 8 <= 6]
    assert int(np.abs(back.y.astype(int) - given.y)[:, ::2][:, inside].max()) <= 1
    for ours, theirs in ((back.u, given.u), (back.v, given.v)):
        assert int(np.abs(ours.astype(int) - theirs)[:, inside].max()) <= 2


def test_slopes_of_colour_do_not_move_on_the_way_there_and_back(colours: OnCpu) -> None:
    """10 steps of 255 a chroma sample: colour moved by a quarter of a sample would be 2.5 off."""
    ramp = np.arange(80, 180, 10, dtype=np.uint8)
    for u, v in (
        (ramp[None].repeat(10, 0), np.full((10, 10), 128, np.uint8)),
        (np.full((10, 10), 128, np.uint8), ramp[:, None].repeat(10, 1)),
    ):
        given = CroppedFrame(y=np.full((20, 20), 126, np.uint8), u=u.copy(), v=v.copy(), tags=TAGS)
        back = colours.frame(colours.rgb(given, 0, 0, 20, 20))
        inside = (slice(1, -1), slice(1, -1))
        assert int(np.abs(back.u.astype(int) - given.u)[inside].max()) <= 1
        assert int(np.abs(back.v.astype(int) - given.v)[inside].max()) <= 1
        assert int(np.abs(back.y.astype(int) - given.y)[inside].max()) <= 1


def test_rounding_is_to_nearest_and_clamps() -> None:
    given = np.random.default_rng(3).uniform(-0.1, 1.1, (3, STRIP_ROWS + 7, 9)).astype(np.float32)
    expected = np.clip(np.floor(given.astype(float) * 255 + 0.5), 0, 255)
    apart = np.abs(colour_cpu.quantised(given) - expected)
    # In float32 a value next to a half may fall to its other side.
    assert float(apart.max()) <= 1
    assert float((apart > 0).mean()) < 1e-3
