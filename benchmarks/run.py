"""`make bench`: every figure with its target, in one table; exits 1 where one falls short.

    python -m benchmarks.run [FAMILY ...]

Families: decode, encode_and_infer, caption_pass, caption_hour, orchestration, sampling, clips,
chunk_choice, operations. Results go to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.harness import Figure, machine, table, write_results
from video_pipeline.models.cpu_threads import sleep_while_waiting

FAMILIES = (
    "decode",
    "encode_and_infer",
    "caption_pass",
    "caption_hour",
    "orchestration",
    "sampling",
    "clips",
    "operations",
    "chunk_choice",
)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []], default=[], metavar="FAMILY")
    sleep_while_waiting()
    wanted = parser.parse_args(argv).families or list(FAMILIES)
    facts = machine()
    figures: list[Figure] = []
    for family in wanted:
        print(f"measuring {family} …", file=sys.stderr, flush=True)
        made = importlib.import_module(f"benchmarks.{family}").measure()
        write_results(family, made, facts)
        print(table(made), file=sys.stderr, flush=True)
        figures += made
    print(f"{facts['cpu']}, {facts['cores']} cores, load {facts['load_average_at_start']} at the start")
    print(table(figures))
    return report(figures)


def report(figures: list[Figure]) -> int:
    """The exit code: 1 if any figure falls short, each named."""
    short = [figure.what for figure in figures if not figure.holds]
    for what in short:
        print(f"falls short: {what}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
