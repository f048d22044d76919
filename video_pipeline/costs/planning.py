"""The plan of a deployment: threshold tables and choices of chunks from the models that it has.

Belongs here: from coefficients to tables. Does not belong here: the rules (`plan`, `thresholds`), storing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from video_pipeline.costs.in_use import model_in_use
from video_pipeline.costs.plan import COUNTS, Goal, Plan, auto_chunks, break_even, choose_chunks
from video_pipeline.costs.predict import Coefficients
from video_pipeline.costs.refit import rates_of
from video_pipeline.costs.stored import Frame
from video_pipeline.costs.thresholds import LONGEST_S, RATE, framing_table, overlay_table
from video_pipeline.media.h264 import segment_frames

LENGTHS_S = (5, 15, 30, 60, 120, 300)
DEADLINE_PART = 0.5
"""The deadline in the table: this part of what one call is predicted to take."""

FRAMING = "process_framing_ai"


def priced(c: Coefficients, rate: int = RATE, region_factor: float = 1.0) -> Coefficients:
    """With today's prices, and the encoder's segments at a frame rate where chunks are made of those."""
    changes: dict[str, object] = {"rates": rates_of(c.task, c.gpu, region_factor)}
    if c.task == FRAMING:
        changes["segment_frames"] = segment_frames(Fraction(rate))
    return c.model_copy(update=changes)


def plan_from(known: Sequence[Coefficients]) -> Plan:
    """The tables that `costs.plan` ships, from the coefficients of framing on Modal among `known`; with the
    network by the shipped ones where those of the deployment tell no counts apart."""
    c = framing_model(known, enlarged=True)
    assert c is not None, "the package ships one"
    plain = framing_model(known, enlarged=False)
    counts = [count for count in COUNTS[1:] if count <= c.chunks_range[1]]
    return Plan(
        made_by="job account_costs",
        framing_ai=framing_table(c),
        framing_plain=None if plain is None else framing_table(plain),
        overlay=overlay_table(),
        coefficients=tuple(known),
        break_even=tuple(
            break_even(c, count, rate=RATE, by=by, longest_s=LONGEST_S)
            for by in ("time", "usd")
            for count in counts
        ),
    )


def framing_model(known: Sequence[Coefficients], *, enlarged: bool) -> Coefficients | None:
    """By which a number of chunks of a framed clip on Modal is chosen, priced as of today: of `known`, or of
    what ships."""
    found = model_in_use(known, FRAMING, backend="modal", enlarged=enlarged)
    return None if found is None else priced(found)


def choices(known: Sequence[Coefficients]) -> Frame:
    """What each goal chooses at each length, at 30 frames a second: `task`, `work` (the task with what tells
    its models apart), `gpu`, `backend`, `seconds` (of video), `goal`, `chunks`, `predicted_s`,
    `predicted_usd`, `met` (the deadline, half of what one call takes), `extrapolated`. A task that was never
    measured in chunks gets one call."""
    import pandas as pd

    goals: tuple[Goal | None, ...] = (None, "cheapest", "fastest", "deadline")
    rows = []
    for c in map(priced, known):
        several = c.chunks_range[1] > 1
        for seconds in LENGTHS_S:
            frames = seconds * RATE
            alone = choose_chunks(c, frames, max_chunks=1)
            for goal in goals if several else (None,):
                if not several:
                    choice = alone
                elif goal is None:
                    choice = auto_chunks(c, frames)
                else:
                    deadline = DEADLINE_PART * alone.prediction.seconds
                    choice = choose_chunks(c, frames, goal, counts=COUNTS, deadline_s=deadline)
                rows.append(
                    {
                        "task": c.task,
                        "work": c.name,
                        "gpu": c.gpu or "CPU",
                        "backend": c.backend,
                        "seconds": seconds,
                        "goal": goal or "auto",
                        "chunks": choice.chunks,
                        "predicted_s": round(choice.prediction.seconds, 1),
                        "predicted_usd": choice.prediction.usd,
                        "met": choice.met,
                        "extrapolated": bool(choice.prediction.extrapolated),
                    }
                )
    return pd.DataFrame(rows)
