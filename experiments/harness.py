"""Running an experiment: real calls, in a shuffled order, each checked before it counts.

Belongs here: order, runs, what makes a run fail, and the command line of every experiment. Does not belong
here: what is run (one module each), what the figures say (`statistics.py`, `findings.py`).

The order is a randomised block design: in each repeat every configuration runs once, in an order drawn from
the seed. So drift of the machine meets all alike, and repeat k of one is compared with repeat k of another.
Before the first run a call that does not count loads the libraries from the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments import costing
from experiments.place import ROOT, Place, describe, environment, opened
from experiments.rows import Results, check_chunks, check_length, figures_of, row_of, was_there
from experiments.schema import (
    ENOUGH_REPEATS,
    CallRow,
    Comparison,
    Configuration,
    NotTested,
    Run,
    Series,
    Unequal,
    write_series,
)
from video_pipeline.calls import ResultRecord, read_result
from video_pipeline.compute.base import CallOptions, Event, Handle
from video_pipeline.compute.follow import CallFailed, run_call
from video_pipeline.errors import BadInput, Internal, PipelineError

RESULTS = ROOT / "experiments" / "results"


@dataclass(frozen=True)
class Step:
    """One call. `request` gets the run's name, which no other run has: outputs go under it, for a task that
    finds its output made does nothing. `variables` are for workers of this machine."""

    task: str
    request: Callable[[str], Mapping[str, Any]]
    gpu: str | None = None
    variables: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """A configuration and how it is run. `before` are calls that do not count, run before each repeat;
    `output` says what the results made, as a SHA-256 or any text that is equal exactly if they are;
    `values` are told beside time."""

    name: str
    what: str
    steps: Sequence[Step]
    hardware: str = ""
    before: Sequence[Step] = ()
    equal_outputs: str | None = None
    output: Callable[[Results, Place], str | None] = lambda results, place: None
    values: Callable[[Results], Mapping[str, float | str | bool | None]] = lambda results: {}
    frames: Callable[[Results], int | None] | None = None
    chunks: int | None = None
    facts: Mapping[str, float | str] = field(default_factory=dict)

    def configuration(self, place: Place) -> Configuration:
        return Configuration(
            name=self.name,
            what=self.what,
            tasks=tuple(dict.fromkeys(step.task for step in self.steps)),
            hardware=self.hardware or place.settings.compute,
            equal_outputs=self.equal_outputs,
            facts=dict(self.facts),
        )


@dataclass(frozen=True)
class Experiment:
    """What one module asks, and the work that answers it."""

    name: str
    question: str
    works: Sequence[Work]
    comparisons: Sequence[Comparison] = ()
    not_tested: Sequence[NotTested] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Options:
    quick: bool = False
    repeats: int = ENOUGH_REPEATS
    seed: int = 0
    warm_up: bool = True


def order_of(names: Sequence[str], repeats: int, seed: int) -> list[tuple[int, str]]:
    """(repeat, configuration) in the order of the runs: every configuration once in each repeat."""
    draw = random.Random(seed)
    return [(repeat, name) for repeat in range(repeats) for name in draw.sample(list(names), k=len(names))]


def run_series(experiment: Experiment, place: Place, options: Options, say: Callable[[str], None]) -> Series:
    """All runs of the experiment. A run that fails is a row with its reason; only an experiment without any
    work, or with two works of one name, raises."""
    works = {work.name: work for work in experiment.works}
    if len(works) != len(experiment.works):
        raise Internal("two configurations of an experiment have one name", input=experiment.name)
    before = describe(place, costing.as_of())
    began = datetime.now(UTC)
    series_id = int(began.timestamp())
    if works and options.warm_up:
        _warm_up(place)
    runs: list[Run] = []
    for order, (repeat, name) in enumerate(order_of(list(works), options.repeats, options.seed)):
        run = _run(works[name], place, repeat=repeat, order=order, series_id=series_id)
        runs.append(run)
        told = f"{run.wall_s:.2f} s" if run.wall_s is not None else f"failed: {run.reason}"
        say(f"{order + 1}/{options.repeats * len(works)} {name} #{repeat + 1}: {told}")
    return Series(
        experiment=experiment.name,
        question=experiment.question,
        quick=options.quick,
        seed=options.seed,
        repeats=options.repeats,
        started_at=began,
        finished_at=datetime.now(UTC),
        environment=before,
        cost_basis=costing.BASIS[place.settings.compute],
        configurations=tuple(work.configuration(place) for work in works.values()),
        comparisons=tuple(experiment.comparisons),
        runs=tuple(runs),
        unequal=unequal_outputs(experiment.works, runs),
        not_tested=tuple(experiment.not_tested),
        notes=tuple(experiment.notes),
    )


def unequal_outputs(works: Sequence[Work], runs: Sequence[Run]) -> tuple[Unequal, ...]:
    """Groups of runs whose outputs had to be equal and are not. Failed runs have none."""
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    group_of = {work.name: work.equal_outputs for work in works}
    for run in runs:
        group = group_of[run.configuration]
        if group is not None and run.status == "ok":
            groups[group][run.output or "no output"].append(run.order)
    return tuple(
        Unequal(group=group, outputs={output: tuple(orders) for output, orders in outputs.items()})
        for group, outputs in groups.items()
        if len(outputs) > 1
    )


def _warm_up(place: Place) -> None:
    """A call that reads Python's and torch's files from the disk, so that the first run does not. On Modal
    every function has containers of its own, and their start is part of what is measured."""
    if place.on_this_machine:
        run_call(place.compute, "probe", {}, CallOptions(max_attempts=1))


def _run(work: Work, place: Place, *, repeat: int, order: int, series_id: int) -> Run:
    """One run. Whatever goes wrong in it is its reason."""
    # A series and a run of it: no two calls ever share `repeat`, not even in a store that outlives them.
    number = 1000 * series_id + order
    name = f"{work.name.replace('_', '-')[:40].strip('-')}-{number}"
    fields: dict[str, Any] = {
        "configuration": work.name,
        "repeat": repeat,
        "order": order,
        "started_at": datetime.now(UTC),
        "load_before": round(os.getloadavg()[0], 2),
    }
    calls: list[CallRow] = []
    try:
        for step in work.before:
            _call(step, place, name, number)
        results: Results = []
        waited = 0.0
        for step in work.steps:
            began = time.monotonic()
            record, rows = _call(step, place, name, number)
            waited += time.monotonic() - began
            calls += rows
            results.append(record.result or {})
        output = work.output(results, place)
        if work.equal_outputs is not None and output is None:
            raise Internal(
                "its output has to be equal to others' and nothing told what it is", input=work.name
            )
        check_chunks(work, calls)
        check_length(work, calls)
        _forget(work, results, place)
        return Run(
            **fields, **figures_of(work, calls, results, waited), output=_sha256(output), calls=tuple(calls)
        )
    except Exception as error:
        return Run(**fields, status="failed", reason=_reason(error), calls=tuple(calls))


def _reason(error: Exception) -> str:
    """One line: the kind and what is told. A failed call's own kind: as an exception of its caller it counts
    as a defect."""
    kind = error.kind if isinstance(error, PipelineError) else type(error).__name__
    if isinstance(error, CallFailed):
        kind = error.error.kind
    return f"{kind}: {' '.join(str(error).split())}"[:500]


def _call(step: Step, place: Place, name: str, number: int) -> tuple[ResultRecord, list[CallRow]]:
    """One call followed to its end, with the rows of itself and of the calls it started. Internal if it was
    or one that it started was answered from an older one, or its output was there already."""
    children: dict[str, str] = {}
    attached: list[Handle] = []

    def noted(event: Event) -> None:
        if event.name == "fan_out" and event.data.get("call"):
            children[str(event.data["call"])] = str(event.data["tenant"])

    options = CallOptions(repeat=number, gpu=step.gpu, max_attempts=1)
    with environment(step.variables):
        handle, record = run_call(
            place.compute,
            step.task,
            step.request(name),
            options,
            on_submit=lambda handle: attached.extend([handle] if handle.attached else []),
            on_event=noted,
        )
    if attached:
        raise Internal("the call was answered from one made before", input=handle.key)
    if was_there(record.result or {}):
        raise Internal("the output was there already, so nothing was made", input=handle.key)
    rows = [row_of(record, step.gpu, place, child=False)]
    for key, tenant in children.items():
        child = read_result(place.store, tenant, key)
        if child is None or child.status != "ok":
            raise Internal("a call of the fan-out left no result", input=key)
        if child.started_at < record.started_at:
            raise Internal("a call of the fan-out was answered from one made before", input=key)
        rows.append(row_of(child, step.gpu, place, child=True))
    return record, rows


def _forget(work: Work, results: Results, place: Place) -> None:
    """Deletes what the run made; its records stay."""
    from video_pipeline.tasks import find_task

    for step, result in zip(work.steps, results, strict=True):
        model = find_task(step.task, place.settings).result_model.model_validate(result)
        for key in getattr(model, "output_keys", list)():
            place.store.delete(key)


def _sha256(output: str | None) -> str | None:
    return None if output is None else hashlib.sha256(output.encode()).hexdigest()


def main(module: str, argv: Sequence[str] | None = None) -> int:
    """The command line of the experiment in `experiments.{module}`, whose `experiment(place, options)` says
    what to run. Exit code 1 if a run failed or outputs are unequal, 2 for a wrong argument."""
    made = importlib.import_module(f"experiments.{module}")
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{module}", description=(made.__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--compute", choices=["local", "modal"], help="default: as VIDEO_PIPELINE_COMPUTE says"
    )
    parser.add_argument(
        "--repeats", type=int, help=f"default {ENOUGH_REPEATS}; fewer are not enough to conclude"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of the runs")
    parser.add_argument("--out", type=Path, help="folder for the JSON; default experiments/results")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, one repeat: only to see that it works"
    )
    asked = parser.parse_args(argv)
    if asked.quick and asked.out is not None and asked.out.resolve() == RESULTS:
        parser.error("--quick gives no results: name another folder with --out, or leave it out")
    repeats = asked.repeats if asked.repeats is not None else 1 if asked.quick else ENOUGH_REPEATS
    if repeats < 1:
        parser.error("--repeats must be at least 1")
    try:
        series = execute(module, asked.compute, Options(asked.quick, repeats, asked.seed))
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    out = asked.out or (None if asked.quick else RESULTS)
    if out is not None:
        print(write_series(series, out))
    return report(series)


def execute(module: str, compute: str | None, options: Options) -> Series:
    """The series of one experiment, told line by line on standard error."""
    made = importlib.import_module(f"experiments.{module}")
    with opened(compute) as place:
        experiment = made.experiment(place, options)
        return run_series(experiment, place, options, lambda line: print(line, file=sys.stderr, flush=True))


def report(series: Series) -> int:
    """Prints what came out in a few lines; the exit code."""
    from experiments.tables import configurations_table

    label = "QUICK: no result" if series.quick else "" if series.enough else "not enough to conclude"
    print(f"{series.experiment} on {series.environment.backend}: {series.question} {label}".rstrip())
    print(configurations_table(series))
    for run in series.failed_runs():
        print(f"failed: {run.configuration} #{run.repeat + 1}: {run.reason}")
    for unequal in series.unequal:
        print(f"unequal outputs in {unequal.group}: {unequal.outputs}")
    for missing in series.not_tested:
        print(f"not tested here: {missing.what}: {missing.reason}")
    return 1 if series.failed_runs() or series.unequal else 0
