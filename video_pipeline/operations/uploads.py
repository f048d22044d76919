"""What to do about inputs in the store: which are new, which changed, which of them to run now.

Belongs here: the decision, pure, and the table of fingerprints it remembers. Does not belong here: looking
(`inputs`), registering and launching (`sensors`).

The table says, for each partition, which inputs have been dealt with. A partition enters it, or changes in
it, only with the run that is asked for, or where there is nothing to ask for. So whatever cannot be dealt
with now (it is running, too many at once, still being written) is simply met again at the next tick.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from video_pipeline.operations.inputs import Inputs
from video_pipeline.operations.states import States

MAX_RUNS = 100
"""How many runs one tick asks for: each is a row in the queue, and a tick has 60 s."""

Known = dict[str, str]
"""Fingerprints by partition key."""


@dataclass(slots=True)
class Decision:
    """`run` in the order in which to ask, newest first, with the inputs' fingerprints."""

    register: list[str] = field(default_factory=list)
    run: list[tuple[str, str]] = field(default_factory=list)
    known: Known = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    """Changed while they run: asked for when that has ended."""
    later: int = 0
    """More than one tick asks for."""


def decide(
    found: Mapping[str, Inputs],
    known: Mapping[str, str],
    registered: Sequence[str],
    states: Sequence[States],
    *,
    max_runs: int = MAX_RUNS,
) -> Decision:
    """What to register and to run, and the fingerprints to remember afterwards.

    `states` are those of every product of these partitions. An upload that the table does not know, of a
    partition that was made or tried already, is no news: it was there before the sensor was. It is news if it
    changed after the attempt that failed or was cancelled.
    """
    decision = Decision(known=dict(known))
    there = set(registered)
    for key, inputs in sorted(found.items(), key=lambda item: (-item[1].modified, item[0])):
        if known.get(key) == inputs.fingerprint:
            continue
        if key not in there:
            decision.register.append(key)
        if any(key in state.active for state in states):
            decision.waiting.append(key)
        elif key not in known and not _is_news(key, inputs, states):
            decision.known[key] = inputs.fingerprint
        elif len(decision.run) < max_runs:
            decision.run.append((key, inputs.fingerprint))
            decision.known[key] = inputs.fingerprint
        else:
            decision.later += 1
    return decision


def _is_news(key: str, inputs: Inputs, states: Sequence[States]) -> bool:
    tried = [ended[key] for state in states for ended in (state.failed, state.cancelled) if key in ended]
    if tried:
        return inputs.modified > max(run.began for run in tried)
    return not any(key in made for state in states for made in state.made.values())


@dataclass(frozen=True, slots=True)
class Table:
    """The fingerprints of every kind, and how often they changed and were looked at.

    `generation` is a part of the runs' keys: a video that is replaced and then put back is run a second time,
    while a tick that is done twice because it broke off asks for the same keys.
    """

    generation: int = 0
    known: Mapping[str, Known] = field(default_factory=dict)

    @classmethod
    def new(cls) -> Table:
        """An empty one, of a generation later than all that have been."""
        return cls(int(time.time()))

    def of(self, partitions: str) -> Known:
        return dict(self.known.get(partitions, {}))

    def to_json(self) -> str:
        return json.dumps({"generation": self.generation, "known": self.known}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> Table:
        """An empty table for what is none: everything is met anew, and what is done is not run again."""
        try:
            data = json.loads(text or "")
            return cls(
                int(data["generation"]), {str(kind): dict(rows) for kind, rows in data["known"].items()}
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()
