"""`video-pipeline ledger`: what calls took and cost, attempt by attempt.

Belongs here: arguments and what is printed. Does not belong here: the table (`ledger`), what calls will cost
(`commands`).
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from video_pipeline.costs.stored import Frame
from video_pipeline.errors import BadInput
from video_pipeline.wording import counted

SHOWN = 40
"""Attempts that are printed; a CSV has them all."""


def add_ledger_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of the program."""
    ledger = commands.add_parser("ledger", help="what calls took and cost, attempt by attempt")
    ledger.add_argument("--task")
    ledger.add_argument("--since", type=_day, metavar="YYYY-MM-DD", help="claimed on this day (UTC) or later")
    ledger.add_argument("--csv", type=Path, metavar="FILE", help="write all columns of all of them here")
    ledger.set_defaults(run=run_ledger)


def run_ledger(arguments: argparse.Namespace) -> int:
    """Prints the newest attempts and sums; with `--csv` writes all of them."""
    from video_pipeline.costs.ledger import load
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    rows: Frame = load(open_store(load_settings()))
    if arguments.task is not None:
        known = sorted(rows["task"].unique())
        if arguments.task not in known:
            raise BadInput(
                f"the ledger has no call of {arguments.task!r}",
                input="--task",
                what_to_do=f"it has {', '.join(known) or 'no call at all'}",
            )
        rows = rows[rows["task"] == arguments.task]
    if arguments.since is not None:
        rows = rows[rows["started_at"] >= arguments.since]
    if arguments.csv is not None:
        write_text(arguments.csv, rows.to_csv(index=False))
    print("\n".join(_ledger_lines(rows)))
    return 0


def write_text(path: Path, text: str) -> None:
    """Writes a file that a person has named, and says so. `BadInput` if it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write: {error}", input=str(path), what_to_do="name another file") from None
    print(f"wrote {path}", file=sys.stderr)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2026-01-31") from None


def _ledger_lines(rows: Frame) -> list[str]:
    if not len(rows):
        return ["no attempts"]
    lines = [
        f"{'claimed (UTC)':19}  {'task':36}  {'ended':13}  {'seconds':>8}  {'foretold':>8}  "
        f"{'frames':>7}  {'chunks':>6}  {'USD':>8}  {'on Modal':>8}  call"
    ]
    for row in rows.tail(SHOWN).to_dict("records"):
        ended = "ok" if row["status"] == "ok" else row["error_kind"] or "error"
        usd, on_modal = _or_dash(row["usd"], ".4f"), _or_dash(row["usd_on_modal"], ".4f")
        frames, chunks = _or_dash(row["frames"], ".0f"), _or_dash(row["chunks"], ".0f")
        foretold = _or_dash(row["predicted_s"], ".1f")
        lines.append(
            f"{row['started_at']:%Y-%m-%d %H:%M:%S}  {row['task'][:36]:36}  {ended:13}  {row['wall_s']:>8.1f}"
            f"  {foretold:>8}  {frames:>7}  {chunks:>6}  {usd:>8}  {on_modal:>8}  {row['key'][:12]}"
        )
    failed = int((rows["status"] != "ok").sum())
    hidden = f", the newest {SHOWN} of them shown" if len(rows) > SHOWN else ""
    attempts = counted(len(rows), "attempt")
    local = rows[rows["backend"] == "local"]
    elsewhere = (
        " `on Modal` prices the seconds of local calls at Modal's rates: "
        f"{local['usd_on_modal'].sum():.4f} USD in all, no forecast."
        if len(local)
        else ""
    )
    lines += [
        "",
        f"{attempts}{hidden}, {failed} of which failed: {rows['machine_s'].sum():.0f} machine seconds, "
        f"{rows['usd'].sum():.4f} USD paid.{elsewhere}",
        f"Prices of {', '.join(sorted(rows['prices_as_of'].dropna().unique()))}.",
    ]
    return lines


def _or_dash(value: Any, form: str) -> str:
    import pandas as pd

    return "-" if pd.isna(value) else format(float(value), form)
