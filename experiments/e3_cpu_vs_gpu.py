"""E3: the same work on a CPU and on a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from experiments import gpus, requests
from experiments.films import SPORT, STREET, sport_of, street_of
from experiments.harness import Experiment, Options, Results, Step, Work, main
from experiments.place import Place
from experiments.schema import Comparison, NotTested

Digest = Callable[[Results, Place], str | None]

GPU_TASKS = (
    "process_framing_ai",
    "detect_players_batch",
    "run_inference",
    "crop_and_infer_caption_frame_extents",
)


def experiment(place: Place, options: Options) -> Experiment:
    """The CPU runs are this machine's; on Modal every task runs where the table puts it, and a function that
    has a GPU cannot be called without."""
    sport = place.put(sport_of(place.folder, 1.0) if options.quick else SPORT)
    street = place.put(street_of(place.folder, 6.0) if options.quick else STREET)
    seconds = 0.1 if options.quick else 0.8
    network = requests.framed(seconds, width=72, upscale="auto")
    steps: dict[str, tuple[str, Step, Digest]] = {
        "process_framing_ai": (
            f"{seconds} s from a crop 72 pixels wide, every frame through the network",
            requests.clip("process_framing_ai", sport, **network),
            requests.clip_hash,
        ),
        "detect_players_batch": (
            "the people in 8 frames a second of 4 s",
            requests.clip("detect_players_batch", sport, rate="8", draw=False),
            requests.detections_hash,
        ),
        "run_inference": (
            "16 frames of two videos of the store",
            requests.sample([sport, street], num_batches=8),
            requests.predictions_hash,
        ),
        "crop_and_infer_caption_frame_extents": (
            "extents of 42 s at 10 Hz, without chunks",
            requests.captions(
                "crop_and_infer_caption_frame_extents",
                street,
                stages=["cropped_frames", "caption_frame_extents"],
            ),
            _labels,
        ),
        "render_overlay": (
            "all 4 s under two spotlights",
            requests.clip("render_overlay", sport, **requests.spotlight(1.0 if options.quick else 4.0)),
            requests.clip_hash,
        ),
    }
    works, comparisons, missing = [], [], []
    absent = gpus.absent(place)
    for task, (what, step, digest) in steps.items():
        on_cpu = place.on_this_machine or task not in GPU_TASKS
        if on_cpu:
            variables = gpus.NO_GPU if place.on_this_machine else {}
            works.append(_work(f"{task}_cpu", what, replace(step, variables=variables), "CPU", digest))
        else:
            missing.append(NotTested(what=f"{task} on a CPU", reason="the deployed function has a GPU"))
        if task not in GPU_TASKS:
            missing.append(NotTested(what=f"{task} on a GPU", reason="the task has nothing that runs on one"))
        elif absent is not None:
            missing.append(NotTested(what=f"{task} on a GPU", reason=absent))
        else:
            works.append(_work(f"{task}_gpu", what, step, "GPU", digest))
            comparisons += [Comparison(name=f"{task}_gpu", baseline=f"{task}_cpu")] if on_cpu else []
    return Experiment(
        "e3_cpu_vs_gpu",
        "Which functions gain from a GPU, on the same work?",
        works,
        comparisons,
        missing,
        notes=["Outputs are compared among runs on one kind of device: GPUs round differently."],
    )


def _work(name: str, what: str, step: Step, hardware: str, digest: Digest) -> Work:
    return Work(
        name=name,
        what=what,
        steps=[step],
        hardware=hardware,
        equal_outputs=name,
        output=digest,
        values=_device,
    )


def _device(results: Results) -> dict[str, Any]:
    return {"device": results[0]["device"]} if "device" in results[0] else {}


def _labels(results: Results, place: Place) -> str | None:
    return str([(result["frame_count"], sorted(result["label_counts"].items())) for result in results])


if __name__ == "__main__":
    sys.exit(main("e3_cpu_vs_gpu"))
