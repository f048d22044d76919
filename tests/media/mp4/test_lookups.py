"""What an index answers and refuses, on whole files made of boxes by hand."""

from __future__ import annotations

import pytest

from tests.media.mp4.boxes_made import (
    box,
    counted,
    elst,
    full,
    moof,
    moov,
    simple_table,
    stsd,
    traf,
    trak,
    trex,
    trun,
    u32,
    visual,
)
from tests.media.mp4.test_fuzz import Bytes
from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.index import VideoIndex
from video_pipeline.media.mp4.opening import HEAD_BYTES, open_index
from video_pipeline.media.ranges.base import Traffic

ONE = 1 << 16
FTYP = box("ftyp", b"isom", u32(0))
BASE = 0x020000


def film(*traks: bytes, size: int = 4000, mvex: bytes = b"") -> bytes:
    """Movie box and media data; the tables place their samples from byte 1000 on."""
    head = FTYP + moov(*traks, mvex=mvex)
    return head + box("mdat", bytes(size - len(head) - 8))


def opened(data: bytes) -> VideoIndex:
    return open_index(Bytes(data, "film.mp4"), Traffic())


def test_with_edits_the_end_the_key_frames_and_the_numbers_are_those_shown() -> None:
    """Nine pictures 512 ticks of 12,800 apart; shown are the media times 1024 to 3584, five of them."""
    edited = trak(simple_table(9), edts=elst((200, 1024, ONE)))
    index, traffic = opened(film(edited)), Traffic()
    assert index.end(traffic) == 2560
    assert index.key_frame_times(traffic).tolist() == [0, 512, 1024, 1536, 2048]
    assert [index.select(time, traffic).frame_index for time in (0, 511, 512, 2048, 9999)] == [0, 0, 1, 4, 4]
    assert index.select(0, traffic).media_pts == 1024
    whole = opened(film(trak(simple_table(9))))
    assert whole.end(traffic) == 9 * 512
    assert whole.key_frame_times(traffic).tolist() == [512 * number for number in range(9)]
    assert not traffic.requests


def test_an_edit_that_ends_within_a_picture_cuts_its_time() -> None:
    index = opened(film(trak(simple_table(9), edts=elst((190, 1024, ONE)))))
    assert index.end(Traffic()) == 190 * 12_800 // 1000


def test_numbers_count_what_every_edit_shows() -> None:
    """The media times 1024 to 2048 first, then 0 to 1024: two pictures each."""
    edited = trak(simple_table(9), edts=elst((80, 1024, ONE), (80, 0, ONE)))
    index = opened(film(edited))
    found = [index.select(time, Traffic()) for time in (0, 512, 1024, 1536, 9999)]
    assert [one.frame_index for one in found] == [0, 1, 2, 3, 3]
    assert [one.media_pts for one in found] == [1024, 1536, 0, 512, 512]


def test_going_back_further_leads_into_the_fragment_before() -> None:
    index = opened(fragmented())
    (alone,) = index.select(1024, Traffic()).samples.pts
    assert alone == 1024
    further = index.select(1024, Traffic(), back=1)
    assert further.samples.pts.tolist() == [512, 1024]
    assert (further.pts, further.frame_index) == (1024, 2)
    with pytest.raises(BadInput, match="no key frame"):
        index.select(1024, Traffic(), back=3)


def test_an_edit_that_passes_the_last_picture_ends_with_it() -> None:
    index = opened(film(trak(simple_table(9), edts=elst((5000, 1024, ONE)))))
    assert index.end(Traffic()) == 9 * 512 - 1024


def test_a_picture_behind_the_files_end_is_refused_and_one_at_its_end_is_not() -> None:
    """The last of nine pictures of ten bytes ends at byte 1090."""
    assert opened(film(trak(simple_table(9)), size=1090)).select(8 * 512, Traffic()).minimum_bytes == 10
    index = opened(film(trak(simple_table(9)), size=1089))
    assert index.select(7 * 512, Traffic()).frame_index == 7
    with pytest.raises(BadInput, match="cut off: a picture ends at byte 1090, the file has 1089"):
        index.select(8 * 512, Traffic())


