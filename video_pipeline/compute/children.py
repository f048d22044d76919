"""The calls that a call has started: how its record names them, and how those that nobody follows are ended.

Belongs here: reading and ending what stands under `children` in a record's progress. Does not belong here:
putting it there (`compute.fan_out`), or how a backend cancels one call.

A child is a mapping of `tenant`, `key`, `task`, `child` (its number from 1) and `started`: whether the call
in whose record it stands started it, or only waits for what another caller started.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from video_pipeline.calls import CallRecord, read_call, read_result
from video_pipeline.compute.base import Compute, Handle
from video_pipeline.store.base import ObjectStore

if TYPE_CHECKING:
    from video_pipeline.task_context import TaskContext

log = logging.getLogger(__name__)


def left_by_a_killed_attempt(store: ObjectStore, tenant: str, key: str) -> dict[str, dict[str, Any]] | None:
    """The children, by key, of an attempt that died without ending them; None if it had none, or ended."""
    found = read_call(store, tenant, key)
    children = (found[0].progress or {}).get("children") if found is not None else None
    if found is None or children is None or _ended_by_itself(store, found[0]):
        return None
    return {child["key"]: child for child in children}


def _ended_by_itself(store: ObjectStore, record: CallRecord) -> bool:
    """A worker ends what it has started before it marks its call finished. Whoever ended the call in its
    place has not."""
    if record.state != "finished":
        return False
    result = read_result(store, record.tenant, record.key)
    return result is None or not result.buried


def end_children(compute: Compute, children: Iterable[Mapping[str, Any]], reason: str) -> None:
    """Cancels those of an orchestrator's `children` that it started itself, all at once, and waits for
    their end."""
    left = [
        Handle(child["tenant"], child["key"], child["task"], compute.backend, attached=True)
        for child in children
        if child["started"]
    ]
    if left:
        with ThreadPoolExecutor(len(left), thread_name_prefix="end-children") as pool:
            list(pool.map(lambda child: compute.cancel(child, reason), left))


def end_those_left(context: TaskContext) -> None:
    """Ends what a killed attempt left running and its successor, which ends now, never came to wait for."""
    if context.children:
        try:
            end_children(context.compute, context.children.values(), "its orchestrator has ended")
        except Exception as error:
            log.warning("calls of this one could not be ended: %s", error)
