"""Profile: 5, 30 and 120 s of video through overlay, framing and extraction."""

from __future__ import annotations

import sys

from experiments import requests
from experiments.films import small_sport_of
from experiments.harness import Experiment, Options, Work, main
from experiments.place import Place

LENGTHS = (5.0, 30.0, 120.0)
SCALE = 320 / 884
ENLARGED = 0.5
"""Seconds that go through the network, which takes hundreds of times as long for a frame on a CPU."""


def experiment(place: Place, options: Options) -> Experiment:
    """The films are 320x180, so that two cores do 120 s in seconds."""
    lengths = (1.0,) if options.quick else LENGTHS
    works = []
    for length in lengths:
        film = place.put(small_sport_of(place.folder, length))
        told = f"{length:g}_s"
        cut = {"start": 0.1, "end": length - 0.1, "encoding": requests.ENCODING}
        lit = requests.spotlight(length, scale=SCALE)
        framed = requests.framed(length, scale=SCALE)
        steps = {
            "extract": ("cut and encoded, all but 0.2 s", requests.clip("extract_clip", film, **cut)),
            "overlay": ("under two spotlights", requests.clip("render_overlay", film, **lit)),
            "framing": (
                "re-framed to 288x512 without the network",
                requests.clip("process_framing_ai", film, **framed),
            ),
        }
        works += [
            Work(
                name=f"{kind}_{told}",
                what=f"{length:g} s of 320x180 {what}",
                steps=[step],
                equal_outputs=f"{kind} {told}",
                output=requests.clip_hash,
                facts={"video_seconds": length},
            )
            for kind, (what, step) in steps.items()
        ]
    film = place.put(small_sport_of(place.folder, lengths[0]))
    enlarged = 0.1 if options.quick else ENLARGED
    fields = requests.framed(enlarged, width=72, scale=SCALE, upscale="auto")
    works.append(
        Work(
            name="framing_network",
            what=f"{enlarged:g} s re-framed from a crop 26 pixels wide, through the network",
            steps=[requests.clip("process_framing_ai", film, **fields)],
            equal_outputs="framing network",
            output=requests.clip_hash,
            values=lambda results: {"enlarged_frames": results[0]["enlarged_frames"]},
            facts={"video_seconds": enlarged},
        )
    )
    return Experiment(
        "profile", "How does time grow with the length of a video, and where does it go?", works
    )


if __name__ == "__main__":
    sys.exit(main("profile"))
