"""The truth of a programme, in source frames and in samples.

Belongs here: reading NAME.cues.json, and which samples show a caption. Does not belong here: scoring.

Sample k at a rate shows the picture presented at k / rate (the one with the largest PTS not after it), which
is source frame floor(k / rate x frames per second). A caption's samples are those that show one of its
frames; a caption that no sample shows cannot be found and is left out, and listed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from video_pipeline.captions.labels import Label, labels_of


@dataclass(frozen=True)
class TrueCaption:
    """A caption over the samples `first_frame` .. `end_frame` - 1; lines are joined by a newline."""

    first_frame: int
    end_frame: int
    text: str
    language: str
    effect: str


@dataclass(frozen=True)
class Truth:
    """A programme as its samples show it. `unseen` are the captions that no sample shows."""

    name: str
    language: str
    video: Path
    crop_region: dict[str, float]
    frame_count: int
    captions: tuple[TrueCaption, ...]
    unseen: tuple[TrueCaption, ...]

    def labels(self) -> list[Label]:
        """The true label of every pair of neighbouring samples, `frame_count` - 1 of them."""
        return labels_of(((each.first_frame, each.end_frame) for each in self.captions), self.frame_count)


def first_sample(frame: int, *, fps: Fraction, rate: Fraction) -> int:
    """The first sample that shows source frame `frame` or a later one."""
    return math.ceil(frame * rate / fps)


def read_truth(path: Path, rate: Fraction) -> Truth:
    """The truth of a cue list at a sample rate in Hz."""
    document = json.loads(path.read_text(encoding="utf-8"))
    fps = Fraction(document["frame_rate"])
    captions = [
        TrueCaption(
            first_sample(cue["start_frame"], fps=fps, rate=rate),
            first_sample(cue["end_frame"], fps=fps, rate=rate),
            cue["text"],
            cue["language"],
            cue["effect"],
        )
        for cue in document["cues"]
    ]
    return Truth(
        name=path.name.removesuffix(".cues.json"),
        language=document["language"],
        video=path.with_name(document["video"]),
        crop_region=document["crop_region"],
        frame_count=first_sample(document["frames"], fps=fps, rate=rate),
        captions=tuple(caption for caption in captions if caption.first_frame < caption.end_frame),
        unseen=tuple(caption for caption in captions if caption.first_frame >= caption.end_frame),
    )
