"""Chunk addressing against DESIGN's rules, by exhaustion and by property; and the assembler."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_pipeline import keys
from video_pipeline.captions.chunks import (
    FULL_CHUNK,
    LEVELS,
    ChunkAssembler,
    ChunkJob,
    all_chunks,
    chunk_address,
    chunk_name,
    level_of,
    pictures_in_window,
    position_in_chunk,
    window_of,
    windows,
)
from video_pipeline.errors import Internal

indices = st.integers(0, 10**12)
frame_counts = st.integers(0, 3000)


def assemble(frame_count: int) -> list[ChunkJob[str]]:
    assembler: ChunkAssembler[str] = ChunkAssembler()
    jobs = [job for index in range(frame_count) for job in assembler.push(index, f"frame {index}")]
    return jobs + assembler.finish()


def by_definition(level: int, window: int, frame_count: int) -> list[int]:
    """A chunk's pictures straight from the words of DESIGN, sharing no code with the module."""
    window_frames = [i for i in range(window, window + 32 * level) if i < frame_count]
    if level == 16:
        return [i for i in window_frames if i % 16 == 0]
    if level == 4:
        return [i for i in window_frames if i % 4 == 0 and i % 16 != 0]
    return [i for i in window_frames if i % 4 != 0]


@pytest.mark.parametrize("frame_count", [*range(200), 511, 512, 513, 640, 1023, 1024, 1025, 2049])
def test_every_frame_stands_exactly_once_in_the_chunks_that_exist(frame_count: int):
    stood = [
        index
        for level, window in all_chunks(frame_count)
        for index in pictures_in_window(level, window, frame_count)
    ]
    assert sorted(stood) == list(range(frame_count))


@pytest.mark.parametrize("level", LEVELS)
def test_a_chunks_pictures_are_those_of_the_definition_for_every_tail(level: int):
    for frame_count in range(1100):
        for window in range(0, 1100, 32 * level):
            expected = by_definition(level, window, frame_count)
            assert pictures_in_window(level, window, frame_count) == expected
            assert (window in windows(level, frame_count)) == bool(expected), "an empty window has no object"


def test_address_and_list_of_pictures_agree_on_every_position():
    frame_count = 5000
    for level, window in all_chunks(frame_count):
        for position, index in enumerate(pictures_in_window(level, window, frame_count)):
            assert chunk_address(index) == (level, window, position)


