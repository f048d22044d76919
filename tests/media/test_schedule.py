"""Which packets are sent: nothing needed is dropped, nothing unneeded is sent, the wait is bounded."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_pipeline.media.schedule import LOOK_AHEAD, Entry, PacketSchedule
from video_pipeline.media.timeline import sample_indices

MS = Fraction(1, 1000)


def entry(pts: int, *, droppable: bool = False, shown: bool = True) -> Entry[int]:
    return Entry(packet=pts, pts=pts, duration=40, shown=shown, droppable=droppable)


def run(entries: list[Entry[int]], rate: Fraction) -> tuple[list[int], PacketSchedule[int]]:
    schedule: PacketSchedule[int] = PacketSchedule(MS, rate)
    sent: list[int] = []
    for each in entries:
        sent += schedule.push(each)
    sent += schedule.finish()
    return sent, schedule


@st.composite
def coded_streams(draw: st.DrawFn) -> list[Entry[int]]:
    """Mini-GOPs in decoding order: an anchor, then pictures before it in random order (any reordering up to
    16), a random part of them droppable; uneven steps."""
    time = draw(st.integers(-1000, 10**6))
    entries: list[Entry[int]] = []
    for _ in range(draw(st.integers(1, 12))):
        size = draw(st.integers(1, 16))
        pts = []
        for _ in range(size):
            time += draw(st.integers(1, 200))
            pts.append(time)
        inner = draw(st.permutations(pts[:-1]))
        entries.append(entry(pts[-1]))
        entries += [entry(p, droppable=draw(st.booleans())) for p in inner]
    return entries


@given(
    entries=coded_streams(), rate=st.sampled_from([Fraction(1), Fraction(10), Fraction(25, 3), Fraction(60)])
)
def test_exactly_the_unsampled_droppable_packets_are_missing(
    entries: list[Entry[int]], rate: Fraction
) -> None:
    ordered = sorted(entries, key=lambda e: e.pts)
    pts = [e.pts for e in ordered]
    shown = sample_indices(pts, pts[-1] + 40, MS, rate).tolist()
    needed = [e.pts for e in entries if not e.droppable or pts.index(e.pts) in shown]
    sent, schedule = run(entries, rate)
    assert sent == needed
    assert schedule.dropped == len(entries) - len(needed)
    samples = {p: list(schedule.samples_of(p) or []) for p in sent}
    assert [k for p in sorted(samples) for k in samples[p]] == list(range(len(shown)))
    for p, ks in samples.items():
        assert all(pts[shown[k]] == p for k in ks)
    assert schedule.expected() == 0


def test_packets_wait_for_a_bounded_number_of_others() -> None:
    schedule: PacketSchedule[int] = PacketSchedule(MS, Fraction(10))
    sent = 0
    for pushed in range(1, 500):
        sent += len(list(schedule.push(entry(40 * pushed, droppable=pushed % 2 == 1))))
        assert pushed - sent - schedule.dropped <= LOOK_AHEAD + 1


def test_a_picture_that_is_not_shown_is_sent_if_referenced_and_dropped_if_not() -> None:
    sent, schedule = run(
        [entry(-80, shown=False), entry(-40, shown=False, droppable=True), entry(0), entry(40)], Fraction(10)
    )
    assert sent == [-80, 0, 40]
    assert schedule.samples_of(-80) is None


def test_a_timestamp_before_one_already_settled_is_refused() -> None:
    with pytest.raises(ValueError, match="presentation order"):
        run([entry(pts) for pts in [*range(0, 4000, 40), 40]], Fraction(10))


def test_of_two_pictures_at_one_time_both_are_decoded_and_the_later_is_shown() -> None:
    for first, second in ((False, True), (True, False), (True, True)):
        entries = [entry(0, droppable=first), entry(0, droppable=second), entry(40)]
        sent, schedule = run(entries, Fraction(10))
        assert sent == [0, 0, 40]
        assert [list(schedule.samples_of(0) or []) for _ in range(2)] == [[], [0]]


def test_a_picture_that_is_asked_for_is_sent_though_no_sample_shows_it() -> None:
    schedule: PacketSchedule[int] = PacketSchedule(MS, Fraction(10), also=lambda pts: pts == 80)
    entries = [entry(0), entry(40, droppable=True), entry(80, droppable=True), entry(100)]
    sent = [packet for each in entries for packet in schedule.push(each)] + list(schedule.finish())
    assert sent == [0, 80, 100]
    assert schedule.dropped == 1
    assert list(schedule.samples_of(80) or []) == []


def test_pictures_that_have_not_come_out_yet_are_known_by_number_and_time() -> None:
    _, schedule = run([entry(200), entry(0), entry(100)], Fraction(10))
    assert (schedule.expected(), schedule.first_expected()) == (3, 0)
    assert list(schedule.samples_of(0) or []) == [0]
    assert (schedule.expected(), schedule.first_expected()) == (2, 100)
    assert schedule.samples_of(0) is None
    assert schedule.samples_of(7) is None
