"""What the experiments ask of the product's tasks, and how their outputs are told apart.

Belongs here: requests on the bundled films, and digests of results. Does not belong here: which of them an
experiment runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.films import caption_region
from experiments.harness import Results, Step
from experiments.place import TENANT, Place
from video_pipeline import keys

ENCODING = {"crf": 20, "preset": "veryfast"}
"""Encoding is not what is asked about; the suite's own default, medium, takes three times the CPU."""

OUTPUT = {"output_width": 288, "output_height": 512, "fps": "30"}


def clip(task: str, source: str, *, gpu: str | None = None, **fields: Any) -> Step:
    """A call of a clip task on one source, under a clip of the run's own name."""
    variables: Mapping[str, str | None] = fields.pop("variables", {})

    def request(name: str) -> dict[str, Any]:
        asked = {"tenant_id": TENANT, "clip_id": name, "source_key": source, **fields}
        return asked if source else {key: value for key, value in asked.items() if key != "source_key"}

    return Step(task, request, gpu, variables)


def spotlight(seconds: float, *, scale: float = 1.0) -> dict[str, Any]:
    """Fields of a `render_overlay` with two spotlights over the whole film; `scale` of its full size."""
    times = [seconds * step / 4 for step in range(5)]
    regions = [
        {
            "start_time": 0,
            "end_time": seconds,
            "keyframes": [
                {
                    "time": time,
                    "x": scale * (left + 30 * step),
                    "y": scale * 250,
                    "radius_x": scale * 60,
                    "radius_y": scale * 110,
                }
                for step, time in enumerate(times)
            ],
        }
        for left in (250, 480)
    ]
    return {"highlight_regions": regions, "encoding": ENCODING}


def framing(seconds: float, *, start: float = 0.0, width: int = 270, scale: float = 1.0) -> dict[str, Any]:
    """Fields of a framed part of the sports film: a crop `width` pixels wide, 9 by 16, that moves."""
    height = width * 16 / 9
    return {
        "trim_start": start,
        "trim_end": start + seconds,
        "keyframes": [
            {
                "time": start + at * seconds,
                "x": scale * x,
                "y": scale * max(0.0, 248 - height / 2),
                "width": scale * width,
                "height": scale * height,
            }
            for at, x in ((0, 300), (0.5, 360), (1, 400))
        ],
    }


def framed(seconds: float, *, upscale: str = "never", **options: Any) -> dict[str, Any]:
    """`framing` with the size of the output, the network or not, and the encoder's settings."""
    return {**framing(seconds, **options), **OUTPUT, "upscale": upscale, "encoding": ENCODING}


def captions(task: str, source: str, **fields: Any) -> Step:
    """A call of a caption task on the street film, under a video of the run's own name."""

    def request(name: str) -> dict[str, Any]:
        crop = {} if task == "find_caption_layout" else {"crop_region": caption_region()}
        return {"video_key": source, "tenant_id": TENANT, "video_id": name, **crop, **fields}

    return Step(task, request)


def sample(sources: Sequence[str], gpu: str | None = None, **fields: Any) -> Step:
    """A call of `run_inference` on videos of the store, under a sample of the run's own name."""
    variables: Mapping[str, str | None] = fields.pop("variables", {})

    def request(name: str) -> dict[str, Any]:
        asked = {"num_batches": 4, "offset_max_seconds": None, **fields}
        return {"tenant_id": TENANT, "sample_id": name, "video_urls": list(sources), **asked}

    return Step("run_inference", request, gpu, variables)


def clip_hash(results: Results, place: Place) -> str | None:
    """The bytes of every clip or part that was made."""
    return " ".join(result["sha256"] for result in results)


def detections_hash(results: Results, place: Place) -> str | None:
    """Boxes, confidences and times; not where the pictures of them lie."""
    rows = [{**row, "picture_key": None} for result in results for row in result["frames"]]
    return keys.canonical_json(json.loads(json.dumps(rows), parse_float=str))


def predictions_hash(results: Results, place: Place) -> str | None:
    """Which frames, and their classes in order; confidences to four decimals."""
    rows = [row for result in results for row in result["frames"]]
    return json.dumps(
        [
            [row["pts"], *([top["label"], round(top["confidence"], 4)] for top in row["prediction"]["top"])]
            for row in rows
        ]
    )


def pass_hash(results: Results, place: Place) -> str | None:
    """The pictures of the chunks, byte for byte, and how the pairs were labelled."""
    told: list[object] = []
    for result in results:
        manifest = json.loads(place.store.get(result["chunks"]["manifest_key"]))
        told.append([_hashes(manifest), result["label_counts"], result["frame_count"]])
    return json.dumps(told, sort_keys=True)


def layout_hash(results: Results, place: Place) -> str | None:
    """Where captions stand, and from how many moments."""
    return json.dumps([[result[name] for name in ("found", "crop_region", "moments")] for result in results])


def captions_hash(results: Results, place: Place) -> str | None:
    """How many captions there are, what the first of them say and when, and how sure their bounds are."""
    told = ("caption_count", "with_text", "unread", "least_certain", "preview")
    return json.dumps([[result[name] for name in told] for result in results], sort_keys=True)


def _hashes(manifest: Mapping[str, Any]) -> list[str]:
    return [item["sha256"] for item in manifest["objects"]]
