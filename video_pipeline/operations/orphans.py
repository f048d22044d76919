"""Calls whose run died: whether a new run should attach to the call, or take its result.

Belongs here: the judgement of one call, pure. Does not belong here: finding dead runs, launching new ones
(`sensors`).

A run's worker can die while its call goes on: the call belongs to a worker of its own. What it makes is paid
for, so a new run for the partition is started at once: it submits the same call, finds it running or
finished, and pays nothing. Where nothing is left to take, nothing is started here: trying again costs money,
and that is for the nightly backfill, within its limits, or for a person. What a person cancelled is not
started again either: then the call that still runs is cancelled, too.
"""

from __future__ import annotations

from typing import Literal

from video_pipeline.calls import CallRecord, ResultRecord

REATTACHED_TAG = "video_pipeline/reattached"
"""On a run that was started for an orphaned call: how many such runs its partition had in a row."""

MOST_IN_A_ROW = 3
"""A run that dies time after time, with its call finished, has another trouble than an unlucky host."""

Verdict = Literal["attach", "take", "nothing"]


def judge(
    call: CallRecord | None, result: ResultRecord | None, now: float | None = None
) -> tuple[Verdict, str]:
    """What is to be had of a call whose run is dead, and why, in words for the tick's log.

    `attach`: it still works. `take`: it ended well. `nothing`: it was cancelled, failed, or died as well.
    """
    if call is None:
        return "nothing", "no worker ever claimed the call"
    if call.cancel_requested:
        return "nothing", f"the call was cancelled: {call.cancel_requested}"
    if call.is_alive(now):
        return "attach", "the call still runs"
    if result is None or result.attempt < call.attempt:
        return "nothing", "the call's worker died as well, and left no result"
    if result.status == "ok":
        return "take", "the call has finished"
    return "nothing", f"the call failed: {result.error.message if result.error else 'without an error'}"


def run_key(run_id: str) -> str:
    """One new run for one dead one, however often the tick is done."""
    return f"orphan-of:{run_id}"
