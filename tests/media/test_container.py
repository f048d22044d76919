"""Whether a file is whole, told from its own boxes and sizes while it is read once."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.errors import BadInput
from video_pipeline.media.container import BoxWalk, open_video


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


def box(kind: bytes, payload: int, *, large: bool = False) -> bytes:
    if large:
        return (1).to_bytes(4, "big") + kind + (16 + payload).to_bytes(8, "big") + bytes(payload)
    return (8 + payload).to_bytes(4, "big") + kind + bytes(payload)


WHOLE = (
    box(b"ftyp", 12) + box(b"moov", 90) + box(b"moof", 40) + box(b"mdat", 300, large=True) + box(b"mfra", 9)
)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_headers_are_followed_however_the_reads_are_cut(lengths: list[int]) -> None:
    walk = BoxWalk()
    position = 0
    for length in lengths * 60:
        walk.see(position, WHOLE[position : position + length])
        position += length
    walk.go_on(io.BytesIO(WHOLE), len(WHOLE))
    assert walk.kinds == ["ftyp", "moov", "moof", "mdat", "mfra"]
    assert walk.overrun(len(WHOLE)) == 0


@given(st.integers(20, len(WHOLE) - 1))
def test_a_cut_is_seen_unless_it_falls_between_boxes_or_inside_a_header(length: int) -> None:
    walk = BoxWalk()
    cut = WHOLE[:length]
    walk.go_on(io.BytesIO(cut), length)
    ends = [20, 118, 166, 482, len(WHOLE)]
    since = length - max(end for end in ends if end <= length)
    if since >= 16:
        assert walk.overrun(length) == min(end for end in ends if end >= length) - length
    elif since == 0:
        assert walk.overrun(length) == 0


def test_bytes_after_the_last_box_prove_nothing() -> None:
    data = WHOLE + bytes(100)
    walk = BoxWalk()
    walk.go_on(io.BytesIO(data), len(data))
    assert walk.overrun(len(data)) == 0


def test_a_last_box_that_runs_to_the_end_is_whole() -> None:
    data = box(b"ftyp", 12) + bytes(4) + b"mdat" + bytes(1000)
    walk = BoxWalk()
    walk.go_on(io.BytesIO(data), len(data))
    assert walk.overrun(len(data)) == 0


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


@pytest.mark.parametrize("variant", ["h264_mkv", "vp9", "msmpeg4_avi", "h264_faststart"])
def test_every_truncation_of_a_file_that_states_its_size_is_refused(
    media: MediaFactory, variant: str
) -> None:
    data = media.path(variant).read_bytes()
    for percent in range(5, 100, 5):
        with pytest.raises(BadInput):
            open_video(io.BytesIO(data[: len(data) * percent // 100]), name="v").close()


def test_a_default_stream_is_preferred_and_a_cover_is_none(media: MediaFactory) -> None:
    opened = open_video(media.path("h264_b"), name="v")
    assert opened.stream.type == "video"
    assert opened.format == "mov"
    opened.close()
    opened.close()
