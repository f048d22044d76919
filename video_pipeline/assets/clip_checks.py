"""What the checks of clip assets look at: the numbers that a render's result states.

Belongs here: which of them contradict each other. Does not belong here: reading the clip itself back, which
is done before it is published (`clips.verify`), and the assets.
"""

from __future__ import annotations

from fractions import Fraction

from video_pipeline.clips.result import RenderResult

AAC_FRAME_MS = 1000 * 1024 / 48000


def frame_problems(result: RenderResult) -> list[str]:
    """What is wrong with a clip's frame count: against its chunks, and its length at a constant rate."""
    problems: list[str] = []
    at = 0
    for chunk in result.chunks:
        if chunk.start_frame != at:
            problems.append(f"a chunk begins at frame {chunk.start_frame}, the one before it ends at {at}")
        at = chunk.end_frame
    if result.chunks and at != result.frames:
        problems.append(f"the chunks end at frame {at}, the clip has {result.frames}")
    if result.kind not in ("extract_clip", "render_overlay"):
        length = float(result.frames / Fraction(result.frame_rate))
        if abs(length - result.duration_seconds) > 0.001:
            problems.append(
                f"{result.frames} frames at {result.frame_rate} last {length:.3f} s, the clip "
                f"{result.duration_seconds:.3f} s"
            )
    return problems


def sound_problems(result: RenderResult) -> list[str]:
    """What is wrong with a clip's sound. A copied clip keeps its source's sound, or none."""
    if result.av_offset_ms is None:
        return [] if result.copied else ["the clip has no sound track"]
    problems: list[str] = []
    limit = AAC_FRAME_MS + (0 if not result.copied else 25)
    if abs(result.av_offset_ms) > limit:
        problems.append(f"the sound begins {result.av_offset_ms:.1f} ms after the picture")
    away = (result.audio_seconds or 0.0) - result.duration_seconds
    if not result.copied and abs(away) * 1000 > AAC_FRAME_MS:
        problems.append(f"the sound is {away * 1000:.1f} ms longer than the picture")
    return problems
