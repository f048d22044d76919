"""Making `data/thresholds.json` from coefficients.

    python -m video_pipeline.costs.thresholds

Belongs here: the rules by which tables follow from coefficients. Does not belong here: reading them
(`plan.py`). It is run again when coefficients or prices change; a test holds the file against it.
"""

from __future__ import annotations

from pathlib import Path

from video_pipeline.costs.plan import (
    COUNTS,
    DEARER_BY,
    MOST_FRAMING,
    BreakEven,
    Plan,
    Row,
    ThresholdTable,
    auto_chunks,
    break_even,
    description,
)
from video_pipeline.costs.predict import Coefficients
from video_pipeline.costs.published import published, published_fit
from video_pipeline.costs.rates import framing_rates
from video_pipeline.media.h264 import segment_frames

FILE = Path(__file__).with_name("data") / "thresholds.json"

RATE = 30
LONGEST_S = 600
DIGITS = 6
"""Of each number in the file: least squares differ in the last ones between machines."""


def published_coefficients() -> Coefficients:
    """Of framing on a T4, with today's segments and prices, rounded."""
    fitted = published_fit().coefficients.model_copy(
        update={"segment_frames": segment_frames_at(RATE), "rates": framing_rates("T4")}
    )
    return Coefficients.model_validate(_rounded(fitted.model_dump(mode="json")))


def segment_frames_at(rate: int) -> int:
    from fractions import Fraction

    return segment_frames(Fraction(rate))


def framing_table(c: Coefficients) -> ThresholdTable:
    """The fastest count that costs at most 20 % more than one call, and the fewest that the model cannot tell
    from it.

    Counts are looked at second by second of video; a clip gets more chunks from the first length from which
    on all longer ones do."""
    chosen = [_count(c, seconds) for seconds in range(1, LONGEST_S + 1)]
    for number in range(len(chosen) - 2, -1, -1):
        chosen[number] = min(chosen[number], chosen[number + 1])
    rows: list[Row] = []
    for seconds, count in enumerate(chosen, 1):
        after = chosen[seconds] if seconds < len(chosen) else None
        if after != count:
            below = None if after is None else float(seconds + 1)
            rows.append(Row(below_s=below, chunks=count, description=description(count)))
    first, last = c.frames_range
    return ThresholdTable(
        rows=tuple(rows),
        task="process_framing_ai_parallel",
        rule=(
            f"the fastest of {_listed(c)} chunks that costs at most {100 * DEARER_BY:.0f} % more than one, "
            "and the fewest of those whose mean times the model cannot tell apart"
        ),
        notes=(
            f"measured were {first} to {last} frames, {first / RATE:.0f} to {last / RATE:.0f} s: all else is "
            "the model's",
            f"never more than {MOST_FRAMING}: the one published run with 8 was slower than the one with 4",
        ),
    )


def overlay_table() -> ThresholdTable:
    """One call at every length: no number of chunks can be reckoned from one usable run, the published one
    with four cost three to four times as much, and no task makes an overlay in chunks."""
    usable = [run for run in published().runs if run.usable and run.task == "render_overlay"]
    return ThresholdTable(
        rows=(Row(below_s=None, chunks=1, description=description(1)),),
        task="render_overlay",
        rule="one call, for lack of a model that says otherwise",
        notes=(
            f"{len(usable)} usable run determines no model; the published one with 4 GPUs took about 20 s "
            "instead of 47.6 s and cost 3 to 4 times as much",
            "no task makes an overlay in chunks",
        ),
    )


def make_plan() -> Plan:
    c = published_coefficients()
    points: list[BreakEven] = [
        break_even(c, count, rate=RATE, by=by, longest_s=LONGEST_S)
        for by in ("time", "usd")
        for count in COUNTS[1:]
    ]
    return Plan(
        made_by="python -m video_pipeline.costs.thresholds",
        framing_ai=framing_table(c),
        overlay=overlay_table(),
        coefficients=(c,),
        break_even=tuple(points),
    )


def render() -> str:
    """The file's text."""
    return make_plan().model_dump_json(indent=1) + "\n"


def _count(c: Coefficients, seconds: int) -> int:
    chosen = auto_chunks(c, seconds * RATE).chunks
    return max(count for count in COUNTS if count <= chosen)


def _listed(c: Coefficients) -> str:
    return ", ".join(str(count) for count in COUNTS if count <= min(MOST_FRAMING, c.chunks_range[1]))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def main() -> int:
    FILE.write_text(render(), encoding="utf-8")
    print(f"wrote {FILE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
