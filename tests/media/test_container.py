"""Opening a file: what is read of it, which stream is taken, and that a cut-off one is refused."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.errors import BadInput
from video_pipeline.media.container import open_video


class Counting(io.BytesIO):
    """Counts what is read, and from where."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.served = 0
        self.places: list[int] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.places.append(self.tell())
        data = super().read(size)
        self.served += len(data)
        return data

    def furthest(self) -> int:
        return max(self.places)


def test_a_cut_far_into_a_fragmented_file_is_found_when_its_end_is_reached(media: MediaFactory) -> None:
    reader = Counting(media.path("demo_fragmented").read_bytes()[:-700])
    opened = open_video(reader, name="v", one_pass=True)
    assert reader.furthest() < 1_000_000
    for packet in opened.container.demux(opened.stream):
        assert packet is not None
    before = reader.served
    with pytest.raises(BadInput, match="its mdat box lacks 700 bytes"):
        opened.check_complete()
    assert reader.served - before <= 16
    opened.close()


def test_a_fragmented_file_read_in_one_pass_is_read_front_to_back(media: MediaFactory) -> None:
    data = media.path("demo_fragmented").read_bytes()
    reader = Counting(data)
    opened = open_video(reader, name="v", one_pass=True)
    opening = len(reader.places)
    pictures = sum(packet.size > 0 for packet in opened.container.demux(opened.stream))
    opened.check_complete()
    opened.close()
    assert pictures == 1260
    assert reader.places[opening:] == sorted(reader.places[opening:])
    assert reader.served < len(data) * 1.05


@pytest.mark.parametrize(
    ("variant", "front_to_back"),
    [("h264_fragmented_pictures", False), ("h264_fragmented_cmaf", True), ("h264_fragmented_small", True)],
)
def test_times_do_not_move_once_a_fragment_with_a_lower_offset_is_read(
    media: MediaFactory, variant: str, front_to_back: bool
) -> None:
    def times(one_pass: bool) -> list[int]:
        opened = open_video(media.path(variant), name="v", one_pass=one_pass)
        found = [packet.pts for packet in opened.container.demux(opened.stream) if packet.size]
        assert opened.reader.seekable() != (one_pass and front_to_back)
        opened.close()
        return sorted(pts for pts in found if pts is not None)

    found = times(one_pass=True)
    assert found == times(one_pass=False)
    assert len({after - before for before, after in pairwise(found)}) == 1


@pytest.mark.parametrize("variant", ["h264_mkv", "vp9", "msmpeg4_avi", "h264_faststart"])
def test_every_truncation_of_a_file_that_states_its_size_is_refused(
    media: MediaFactory, variant: str
) -> None:
    data = media.path(variant).read_bytes()
    for percent in range(5, 100, 5):
        with pytest.raises(BadInput):
            open_video(io.BytesIO(data[: len(data) * percent // 100]), name="v").close()


@pytest.mark.parametrize("variant", ["live_mkv", "live_webm_clusters", "live_avi"])
def test_a_cut_of_a_recording_is_found_by_what_libav_has_read_of_it(
    media: MediaFactory, variant: str
) -> None:
    data = media.path(variant).read_bytes()
    data = data[: len(data) * 7 // 10]
    reader = Counting(data)
    with pytest.raises(BadInput, match=r"cut off: its \w+( chunk)? lacks \d+ bytes"):
        open_and_read(reader)
    # Once through, and what libav looks at to find its way; not a second time for the check.
    assert reader.served < 2 * len(data)


def open_and_read(reader: io.BytesIO) -> None:
    opened = open_video(reader, name="v", one_pass=True)
    try:
        for packet in opened.container.demux(opened.stream):
            assert packet is not None
        opened.check_complete()
    finally:
        opened.close()


def test_a_default_stream_is_preferred_and_a_cover_is_none(media: MediaFactory) -> None:
    opened = open_video(media.path("h264_b"), name="v")
    assert opened.stream.type == "video"
    assert opened.format == "mov"
    opened.close()
    opened.close()
