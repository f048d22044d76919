"""captions.json as subtitle files: SubRip (SRT) and WebVTT.

Belongs here: the two formats. Does not belong here: times and texts, which the document has.

SubRip has no standard; what is written is what every player reads: numbered cues from 1, times with a comma,
UTF-8, a blank line after each cue. WebVTT: W3C Candidate Recommendation (4 April 2019), sections 4 and 6.

Times are the document's exact fractions, rounded to milliseconds each by itself: captions that touch still
touch, and none overlap. One that would be empty is given a millisecond where the next leaves room.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from video_pipeline.captions.document import Caption, CaptionsDocument

UNREAD = {
    "no_ocr": "[caption not read]",
    "script_not_readable": "[caption in a script that is not read]",
    "nothing_recognised": "[caption not recognised]",
}
"""What stands for a caption without text: a cue must not be empty, and a lost one must be seen."""


@dataclass(frozen=True)
class _Cue:
    number: int
    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def to_srt(document: CaptionsDocument) -> str:
    """SubRip. Captions without text come as `UNREAD` says."""
    return "".join(
        f"{cue.number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n"
        + "\n".join(cue.lines)
        + "\n\n"
        for cue in _cues(document)
    )


def to_vtt(document: CaptionsDocument) -> str:
    """WebVTT, with a note on where it comes from, and a place where the strip is not at the bottom."""
    place = _placement(document)
    note = f"{document.tenant}/{document.video}, text recipe {document.text_recipe}"
    cues = (
        f"{cue.number}\n{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}{place}\n"
        + "\n".join(_escaped(line) for line in cue.lines)
        + "\n\n"
        for cue in _cues(document)
    )
    return f"WEBVTT\n\nNOTE {note}\n\n" + "".join(cues)


def _cues(document: CaptionsDocument) -> Iterator[_Cue]:
    for caption, later in itertools.zip_longest(document.captions, document.captions[1:]):
        start, end = _milliseconds(caption.start.exact), _milliseconds(caption.end.exact)
        limit = None if later is None else _milliseconds(later.start.exact)
        if end <= start and (limit is None or limit > start):
            end = start + 1
        yield _Cue(caption.number, start, end, _lines(caption))


def _lines(caption: Caption) -> tuple[str, ...]:
    """The text's lines; a blank one would end the cue, so there are none."""
    lines = tuple(line.strip() for line in (caption.text or "").splitlines() if line.strip())
    return lines or (UNREAD[caption.unread or "nothing_recognised"],)


def _milliseconds(seconds: Fraction) -> int:
    """Rounded half up, never below zero: a player's clock has no time before it."""
    return max(0, (seconds * 1000 + Fraction(1, 2)).__floor__())


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}{point}{rest:03d}"


def _escaped(line: str) -> str:
    """Text that is neither markup nor the arrow of a timing line (section 4.2.2)."""
    return re.sub(r"[&<>]", lambda match: {"&": "&amp;", "<": "&lt;", ">": "&gt;"}[match[0]], line)


def _placement(document: CaptionsDocument) -> str:
    """A line setting in percent (section 4.4) where the strip's middle is above the picture's lower third."""
    strip = document.strip
    middle = (strip.top + strip.height / 2) / strip.display_height
    return "" if middle > 2 / 3 else f" line:{round(100 * middle)}%,center"
