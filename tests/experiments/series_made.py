"""Series for tests of what is made of them: numbers of no machine, marked as such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from experiments.schema import CallRow, Comparison, Configuration, Environment, Run, Series, Unequal

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def environment(**fields: Any) -> Environment:
    told: dict[str, Any] = {
        "backend": "local",
        "processor": "a made-up processor",
        "cores": 2,
        "memory_mib": 4096,
        "system": "a system",
        "python": "3.11.0",
        "packages": {"av": "1", "cv2": None},
        "commit": "0123456789ab",
        "changed_files": 0,
        "store": "directory",
        "prices_as_of": "2026-07-01",
        "load_average_before": 0.1,
    }
    return Environment(**{**told, **fields})


def run(name: str, repeat: int, order: int, wall_s: float | None, **fields: Any) -> Run:
    """An ok run of `wall_s` seconds; a failed one without."""
    told: dict[str, Any] = {
        "configuration": name,
        "repeat": repeat,
        "order": order,
        "started_at": BEGAN + timedelta(seconds=order),
        "load_before": 0.1,
    }
    if wall_s is None:
        return Run(**told, status="failed", **{"reason": "internal: it broke", **fields})
    seconds = {"wall_s": wall_s, "caller_wall_s": wall_s + 1, "machine_s": wall_s + 0.5, "cpu_s": wall_s}
    figures = {"peak_memory_mib": 100.0, "frames": 10, "chunks": 1, "usd": wall_s / 1000, "output": "aa"}
    return Run(**{**told, "status": "ok", **seconds, **figures, **fields})


def call(usage: Mapping[str, Any], *, child: bool = False) -> CallRow:
    return CallRow(
        key="0" * 32,
        task="probe",
        version=1,
        child=child,
        attempt=1,
        host="here",
        started_at=BEGAN,
        finished_at=BEGAN,
        usage=dict(usage),
        usd=0.0,
    )


def series(
    experiment: str,
    times: Mapping[str, Sequence[float | None]],
    *,
    comparisons: Sequence[Comparison] = (),
    values: Mapping[str, Mapping[str, Any]] | None = None,
    chunks: Mapping[str, int] | None = None,
    unequal: Sequence[Unequal] = (),
    **fields: Any,
) -> Series:
    """A series of these seconds by configuration and repeat; None is a run that failed."""
    repeats = len(next(iter(times.values()))) if times else 3
    runs = [
        run(
            name,
            repeat,
            repeat * len(times) + place,
            taken[repeat],
            values=dict((values or {}).get(name, {})),
            **({"chunks": (chunks or {}).get(name, 1)} if taken[repeat] is not None else {}),
        )
        for repeat in range(repeats)
        for place, (name, taken) in enumerate(times.items())
    ]
    configurations = tuple(
        Configuration(name=name, what=f"what {name} does", tasks=("probe",), hardware="local")
        for name in times
    )
    told: dict[str, Any] = {
        "question": "What is asked?",
        "seed": 0,
        "repeats": repeats,
        "started_at": BEGAN,
        "finished_at": BEGAN + timedelta(minutes=1),
        "environment": environment(),
        "cost_basis": "a basis",
    }
    return Series(
        experiment=experiment,
        configurations=configurations,
        comparisons=tuple(comparisons),
        runs=tuple(runs),
        unequal=tuple(unequal),
        **{**told, **fields},
    )


def cells(table: str) -> list[list[str]]:
    """A table of Markdown as its cells: the head, then each row."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [rows[0], *rows[2:]]
