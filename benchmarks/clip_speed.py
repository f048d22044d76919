"""How fast clips are made: against bare decoding and encoding, and against the script one writes first.

Belongs here: figures of time. Does not belong here: whether the pictures are right (`clip_truth`).

Both sides of a figure read the same 1080p film, encode with the same settings and write pictures of one size
and no sound. Wall time is what users wait for; CPU time is beside it, because it says more where other work
shares the machine.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from benchmarks.clip_desk import Desk, desk
from benchmarks.clip_media import sport_1080p
from benchmarks.clip_peers import RecordedNetwork, plain_script, transcode, transcode_by_ffmpeg
from benchmarks.harness import Cost, Figure, figure_of, interleaved, ratios
from video_pipeline.media.h264 import H264Settings

LOADER = "video_pipeline.models.upscaler.load_upscaler"
REPEATS = 3
CLOSE_REPEATS = 7
"""Of a ratio near its target: single runs lie up to a third apart where a neighbour shares the processor, and
the median of three moved by a tenth."""
SETTINGS = H264Settings()
FRAMED = 180
"""Output frames of a framed clip: six seconds, three whole GOPs of the film. A clip also pays 0.17 s once,
most of it because its source is opened twice, for its facts and for its pictures: 0.07 of the bare loop's
time for two seconds. The enlarged pictures take 14 MB each."""
PAN = (300.0, 900.0)
"""The crop's left edge, in pixels of the film, at its first and its last moment."""


def measure() -> list[Figure]:
    with desk() as place, tempfile.TemporaryDirectory() as folder:
        return [*_overlay(place, Path(folder)), *_framing(place, Path(folder))]


def _overlay(place: Desk, folder: Path) -> list[Figure]:
    """`render_overlay` from request to manifest (check and upload are in it) over the bare loop."""
    film, key, number = sport_1080p(), place.put(sport_1080p()), itertools.count()

    def ours() -> None:
        place.run("render_overlay", f"overlay-{next(number)}", source_key=key, highlight_regions=_regions())

    costs = interleaved(
        REPEATS,
        ours=ours,
        bare=lambda: transcode(film, folder / "bare.mp4", SETTINGS),
        ffmpeg=lambda: transcode_by_ffmpeg(film, folder / "ffmpeg.mp4", SETTINGS),
    )
    return [
        *_figures("overlay 1080p: speed of bare decode + encode", 0.85, costs, "bare", "ours", "higher"),
        *_figures("overlay 1080p: speed of the ffmpeg program", 0.85, costs, "ffmpeg", "ours", "higher"),
    ]


def _regions() -> list[dict[str, Any]]:
    """Two spotlights that follow two people over the whole film."""
    return [
        {
            "start_time": 0,
            "end_time": 10,
            "keyframes": [
                {
                    "time": time,
                    "x": left + 100 * time,
                    "y": 560,
                    "radius_x": 130,
                    "radius_y": 260,
                    "opacity": 1,
                }
                for time in range(11)
            ],
        }
        for left in (300, 800)
    ]


def _framing(place: Desk, folder: Path) -> list[Figure]:
    film, key = sport_1080p(), place.put(sport_1080p())
    lefts = [PAN[0] + (PAN[1] - PAN[0]) * frame / FRAMED for frame in range(FRAMED)]
    pan = f"crop=202:360:{PAN[0]:g}+{PAN[1] - PAN[0]:g}*n/{FRAMED}:360,scale=810:1440:flags=bicubic"
    script_network = RecordedNetwork()

    def script() -> None:
        plain_script(film, folder / "script.mp4", SETTINGS, script_network, lefts, folder / "png")
        script_network.rewind()

    ours = _render(place, key)
    close = interleaved(
        CLOSE_REPEATS,
        ours=ours,
        bare=lambda: transcode(film, folder / "bare.mp4", SETTINGS, graph=pan, frames=FRAMED),
    )
    far = interleaved(REPEATS, script=script, ours=ours)
    return [
        *_figures("framing: all but the network / bare", 1.15, close, "ours", "bare", "lower"),
        *_figures("plain script over framing, without the network", 4.0, far, "script", "ours", "higher"),
    ]


def _render(place: Desk, key: str) -> Callable[[], None]:
    """`process_framing_ai_chunk` with the double as its network; its first call makes the double's
    pictures."""
    seconds, network = FRAMED / 30, RecordedNetwork()

    def render() -> None:
        loading = mock.patch(LOADER, return_value=network.as_upscaler())
        with loading:
            result = place.run(
                "process_framing_ai_chunk",
                "framed",
                source_key=key,
                trim_end=seconds,
                interpolation="linear",
                keyframes=[
                    {"time": 0, "x": PAN[0], "y": 360, "width": 202.5, "height": 360},
                    {"time": seconds, "x": PAN[1], "y": 360, "width": 202.5, "height": 360},
                ],
                start_frame=0,
                end_frame=FRAMED,
            )
        assert result.frames == result.enlarged_frames == FRAMED
        network.rewind()

    return render


def _figures(
    what: str,
    target: float,
    costs: dict[str, list[Cost]],
    over: str,
    under: str,
    better: Literal["lower", "higher"],
) -> list[Figure]:
    """`over`'s time divided by `under`'s, by wall and by CPU."""
    return [
        figure_of(
            f"{what}, {kind}",
            target,
            ratios(costs[over], costs[under], kind),
            better=better,
            detail={name: _seconds(costs[name], kind) for name in (over, under)},
        )
        for kind in ("wall", "cpu")
    ]


def _seconds(runs: Sequence[Cost], kind: str) -> list[float]:
    return [round(getattr(cost, kind), 2) for cost in runs]
