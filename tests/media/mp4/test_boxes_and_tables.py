"""Every rule of the sample table, the movie box and fragments that the reader follows, on boxes made by
hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
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
    stsz,
    traf,
    trak,
    trex,
    trun,
    u32,
    u64,
    visual,
)  # fmt: skip
from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.boxes import Malformed, parse_header, whole
from video_pipeline.media.mp4.fragments import Fragment, read_fragment, read_random_access, read_segment_index
from video_pipeline.media.mp4.movie import Defaults, Movie, read_movie
from video_pipeline.media.mp4.sample_table import read_samples
from video_pipeline.media.mp4.track import Edit, Samples, shown_at

SIZE = 1 << 30


def samples_of(stbl: bytes, *, entries: int = 1, file_size: int = SIZE) -> Samples:
    return read_samples(whole(stbl[8:], "stbl", 8), entries, file_size)


def movie_of(data: bytes, file_size: int = SIZE) -> Movie:
    return read_movie(whole(data[8:], "moov", 8), "film.mp4", file_size)


START = 5000


def fragment_of(data: bytes, **defaults: Defaults) -> Fragment:
    """A fragment at byte START; defaults of track 1 as `t1`."""
    of_tracks = {int(name[1:]): given for name, given in defaults.items()}
    return read_fragment(whole(data[8:], "moof", START + 8), START, 1, of_tracks, 1)


def test_a_header_may_have_a_large_size_or_run_to_the_end() -> None:
    large = box("mdat", b"x" * 20, large=True)
    assert (parse_header(large, 0, 100).body, parse_header(large, 0, 100).stop) == (116, 136)
    assert parse_header(u32(0) + b"mdat", 0, 7).stop is None
    for wrong in (u32(7) + b"mdat", u32(1) + b"mdat" + u64(15), u32(20) + b"\0\1\2\3", b"\0\0"):
        with pytest.raises(Malformed):
            parse_header(wrong, 0, 0)


def test_chunks_of_several_lengths_and_entries_place_every_sample() -> None:
    found = samples_of(
        simple_table(
            6,
            stsc=counted("stsc", [(1, 2, 1), (2, 1, 2), (3, 3, 1)]),
            stsz=stsz([10, 20, 30, 40, 50, 60]),
            stco=full("stco", u32(3, 100, 500, 900)),
        ),
        entries=2,
    )
    assert found.offsets.tolist() == [100, 110, 500, 900, 940, 990]
    assert found.entry.tolist() == [0, 0, 1, 0, 0, 0]
    far = samples_of(simple_table(2, stco=full("co64", u32(1), u64(1 << 40))))
    assert far.offsets.tolist() == [1 << 40, (1 << 40) + 10]


@pytest.mark.parametrize(("width", "packed"), [(4, b"\x12\x30"), (8, b"\x01\x02\x03"), (16, b"\0\1\0\2\0\3")])
def test_compact_sizes_of_each_width(width: int, packed: bytes) -> None:
    found = samples_of(simple_table(3, stsz=full("stz2", u32(width, 3), packed)))
    assert found.sizes.tolist() == [1, 2, 3]


@pytest.mark.parametrize("version", [0, 1])
def test_composition_offsets_may_be_negative_in_either_version(version: int) -> None:
    found = samples_of(simple_table(3, ctts=counted("ctts", [(1, 1024), (2, -512)], version=version)))
    assert found.pts.tolist() == [1024, 0, 512]


def test_without_stss_all_are_sync_samples_and_with_an_empty_one_none() -> None:
    assert samples_of(simple_table(3)).key.all()
    assert not samples_of(simple_table(3, stss=counted("stss", []))).key.any()
    assert samples_of(simple_table(3, stss=counted("stss", [(2,)]))).key.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"stts": counted("stts", [(2, 512)])}, "stts describes 2 of 3"),
        ({"ctts": counted("ctts", [(1, 0)])}, "ctts describes 1 of 3"),
        ({"stss": counted("stss", [(4,)])}, "stss"),
        ({"stss": counted("stss", [(0,)])}, "stss"),
        ({"stsc": counted("stsc", [(2, 1, 1)])}, "stsc"),
        ({"stsc": counted("stsc", [(1, 0, 1)])}, "stsc"),
        ({"stsc": counted("stsc", [(1, 1, 2)])}, "sample entry"),
        ({"stsc": counted("stsc", [(1, 1 << 31, 1), (1 << 31, 1 << 31, 1), (1 << 32 - 1, 1, 1)])}, "stsc"),
        ({"stsc": counted("stsc", [(1, 1, 1)])}, "stco has 1 chunks"),
        ({"stsz": full("stsz", u32(1, 0xFFFFFFFF))}, "samples"),
        ({"stsz": full("stsz", u32(1000, 10_000_000))}, "more than the file has"),
        ({"stsz": full("stsz", u32(0, 1000, 1))}, "too short"),
        ({"stsz": full("stz2", u32(5, 3), bytes(9))}, "5 bits"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(replaced: dict[str, bytes], said: str) -> None:
    tracemalloc.start()
    with pytest.raises(Malformed, match=said):
        samples_of(simple_table(3, **replaced))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_the_enabled_video_track_is_taken_and_sound_is_none() -> None:
    sound = trak(simple_table(1), handler="soun", track=1)
    off = trak(simple_table(1), track=2, enabled=False)
    assert movie_of(moov(sound, off, trak(simple_table(2), track=3))).track.track_id == 3
    assert movie_of(moov(sound, off)).track.track_id == 2
    with pytest.raises(BadInput, match="no video track"):
        movie_of(moov(sound))


@pytest.mark.parametrize(
    ("film", "said"),
    [
        (moov(trak(box("stbl", stsd(visual("encv"))))), "encrypted"),
        (moov(trak(box("stbl", stsd(visual("mp4v"))))), "mp4v"),
        (moov(trak(simple_table(1), flags=0)), "another file"),
        (moov(trak(simple_table(1), edts=elst((1000, 0, 1 << 15)))), "speed"),
        (box("moov", box("cmov", bytes(30))), "compressed"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_name(film: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        movie_of(film)
    assert caught.value.input == "film.mp4"


def test_edit_lists_map_media_time_to_what_is_shown() -> None:
    one = 1 << 16
    late = movie_of(moov(trak(simple_table(9), edts=elst((500, -1, one), (1000, 1024, one))))).track
    assert late.edits == (Edit(6400, 1024, 1024 + 12800),)
    wide = movie_of(moov(trak(simple_table(9), edts=elst((0, 1024, one), version=1)))).track
    assert wide.edits == (Edit(0, 1024, None),)
    none = movie_of(moov(trak(simple_table(9)))).track
    assert none.edits == (Edit(0, 0, None),)
    with pytest.raises(Malformed, match="elst"):
        movie_of(moov(trak(simple_table(9), edts=elst((1 << 63, 0, one), version=1))))
    with pytest.raises(Malformed, match="elst"):
        movie_of(moov(trak(simple_table(9), edts=elst((10, -7, one)))))


def test_several_edits_show_their_parts_one_after_the_other() -> None:
    samples = samples_of(simple_table(10))
    # Media 2048..4096 first, then 0..1024.
    edits = (Edit(0, 2048, 4096), Edit(2048, 0, 1024))
    shown = [shown_at(samples, edits, time) for time in (0, 600, 2047, 2048, 2600, 99_999)]
    assert [(at.pts, at.sample) for at in shown if at] == [
        (0, 4), (512, 5), (1536, 7), (2048, 0), (2560, 1), (2560, 1),
    ]  # fmt: skip


def test_fields_of_a_run_rank_above_tfhd_and_that_above_trex() -> None:
    by_trex = fragment_of(moof(traf(1, trun(2, offset=100), tfdt=7)), t1=Defaults(1, 512, 30, 0))
    assert by_trex.samples.sizes.tolist() == [30, 30]
    assert by_trex.samples.dts.tolist() == [7, 519]
    assert by_trex.samples.offsets.tolist() == [5100, 5130]
    assert by_trex.samples.key.all()
    by_tfhd = fragment_of(
        moof(traf(1, trun(1, offset=0), tfdt=0, flags=0x020038, fields=u32(100, 40, 1 << 16))),
        t1=Defaults(1, 512, 30, 0),
    )
    assert (by_tfhd.samples.sizes.tolist(), by_tfhd.samples.durations.tolist()) == ([40], [100])
    assert not by_tfhd.samples.key.any()
    rows = trun(2, 1, 11, 0, 0, 2, 22, 1 << 16, -5, flags=0xF00, offset=0, version=1)
    by_run = fragment_of(moof(traf(1, rows, tfdt=0)), t1=Defaults(1, 512, 30, 0)).samples
    assert by_run.durations.tolist() == [1, 2]
    assert by_run.sizes.tolist() == [11, 22]
    assert by_run.key.tolist() == [True, False]
    assert by_run.pts.tolist() == [0, -4]


def test_a_time_of_32_bits_and_a_run_that_states_sizes_alone() -> None:
    given = traf(1, full("tfdt", u32(700)), trun(2, 20, 30, offset=100, flags=0x200))
    found = fragment_of(moof(given), t1=Defaults(1, 512, 10, 0)).samples
    assert (found.dts.tolist(), found.sizes.tolist()) == ([700, 1212], [20, 30])
    assert found.offsets.tolist() == [5100, 5120]
    assert found.pts.tolist() == found.dts.tolist()
    for version in (0, 1):
        early = trun(2, 512, -256, offset=100, flags=0x800, version=version)
        moved = fragment_of(moof(traf(1, early, tfdt=1000)), t1=Defaults(1, 512, 10, 0)).samples
        assert moved.pts.tolist() == [1512, 1256], "negative in either version, as writers have it"


def test_another_tracks_samples_move_ours_in_bytes_but_not_in_time() -> None:
    data = moof(traf(2, trun(100), flags=0), traf(1, trun(2), flags=0))
    found = fragment_of(data, t1=Defaults(1, 512, 30, 0), t2=Defaults(1, 1024, 7, 0))
    assert found.samples.offsets.tolist() == [5700, 5730]
    assert found.samples.dts.tolist() == [0, 512]
    assert not found.timed


def test_the_base_of_offsets_is_the_fragment_a_stated_byte_or_the_end_of_the_data_before() -> None:
    given = {"t1": Defaults(1, 512, 30, 0), "t2": Defaults(1, 1, 7, 0)}
    stated = fragment_of(moof(traf(1, trun(1, offset=4), tfdt=0, flags=1, fields=u64(90_000))), **given)
    assert stated.samples.offsets.tolist() == [90_004]
    chained = moof(traf(2, trun(2, offset=1000), flags=0), traf(1, trun(1), flags=0))
    assert fragment_of(chained, **given).samples.offsets.tolist() == [6014]


@pytest.mark.parametrize(
    "data",
    [
        moof(traf(1, trun(0xFFFFFFFF), tfdt=0)),
        moof(traf(1, *[trun(600_000, flags=0)] * 20, tfdt=0)),
        moof(traf(1, trun(1), tfdt=1 << 63)),
        moof(traf(1, trun(1), flags=1, fields=u64(1 << 63))),
        moof(traf(1, trun(3, 1, flags=0x200), tfdt=0)),
        moof(traf(1, trun(1), flags=0x020002, fields=u32(9), tfdt=0)),
    ],
)
def test_a_fragment_that_states_what_cannot_be_is_refused_in_little_memory(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(Malformed):
        fragment_of(data, t1=Defaults(1, 512, 1, 0))
    assert tracemalloc.get_traced_memory()[1] < 128 << 20
    tracemalloc.stop()


def test_a_segment_index_gives_places_and_times_and_holds_times_since_1970() -> None:
    rows = u32(1000, 90_000, 0, 1 << 31 | 500, 45_000, 0)
    data = full("sidx", u32(1, 90_000), u64(1_800_000_000 * 90_000, 50), u32(2), rows, version=1)[8:]
    found = read_segment_index(whole(data, "sidx", 0), 300, 1, 12_800)
    assert found is not None
    (piece,) = found.anchors
    assert (piece.start, piece.stop, piece.time) == (350, 1350, 1_800_000_000 * 12_800)
    assert [deep.start for deep in found.deeper] == [1350]
    assert (found.stop, found.end_time) == (1850, 1_800_000_001 * 12_800 + 6400)
    assert read_segment_index(whole(data, "sidx", 0), 300, 2, 12_800) is None


@pytest.mark.parametrize(("lengths", "version"), [(0, 0), (0b111111, 1), (0b100100, 1)])
def test_random_access_places_are_read_with_numbers_of_any_width(lengths: int, version: int) -> None:
    extra = bytes(sum((lengths >> shift & 3) + 1 for shift in (4, 2, 0)))
    pack = u64 if version else u32
    rows = b"".join(pack(time, start) + extra for time, start in ((512, 9000), (0, 700), (600, 9000)))
    mfra = full("tfra", u32(1, lengths, 3), rows, version=version) + full("tfra", u32(2, 0, 0))
    found = read_random_access(whole(mfra, "mfra", 0), 1)
    assert [(anchor.start, anchor.time) for anchor in found] == [(700, 0), (9000, 512)]


def test_defaults_of_every_track_are_kept() -> None:
    film = moov(
        trak(simple_table(0, stco=full("stco", u32(0)))), mvex=box("mvex", trex(1, size=3), trex(2, size=4))
    )
    movie = movie_of(film)
    assert movie.fragmented
    assert (movie.defaults[1].size, movie.defaults[2].size) == (3, 4)
    assert isinstance(movie.samples.offsets, np.ndarray)
