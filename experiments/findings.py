"""`experiments/FINDINGS.md` and its plots, made from the results and never edited.

    python -m experiments.findings

Belongs here: the document. Does not belong here: figures (`answers.py`, `tables.py`), drawing (`plots.py`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import answers, plots
from experiments.harness import RESULTS
from experiments.in_short import gpus_in_short, in_short
from experiments.phases import fan_outs_table, phases_table
from experiments.place import ROOT
from experiments.read import all_series
from experiments.schema import Series
from experiments.statistics import summary
from experiments.tables import comparisons_table, configurations_table, spread, table
from video_pipeline.costs import published, published_hardware
from video_pipeline.wording import counted

FINDINGS = ROOT / "experiments" / "FINDINGS.md"
PLOTS = "plots"

HEAD = """# Findings

Made by `python -m experiments.findings` from `experiments/results/`. Do not edit: run the experiments again.

How to read it. Each configuration ran once in every repeat, in an order drawn from a seed, as a real call of
the product's compute. Seconds are those inside the worker; "s waited" is what the caller waited, process or
container start included; CPU seconds are of all processes. Intervals are 95 %, Student's t. Differences are
taken repeat by repeat, and one is said (less, more) only where its interval leaves 0 out: of twenty
comparisons of equals, one is said by chance. Runs that failed count nowhere and are listed. Outputs that had
to be equal were compared byte for byte. Milliseconds of a frame beside phases are of the time in which frames
were made; where no least and most stand with them, of the whole call."""


def document(series: Sequence[Series]) -> str:
    """The whole text."""
    parts = [HEAD, _series_section(series)]
    if series:
        parts += [_short_section(series), _hardware_section(series), _costs_section(series)]
        parts += [_experiment_section(found, series) for found in series]
    parts += [_not_tested_section(series), _published_section()]
    return "\n\n".join(parts) + "\n"


def _series_section(series: Sequence[Series]) -> str:
    if not series:
        return "## Series\n\nNo experiment has been run yet: `python -m experiments.run_all`."
    rows = [
        [
            found.experiment,
            found.environment.backend,
            f"{found.started_at:%Y-%m-%d}",
            str(found.repeats),
            f"{len(found.runs)} ({len(found.failed_runs())} failed)",
            "yes" if found.enough else "not enough to conclude",
            f"{found.environment.processor}, {found.environment.cores} cores",
            f"{found.environment.load_average_before:g}",
            found.environment.commit + ("" if not found.environment.changed_files else " with changes"),
        ]
        for found in series
    ]
    head = ["experiment", "on", "date", "repeats", "runs", "enough", "machine", "load before", "commit"]
    basis = sorted({f"{found.environment.backend}: {found.cost_basis}" for found in series})
    dates = sorted({found.environment.prices_as_of for found in series})
    return (
        f"## Series\n\n{table(head, rows)}\n\n"
        "`load before` is the load average of the minute before: where one series follows another, what the "
        f"one before took is in it. Costs are by the price list of {', '.join(dates)}. "
        + ". ".join(f"On {line}" for line in basis)
        + "."
    )


def _short_section(series: Sequence[Series]) -> str:
    items = [found for found in (in_short(series), gpus_in_short(series)) if found]
    return "## In short\n\n" + ("\n".join(items) or "Nothing was compared.")


def _hardware_section(series: Sequence[Series]) -> str:
    return f"## Hardware for each function\n\nOnly among what was tested.\n\n{answers.hardware(series)}"


def _costs_section(series: Sequence[Series]) -> str:
    parts = ["## Cost of an operation and of a workflow"]
    for found in answers.of(series, "e1_baseline"):
        parts += [
            f"### On {found.environment.backend}{_label(found)}",
            answers.operations(found),
            answers.workflows(found),
        ]
    if len(parts) == 1:
        parts.append("E1 has not been run.")
    return "\n\n".join(parts)


def _label(series: Series) -> str:
    return "" if series.enough else f" ({counted(series.repeats, 'repeat')}: not enough to conclude)"


def _experiment_section(series: Series, everything: Sequence[Series]) -> str:
    title = f"## {series.experiment} on {series.environment.backend}{_label(series)}"
    what = "\n".join(f"- `{found.name}`: {found.what}" for found in series.configurations)
    parts = [title, series.question, what, configurations_table(series)]
    if series.comparisons:
        parts.append(comparisons_table(series))
    parts += _derived(series, everything)
    parts += [*_values(series), *phases_table(series), *fan_outs_table(series)]
    parts += [f"![{path.stem}]({PLOTS}/{path.name})" for path in _plot_names(series)]
    parts += [*_listed(series)]
    return "\n\n".join(parts)


def _derived(series: Series, everything: Sequence[Series]) -> list[str]:
    if series.experiment == "e7_parallel":
        same = [
            found
            for found in answers.of(everything, "fan_out_overhead")
            if found.environment.backend == series.environment.backend
        ]
        text = "Overlay in pieces, at best (the product makes none; joining is left out):"
        return [text, answers.overlay_in_pieces(series, same[0] if same else None)]
    if series.experiment == "profile":
        return ["How time grows (a line through all runs):", answers.growth(series)]
    return []


def _values(series: Series) -> list[str]:
    """What runs told beside time: a number by its mean, anything else by all that was told."""
    names = list(dict.fromkeys(name for run in series.runs for name in run.values))
    if not names:
        return []
    cells = {
        (configuration.name, name): _told([run.values[name] for run in runs if name in run.values])
        for configuration in series.configurations
        for name in names
        for runs in [series.ok_runs(configuration.name)]
    }
    who = [found.name for found in series.configurations if any(cells[found.name, name] for name in names)]
    if len(names) > len(who):
        return [table(["told", *who], [[name, *(cells[one, name] for one in who)] for name in names])]
    return [table(["configuration", *names], [[one, *(cells[one, name] for name in names)] for one in who])]


def _told(values: Sequence[object]) -> str:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if numbers and len(numbers) == len(values) and len(set(numbers)) > 1:
        return spread(summary(numbers))
    return ", ".join(dict.fromkeys(map(_text, values)))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(series: Series) -> list[str]:
    lines = [f"- {note}" for note in series.notes]
    lines += [
        f"- **failed**: {run.configuration}, repeat {run.repeat + 1}: {run.reason}"
        for run in series.failed_runs()
    ]
    lines += [
        f"- **unequal outputs** in {found.group}: {len(found.outputs)} different ones, in runs "
        + " against ".join(", ".join(str(order) for order in orders) for orders in found.outputs.values())
        for found in series.unequal
    ]
    lines += [
        f"- **done other than asked**: {run.configuration}, repeat {run.repeat + 1}: {line}"
        for run in series.runs
        for line in run.degraded
    ]
    return ["\n".join(lines)] if lines else []


def _not_tested_section(series: Sequence[Series]) -> str:
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for part in series:
        for found in part.not_tested:
            where = (part.experiment, part.environment.backend, found.reason)
            reasons.setdefault(where, []).append(found.what)
    lines = [
        f"- {', '.join(map(_as_one, what))} ({experiment}, {backend}): {reason}"
        for (experiment, backend, reason), what in reasons.items()
    ]
    if "modal" not in {part.environment.backend for part in series}:
        lines.append("- Everything on Modal: no series has been run there.")
    return "## Not tested\n\n" + ("\n".join(lines) or "Every series ran all that it asks about.")


def _as_one(what: str) -> str:
    """In quotation marks where it would look like several in a list."""
    return f'"{what}"' if re.search("[,;]", what) else what


def _published_section() -> str:
    """What an earlier suite published, and what that decides."""
    return f"{published.report().strip()}\n\n{published_hardware.report().strip()}"


def _plot_names(series: Series) -> list[Path]:
    """The plots that `write` draws for a series, whether they are there or not."""
    names = ["wall_s", *(["steady_ms"] if series.experiment == "e6_gpu_comparison" else [])]
    return [
        Path(f"{series.experiment}-{series.environment.backend}-{name}.svg")
        for name in names
        if any(run.measured(name) is not None for run in series.runs if run.status == "ok")
    ]


def write(results: Path = RESULTS, target: Path = FINDINGS) -> Path:
    """The document and its plots beside it, from the results of a folder."""
    series = all_series(results)
    for found in series:
        plots.of_series(found, target.parent / PLOTS)
    target.write_text(document(series), encoding="utf-8")
    return target


if __name__ == "__main__":
    print(write())
    sys.exit(0)
