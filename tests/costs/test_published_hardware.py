"""Single runs on two GPU types and with software switches: what they say, and what chance alone explains."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from video_pipeline.costs.published import spread
from video_pipeline.costs.published_hardware import gpu_types, held, report, switches
from video_pipeline.modal_ops.guard import prices


def test_an_l4_is_held_against_a_t4_by_all_usable_runs_of_the_same_call() -> None:
    found = gpu_types()
    assert (found.runs, found.others) == (2, 2)
    assert found.ratio == pytest.approx(math.sqrt(205.5 * 167.1 / (122.7 * 143.8)))
    part, _, degrees = spread()
    assert degrees == 2
    assert found.p == pytest.approx(2 * stats.t.sf(math.log(found.ratio) / part, 2))
    assert not found.decided, "an earlier report called the L4 1.67 times slower"


def test_no_switch_is_told_from_none_by_a_run_each() -> None:
    found = {pair.name: pair for pair in switches()}
    assert set(found) == {
        f"{gpu}, {switch}" for gpu in ("T4", "L4") for switch in ("cudnn.benchmark", "torch.compile", "all")
    }
    assert found["T4, torch.compile"].ratio == pytest.approx(166.7 / 143.8)
    assert found["L4, torch.compile"].ratio == pytest.approx(231.5 / 167.1)
    assert not any(pair.decided for pair in found.values())


def test_a_difference_beyond_the_spread_is_decided_whichever_is_the_longer() -> None:
    slow, fast = [900.0, 950.0, 920.0], [100.0, 105.0, 110.0]
    assert held("a", slow, "b", fast).decided
    assert held("b", fast, "a", slow).decided
    assert held("a", slow, "b", fast).p == pytest.approx(held("b", fast, "a", slow).p)
    few, many = held("a", slow[:1], "b", fast[:1]), held("a", slow, "b", fast)
    assert few.p > many.p, "more runs of each tell more"


def test_equal_runs_are_told_apart_by_nothing() -> None:
    found = held("a", [100.0], "b", [100.0])
    assert (found.ratio, found.p) == (pytest.approx(1.0), pytest.approx(1.0))


def test_the_report_says_when_the_dearer_type_would_pay_and_decides_nothing() -> None:
    text = report()
    dearer = prices().gpu_s("L4") / prices().gpu_s("T4")
    assert "**Decided at 5 %**: no pair." in text
    assert f"less than {1 / dearer:.2f} times as long; here it took 1.40 times" in text
    assert "| L4 | T4 | 2 and 2 | x1.40 | 0.28 | not decided |" in text
    assert text.count("| not decided |") == 7
