"""A player shows the colours of the source, whatever its samples: RGB in either order, gray, 10 bits, 4:2:2,
4:4:4, full range. Each file holds the same known pictures; the pass makes its chunks; libav shows them as a
player does: by the tags in the chunk.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from tests.fixtures.media_factory import ffmpeg
from video_pipeline import keys
from video_pipeline.captions.chunks import all_chunks, pictures_in_window
from video_pipeline.captions.intake import add_video, pass_request
from video_pipeline.captions.streaming_pass import run
from video_pipeline.keys import VideoId
from video_pipeline.media.geometry import CropRegion, to_pixel_crop
from video_pipeline.store.base import ObjectStore
from video_pipeline.worker import TaskContext

VIDEO = VideoId("acme", "clip")
See = Callable[[Path], tuple[np.ndarray, set[tuple[int, int]]]]
WIDTH, HEIGHT, FRAMES = 320, 180, 12
REGION = CropRegion(left=0.1, top=0.2, width=0.7, height=0.6)
PATTERN = ["-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate=10:duration={FRAMES / 10}"]
"""Flat patches of saturated colours with sharp edges, some of them moving."""

SLOW = pytest.mark.slow
RGB = {"rgb24": "png", "pal8": "png", "bgr24": "rawvideo", "bgr0": "ffv1", "gbrp": "ffv1", "gbrp10le": "ffv1"}
"""Samples, and a codec that keeps them without loss."""


def rgb_file(folder: Path, samples: str) -> Path:
    path = folder / ("video.avi" if RGB[samples] == "rawvideo" else "video.mkv")
    palette = ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none"]
    ffmpeg(
        [
            *PATTERN,
            *(palette if samples == "pal8" else []),
            "-c:v",
            RGB[samples],
            "-pix_fmt",
            samples,
            str(path),
        ]
    )
    return path


def yuv_file(folder: Path, samples: str, *, full: bool) -> Path:
    """The pattern as BT.709, without loss, in limited or full range and tagged so."""
    path, levels = folder / "video.mkv", "pc" if full else "tv"
    codec = (
        ["-c:v", "ffv1"] if samples == "yuv411p" else ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0"]
    )
    convert = ["-vf", f"scale=out_color_matrix=bt709:out_range={levels},format={samples}"]
    tags = [
        "-colorspace",
        "bt709",
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
        "-color_range",
        levels,
    ]
    ffmpeg([*PATTERN, *convert, *codec, "-threads", "1", *tags, str(path)])
    return path


def gray_file(folder: Path, samples: str, luma: np.ndarray, *, full: bool) -> Path:
    """Luma 0..255 (FRAMES, HEIGHT, WIDTH) as levels of the range, which the file is tagged with."""
    raw, path = folder / "levels", folder / "video.mkv"
    levels = luma if full else 16 + luma * 219 / 255
    ten = samples == "gray10le"
    raw.write_bytes(np.round(levels * (4 if ten else 1)).astype("<u2" if ten else "u1").tobytes())
    layout = ["-f", "rawvideo", "-pix_fmt", samples, "-s", f"{WIDTH}x{HEIGHT}", "-r", "10"]
    levels_tag = ["-color_range", "pc" if full else "tv"]
    ffmpeg([*layout, *levels_tag, "-i", str(raw), "-c:v", "ffv1", "-threads", "1", *levels_tag, str(path)])
    return path


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The whole pictures: (FRAMES, HEIGHT, WIDTH, 3) uint8, RGB."""
    path = tmp_path_factory.mktemp("pattern") / "pattern.rgb"
    ffmpeg([*PATTERN, "-f", "rawvideo", "-pix_fmt", "rgb24", str(path)])
    return np.frombuffer(path.read_bytes(), np.uint8).reshape(FRAMES, HEIGHT, WIDTH, 3)