def test_pictures_of_no_bytes_are_refused() -> None:
    index = opened(film(trak(simple_table(3, stsz=full("stsz", u32(0, 3, 10, 0, 10))))))
    assert index.select(0, Traffic()).minimum_bytes == 10
    with pytest.raises(BadInput, match="no bytes"):
        index.select(512, Traffic())


def test_parameters_that_change_between_key_frame_and_picture_are_refused() -> None:
    tables = {
        "stts": counted("stts", [(2, 512)]),
        "stsc": counted("stsc", [(1, 1, 1), (2, 1, 2)]),
        "stsz": full("stsz", u32(10, 2)),
        "stco": full("stco", u32(2, 1000, 2000)),
    }
    two = box("stbl", stsd(visual(), visual()), *tables.values())
    assert opened(film(trak(two))).select(512, Traffic()).frame_index == 1
    depends = box("stbl", stsd(visual(), visual()), *tables.values(), full("stss", u32(1, 1)))
    with pytest.raises(BadInput, match="coding parameters change"):
        opened(film(trak(depends))).select(512, Traffic())


def fragmented(edts: bytes = b"") -> bytes:
    """Two fragments of two pictures each."""
    empty = box(
        "stbl", stsd(), *(full(kind, u32(0)) for kind in ("stts", "stsc", "stco")), full("stsz", u32(0, 0))
    )
    mvex = box("mvex", trex(1, duration=512, size=10))
    data = FTYP + moov(trak(empty, edts=edts), mvex=mvex)
    for number in range(2):
        data += moof(traf(1, trun(2, offset=100), tfdt=number * 1024, flags=BASE)) + box("mdat", bytes(92))
    return data


def test_a_fragmented_file_has_one_edit_or_is_refused() -> None:
    index = opened(fragmented(elst((0, 512, ONE))))
    assert [index.select(time, Traffic()).frame_index for time in (0, 512, 1024)] == [0, 1, 2]
    assert index.end(Traffic()) == 3 * 512
    with pytest.raises(BadInput, match="edit list has several parts"):
        opened(fragmented(elst((100, 512, ONE), (100, 0, ONE))))


def test_a_segment_index_before_the_movie_box_is_used() -> None:
    """ISO/IEC 14496-12 8.16.3 places it anywhere at file level; it counts from the byte behind it."""
    rest = fragmented()[len(FTYP) :]
    moofs = rest.index(b"moof") - 4
    pieces = [(len(rest) - moofs) // 2] * 2

    def sidx(first: int) -> bytes:
        rows = b"".join(u32(piece, 1024, 9 << 28) for piece in pieces)
        return full("sidx", u32(1, 12800, 0, first), b"\0\0\0\2", rows)

    index = opened(FTYP + sidx(moofs) + rest)
    assert (index.kind, index.stated_end) == ("sidx", 2048)
    edited = fragmented(elst((0, 512, ONE)))[len(FTYP) :]
    later = len(edited) - len(rest)
    assert opened(FTYP + sidx(moofs + later) + edited).stated_end == 2048 - 512
    assert index.select(1536, Traffic()).pts == 1536
    # One that ends before the file does is no index of it.
    pieces = pieces[:1]
    short = full("sidx", u32(1, 12800, 0, moofs), b"\0\0\0\1", u32(pieces[0], 1024, 9 << 28))
    assert opened(FTYP + short + rest).kind == "walk"


def test_a_movie_box_behind_much_else_is_found_by_the_boxes_headers() -> None:
    media = box("mdat", bytes(3 * HEAD_BYTES))
    index = opened(FTYP + media + box("free", bytes(40)) + moov(trak(simple_table(9))))
    assert index.kind == "plain"
    assert index.select(512, Traffic()).pts == 512
