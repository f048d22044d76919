"""Every experiment, one after the other, and then FINDINGS.md with its plots.

    python -m experiments.run_all [--compute local|modal] [--repeats 3] [--only e1_baseline ...]

About a quarter of an hour on two idle cores. Nothing else should run on the machine: the load at the start of
each run is in the results.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from experiments import findings
from experiments.harness import main as run_one

EXPERIMENTS = (
    "e1_baseline",
    "e2_frame_reading",
    "e3_cpu_vs_gpu",
    "e6_gpu_comparison",
    "e7_parallel",
    "b1_multi_clip",
    "profile",
    "fan_out_overhead",
)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 1 if any experiment had a failed run or unequal outputs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--compute", choices=["local", "modal"])
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), metavar="EXPERIMENT"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: no results are written")
    asked = parser.parse_args(argv)
    options = ["--seed", str(asked.seed)]
    options += ["--compute", asked.compute] if asked.compute else []
    options += ["--repeats", str(asked.repeats)] if asked.repeats is not None else []
    options += ["--quick"] if asked.quick else []
    worst = 0
    for name in asked.only:
        began = time.monotonic()
        worst = max(worst, run_one(name, options))
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if not asked.quick:
        findings.write()
    return worst


if __name__ == "__main__":
    sys.exit(main())
