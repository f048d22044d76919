"""E2: whether frames are read right: their count, their timestamps, and which one a moment shows."""

from __future__ import annotations

import importlib.util
import sys
from typing import get_args

from experiments.films import SPORT, awkward
from experiments.harness import Experiment, Options, Results, Step, Work, main
from experiments.place import TENANT, Place
from experiments.reading_task import Reader
from experiments.schema import NotTested
from experiments.tasks import READING

NEEDS = {"opencv_by_number": "cv2", "opencv_by_time": "cv2", "ffmpeg_program": "imageio_ffmpeg"}
WHAT = {
    "clip_source": "the product's reader",
    "ffmpeg_program": "the ffmpeg program with -ss, a process for each picture",
    "opencv_by_number": "OpenCV, to the picture whose number is time x average rate",
    "opencv_by_time": "OpenCV, to a time in milliseconds",
}


def experiment(place: Place, options: Options) -> Experiment:
    made = awkward(place.folder)
    films = {name: place.put(path) for name, path in made.items()}
    if options.quick:
        films = {name: films[name] for name in ("cfr", "vfr")}
    else:
        films["bundled-sport"] = place.put(SPORT)
    readers: tuple[Reader, ...] = get_args(Reader)
    here: list[Reader] = [reader for reader in readers if _is_here(reader, place)]
    return Experiment(
        "e2_frame_reading",
        "Does every reader give the picture that is shown at a moment, and count right?",
        [_work(reader, films, 3 if options.quick else 12) for reader in here],
        not_tested=[
            NotTested(what=WHAT[reader], reason=f"{NEEDS[reader]} is not installed on this machine")
            for reader in readers
            if reader not in here
        ],
        notes=[
            "Moments are drawn evenly over each film, never on a timestamp itself. What is right was found "
            "by decoding the whole film in order.",
            "The product's reader was also asked for parts: all their pictures and timestamps were compared.",
        ],
    )


def _is_here(reader: Reader, place: Place) -> bool:
    """On Modal the images say what there is: a reader they lack is a run that failed, with the reason."""
    needed = NEEDS.get(reader)
    return not place.on_this_machine or needed is None or importlib.util.find_spec(needed) is not None


def _work(reader: Reader, films: dict[str, str], moments: int) -> Work:
    def request(name: str) -> dict[str, object]:
        # The same moments in every repeat: equal answers are part of what is asked.
        return {"tenant_id": TENANT, "name": name, "reader": reader, "films": films, "moments": moments}

    return Work(
        name=reader,
        what=WHAT[reader],
        steps=[Step(READING, request)],
        equal_outputs=f"answers of {reader}",
        output=lambda results, place: str(_answers(results)),
        values=_answers,
        facts={"films": float(len(films)), "moments in each": float(moments)},
    )


def _answers(results: Results) -> dict[str, float | str | bool | None]:
    told: dict[str, float | str | bool | None] = {}
    for film, reading in results[0]["films"].items():
        later = f" ({reading['one_later']} one later)" if reading["one_later"] else ""
        told[f"{film}: moments right"] = f"{reading['right']} of {reading['asked']}{later}"
        told[f"{film}: pictures counted"] = f"{reading['counted']} of {reading['pictures']}"
        if reading["ranges"]:
            told[f"{film}: parts right"] = f"{reading['ranges_right']} of {reading['ranges']}"
    return told


if __name__ == "__main__":
    sys.exit(main("e2_frame_reading"))
