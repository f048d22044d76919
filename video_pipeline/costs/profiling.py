"""How long single frames take: the quick look that comes before an experiment.

Belongs here: timing an overlay frame by frame in this process. Does not belong here: real calls with their
start, transfers and repeats (`experiments.profile`, `experiments.e1_baseline`), or any conclusion. Media is
imported inside functions.
"""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Literal

from video_pipeline.errors import BadInput

Profile = dict[Literal["avg_ms", "min_ms", "max_ms", "total_ms"], float]

RADIUS_PART = (0.08, 0.22)
"""Of the picture's width and height: a person who fills half of its height."""


def profile_overlay_processing(video_path: str | Path, num_frames: int) -> Profile:
    """Milliseconds of wall time to decode one frame and to light it, over the first `num_frames` of a video.

    Each is lit by one spotlight in the middle of the picture, darkened around, by the code of
    `render_overlay`; nothing is encoded. `BadInput` for a video that cannot be read or has fewer frames, and
    for fewer than one.
    """
    import numpy as np

    from video_pipeline.clips.spotlight import Spotlight, SpotlightRegion
    from video_pipeline.media.clip_source import ClipSource

    if num_frames < 1:
        raise BadInput(f"{num_frames} frames are none", input="num_frames", what_to_do="give 1 or more")
    with ClipSource(Path(video_path), name=str(video_path)) as source:
        across, down = source.width, source.height
        light = (across / 2, down / 2, RADIUS_PART[0] * across, RADIUS_PART[1] * down, 1.0)
        # A minute beyond the last frame: the light never goes out on the way.
        region = SpotlightRegion(source.start, source.stop + 60, [Fraction(0)], np.array([light]))
        spotlight = Spotlight([region], width=across, height=down)
        pictures = source.pictures()
        times_ms: list[float] = []
        began = time.perf_counter()
        for picture in pictures:
            spotlight.apply(picture.frame, picture.pts * source.time_base)
            now = time.perf_counter()
            times_ms.append(1000 * (now - began))
            began = now
            if len(times_ms) == num_frames:
                break
    if len(times_ms) < num_frames:
        raise BadInput(
            f"the video has {len(times_ms)} frames, not {num_frames}",
            input=str(video_path),
            what_to_do="ask for fewer frames, or give a longer video",
        )
    total = sum(times_ms)
    return {
        "avg_ms": total / num_frames,
        "min_ms": min(times_ms),
        "max_ms": max(times_ms),
        "total_ms": total,
    }
