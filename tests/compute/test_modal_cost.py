"""When a call's cost is told: beside its own events, and never before what it waits for. With doubles."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from video_pipeline import foretelling
from video_pipeline.compute.base import Event, State, Status
from video_pipeline.compute.modal_cost import ToldFirst
from video_pipeline.errors import Transient
from video_pipeline.foretelling import ask_in_background, found_by_now
from video_pipeline.modal_ops.guard import CallCost, Foretold

BOUND = CallCost("double", "1 cores, 1 GiB", 1, 0.001, 100.0, "2026-07-01")
FORETOLD = Foretold(20.0, None, None, 0.02, 10, None, "2026-08-01", 9, "ledger")


class DoubleOfAReader:
    """In the place of a call's own events: says one line each time."""

    def read(self) -> list[Event]:
        return [Event("log", {"line": "at work"})]


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def test_the_cost_is_told_once_as_soon_as_it_is_known_and_nothing_waits_for_it() -> None:
    go = threading.Event()

    def look() -> Foretold:
        go.wait()
        return FORETOLD

    answer = ask_in_background(look)
    reader = ToldFirst(DoubleOfAReader(), BOUND, answer, lambda: Status("running"))
    assert names(reader.read()) == ["log"]
    go.set()
    assert found_by_now(answer, wait_s=10) == FORETOLD
    told, line = reader.read()
    assert (told.name, line.name) == ("cost", "log")
    assert told.data == replace(BOUND, foretold=FORETOLD).facts()
    assert "about 20 s once it runs" in told.data["cost"]
    assert names(reader.read()) == ["log"]


@pytest.mark.parametrize("end", ["done", "lost"])
def test_of_a_call_that_ends_before_its_cost_is_foretold_the_bound_is_told_at_once(
    end: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(foretelling, "wait", lambda _, timeout: waited.append(timeout))
    go = threading.Event()
    status = Status("running")
    answer = ask_in_background(go.wait)  # pyright: ignore[reportArgumentType]
    reader = ToldFirst(DoubleOfAReader(), BOUND, answer, lambda: status)
    assert names(reader.read()) == ["log"]
    status = Status(end)
    assert reader.read()[0].data == BOUND.facts()
    assert names(reader.read()) == ["log"]
    assert waited == [0]
    go.set()


def test_a_prediction_that_fails_leaves_the_bound() -> None:
    def look() -> None:
        raise Transient("the store was away")

    answer = ask_in_background(look)
    assert found_by_now(answer, wait_s=10) is None
    assert answer.done()
    reader = ToldFirst(DoubleOfAReader(), BOUND, answer, lambda: None)
    assert reader.read()[0].data == BOUND.facts()
