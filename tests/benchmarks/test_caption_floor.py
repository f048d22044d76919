"""What streaming is held against: the arithmetic of both floors, and passes that really run side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import caption_floor
from benchmarks.caption_floor import SideBySide, floor_figures, inline_side_by_side, processes_side_by_side
from benchmarks.media import CLIP


@pytest.mark.parametrize(
    ("walls", "floor"),
    [
        ((8.0, 8.0), 4.0),
        ((9.0, 9.0, 9.0), 3.0),
        # The first core ends 1/6 pass a second, the second 1/12: a quarter of a pass together.
        ((6.0, 12.0), 4.0),
        ((5.0,), 5.0),
    ],
)
def test_side_by_side_a_pass_takes_what_all_cores_together_need_for_one(
    walls: tuple[float, ...], floor: float
) -> None:
    assert SideBySide(walls, walls).floor_s == pytest.approx(floor)


def test_the_streaming_pass_is_told_over_both_floors_and_judged_by_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = iter([99.0, 4.8, 5.0, 4.6])

    def pass_of(_video: Path, *, sequential: bool = False) -> dict[str, Any]:
        return {"wall_s": 7.9, "process_cpu_s": 8.0} if sequential else {"wall_s": next(streams)}

    monkeypatch.setattr(caption_floor, "our_pass", pass_of)
    monkeypatch.setattr(caption_floor, "usable_cores", lambda: 2)
    monkeypatch.setattr(caption_floor, "inline_side_by_side", lambda *_: SideBySide((9.6, 9.6), (9.0, 9.0)))
    over_cpu, over_passes = floor_figures(Path("video"), repeats=3)
    # The first pass of all warms up and is not counted.
    assert over_cpu.runs == pytest.approx((1.2, 1.25, 1.15))
    assert (over_cpu.target, over_cpu.value, over_cpu.holds) == (1.15, pytest.approx(1.2), False)
    assert over_passes.runs == pytest.approx((1.0, 5.0 / 4.8, 4.6 / 4.8))
    assert (over_passes.target, over_passes.holds) == (None, True)
    assert over_passes.detail["cpu_beside_others_over_alone"] == pytest.approx(9 / 8)


@pytest.mark.slow
def test_inline_passes_run_side_by_side_in_processes_of_their_own() -> None:
    with processes_side_by_side(2) as processes:
        first = inline_side_by_side(processes, 2, CLIP)
        second = inline_side_by_side(processes, 2, CLIP)
    for beside in (first, second):
        assert len(beside.wall_s) == len(beside.cpu_s) == 2
        # One thread does all of an inline pass: it takes no more CPU seconds than wall seconds.
        assert all(0 < cpu < 1.1 * wall for wall, cpu in zip(beside.wall_s, beside.cpu_s, strict=True))
