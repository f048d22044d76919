"""What an earlier suite of the same tasks published: its tables with their flaws, and what they can decide.

Belongs here: reading the data set, fitting the model to its runs, a report on four single runs. Does not
belong here: the numbers (`data/published_runs.json`) or measurements of our own (`experiments`).

    python -m video_pipeline.costs.published        prints the report, and that of `published_hardware`
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from video_pipeline.costs.predict import Coefficients, Term, predict
from video_pipeline.errors import Internal, problems_of
from video_pipeline.strict import StrictModel

if TYPE_CHECKING:
    import pandas as pd

    from video_pipeline.costs.model import Fit

FRAMING = "process_framing_ai"
SERIES = "e7_framing"
WORK = "Real-ESRGAN on every frame, 810x1440 comes out; the crop's size is not said"
TERMS: tuple[Term, ...] = ("s_per_frame", "startup_s", "join_s_per_chunk")
"""What the suite itself named as parts of the time: work, a start, and overhead of each chunk."""
POWER = 0.8
"""In how many cases a difference is to be found that is there."""

FEWEST_REPEATS = 3
"""Fewer show no spread of their own."""


class Document(StrictModel):
    title: str
    updated: str
    lines: int


class Table(StrictModel):
    """A published table as it stands, and the lines of its document it stands on."""

    id: str
    document: str
    lines: tuple[int, int]
    title: str
    date: str
    kind: Literal["measured", "derived", "expected", "conclusion", "rule", "target", "price", "input"]
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    flaws: tuple[str, ...]


class PublishedRun(StrictModel):
    """One run of a table in the model's terms; `gpu` None is a CPU. Unusable ones say why."""

    table: str
    label: str
    task: str
    gpu: str | None
    frames: int
    chunks: int
    wall_s: float
    usable: bool
    why_not: str


class Published(StrictModel):
    schema_version: Literal[1]
    documents: dict[str, Document]
    note: str
    general_flaws: tuple[str, ...]
    same_call_s: tuple[float, ...]
    """Seconds that one and the same call took at different times."""

    tables: tuple[Table, ...]
    runs: tuple[PublishedRun, ...]


@functools.cache
def published() -> Published:
    """The data set that ships. Internal if it is none."""
    text = (files("video_pipeline.costs") / "data" / "published_runs.json").read_text(encoding="utf-8")
    try:
        return Published.model_validate_json(text)
    except ValidationError as error:
        raise Internal(f"not the published data set: {problems_of(error, 'file')}") from None


def published_runs(task: str = FRAMING, gpu: str | None = "T4", *, table: str | None = None) -> pd.DataFrame:
    """The usable runs, with columns frames, chunks, wall_s. No GPU-seconds: those published are guesses."""
    import pandas as pd

    chosen = [
        run
        for run in published().runs
        if run.usable and (run.task, run.gpu) == (task, gpu) and table in (None, run.table)
    ]
    return pd.DataFrame([run.model_dump(include={"frames", "chunks", "wall_s", "label"}) for run in chosen])


def published_fit(*, table: str | None = None) -> Fit:
    """The model of framing on a T4, from all usable runs or those of one table. Chunks were of any number of
    frames then."""
    from video_pipeline.costs.model import fit

    return fit(
        published_runs(table=table),
        task=FRAMING,
        gpu="T4",
        backend="modal",
        source="published",
        as_of=published().documents["gpu_task"].updated,
        work=WORK,
        enlarged=True,
        terms=TERMS,
    )


def spread() -> tuple[float, float, int]:
    """How one call's time differs from run to run: (standard deviation of its logarithm, of its seconds,
    degrees of freedom)."""
    walls = published().same_call_s
    return statistics.stdev(map(math.log, walls)), statistics.stdev(walls), len(walls) - 1


class Comparison(StrictModel):
    """Two single runs. `p` is the chance of a difference at least this large between two runs of one
    configuration, by Student's t: were the spread a part of a run's time, or the same seconds in each."""

    chunks: int
    other: int
    ratio: float
    p_of_part: float
    p_of_seconds: float

    @property
    def decided(self) -> bool:
        """Whether it is no chance at 5 %, however the spread grows with the length of a run."""
        return max(self.p_of_part, self.p_of_seconds) < 0.05


def comparisons() -> list[Comparison]:
    """Every pair of the series of four, more chunks against fewer."""
    from scipy import stats

    part, seconds, degrees = spread()
    walls = {run.chunks: run.wall_s for run in published().runs if run.table == SERIES}
    found = []
    for fewer, more in itertools.combinations(sorted(walls), 2):
        apart = math.log(walls[fewer] / walls[more]) / (math.sqrt(2) * part)
        apart_s = (walls[fewer] - walls[more]) / (math.sqrt(2) * seconds)
        found.append(
            Comparison(
                chunks=more,
                other=fewer,
                ratio=walls[fewer] / walls[more],
                p_of_part=float(2 * stats.t.sf(abs(apart), degrees)),
                p_of_seconds=float(2 * stats.t.sf(abs(apart_s), degrees)),
            )
        )
    return found


def repeats_to_tell(chunks: int, other: int) -> int:
    """Runs of each of two configurations that would tell their published difference (5 %, found in 80 % of
    cases), were it and the known spread the true ones: the fewest, and three at least, at which Student's t
    of 2 n - 2 degrees of freedom, off centre by difference / (sd sqrt(2 / n)), lies beyond the central one's
    97.5 % (Cohen 1988, 2.2). Differences and spread are of logarithms."""
    from scipy import stats

    walls = {run.chunks: run.wall_s for run in published().runs if run.table == SERIES}
    part, _, _ = spread()
    apart = abs(math.log(walls[chunks] / walls[other])) / part

    def found_in(runs: int) -> float:
        degrees = 2 * runs - 2
        return float(stats.nct.sf(stats.t.ppf(0.975, degrees), degrees, apart * math.sqrt(runs / 2)))

    return next(runs for runs in itertools.count(FEWEST_REPEATS) if found_in(runs) >= POWER)


