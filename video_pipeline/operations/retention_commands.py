"""`video-pipeline retention`: the arguments and what is printed.

Belongs here: parsing and printing. Does not belong here: what is removed (`retention`).
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from video_pipeline.operations.retention_report import RetentionReport


def add_retention_commands(commands: Any) -> None:
    retention = commands.add_parser("retention", help="what is old and referred to by nothing")
    actions = retention.add_subparsers(required=True, metavar="ACTION")
    for name, remove, text in (
        ("list", False, "show what could be removed; changes nothing"),
        (
            "remove",
            True,
            "remove it; of finished recipes the manifest first, the objects an hour later",
        ),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--tenant", default=None, help="default: every tenant of the store")
        action.add_argument(
            "--older-than", type=float, default=30.0, metavar="DAYS", help="default 30, at least 1"
        )
        action.add_argument(
            "--partial-older-than",
            type=float,
            default=None,
            metavar="HOURS",
            help="age of what was begun and never finished; default as --older-than, at least 1 hour",
        )
        action.set_defaults(run=_retention, remove=remove)


def _retention(arguments: argparse.Namespace) -> int:
    from video_pipeline.operations.retention import clean, survey
    from video_pipeline.operations.retention_report import limits_of
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    limits = limits_of(arguments.older_than, arguments.partial_older_than)
    store = open_store(load_settings())
    if arguments.remove:
        report = clean(store, limits, tenant=arguments.tenant, on_progress=_progress)
    else:
        report = survey(store, limits, tenant=arguments.tenant)
    print("\n".join(lines_of(report)))
    return 1 if report.failed else 0


def _progress(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        print(f"{done} of {total}", file=sys.stderr)


def lines_of(report: RetentionReport) -> list[str]:
    """The report for a terminal."""
    lines = [f"{'kind':24} {'units':>7} {'objects':>8} {'MB':>10} {'oldest':>10}" + "  done" * report.removed]
    for row in report.kinds:
        oldest = f"{row.oldest:%Y-%m-%d}" if row.oldest else "-"
        line = f"{row.kind:24} {row.units:7} {row.objects:8} {row.bytes / 1e6:10.1f} {oldest:>10}"
        lines.append(line + f"{row.done:6}" * report.removed)
        lines += [f"    {key}" for key in row.sample]
        if row.units:
            lines.append(f"    costs: {row.cost}")
    if report.computed_s:
        lines.append(
            f"computing all results of these calls again: {report.computed_s / 3600:.2f} hours of work"
        )
    for title, told in (
        ("put back", report.restored),
        ("held back", report.held_back),
        ("failed", report.failed),
        ("note", report.notes),
    ):
        lines += [f"{title}: {text}" for text in told]
    lines.append(report.next_step())
    return lines
