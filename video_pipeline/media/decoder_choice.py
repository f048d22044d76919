"""Which decoder a video's pictures go to, and why: a rule in numbers, said in words.

Belongs here: the rule. Does not belong here: decoders, and what is left of one that refuses a stream
(`sampling.decoders`). Pure.

Sparse decoding favours the CPU: a report of an earlier system has 271 ms a frame on a GPU against 12.8 ms on
a CPU, most of it for making a decoder. So a GPU is chosen where decoding on this machine's cores would take
longer than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from video_pipeline.errors import BadInput

Backend = Literal["pyav", "nvdec", "videotoolbox"]

CPU_MS = 2.4
"""A megapixel of H.264 on one core: 2,700 pictures of 720p in 5.9 s, measured on two cores of a server."""

NVDEC_START_MS = 258.0
"""What a decoder on the GPU costs before its first picture: 271 less 12.8 ms of that report. Not measured
here."""

VIDEOTOOLBOX_START_MS = 50.0
"""An assumption; no Mac was at hand."""


@dataclass(frozen=True, slots=True)
class Facts:
    """`pictures` are those to decode in one go, `megapixels` of one of them. `no_nvdec` and `no_videotoolbox`
    say why this machine cannot, or are None."""

    asked: str
    pictures: int
    megapixels: float
    cores: int
    no_nvdec: str | None
    no_videotoolbox: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    backend: Backend
    reason: str


def choose_decoder(facts: Facts, *, name: str) -> Choice:
    """The decoder for a run of pictures. BadInput that names the video where one was asked for that is not
    there."""
    missing = {"nvdec": facts.no_nvdec, "videotoolbox": facts.no_videotoolbox}
    if facts.asked == "pyav":
        return Choice("pyav", "asked for")
    starts: dict[Backend, float] = {"nvdec": NVDEC_START_MS, "videotoolbox": VIDEOTOOLBOX_START_MS}
    for backend, start in starts.items():
        why_not = missing[backend]
        if facts.asked == backend:
            if why_not is not None:
                raise BadInput(
                    f"the decoder {backend} was asked for, and is not there: {why_not}",
                    input=name,
                    what_to_do='use the decoder "auto" or "pyav".',
                )
            return Choice(backend, "asked for")
        if facts.asked == "auto" and why_not is None:
            on_cpu = facts.pictures * facts.megapixels * CPU_MS / facts.cores
            work = f"{facts.pictures} pictures of {facts.megapixels:.1f} megapixels"
            if on_cpu > start:
                return Choice(backend, f"{work} would take {on_cpu:.0f} ms on {facts.cores} cores")
            return Choice(
                "pyav", f"{work} take {on_cpu:.0f} ms here, a decoder on the GPU {start:.0f} ms to start"
            )
    return Choice("pyav", "no decoder but the CPU's on this machine")
