"""What a call will probably cost, told beside what it may cost at most: found out while it runs already.

Belongs here: asking in the background, telling it once among the call's events. Does not belong here: the
prediction (`modal_ops.foretold`), the bound and its limits (`modal_ops.guard`).

The bound is known at once. A prediction may need the deployment's models and the index of the source, some
requests to the store; so it is asked for after the spawn, in a thread that nobody waits for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from video_pipeline.compute.base import Event, EventReader, Status

if TYPE_CHECKING:
    from video_pipeline.modal_ops.guard import CallCost, Foretold

log = logging.getLogger(__name__)

COST = "cost"
"""The event's name; its data are `CallCost.facts`."""

WAIT_S = 5.0
"""How long one waits for a prediction where nothing has been started: a refusal says it too."""


class Telling:
    """What is foretold of one call, asked for from the moment this is made."""

    def __init__(self, foretell: Callable[[], Foretold | None]) -> None:
        self._foretell = foretell
        self._found: Foretold | None = None
        self._asked = threading.Thread(target=self._ask, name="foretell", daemon=True)
        self._asked.start()

    def _ask(self) -> None:
        try:
            self._found = self._foretell()
        except Exception as error:
            # The call meets the same trouble and tells it better, if it is one.
            log.info("what the call will take cannot be foretold: %s", error)

    @property
    def is_known(self) -> bool:
        """Whether it has been found out what there is to say, be it nothing."""
        return not self._asked.is_alive()

    def foretold(self, wait_s: float = 0.0) -> Foretold | None:
        """What has been found by now, or within `wait_s`."""
        self._asked.join(wait_s)
        return None if self._asked.is_alive() else self._found

    def added_to(self, cost: CallCost, wait_s: float = 0.0) -> CallCost:
        """The cost with what has been found by now, or within `wait_s`."""
        return replace(cost, foretold=self.foretold(wait_s))


class ToldFirst:
    """`EventReader` over a call's own events, with its cost among them: as soon as it is known what is
    foretold, and with the bound alone if the call ends before."""

    def __init__(
        self, events: EventReader, cost: CallCost, telling: Telling, status: Callable[[], Status | None]
    ) -> None:
        self._events = events
        self._cost = cost
        self._telling = telling
        self._status = status
        self._told = False

    def read(self) -> list[Event]:
        told: list[Event] = []
        status = self._status()
        ended = status is not None and status.state in ("done", "lost")
        if not self._told and (ended or self._telling.is_known):
            self._told = True
            told = [Event(COST, self._telling.added_to(self._cost).facts())]
        return told + self._events.read()
