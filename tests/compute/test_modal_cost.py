"""When a call's cost is told: beside its own events, and never before what it waits for. With doubles."""

from __future__ import annotations

import threading
from dataclasses import replace

from video_pipeline.compute.base import Event, Status
from video_pipeline.compute.modal_cost import Telling, ToldFirst
from video_pipeline.errors import Transient
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

    telling = Telling(look)
    reader = ToldFirst(DoubleOfAReader(), BOUND, telling, lambda: Status("running"))
    assert names(reader.read()) == ["log"]
    assert telling.foretold() is None
    go.set()
    assert telling.foretold(wait_s=10) == FORETOLD
    told, line = reader.read()
    assert (told.name, line.name) == ("cost", "log")
    assert told.data == replace(BOUND, foretold=FORETOLD).facts()
    assert "about 20 s once it runs" in told.data["cost"]
    assert names(reader.read()) == ["log"]


def test_of_a_call_that_ends_before_its_cost_is_foretold_the_bound_is_told() -> None:
    go = threading.Event()
    status = Status("running")
    reader = ToldFirst(DoubleOfAReader(), BOUND, Telling(go.wait), lambda: status)  # pyright: ignore[reportArgumentType]
    assert names(reader.read()) == ["log"]
    status = Status("done")
    assert reader.read()[0].data == BOUND.facts()
    assert names(reader.read()) == ["log"]
    go.set()


def test_a_prediction_that_fails_leaves_the_bound() -> None:
    def look() -> None:
        raise Transient("the store was away")

    telling = Telling(look)
    assert telling.foretold(wait_s=10) is None
    assert telling.is_known
    reader = ToldFirst(DoubleOfAReader(), BOUND, telling, lambda: None)
    assert reader.read()[0].data == BOUND.facts()
