"""What the series say together: hardware by function, costs of operations and of workflows, growth.

Belongs here: figures made of several configurations. Does not belong here: the document (`findings.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.schema import ENOUGH_REPEATS, Comparison, Configuration, Series
from experiments.statistics import Summary, difference, summary
from experiments.tables import difference_of, money, number, spread, summary_of, table, values_of
from video_pipeline.tasks import BUILT_IN

WORKFLOWS: Mapping[str, tuple[str, ...]] = {
    "captions of a video: layout, extents and chunks, text": (
        "find_caption_layout",
        "crop_and_infer_caption_frame_extents",
        "read_captions",
    ),
    "a clip: cut, people found, spotlight, re-framed through the network": (
        "extract_clip",
        "detect_players_batch",
        "render_overlay",
        "process_framing_ai",
    ),
    "a clip without the network: cut, spotlight, re-framed in two calls": (
        "extract_clip",
        "render_overlay",
        "process_framing_ai_parallel",
    ),
    "a compilation of two annotated parts": ("create_annotated_compilation",),
    "a sample of remote frames": ("run_inference",),
}
"""By the configurations of E1, each once."""

BACKENDS = ("local", "modal")
"""What a configuration that asks for no hardware has as its own."""

NOT_TESTED = "not tested"
NO_CHOICE = "nothing to choose from: no other hardware was tested on the same work"
NO_CHOICES = (
    "No function was tested on two kinds of hardware, so these results choose none. "
    "`python -m experiments.run_all --only e3_cpu_vs_gpu` on a machine with a GPU holds four of them against "
    "the CPU; `--only e6_gpu_comparison --compute modal` holds GPU types against each other, on the network "
    "of `process_framing_ai`. What an earlier suite published of GPU types is at the end."
)


def of(series: Sequence[Series], experiment: str) -> list[Series]:
    return [found for found in series if found.experiment == experiment]


def hardware(series: Sequence[Series]) -> str:
    """For each function of the table: on what it was run, and which of that was better, if that is known."""
    rows = []
    for task in BUILT_IN:
        tested = _tested(series, task.name)
        compared = [
            (found, comparison)
            for found in series
            for comparison in found.comparisons
            if comparison.measure == "wall_s" and _hardware_of(found, comparison, task.name) is not None
        ]
        rows.append(
            [task.name, _wanted(task.hardware.gpu), ", ".join(tested) or "nothing", _choice(tested, compared)]
        )
    head = ["function", "the table of tasks says", "tested", "better, of what was tested"]
    if all(row[-1] in (NO_CHOICE, NOT_TESTED) for row in rows):
        return f"{table(head[:-1], [row[:-1] for row in rows])}\n\n{NO_CHOICES}"
    return table(head, rows)


def _wanted(gpu: str | None) -> str:
    return gpu or "CPU"


def _tested(series: Sequence[Series], task: str) -> list[str]:
    found = {
        f"{_kind_of(part, configuration)} ({_where(part)})"
        for part in series
        for configuration in part.configurations
        if configuration.tasks == (task,) and part.ok_runs(configuration.name)
    }
    return sorted(found)


def _kind_of(series: Series, configuration: Configuration) -> str:
    """The GPU that its calls had, or a CPU; of a fan-out what its own call ran on. Where calls do not tell,
    what the configuration asked for."""
    own = [call.usage for run in series.ok_runs(configuration.name) for call in run.calls if not call.child]
    gpus = {str(name) for usage in own if (name := usage.get("gpu_type") or usage.get("gpu_name"))}
    asked = configuration.hardware if configuration.hardware not in BACKENDS else "CPU"
    return ", ".join(sorted(gpus)) or asked


def _where(series: Series) -> str:
    return f"{series.environment.cores} cores here" if series.environment.backend == "local" else "Modal"


def _hardware_of(series: Series, comparison: Comparison, task: str) -> tuple[str, str] | None:
    """The two kinds of hardware that are compared for a task, if that is what is compared."""
    by_name = {configuration.name: configuration for configuration in series.configurations}
    one, other = by_name.get(comparison.name), by_name.get(comparison.baseline)
    if one is None or other is None or one.tasks != (task,) or other.tasks != (task,):
        return None
    return (_kind_of(series, one), _kind_of(series, other)) if one.hardware != other.hardware else None


def _choice(tested: Sequence[str], compared: Sequence[tuple[Series, Comparison]]) -> str:
    if not tested:
        return NOT_TESTED
    if not compared:
        return NO_CHOICE
    said = []
    for series, comparison in compared:
        names = _hardware_of(series, comparison, _task_of(series, comparison))
        assert names is not None
        found = difference_of(series, comparison)
        if found.verdict in ("less", "more"):
            faster, slower = names if found.verdict == "less" else names[::-1]
            said.append(f"{faster} is faster than {slower} ({number(found.ratio)}x the time)")
        else:
            said.append(f"{names[0]} against {names[1]}: {found.verdict}")
    return "; ".join(said)


def _task_of(series: Series, comparison: Comparison) -> str:
    return next(found.tasks[0] for found in series.configurations if found.name == comparison.name)


def operations(baseline: Series) -> str:
    """Cost of each function on its standard clip, with intervals."""
    rows = []
    for configuration in baseline.configurations:
        runs = baseline.ok_runs(configuration.name)
        per_frame = summary([value for run in runs if (value := run.ms_per_frame) is not None])
        cost = summary_of(baseline, configuration.name, "usd")
        rows.append(
            [
                configuration.name,
                configuration.what,
                str(len(runs)),
                spread(summary_of(baseline, configuration.name, "wall_s")),
                spread(per_frame),
                cost_spread(cost),
            ]
        )
    return table(["function", "work", "runs", "s (95 %)", "ms a frame (95 %)", "cost (95 %)"], rows)


def cost_spread(found: Summary | None) -> str:
    if found is None or found.low is None or found.high is None:
        return money(found.mean if found else None)
    return f"{money(found.mean)} ({money(found.low)} to {money(found.high)})"


def workflows(baseline: Series) -> str:
    """Sums over the functions of each workflow, repeat by repeat, so that what drifts together stays
    together. A workflow with a function that did not run has no sum."""
    rows = []
    for what, parts in WORKFLOWS.items():
        told = []
        for measure in ("caller_wall_s", "usd"):
            by_part = [values_of(baseline.ok_runs(part), measure) for part in parts]
            repeats = set.intersection(*(set(values) for values in by_part))
            told.append(summary([sum(values[repeat] for values in by_part) for repeat in sorted(repeats)]))
        rows.append([what, " + ".join(parts), spread(told[0]), cost_spread(told[1])])
    return table(["workflow", "functions of E1", "s waited, one after the other (95 %)", "cost (95 %)"], rows)


def overlay_in_pieces(series: Series, fan_out: Series | None) -> str:
    """What an overlay in chunks could take at best: its longest piece, and the fan-out that starts it, which
    was measured in a series of its own."""
    whole = values_of(series.ok_runs("overlay_sequential"), "wall_s")
    rows = []
    for configuration in series.configurations:
        if not configuration.name.startswith("overlay_piece_of_"):
            continue
        count = int(configuration.facts["pieces"])
        piece = values_of(series.ok_runs(configuration.name), "wall_s")
        runs = fan_out.ok_runs(f"fan_out_{count}") if fan_out else []
        added = list(values_of(runs, "wall_s").values())
        machines = {repeat: value * count for repeat, value in piece.items()}
        time = difference(piece, whole, enough=ENOUGH_REPEATS, added=added)
        work = difference(machines, whole, enough=ENOUGH_REPEATS)
        rows.append(
            [
                str(count),
                spread(summary(list(piece.values()))),
                spread(summary(added)) if added else "not measured",
                f"{number(time.ratio)}x: {time.verdict}",
                f"{number(work.ratio)}x: {work.verdict}",
            ]
        )
    head = [
        "pieces",
        "s of a piece (95 %)",
        "s of an empty fan-out (95 %)",
        "time at best, to one call",
        "machine time, to one call",
    ]
    return table(head, rows)


@dataclass(frozen=True, slots=True)
class Line:
    """seconds = start + slope x length, by least squares over all runs, with 95 % intervals."""

    start: float
    start_half: float
    slope: float
    slope_half: float
    runs: int


def line(lengths: Sequence[float], seconds: Sequence[float]) -> Line | None:
    """None with fewer than three runs or two lengths."""
    from scipy.stats import linregress, t

    if len(lengths) < 3 or len(set(lengths)) < 2:
        return None
    found: Any = linregress(lengths, seconds)
    factor = float(t.ppf(0.975, len(lengths) - 2))
    return Line(
        float(found.intercept),
        factor * float(found.intercept_stderr),
        float(found.slope),
        factor * float(found.stderr),
        len(lengths),
    )


def lines_of_growth(series: Series) -> dict[str, Line | None]:
    """Seconds by the length of the video for each kind of work of the profile; None: not determined."""
    points: dict[str, list[tuple[float, float]]] = {}
    for configuration in series.configurations:
        kind, _, length = configuration.name.partition("_")
        if not length.endswith("_s"):
            continue
        for run in series.ok_runs(configuration.name):
            if run.wall_s is not None:
                points.setdefault(kind, []).append((float(configuration.facts["video_seconds"]), run.wall_s))
    return {
        kind: line([length for length, _ in pairs], [seconds for _, seconds in pairs])
        for kind, pairs in points.items()
    }


def growth(series: Series) -> str:
    """For each kind of work of the profile: what a video takes by itself, and what each second of it adds."""
    rows = []
    for kind, found in lines_of_growth(series).items():
        if found is None:
            rows.append([kind, "—", "not determined", "not determined", "—"])
            continue
        rows.append(
            [
                kind,
                str(found.runs),
                f"{number(found.start)} ± {number(found.start_half)}",
                f"{number(1000 * found.slope)} ± {number(1000 * found.slope_half)}",
                f"{number(1 / found.slope)}x" if found.slope > 0 else "—",
            ]
        )
    return table(["work", "runs", "s at the start", "ms for each second of video", "speed"], rows)
