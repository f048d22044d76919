"""How close the streaming pass comes to what the cores can do: over CPU seconds, over passes side by side.

    python -m benchmarks.caption_floor [--seconds 300] [--repeats 5]

Belongs here: one pass by itself, and both floors. Does not belong here: other ways of doing the same
(`caption_pass`).

The first floor is the CPU seconds of an inline pass (each stage after the other) over the cores, as if a busy
core slowed no other one. Two threads of one physical core share its units and caches: what runs on both takes
more CPU seconds than alone, whatever runs them. The second floor counts that in: as many inline passes as
there are cores, each in a process of its own, keep every core busy with no pipeline at all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from threading import Barrier
from typing import Any

from benchmarks.harness import Figure, figure_of, table
from benchmarks.media import BAND, video_720p
from video_pipeline.captions.request import CropAndInferRequest
from video_pipeline.captions.streaming_pass import run
from video_pipeline.machine import usable_cores
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.worker import TaskContext

RATE = Fraction(10)
LONG_S = 300
"""Of the clip on which streaming is held against its floors: filling and emptying the stages takes 0.2 to
0.3 s, which is 5 % of a pass over 90 s of video, and 1.5 % of one over this."""
REPEATS = 5
KEY = "bench/client/videos/clip/video.mp4"
TOGETHER_S = 600.0
"""How long a pass waits for the others to be ready: they import torch and run once first."""


def our_pass(video: Path, *, sequential: bool = False) -> dict[str, Any]:
    """One pass into a store of its own, which is deleted again; its stages' figures."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(store=f"{folder}/store")
        store = open_store(settings)
        store.put(KEY, video)
        Path(folder, "scratch").mkdir()
        context = TaskContext(
            store=store,
            settings=settings,
            scratch=Path(folder, "scratch"),
            cancel=CancellationToken(),
            recorder=Recorder(),
            emit=lambda _event: None,
        )
        request = CropAndInferRequest(
            video_key=KEY, tenant_id="bench", video_id="clip", crop_region=BAND, frame_rate=RATE
        )
        run(request, context, sequential=sequential)
        return json.loads(context.reports["stages.json"][0])


@dataclass(frozen=True)
class SideBySide:
    """Inline passes that ran at once, one a core: wall and CPU seconds of each."""

    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]

    @property
    def floor_s(self) -> float:
        """Wall seconds per pass with every core busy: one over the passes that all of them end per second.

        Of equal walls it is the wall over the cores. Of unequal ones it is less than the longest over the
        cores, which would count a core that has nothing left to do.
        """
        return 1 / sum(1 / wall for wall in self.wall_s)


@contextmanager
def processes_side_by_side(count: int) -> Iterator[ProcessPoolExecutor]:
    """`count` processes that begin each pass together (`inline_side_by_side`)."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        count, mp_context=spawn, initializer=_begin, initargs=(spawn.Barrier(count),)
    ) as processes:
        yield processes


def inline_side_by_side(processes: ProcessPoolExecutor, count: int, video: Path) -> SideBySide:
    """One inline pass over `video` in each of the `count` processes, all at once."""
    stages = list(processes.map(_inline_pass, [video] * count))
    return SideBySide(
        tuple(stage["wall_s"] for stage in stages), tuple(stage["process_cpu_s"] for stage in stages)
    )


_together: Barrier | None = None


def _begin(together: Barrier) -> None:
    global _together
    _together = together


def _inline_pass(video: Path) -> dict[str, Any]:
    assert _together is not None
    # A process that waits here takes no second pass from the queue: each process gets one.
    _together.wait(TOGETHER_S)
    return our_pass(video, sequential=True)


def floor_figures(video: Path, repeats: int = REPEATS) -> list[Figure]:
    """The streaming pass over both floors; the second has no target, it says how much of the first is the
    cores' own. Everything is run once before, then in turn."""
    cores = usable_cores()
    streams: list[float] = []
    inline_cpu: list[float] = []
    together: list[SideBySide] = []
    with processes_side_by_side(cores) as processes:
        our_pass(video)
        inline_side_by_side(processes, cores, video)
        for _ in range(repeats):
            streams.append(our_pass(video)["wall_s"])
            inline_cpu.append(our_pass(video, sequential=True)["process_cpu_s"])
            together.append(inline_side_by_side(processes, cores, video))
    floors = [cpu / cores for cpu in inline_cpu]
    dearer = median(median(beside.cpu_s) for beside in together) / median(inline_cpu)
    return [
        figure_of(
            "streaming wall over (inline CPU / cores)",
            1.15,
            [stream / floor for stream, floor in zip(streams, floors, strict=True)],
            detail={"stream_wall_s": streams, "inline_cpu_over_cores_s": floors},
        ),
        figure_of(
            "streaming wall over inline passes side by side",
            None,
            [stream / beside.floor_s for stream, beside in zip(streams, together, strict=True)],
            detail={
                "stream_wall_s": streams,
                "side_by_side_wall_s": [beside.wall_s for beside in together],
                "side_by_side_cpu_s": [beside.cpu_s for beside in together],
                "wall_per_pass_s": [beside.floor_s for beside in together],
                "cpu_beside_others_over_alone": dearer,
            },
        ),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=LONG_S, help="length of the video")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    wanted = parser.parse_args(argv)
    figures = floor_figures(video_720p(b_frames=True, seconds=wanted.seconds), wanted.repeats)
    print(table(figures))
    for figure in figures:
        print(json.dumps({"what": figure.what, **figure.detail}))
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
