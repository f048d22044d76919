"""E7: one clip in one call against 2, 4 and 8 side by side, framing and overlay."""

from __future__ import annotations

import sys

from experiments import gpus, requests
from experiments.films import sport_of
from experiments.harness import Experiment, Options, Work, main
from experiments.place import Place
from experiments.schema import Comparison

COUNTS = (2, 4, 8)
NETWORK_WIDTH = 153
"""Pixels of the crops where there is a GPU, as in E6 there: narrower than what comes out."""


def experiment(place: Place, options: Options) -> Experiment:
    """Where calls have a GPU each frame goes through the network, for which alone it pays to have several.
    Chunks are whole segments of two seconds, so 8 chunks need 16 s. The overlay is not made in chunks by
    the product; films of a half, a fourth and an eighth of its length tell what its chunks would take."""
    seconds = 4.0 if options.quick else 16.0
    counts = (2,) if options.quick else COUNTS
    whole = place.put(sport_of(place.folder, seconds))
    through_network = gpus.absent(place) is None
    network = {"width": NETWORK_WIDTH, "upscale": "auto"} if through_network else {}
    fields = requests.framed(seconds, **network)
    how = "through the network" if through_network else "without the network"
    works = [
        Work(
            name="framing_sequential",
            what=f"{seconds:g} s re-framed {how}, in one call",
            steps=[requests.clip("process_framing_ai", whole, **fields)],
            equal_outputs="framed clip",
            output=requests.clip_hash,
        )
    ]
    works += [
        Work(
            name=f"framing_{count}_chunks",
            what=f"the same in {count} calls, joined",
            steps=[requests.clip("process_framing_ai_parallel", whole, **fields, num_chunks=count)],
            equal_outputs="framed clip",
            output=requests.clip_hash,
            chunks=count,
        )
        for count in counts
    ]
    for count in (1, *counts):
        length = seconds / count
        film = place.put(sport_of(place.folder, length))
        part = "all" if count == 1 else f"1/{count}"
        works.append(
            Work(
                name="overlay_sequential" if count == 1 else f"overlay_piece_of_{count}",
                what=f"{part} of {seconds:g} s under two spotlights, in one call",
                steps=[requests.clip("render_overlay", film, **requests.spotlight(length))],
                equal_outputs=f"overlay of {length:g} s",
                output=requests.clip_hash,
                facts={"pieces": float(count)},
            )
        )
    measures = ("wall_s", "machine_s", "usd")
    return Experiment(
        "e7_parallel",
        "When do several calls side by side pay, in time and in money?",
        works,
        [
            Comparison(name=f"framing_{count}_chunks", baseline="framing_sequential", measure=measure)
            for count in counts
            for measure in measures
        ],
        notes=[
            "All framed clips must have the same bytes, however many calls made them.",
            "On one machine chunks share its cores, as many at a time as it has: more chunks than cores show "
            "what they cost, not what they could gain on machines of their own.",
        ],
    )


if __name__ == "__main__":
    sys.exit(main("e7_parallel"))
