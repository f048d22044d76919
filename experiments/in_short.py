"""What the series say, in a line or two each: the first thing that a reader of FINDINGS.md looks for.

Belongs here: picking from figures what was decided. Does not belong here: figures (`tables.py`,
`answers.py`), the document (`findings.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from experiments.answers import lines_of_growth
from experiments.schema import Series
from experiments.statistics import Difference, summary
from experiments.tables import difference_of, number, values_of
from video_pipeline.costs import published, published_hardware
from video_pipeline.wording import counted

MEASURES = {
    "wall_s": "the time",
    "caller_wall_s": "the time waited",
    "machine_s": "the machine time",
    "cpu_s": "the processor time",
    "usd": "the cost",
    "steady_ms": "the time per picture",
}
"""Of a comparison, in words; any other measure by its own name."""

COUNTED = re.compile(r"(\d+) of (\d+)(?: \((\d+) one later\))?")


def in_short(series: Sequence[Series]) -> str:
    """A list with one item for each series that answers anything: its question, and what was decided."""
    items = [f"- {found.question} {_where(found)} {said}" for found in series if (said := _said(found))]
    return "\n".join(items)


def gpus_in_short(series: Sequence[Series]) -> str:
    """An item that says where to look for types and numbers of GPUs as long as no series has seen one."""
    if any(found.environment.backend != "local" or found.environment.gpus for found in series):
        return ""
    types = published_hardware.gpu_types()
    pairs = [*published.comparisons(), types, *published_hardware.switches()]
    decided = sum(pair.decided for pair in pairs)
    return (
        "- Which GPU, and how many of them? No series has been run on a GPU or on Modal. Only published "
        f"single runs tell of that (at the end), and they decide {decided or 'none'} of {len(pairs)} pairs: "
        f"{_published_times()}; {types.name} took {number(types.ratio)}x the time of {types.other}. "
        "`python -m experiments.run_all --compute modal --only e6_gpu_comparison e7_parallel` asks both."
    )


def _published_times() -> str:
    """What whoever has to choose now can go by."""
    found = [run for run in published.published().runs if run.table == published.SERIES]
    times = ", ".join(f"{run.wall_s:g} s on {run.chunks}" for run in found)
    return f"{counted(found[0].frames, 'frame')} took {times} x {found[0].gpu}"


def _where(series: Series) -> str:
    short = "" if series.enough else f"; {counted(series.repeats, 'repeat')}: not enough to conclude"
    # Calls side by side on one machine share its cores: what they took says nothing of machines of their own.
    local = series.environment.backend == "local"
    where = f"local on {counted(series.environment.cores, 'core')}" if local else series.environment.backend
    return f"({series.experiment}, {where}{short})"


def _said(series: Series) -> str:
    if series.comparisons:
        return _decided(series)
    if series.experiment == "profile":
        return _growth(series)
    return _read_right(series) or _fan_outs(series)


def _decided(series: Series) -> str:
    """Comparisons that are decided, the measures of a pair together with those that are not; of pairs with
    none that is, the names alone."""
    pairs: dict[tuple[str, str], list[tuple[str, Difference]]] = {}
    for comparison in series.comparisons:
        found = difference_of(series, comparison)
        pairs.setdefault((comparison.name, comparison.baseline), []).append((comparison.measure, found))
    told, open_ones = [], []
    for (name, baseline), measures in pairs.items():
        words = [(MEASURES.get(measure, measure), found) for measure, found in measures]
        decided = [f"{number(found.ratio)}x {what}" for what, found in words if _is_decided(found)]
        others = [what for what, found in words if not _is_decided(found)]
        if decided:
            # Compiling takes long once and may pay for each picture: neither must pass for the other.
            beside = f" (not decided: {', '.join(others)})" if others else ""
            told.append(f"`{name}` took {', '.join(decided)} of `{baseline}`{beside}")
        else:
            open_ones.append(f"`{name}` against `{baseline}`")
    parts = [f"{'; '.join(told)}." if told else "Nothing was decided."]
    return " ".join([*parts, *([f"Not decided: {', '.join(open_ones)}."] if open_ones else [])])


def _is_decided(found: Difference) -> bool:
    return found.verdict in ("less", "more")


def _growth(series: Series) -> str:
    told = [
        f"{kind} {number(1 / line.slope)}x as fast as the video plays, after {number(line.start)} s"
        for kind, line in lines_of_growth(series).items()
        if line is not None and line.slope > 0
    ]
    return f"{'; '.join(told)}." if told else ""


def _read_right(series: Series) -> str:
    """Of every configuration how many of all moments it gave right, and for how many the next picture, where
    runs tell that; of each value all repeats told the same, or it is not said."""
    told = []
    for configuration in series.configurations:
        right = of = later = 0
        for name in dict.fromkeys(name for run in series.runs for name in run.values):
            texts = {str(run.values.get(name)) for run in series.ok_runs(configuration.name)}
            found = COUNTED.match(texts.pop()) if len(texts) == 1 else None
            if name.endswith("moments right") and found is not None:
                right, of = right + int(found[1]), of + int(found[2])
                later += int(found[3] or 0)
        if of:
            next_one = f" ({later} one later)" if later else ""
            told.append(f"`{configuration.name}` {right} of {of} moments right{next_one}")
    return f"{', '.join(told)}." if told else ""


def _fan_outs(series: Series) -> str:
    told = []
    for configuration in series.configurations:
        runs = [run for run in series.ok_runs(configuration.name) if "fan_out_s" in run.values]
        found = summary(list(values_of(runs, "fan_out_s").values()))
        if found is not None:
            told.append(f"{number(found.mean)} s for {counted(runs[0].chunks or 1, 'call')}")
    return f"{', '.join(told)}." if told else ""
