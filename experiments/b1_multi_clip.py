"""B1: many clips in one container, against a container for each."""

from __future__ import annotations

import sys

from experiments import requests
from experiments.films import SPORT
from experiments.harness import Experiment, Options, Work, main
from experiments.place import Place
from experiments.schema import Comparison
from video_pipeline.wording import counted

LENGTH = 0.2
"""Seconds of each clip: 6 frames, each enlarged by the network, so that loading it counts."""


def experiment(place: Place, options: Options) -> Experiment:
    sport = place.put(SPORT)
    numbers = (1, 2) if options.quick else (1, 2, 4)
    works, comparisons = [], []
    for number in numbers:
        parts = [requests.framing(LENGTH, start=0.4 * part, width=72) for part in range(number)]
        shared = {**requests.OUTPUT, "upscale": "auto", "encoding": requests.ENCODING}
        each = [requests.clip("process_framing_ai", sport, **part, **shared) for part in parts]
        together = requests.clip(
            "process_multi_clip", "", clips=[{**part, "source_key": sport} for part in parts], **shared
        )
        works += [
            Work(
                name=f"one_call_{number}",
                what=f"{counted(number, 'part')} of {LENGTH} s in one call, joined",
                steps=[together],
                equal_outputs=f"{number} joined",
                output=requests.clip_hash,
                facts={"clips": float(number)},
            ),
            Work(
                name=f"one_each_{number}",
                what=f"the same {counted(number, 'part')} in a call each, one after the other, not joined",
                steps=each,
                equal_outputs=f"{number} apart",
                output=requests.clip_hash,
                facts={"clips": float(number)},
            ),
        ]
        comparisons += [
            Comparison(name=f"one_call_{number}", baseline=f"one_each_{number}", measure=measure)
            for measure in ("wall_s", "machine_s", "usd")
        ]
    return Experiment(
        "b1_multi_clip",
        "Is one container for many clips cheaper than one for each?",
        works,
        comparisons,
        notes=[
            "Clips of a call each are not joined afterwards: their figures are at best.",
            "On Modal a warm container saves a later call its start and may hold the network already.",
        ],
    )


if __name__ == "__main__":
    sys.exit(main("b1_multi_clip"))
