"""What fanning out costs by itself: calls that do nothing, 1, 2, 4 and 8 of them."""

from __future__ import annotations

import sys

from experiments.harness import Experiment, Options, Results, Step, Work, main
from experiments.place import TENANT, Place
from experiments.tasks import FAN_OUT, TRIVIAL
from video_pipeline.wording import counted

COUNTS = (1, 2, 4, 8)


def experiment(place: Place, options: Options) -> Experiment:
    counts = (1, 2) if options.quick else COUNTS
    works = [
        Work(
            name="no_fan_out",
            what="one call that does nothing",
            steps=[Step(TRIVIAL, lambda name: {"tenant_id": TENANT, "name": name})],
        ),
        *(_work(count) for count in counts),
    ]
    return Experiment(
        "fan_out_overhead",
        "What does a fan-out cost before any work is done in it?",
        works,
        notes=["`fan_out_s` is from the first submission to the last result, inside the orchestrating call."],
    )


def _work(count: int) -> Work:
    return Work(
        name=f"fan_out_{count}",
        what=f"a call that starts {counted(count, 'call')} that {'does' if count == 1 else 'do'} nothing",
        steps=[Step(FAN_OUT, lambda name: {"tenant_id": TENANT, "name": name, "children": count})],
        values=_fan_out_s,
        chunks=count,
    )


def _fan_out_s(results: Results) -> dict[str, float | str | bool | None]:
    return {"fan_out_s": results[0]["fan_out_s"]}


if __name__ == "__main__":
    sys.exit(main("fan_out_overhead"))
