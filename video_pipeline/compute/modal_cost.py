"""What a call will probably cost, told beside what it may cost at most: found out while it runs already.

Belongs here: telling it once among the call's events. Does not belong here: asking for it (`foretelling`),
the prediction (`modal_ops.foretold`), the bound and its limits (`modal_ops.guard`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from video_pipeline.compute.base import Event, EventReader, Status
from video_pipeline.foretelling import found_by_now

if TYPE_CHECKING:
    from video_pipeline.modal_ops.guard import CallCost, Foretold

COST = "cost"
"""The event's name; its data are `CallCost.facts`."""

WAIT_S = 5.0
"""How long one waits for a prediction where nothing has been started: a refusal says it too."""


def with_foretold(cost: CallCost, answer: Future[Foretold | None], wait_s: float = 0.0) -> CallCost:
    """The cost with what has been foretold by now, or within `wait_s`."""
    return replace(cost, foretold=found_by_now(answer, wait_s))


class ToldFirst:
    """`EventReader` over a call's own events, with its cost among them: as soon as it is known what is
    foretold, and with the bound alone if the call ends before."""

    def __init__(
        self,
        events: EventReader,
        cost: CallCost,
        answer: Future[Foretold | None],
        status: Callable[[], Status | None],
    ) -> None:
        self._events = events
        self._cost = cost
        self._answer = answer
        self._status = status
        self._told = False

    def read(self) -> list[Event]:
        told: list[Event] = []
        status = self._status()
        ended = status is not None and status.state in ("done", "lost")
        if not self._told and (ended or self._answer.done()):
            self._told = True
            told = [Event(COST, with_foretold(self._cost, self._answer).facts())]
        return told + self._events.read()