@given(indices)
def test_the_address_follows_designs_formulas_at_any_height(index: int):
    level, window, position = chunk_address(index)
    assert level == level_of(index)
    assert window == window_of(index, level)
    assert window % (32 * level) == 0
    r = index % (32 * level)
    assert position == {16: r // 16, 4: r // 4 - r // 16 - 1, 1: r - r // 4 - 1}[level]
    assert 0 <= position < FULL_CHUNK[level]
    assert by_definition(level, window, index + 1)[position] == index


@given(st.lists(indices, min_size=2, max_size=50, unique=True))
def test_no_two_frames_share_an_address(some: list[int]):
    assert len({chunk_address(index) for index in some}) == len(some)


@given(indices)
def test_a_player_finds_the_object_that_the_store_names(index: int):
    level, window, _ = chunk_address(index)
    video = keys.VideoId("demo", "street")
    assert keys.chunk_key(video, "ab" * 8, level, window) == (
        keys.chunks_prefix(video, "ab" * 8) + chunk_name(level, window)
    )
    assert re.fullmatch(r"modulo_(16|4|1)/chunk_\d{10,}\.webm", chunk_name(level, window))


def test_full_chunks_hold_32_24_and_24_pictures():
    for level, pictures in ((16, 32), (4, 24), (1, 24)):
        for window in windows(level, 20 * 512):
            assert len(pictures_in_window(level, window, 20 * 512)) == pictures == FULL_CHUNK[level]


def test_an_hour_at_ten_hertz_is_1478_objects():
    frame_count = 36_000
    assert {level: len(windows(level, frame_count)) for level in LEVELS} == {16: 71, 4: 282, 1: 1125}
    assert sum(1 for _ in all_chunks(frame_count)) == 1478
    assert len({chunk_address(index)[:2] for index in range(frame_count)}) == 1478


@pytest.mark.parametrize(
    ("frame_count", "names"),
    [
        (0, []),
        (1, ["modulo_16/chunk_0000000000.webm"]),
        (2, ["modulo_16/chunk_0000000000.webm", "modulo_1/chunk_0000000000.webm"]),
        (
            5,
            ["modulo_16/chunk_0000000000.webm", "modulo_4/chunk_0000000000.webm",
             "modulo_1/chunk_0000000000.webm"],
        ),
    ],
)  # fmt: skip
def test_short_videos_have_these_objects_and_no_others(frame_count: int, names: list[str]):
    assert [chunk_name(level, window) for level, window in all_chunks(frame_count)] == names


def test_a_window_with_one_frame_number_inside_can_still_be_empty():
    assert windows(4, 129) == [0], "frame 128 stands on level 16, so level 4 has nothing in window 128 yet"
    assert windows(1, 33) == [0], "frame 32 stands on level 16, so level 1 has nothing in window 32 yet"
    assert windows(1, 34) == [0, 32]


@pytest.mark.parametrize(
    "call",
    [
        lambda: level_of(-1),
        lambda: position_in_chunk(-5),
        lambda: chunk_address(-1),
        lambda: window_of(3, 2),
        lambda: windows(8, 10),
        lambda: windows(4, -1),
        lambda: pictures_in_window(4, 32, 100),
        lambda: pictures_in_window(1, 0, -1),
        lambda: chunk_name(16, 128),
        lambda: chunk_name(1, -32),
    ],
)
def test_numbers_that_name_no_frame_or_chunk_are_refused(call):
    with pytest.raises(ValueError):  # noqa: PT011 - each message differs, the kind is what matters
        call()


@given(frame_counts)
def test_the_assembler_gives_every_chunk_once_with_its_own_frames(frame_count: int):
    jobs = assemble(frame_count)
    assert sorted((job.level, job.window) for job in jobs) == sorted(all_chunks(frame_count))
    for job in jobs:
        assert list(job.indices) == pictures_in_window(job.level, job.window, frame_count)
        assert list(job.frames) == [f"frame {index}" for index in job.indices]
        assert job.name == chunk_name(job.level, job.window)


def test_jobs_leave_as_soon_as_they_are_full_and_tails_leave_coarse_to_fine():
    frame_count = 600
    assembler: ChunkAssembler[int] = ChunkAssembler()
    for index in range(frame_count):
        jobs = assembler.push(index, index)
        level, window, position = chunk_address(index)
        complete = position == FULL_CHUNK[level] - 1
        assert [(job.level, job.window) for job in jobs] == ([(level, window)] if complete else [])
    assert [(job.level, job.window) for job in assembler.finish()] == [(16, 512), (4, 512), (1, 576)]
    assert assembler.finish() == []


def test_the_order_of_jobs_is_the_same_every_time():
    first = [(job.level, job.window) for job in assemble(2000)]
    assert first == [(job.level, job.window) for job in assemble(2000)]
    assert first[:6] == [(1, 0), (1, 32), (1, 64), (4, 0), (1, 96), (1, 128)]


def test_the_assembler_never_holds_more_than_77_frames():
    assembler: ChunkAssembler[int] = ChunkAssembler()
    most = 0
    for index in range(20_000):
        assembler.push(index, index)
        most = max(most, assembler.frames_held)
    assert most <= 77
    assembler.finish()
    assert assembler.frames_held == 0


@pytest.mark.parametrize("wrong", [0, 4, 6, -1, 500])
def test_a_lost_repeated_or_reordered_frame_is_refused(wrong: int):
    assembler: ChunkAssembler[int] = ChunkAssembler()
    for index in range(5):
        assembler.push(index, index)
    with pytest.raises(Internal, match=f"expected frame 5 and got {wrong}"):
        assembler.push(wrong, wrong)


def test_a_stream_must_begin_at_frame_zero():
    with pytest.raises(Internal, match="expected frame 0 and got 1"):
        ChunkAssembler().push(1, object())


def test_a_frame_after_the_end_is_refused():
    assembler: ChunkAssembler[int] = ChunkAssembler()
    assembler.push(0, 0)
    assembler.finish()
    with pytest.raises(Internal, match="after the end"):
        assembler.push(1, 1)