@pytest.fixture
def seen(store: ObjectStore, make_context: Callable[..., TaskContext]) -> See:
    """Puts a file through the pass: its chunks' pictures in order as RGB, and their own tags (matrix, range).
    The range is read by the tags; the matrix as BT.709, which each test expects, and gray has no colour."""

    def see(path: Path) -> tuple[np.ndarray, set[tuple[int, int]]]:
        add_video(store, VIDEO, path, crop_region=REGION, frame_rate=10, preset="fast")
        result = run(pass_request(store, VIDEO, ("vp9_chunks",)), make_context(store))
        assert result.chunks is not None
        shown: dict[int, np.ndarray] = {}
        tags = set()
        for level, window in all_chunks(result.frame_count):
            data = store.get(keys.chunk_key(VIDEO, result.chunks.recipe, level, window))
            with av.open(io.BytesIO(data), "r") as container:
                for index, picture in zip(
                    pictures_in_window(level, window, result.frame_count),
                    container.decode(video=0),
                    strict=True,
                ):
                    tags.add((int(picture.colorspace), int(picture.color_range)))
                    as_rgb = picture.reformat(
                        format="rgb24",
                        src_colorspace=Colorspace.ITU709,
                        src_color_range=ColorRange(int(picture.color_range)),
                        dst_color_range=ColorRange.JPEG,
                    )
                    shown[index] = as_rgb.to_ndarray()
        return np.stack([shown[index] for index in range(result.frame_count)]), tags

    return see


def looks_like(seen: np.ndarray, whole: np.ndarray) -> bool:
    """Whether the crop's values differ by 2 at most in the median, and by 5 in four fifths of all: 1 and 3
    are usual. The last fifth are edges of patches, whose colour is halved in each direction and then coded.
    """
    crop = to_pixel_crop(REGION, WIDTH, HEIGHT)
    expected = whole[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    difference = np.abs(seen.astype(int) - expected)
    return bool(np.median(difference) <= 2 and np.percentile(difference, 80) <= 5)


@pytest.mark.parametrize(
    "samples",
    ["bgr24", "gbrp10le", *(pytest.param(name, marks=SLOW) for name in ("rgb24", "pal8", "bgr0", "gbrp"))],
)
def test_rgb_in_any_order_looks_like_its_source(
    tmp_path: Path, samples: str, pattern: np.ndarray, seen: See
) -> None:
    shown, tags = seen(rgb_file(tmp_path, samples))
    assert tags == {(1, 1)}
    assert looks_like(shown, pattern)


@pytest.mark.parametrize(
    ("samples", "full"),
    [
        ("yuv420p", True),
        ("yuv422p10le", False),
        ("yuv444p", True),
        *(
            pytest.param(name, full, marks=SLOW)
            for name in ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le")
            for full in (False, True)
            if (name, full) not in (("yuv420p", True), ("yuv422p10le", False), ("yuv444p", True))
        ),
        pytest.param("yuv411p", False, marks=SLOW),
    ],
)
def test_yuv_of_any_depth_and_subsampling_looks_like_its_source_in_either_range(
    tmp_path: Path, samples: str, full: bool, pattern: np.ndarray, seen: See
) -> None:
    shown, tags = seen(yuv_file(tmp_path, samples, full=full))
    assert tags == {(1, 2 if full else 1)}
    assert looks_like(shown, pattern)


@pytest.mark.parametrize(
    ("samples", "full"),
    [
        ("gray", True),
        ("gray10le", False),
        pytest.param("gray", False, marks=SLOW),
        pytest.param("gray10le", True, marks=SLOW),
    ],
)
def test_gray_has_the_levels_of_its_source_in_either_range(
    tmp_path: Path, samples: str, full: bool, pattern: np.ndarray, seen: See
) -> None:
    luma = pattern @ np.array([0.2126, 0.7152, 0.0722])
    shown, tags = seen(gray_file(tmp_path, samples, luma, full=full))
    assert {levels for _, levels in tags} == {2 if full else 1}
    assert looks_like(shown, np.repeat(luma[..., None], 3, axis=3))