def report() -> str:
    """Markdown: what four single runs can and cannot decide. All numbers are computed."""
    part, seconds, degrees = spread()
    series = next(table for table in published().tables if table.id == SERIES)
    document = published().documents[series.document]
    alone, all_of_them = published_fit(table=SERIES), published_fit()
    pairs = comparisons()
    decided = [f"{pair.other} and {pair.chunks}" for pair in pairs if pair.decided]
    undecided = [f"{pair.other} and {pair.chunks}" for pair in pairs if not pair.decided]
    walls = [f"{value:g}" for value in published().same_call_s]
    lines = [
        "## The published series of 1, 2, 4 and 8 GPUs",
        "",
        f"{series.title} ({document.title}, lines {series.lines[0]} to {series.lines[1]}, {series.date}).",
        f"One run each; the same call took {', '.join(walls)} s elsewhere in that suite: a spread of "
        f"{100 * part:.0f} % or {seconds:.0f} s, itself known from {degrees + 1} runs only.",
        "",
        *_fit_table(alone.coefficients, all_of_them.coefficients),
        "",
        f"What the runs cannot tell at all, because nothing in them varies with it alone: "
        f"{_named(alone.coefficients.not_determined)}.",
        "",
        "| GPUs | measured s | model of the four | 95 % of a single run | model of all six |",
        "|---|---|---|---|---|",
        *_series_rows(alone.coefficients, all_of_them.coefficients),
        "",
        "Could chance alone make the difference? `p` from the spread above, as a part of a run's time / as "
        "the same seconds in each. Repeats are those that would find the difference in 80 % of cases, were "
        "it and that spread the true ones:",
        "",
        "| GPUs | faster by | p | repeats of each to tell it |",
        "|---|---|---|---|",
        *(
            f"| {pair.chunks} against {pair.other} | x{pair.ratio:.2f} | {pair.p_of_part:.2f} / "
            f"{pair.p_of_seconds:.2f} | {repeats_to_tell(pair.chunks, pair.other)} |"
            for pair in pairs
        ),
        "",
        f"**Decided at 5 %**: {', '.join(decided) or 'no pair'}. "
        f"**Not decided**: {', '.join(undecided) or 'no pair'}.",
        "",
        *_gpu_second_lines(),
    ]
    return "\n".join(lines) + "\n"


def _fit_table(alone: Coefficients, both: Coefficients) -> list[str]:
    lines = [
        f"| parameter | the four (degrees of freedom: {alone.degrees}) | with the two runs of 180 frames "
        f"({both.degrees}) |",
        "|---|---|---|",
    ]
    for term, unit in (("startup_s", "s"), ("s_per_frame", "s"), ("join_s_per_chunk", "s")):
        lines.append(f"| `{term}` | {_shown(alone, term, unit)} | {_shown(both, term, unit)} |")
    held = [f"{100 * c.held_out_error:.0f} %" if c.held_out_error else "-" for c in (alone, both)]
    lines.append(f"| error on a configuration left out | {held[0]} | {held[1]} |")
    return lines


def _shown(c: Coefficients, term: str, unit: str) -> str:
    found = c.estimates[term]
    if found.low is None or found.high is None:
        return f"{found.value:.3g} {unit}, on its bound"
    return f"{found.value:.3g} {unit} ({found.low:.3g} to {found.high:.3g})"


def _named(terms: Sequence[str]) -> str:
    return ", ".join(f"`{term}`" for term in terms)


def _series_rows(alone: Coefficients, both: Coefficients) -> list[str]:
    rows = []
    for run in published().runs:
        if run.table != SERIES:
            continue
        found, wider = predict(alone, run.frames, run.chunks), predict(both, run.frames, run.chunks)
        interval = "-" if found.low is None else f"{found.low:.0f} to {found.high:.0f}"
        rows.append(
            f"| {run.chunks} | {run.wall_s:g} | {found.seconds:.0f} | {interval} | {wider.seconds:.0f} |"
        )
    return rows


def _gpu_second_lines() -> list[str]:
    """GPU-seconds cannot be more than GPUs x wall time; a fixed cost of each that explained the most would
    show in the wall time of fewer."""
    series = next(table for table in published().tables if table.id == SERIES)
    first, last = series.rows[0], series.rows[-1]
    fixed = (last[3] - first[3]) / (last[0] - first[0])
    four = next(row for row in series.rows if row[0] == 4)
    would = fixed + (first[3] - fixed) / four[0]
    shares = ", ".join(f"{row[3] / (row[0] * row[1]):.2f}" for row in series.rows)
    return [
        f"GPU-seconds ({', '.join(str(row[3]) for row in series.rows)}) are {shares} of GPUs x wall time and "
        f"were not measured. Were {last[3]} true, each GPU would have a fixed cost of {fixed:.0f} s; then "
        f"{four[0]} GPUs would need {would:.0f} s, and they took {four[1]:g} s. So the model is fitted to "
        f"wall time alone, and whether {last[0]} GPUs cost more than {four[0]} is not known from these runs.",
    ]


if __name__ == "__main__":
    from video_pipeline.costs.published_hardware import report as report_of_hardware

    print(report(), report_of_hardware(), sep="\n", end="")
