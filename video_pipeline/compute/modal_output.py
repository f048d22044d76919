"""A Modal call's events: what its worker wrote, as Modal's logs give it back.

Belongs here: fetching pieces of log, joining them to lines, giving each line once. Does not belong here: what
a line means (`compute.output_lines`).

Logs are asked for by time, a few seconds overlapping, and what was given already is left out: so a process
that attaches late gets a call's events from its first. Logs travel slower than results; after a call has
ended, the reader waits for the worker's last event for at most `LAG_S`.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from video_pipeline.compute.base import Event, Handle, Status
from video_pipeline.compute.modal import DeployedApp, LogPiece
from video_pipeline.compute.modal_spawns import read_note
from video_pipeline.compute.output_lines import parse_line
from video_pipeline.errors import PipelineError
from video_pipeline.store.base import ObjectStore

log = logging.getLogger(__name__)

FETCH_S = 1.0
"""Each fetch is two requests."""
AGAIN_AFTER_S = 5.0
"""How long Modal is left alone after it did not answer."""
OVERLAP = timedelta(seconds=15)
"""How late a line may come into the logs and still be found."""
SKEW = timedelta(minutes=2)
"""How far the clock of the spawn may be ahead of Modal's."""
LAG_S = 4.0
ENDED_S = 60.0
"""A call that ended longer ago has its whole log where it will ever be."""


class OutputReader:
    """`EventReader` over Modal's logs. `status` says how the call stood when it was last polled."""

    def __init__(
        self, store: ObjectStore, app: DeployedApp, handle: Handle, status: Callable[[], Status | None]
    ) -> None:
        self._store = store
        self._app = app
        self._handle = handle
        self._status = status
        self._next_fetch = 0.0
        self._call_id: str | None = None
        self._since = datetime.min.replace(tzinfo=UTC)
        self._given: Counter[LogPiece] = Counter()
        self._rest: dict[str, str] = {}
        self._saw_end = False

    def read(self) -> list[Event]:
        status = self._status()
        # A lost call is not looked at again: what its container said last is read now or never.
        ended = status is not None and status.state in ("done", "lost")
        if not ended:
            return self._fetch() if time.monotonic() >= self._next_fetch else []
        events = self._fetch()
        deadline = time.monotonic() + (LAG_S if self._ended_just_now(status) else 0.0)
        while not self._saw_end and time.monotonic() < deadline:
            time.sleep(0.2)
            events += self._fetch()
        return events

    def _ended_just_now(self, status: Status | None) -> bool:
        result = status.result if status is not None else None
        if result is None or result.worker.call_id is None or result.worker.call_id != self._call_id:
            return False
        return (datetime.now(UTC) - result.finished_at).total_seconds() < ENDED_S

    def _fetch(self) -> list[Event]:
        self._next_fetch = time.monotonic() + FETCH_S
        found = read_note(self._store, self._handle.tenant, self._handle.key)
        if found is None or found[0].call_id is None:
            return []
        if found[0].call_id != self._call_id:
            self._call_id = found[0].call_id
            self._since = datetime.fromtimestamp(found[0].at, UTC) - SKEW
            self._given, self._rest, self._saw_end = Counter(), {}, False
        try:
            pieces = self._app.log(found[0].call_id, self._since)
        except PipelineError as error:
            log.warning("the call's log cannot be read now: %s", error)
            self._next_fetch = time.monotonic() + AGAIN_AFTER_S
            return []
        events = [event for piece in self._new(pieces) for event in self._lines(piece)]
        self._saw_end = self._saw_end or any(event.name == "ended" for event in events)
        return events

    def _new(self, pieces: list[LogPiece]) -> list[LogPiece]:
        """Those not given yet. Equal pieces of one moment are told apart by how many there are."""
        counts: Counter[LogPiece] = Counter()
        new = []
        for piece in pieces:
            counts[piece] += 1
            if counts[piece] > self._given[piece]:
                new.append(piece)
        if pieces:
            self._since = max(self._since, pieces[-1].at - OVERLAP)
            self._given = Counter(
                {piece: count for piece, count in (self._given | counts).items() if piece.at >= self._since}
            )
        return new

    def _lines(self, piece: LogPiece) -> list[Event]:
        text = self._rest.pop(piece.container, "") + piece.text
        *whole, rest = text.split("\n")
        if rest:
            self._rest[piece.container] = rest
        return [parse_line(line) for line in whole if line]
