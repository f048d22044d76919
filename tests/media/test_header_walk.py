"""Whether a file is whole, told from the headers that pass by; every cut that can be told, and no other."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.media.header_walk import BoxWalk, ElementWalk, HeaderWalk, RiffWalk, walk_of


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


def walked(data: bytes, piece: int = 4096) -> HeaderWalk:
    """The walk over a file that passes by from front to back."""
    walk = walk_of(data)
    for place in range(0, len(data), piece):
        walk.see(place, data[place : place + piece])
    return walk


def borders(data: bytes) -> list[int]:
    """Where a header begins, and the end of the file."""
    walk, found = walk_of(data), [0]
    while walk.next_header < len(data):
        walk.go_on(io.BytesIO(data), len(data), 1)
        found.append(walk.next_header)
    return found


LIVE = ["live_mkv", "live_webm", "live_webm_clusters", "live_avi"]


@pytest.mark.parametrize("variant", [*LIVE, "h264_mkv", "vp9", "h264_avi", "msmpeg4_avi"])
@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_a_whole_file_lacks_nothing_however_it_is_read(media: MediaFactory, variant: str, piece: int) -> None:
    data = media.path(variant).read_bytes()
    walk = walked(data, piece)
    assert walk.next_header == len(data)
    assert walk.lacks(len(data)) is None
    assert walk.open_ended == (variant in LIVE)


@pytest.mark.parametrize("variant", LIVE)
def test_a_recording_cut_anywhere_but_between_two_elements_is_told(media: MediaFactory, variant: str) -> None:
    data = media.path(variant).read_bytes()
    ends = borders(data)
    assert len(ends) > 8
    # The last byte of a chunk of an AVI may be a pad byte, which is not missed.
    inside = {*range(50, len(data), 997), *(end - 2 for end in ends[1:]), *(end + 4 for end in ends[1:-1])}
    for length in inside - set(ends):
        assert walked(data[:length]).lacks(length), f"cut at {length}"
    for length in ends[3:]:
        assert walked(data[:length]).lacks(length) is None, f"cut at {length}"


def test_clusters_of_unknown_size_are_walked_block_by_block(media: MediaFactory) -> None:
    sized, unsized = (media.path(name).read_bytes() for name in ("live_webm", "live_webm_clusters"))
    assert walked(sized).kinds[-1] == "Cluster"
    assert walked(unsized).kinds[-1] == "SimpleBlock"
    assert len(borders(unsized)) > 60


def test_a_cut_within_a_header_is_told_by_the_name_that_is_left_of_it(media: MediaFactory) -> None:
    data = media.path("live_webm_clusters").read_bytes()
    cluster = data.rindex(bytes.fromhex("1f43b675"))
    for length in range(cluster + 1, cluster + 6):
        assert walked(data[:length]).lacks(length) == "it ends within a header"
    video = media.path("live_avi").read_bytes()
    chunk = video.rindex(b"00dc")
    assert walked(video[: chunk + 4]).lacks(chunk + 4) == "it ends within a header"
    # Three bytes may be anything.
    assert walked(video[: chunk + 3]).lacks(chunk + 3) is None


@pytest.mark.parametrize("variant", LIVE)
@pytest.mark.parametrize("after", [bytes(5000), b"\xffnot a header" * 50], ids=["zeros", "text"])
def test_what_follows_the_last_element_proves_nothing(
    media: MediaFactory, variant: str, after: bytes
) -> None:
    data = media.path(variant).read_bytes() + after
    assert walked(data).lacks(len(data)) is None


def test_a_walk_that_has_not_come_to_the_end_says_nothing(media: MediaFactory) -> None:
    data = media.path("live_webm_clusters").read_bytes()
    # Also where what was read ends within a header.
    for stop in (2000, data.rindex(bytes.fromhex("1f43b675")) + 2):
        walk = walk_of(data)
        walk.see(0, data[:stop])
        assert walk.lacks(len(data)) is None
    recorded = avi(flags=0x910, size=0)
    walk = walk_of(recorded)
    walk.see(0, recorded[:100])
    assert walk.lacks(len(recorded)) is None


def test_only_a_segment_and_a_cluster_may_be_of_unknown_size() -> None:
    header = bytes.fromhex("1a45dfa380")
    walk = walked(header + bytes.fromhex("18538067ff") + bytes.fromhex("1549a966ff") + b"x" * 50)
    assert walk.lacks(64) is None
    assert walk.kinds == ["EBML header", "Segment"]


def test_a_size_that_begins_with_a_zero_byte_is_none() -> None:
    """It would have nine bytes or more (RFC 8794, 4): these are zeros after the last element."""
    data = bytes.fromhex("1a45dfa380" + "18538067ff" + "1f43b675") + bytes(6)
    assert walked(data).lacks(len(data)) is None


def riff(*chunks: bytes, kind: bytes = b"RIFF", name: bytes = b"AVI ", size: int | None = None) -> bytes:
    body = name + b"".join(chunks)
    return kind + (len(body) if size is None else size).to_bytes(4, "little") + body


def chunk(name: bytes, length: int) -> bytes:
    return name + length.to_bytes(4, "little") + bytes(length + (length & 1))


def avi(*chunks: bytes, flags: int, size: int | None = None) -> bytes:
    avih = b"avih" + (56).to_bytes(4, "little") + bytes(12) + flags.to_bytes(4, "little") + bytes(40)
    pictures = riff(chunk(b"00dc", 101), chunk(b"01wb", 60), kind=b"LIST", name=b"movi", size=size)
    return riff(riff(avih, kind=b"LIST", name=b"hdrl"), pictures, *chunks, size=size)


@pytest.mark.parametrize("unknown", [0, 0xFFFFFFFF])
def test_a_recording_whose_header_names_an_index_has_one_or_broke_off(unknown: int) -> None:
    promised, live = 0x910, 0x900
    for size in (None, unknown):
        whole = avi(chunk(b"idx1", 32), flags=promised, size=size)
        assert walked(whole).lacks(len(whole)) is None
    without = avi(flags=promised, size=unknown)
    assert "names an index, and there is none" in (walked(without).lacks(len(without)) or "")
    cut = without[:-3]
    assert walked(cut).lacks(len(cut)) == "its 01wb chunk lacks 3 bytes at the end"
    unpromised = avi(flags=live, size=unknown)
    assert walked(unpromised).lacks(len(unpromised)) is None
    sized = avi(flags=promised)
    assert walked(sized).lacks(len(sized)) is None


def test_the_pad_byte_of_the_last_chunk_may_be_missing() -> None:
    data = avi(chunk(b"JUNK", 7), flags=0, size=0)
    assert walked(data[:-1]).lacks(len(data) - 1) is None
    assert walked(data[:-2]).lacks(len(data) - 2) == "its JUNK chunk lacks 1 bytes at the end"


def test_a_cut_in_the_second_gigabyte_of_a_long_avi_is_told() -> None:
    # OpenDML: the file goes on in further RIFF chunks, each with a size of its own.
    data = avi(flags=0x910) + riff(chunk(b"JUNK", 500), name=b"AVIX")
    assert walked(data).lacks(len(data)) is None
    assert walked(data[:-100]).lacks(len(data) - 100) == "its RIFF chunk lacks 100 bytes at the end"


@given(st.binary(min_size=1, max_size=300), st.integers(0, 2), st.integers(1, 40))
def test_no_bytes_hold_a_walk_up_or_break_it(data: bytes, which: int, piece: int) -> None:
    begin = (b"\x1a\x45\xdf\xa3", b"RIFF", b"")[which]
    data = begin + data
    walk = walk_of(data)
    assert isinstance(walk, (ElementWalk, RiffWalk, BoxWalk)[which])
    for place in range(0, len(data), piece):
        walk.see(place, data[place : place + piece])
    walk.go_on(io.BytesIO(data), len(data))
    walk.lacks(len(data))
    assert walk.next_header > 0 or len(data) < 48
