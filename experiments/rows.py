"""From what calls leave to the rows of a series, and what is wrong with a run whose calls all succeeded.

Belongs here: a call's row, a run's figures, and the checks of a run against what it stands for. Does not
belong here: running (`harness.py`), the rows' models (`schema.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments import costing
from experiments.place import Place
from experiments.schema import CallRow
from video_pipeline.calls import ResultRecord
from video_pipeline.errors import Internal

if TYPE_CHECKING:
    from experiments.harness import Work

Results = list[dict[str, Any]]
"""The results of a run's own calls, in order, as JSON."""

LENGTH_APART_S = 0.5
"""By how much a run may differ from the length it stands for: a cut leaves out 0.2 s."""


def check_chunks(work: Work, calls: Sequence[CallRow]) -> None:
    """A clip of fewer segments than chunks asked for is made in fewer: such a run must not stand under the
    name of more."""
    started = sum(row.child for row in calls)
    if work.chunks is not None and started != work.chunks:
        raise Internal(f"{started} calls were started, not {work.chunks}", input=work.name)


def check_length(work: Work, calls: Sequence[CallRow]) -> None:
    """Where the calls tell how much video they made: not far from what the configuration says."""
    told = [found for row in calls if not row.child and (found := row.usage.get("video_seconds"))]
    said = work.facts.get("video_seconds")
    if told and isinstance(said, int | float) and abs(sum(told) - said) > max(LENGTH_APART_S, 0.1 * said):
        raise Internal(f"{sum(told):g} s of video were made, not {said:g} s", input=work.name)


def was_there(result: Mapping[str, Any]) -> bool:
    """Whether a task says that it, or one of the parts it tells of, found its output made."""
    parts = [part for part in result.values() if isinstance(part, Mapping)]
    return any(part.get("made") is False for part in (result, *parts))


def row_of(record: ResultRecord, gpu: str | None, place: Place, *, child: bool) -> CallRow:
    """The row of a call that ended well, priced as `costing` says."""
    return CallRow(
        key=record.key,
        task=record.task,
        version=record.version,
        child=child,
        gpu=gpu,
        attempt=record.attempt,
        host=record.worker.host,
        started_at=record.started_at,
        finished_at=record.finished_at,
        usage=record.usage.model_dump(mode="json", exclude_none=True),
        usd=costing.usd(record.task, gpu, record.usage, place.settings),
    )


def figures_of(work: Work, calls: Sequence[CallRow], results: Results, waited: float) -> dict[str, Any]:
    """The figures of a run, by the names of `Run`. `waited` is what its caller waited, in seconds."""

    def total(name: str, rows: Sequence[CallRow]) -> float:
        return sum(float(row.usage.get(name) or 0.0) for row in rows)

    own = [row for row in calls if not row.child]
    started = sum(row.child for row in calls)
    return {
        "status": "ok",
        "wall_s": round(total("wall_s", own), 4),
        "caller_wall_s": round(waited, 4),
        "machine_s": round(total("machine_s", calls), 4),
        "cpu_s": round(total("cpu_user_s", calls) + total("cpu_system_s", calls), 4),
        "gpu_seconds": round(total("gpu_seconds", calls), 4),
        "peak_memory_mib": max(float(row.usage.get("peak_memory_mib") or 0.0) for row in calls),
        "frames": (work.frames or frames_of)(results),
        "chunks": work.chunks or started or 1,
        "usd": sum(row.usd for row in calls),
        "values": dict(work.values(results)),
        "degraded": tuple(line for result in results for line in result.get("degraded") or ()),
    }


def frames_of(results: Results) -> int | None:
    """Frames that the calls say they made, together; None where none says."""
    counts = [
        result[name]
        for result in results
        for name in ("frames", "frame_count", "delivered", "detected_pictures")
        if isinstance(result.get(name), int)
    ]
    return sum(counts) if counts else None
