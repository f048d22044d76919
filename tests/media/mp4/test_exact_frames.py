"""Every picture of every variant, found by our index and decoded from its bytes, is the one ffmpeg shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fixtures.media_factory import VARIANTS, MediaFactory, usual_ones_fast
from tests.media.mp4.framemd5 import md5_of, whole_decode
from video_pipeline.errors import BadInput
from video_pipeline.media.decode_memory import CodedPicture, CodedRun, NoPicture, decode_pictures
from video_pipeline.media.mp4.index import Selection, VideoIndex, ticks
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.mp4.seek import Search
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource

REFUSED = {
    "rotated_37": "display matrix",
    "no_pictures": "no pictures",
    "audio_only": "no video track",
    "audio_with_cover": "no video track",
    "empty_file": "empty",
    "text": "not an MP4",
    "playlist": "not an MP4",
    "picture_as_video": "not an MP4",
    "truncated_moov_end": "no index",
}
SHIFTED = ("h264_fragmented_negative", "h264_fragmented_cmaf")
"""libav adds the largest negative composition offset to all times (`dts_shift` in its mov demuxer); by
ISO/IEC 14496-12 8.6.1.3 the composition time is the sum as it stands."""
MOVED_MIDWAY = ("h264_fragmented_pictures",)
"""Of which ffmpeg itself gives the first pictures other times than those behind them (`late_shift`)."""
RECOVERY_POINTS = ("h264_intra_refresh",)
"""Where what the file calls a sync sample is one from which pictures come right bit by bit."""
DAMAGED = ("truncated_fa", "truncated_fragmented", "corrupt")
FRAGMENTED_WITHOUT_INDEX = ("h264_fragmented", "h264_fragmented_small", "hevc_fragmented", "demo_fragmented")

MP4 = sorted(name for name, (suffix, _) in VARIANTS.items() if suffix in (".mp4", ".mov"))
WHOLE = [name for name in MP4 if name not in (*REFUSED, *MOVED_MIDWAY) and not name.startswith(DAMAGED)]


@pytest.mark.parametrize("name", usual_ones_fast(WHOLE))
def test_every_picture_is_the_one_a_whole_decode_shows_at_its_time(name: str, media: MediaFactory) -> None:
    path = media.path(name)
    # The long clip is there for its many fragments; each twentieth picture of it is enough.
    step = 20 if name == "demo_fragmented" else 1
    shown = whole_decode(path)
    index, traffic = _index(path)
    shift = shown[0][0] if name in SHIFTED else 0
    for number, (time, wanted) in list(enumerate(shown))[::step]:
        back = 1 if name in RECOVERY_POINTS else 0
        selection, found = _decode(index, path, ticks(time - shift, index.track.time_base), traffic, back)
        assert (selection.pts * index.track.time_base, found) == (time - shift, wanted), f"picture {number}"
        if index.kind in ("plain", "walk"):
            assert selection.frame_index == number


@pytest.mark.parametrize("name", usual_ones_fast([name for name in WHOLE if "fragmented" in name]))
def test_a_picture_has_its_number_where_all_headers_before_it_are_read(
    name: str, media: MediaFactory
) -> None:
    shown = whole_decode(media.path(name))
    shift = shown[0][0] if name in SHIFTED else 0
    index, traffic = _index(media.path(name))

    def number_of(place: int) -> int | None:
        time = ticks(shown[place][0] - shift, index.track.time_base)
        return index.select(time, traffic).frame_index

    last = len(shown) - 1
    # By `mfra` alone nobody knows whether a fragment lies before the first one it names.
    assert number_of(0) in ((0, None) if index.kind == "mfra" else (0,))
    assert number_of(last) in ((last,) if index.kind == "walk" else (None, last))
    index.all_samples(traffic)
    assert [number_of(place) for place in range(0, len(shown), 7)] == list(range(0, len(shown), 7))
    assert number_of(last) == last


def test_a_number_does_not_depend_on_what_other_lookups_have_read(media: MediaFactory) -> None:
    """Behind the first fragment it is None, though the headers before it happen to be there."""
    path = media.path("h264_fragmented_mfra")
    times = [time for time, _ in whole_decode(path)]
    index, traffic = _index(path)
    moments = [ticks(time, index.track.time_base) for time in times]
    found = [index.select(moment, traffic).frame_index for moment in moments]
    again = [index.select(moment, traffic).frame_index for moment in reversed(moments)]
    assert found == again[::-1]
    known = found.index(None)
    assert 0 < known < len(found)
    assert found == [*range(known), *[None] * (len(found) - known)]


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAGMENTED_WITHOUT_INDEX)
def test_bisecting_finds_the_same_pictures_as_walking(name: str, media: MediaFactory) -> None:
    path = media.path(name)
    shown = whole_decode(path)
    for time, wanted in reversed(shown[:: max(1, len(shown) // 12)]):
        index, traffic = _index(path, "bisect")
        assert _decode(index, path, ticks(time, index.track.time_base), traffic)[1] == wanted


@pytest.mark.parametrize("name", [name for name in MP4 if name.startswith(DAMAGED)])
def test_a_damaged_file_gives_the_right_pictures_or_a_named_error(name: str, media: MediaFactory) -> None:
    path = media.path(name)
    truth = dict(whole_decode(media.path(_whole(name))))
    index, traffic = _index(path)
    right = refused = 0
    for time, wanted in truth.items():
        try:
            found = _decode(index, path, ticks(time, index.track.time_base), traffic)[1]
        except BadInput as error:
            refused += Path(error.input or "").name == path.name
            continue
        # HEVC has no checksum of its own: damage that still parses is a picture like any other.
        assert found == wanted or name == "corrupt_middle_hevc", f"another picture at {float(time):.3f} s"
        right += 1
    assert right
    assert right + refused == len(truth)


def _whole(name: str) -> str:
    if name.startswith("truncated_fragmented"):
        return "h264_fragmented"
    return {"corrupt_middle_hevc": "hevc", "corrupt_middle": "h264_b"}.get(name, "h264_faststart")


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_what_cannot_be_read_is_refused_by_name(name: str, why: str, media: MediaFactory) -> None:
    path = media.path(name)
    with pytest.raises(BadInput, match=why) as caught:
        _index(path)
    assert path.name in str(caught.value)
    assert caught.value.what_to_do


def test_times_between_and_around_the_pictures_show_what_a_player_shows(media: MediaFactory) -> None:
    path = media.path("h264_b")
    index, traffic = _index(path)
    first, second = (index.select(pts, traffic).pts for pts in (0, 512))
    assert (first, second) == (0, 512)
    assert index.select(511, traffic).pts == 0
    assert index.select(-1000, traffic).pts == 0
    assert index.select(10**9, traffic).pts == 59 * 512


def _index(path: Path, search: Search | None = None) -> tuple[VideoIndex, Traffic]:
    traffic = Traffic()
    return open_index(FileSource(path), traffic, search=search), traffic


def _decode(
    index: VideoIndex, path: Path, movie_time: int, traffic: Traffic, most_back: int = 0
) -> tuple[Selection, str]:
    """The picture's selection and MD5; from further back where a key frame may be only a recovery point."""
    for back in range(most_back + 1):
        selection = index.select(movie_time, traffic, back=back)
        run = CodedRun(
            selection.entry,
            index.track.time_base,
            index.track.orientation,
            _pictures(selection, path),
            path.name,
        )
        try:
            ((_, picture),) = decode_pictures(run, [selection.media_pts])
        except NoPicture:
            continue
        return selection, md5_of(picture)
    raise AssertionError(f"{most_back} key frames back, and still no picture")


def _pictures(selection: Selection, path: Path) -> list[CodedPicture]:
    samples = selection.samples
    rows = zip(samples.offsets, samples.sizes, samples.pts, samples.dts, samples.key, strict=True)
    with path.open("rb") as file:
        return [
            CodedPicture(os.pread(file.fileno(), int(size), int(at)), int(pts), int(dts), bool(key))
            for at, size, pts, dts, key in rows
        ]
