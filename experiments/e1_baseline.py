"""E1: what every function of the table of tasks takes on a standard clip."""

from __future__ import annotations

import sys
from collections.abc import Callable

from experiments import requests
from experiments.films import SPORT, STREET, sport_of, street_of
from experiments.harness import Experiment, Options, Results, Step, Work, main
from experiments.place import Place

NETWORK_WIDTH = 72
"""Pixels of the crops that the network enlarges: two cores take a quarter of a second for 72x128."""


def experiment(place: Place, options: Options) -> Experiment:
    seconds, enlarged = (0.4, 0.1) if options.quick else (4.0, 0.8)
    sport = place.put(sport_of(place.folder, 1.0) if options.quick else SPORT)
    street = place.put(street_of(place.folder, 6.0) if options.quick else STREET)
    whole = seconds if not options.quick else 1.0
    caption_pass = requests.captions("crop_and_infer_caption_frame_extents", street, frame_rate="10")
    clips = [{**requests.framing(seconds / 2, start=at * seconds / 2), "source_key": sport} for at in (0, 1)]
    named = [
        {
            "source_key": sport,
            "start": at * seconds / 2,
            "end": (at + 1) * seconds / 2,
            "name": f"Part {at + 1}",
        }
        for at in (0, 1)
    ]
    network = requests.framed(enlarged, width=NETWORK_WIDTH, upscale="auto")
    works = [
        _captions("crop_and_infer_caption_frame_extents", caption_pass, requests.pass_hash),
        _captions(
            "find_caption_layout", requests.captions("find_caption_layout", street), requests.layout_hash
        ),
        Work(
            name="read_captions",
            what="captions of 42 s of 640x360 from their extents, with text",
            steps=[requests.captions("read_captions", street, chunks=True)],
            before=[caption_pass],
            equal_outputs="read_captions",
            output=requests.captions_hash,
            values=lambda results: {"captions": results[0]["caption_count"]},
        ),
        Work(
            name="run_inference",
            what="4 random frames of each of two videos of the store",
            steps=[requests.sample([sport, street])],
            equal_outputs="predictions",
            output=requests.predictions_hash,
        ),
        _clip(
            "extract_clip",
            requests.clip("extract_clip", sport, start=0.1, end=seconds - 0.1, encoding=requests.ENCODING),
        ),
        _clip("render_overlay", requests.clip("render_overlay", sport, **requests.spotlight(whole))),
        _clip("process_framing_ai", requests.clip("process_framing_ai", sport, **network)),
        _clip(
            "process_framing_ai_chunk",
            requests.clip(
                "process_framing_ai_chunk", sport, **network, start_frame=0, end_frame=round(30 * enlarged)
            ),
        ),
        _clip(
            "process_framing_ai_parallel",
            requests.clip("process_framing_ai_parallel", sport, **requests.framed(seconds), num_chunks=2),
        ),
        _clip(
            "process_multi_clip",
            requests.clip(
                "process_multi_clip",
                "",
                clips=clips,
                upscale="never",
                encoding=requests.ENCODING,
                **requests.OUTPUT,
            ),
        ),
        _clip(
            "create_annotated_compilation",
            requests.clip("create_annotated_compilation", "", clips=named, encoding=requests.ENCODING),
        ),
        _detection("detect_players", requests.clip("detect_players", sport, time=0.2)),
        _detection(
            "detect_players_batch", requests.clip("detect_players_batch", sport, rate="4", draw=False)
        ),
        Work(name="probe", what="the worker's machine", steps=[Step("probe", lambda name: {"nonce": name})]),
    ]
    return Experiment("e1_baseline", "What does every function take on a standard clip?", works)


def _clip(task: str, step: Step) -> Work:
    return Work(
        name=task,
        what=f"{WHAT[task]}, of the 4 s of 884x496 sports film",
        steps=[step],
        equal_outputs=task,
        output=requests.clip_hash,
        values=lambda results: {"enlarged_frames": results[0].get("enlarged_frames")},
    )


WHAT = {
    "extract_clip": "3.8 s cut and encoded",
    "render_overlay": "all under two spotlights",
    "process_framing_ai": f"0.8 s from a crop of {NETWORK_WIDTH} pixels, each enlarged by the network",
    "process_framing_ai_chunk": "the same as a part",
    "process_framing_ai_parallel": "all re-framed without the network, in two calls",
    "process_multi_clip": "two halves re-framed without the network, and joined",
    "create_annotated_compilation": "two halves with their names written over them",
    "detect_players": "the people in one frame",
    "detect_players_batch": "the people in 4 frames a second",
}


def _detection(task: str, step: Step) -> Work:
    return Work(
        name=task,
        what=f"{WHAT[task]} of the 4 s of 884x496 sports film",
        steps=[step],
        equal_outputs=task,
        output=requests.detections_hash,
        values=lambda results: {"detections": results[0]["detections"]},
    )


def _captions(task: str, step: Step, output: Callable[[Results, Place], str | None]) -> Work:
    what = "find where captions stand" if task == "find_caption_layout" else "extents and chunks at 10 Hz"
    return Work(
        name=task,
        what=f"{what}, of 42 s of 640x360",
        steps=[step],
        equal_outputs=task,
        output=output,
    )


if __name__ == "__main__":
    sys.exit(main("e1_baseline"))
