"""The hour's figures must see slow calls, lost captions and invented ones; its film must keep changing."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from benchmarks.caption_film import FILM, SPORT, plan_of
from benchmarks.caption_hour import PASS, READ, Run, figures_of
from benchmarks.media import CLIP
from evaluation.truth import TrueCaption, Truth

SPANS = [(30 * at, 30 * at + 20) for at in range(50)]


def film_of(spans: list[tuple[int, int]]) -> Truth:
    captions = tuple(TrueCaption(first, end, "text", "en", "cut") for first, end in spans)
    return Truth("film", "en", Path("film.mp4"), {}, frame_count=1800, captions=captions, unseen=())


def run_of(found: list[tuple[int, int]], seconds: float = 6.0) -> Run:
    wall = {PASS: seconds, READ: seconds / 2}
    return Run(
        wall, cpu={PASS: 12.0, READ: 9.0}, busy={PASS: {}, READ: {}}, found=found, with_text=len(found)
    )


def test_minutes_for_an_hour_are_both_calls_scaled_by_the_length_of_the_film() -> None:
    speed, _ = figures_of(film_of(SPANS), [run_of(SPANS, 6), run_of(SPANS, 7)])
    assert speed.runs == pytest.approx((3.0, 3.5))  # 9 s and 10.5 s for three minutes
    assert speed.detail[f"{PASS}_minutes"] == [2.0, 2.33]
    assert speed.detail["cpu_s_per_minute"] == 7.0
    assert speed.holds
    assert not figures_of(film_of(SPANS), [run_of(SPANS, 60)])[0].holds


def test_a_caption_that_is_lost_counts_and_one_that_is_invented_makes_up_for_none() -> None:
    _, all_found = figures_of(film_of(SPANS), [run_of(SPANS)])
    assert (all_found.value, all_found.holds) == (1.0, True)
    invented = [(1600, 1620), (1700, 1720)]
    _, short = figures_of(film_of(SPANS), [run_of([*SPANS[2:], *invented])])
    assert (short.value, short.holds) == (0.96, False)
    assert short.detail["phantoms"] == [2]


def test_the_film_has_a_new_caption_about_every_three_seconds_and_none_twice_in_a_row() -> None:
    plan = plan_of(FILM, [CLIP, SPORT])
    cues = plan.schedule.cues
    seconds = float(plan.schedule.frames / FILM.rate)
    assert seconds >= 600
    assert 2.5 < seconds / len(cues) < 3.5
    assert len({cue.text for cue in cues}) > 0.98 * len(cues)
    assert all(before.text != after.text for before, after in itertools.pairwise(cues))


def test_the_film_is_the_same_each_time_it_is_planned_and_shows_no_shot_twice() -> None:
    once, again = (plan_of(FILM, [CLIP, SPORT]) for _ in range(2))
    assert once.script() == again.script()
    assert once.shots == again.shots
    assert len(set(once.shots)) == len(once.shots) > 50
