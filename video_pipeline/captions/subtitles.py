"""captions.json as subtitle files: SubRip (.srt) and WebVTT (.vtt).

Belongs here: the two formats, and rounding exact times to milliseconds. Does not belong here: the captions
themselves (`document`), storing files. Pure.

Times: both formats count milliseconds on the movie timeline. Each exact time is rounded to the nearest
millisecond (halves up), so captions that touch still touch, and none moves by more than half a millisecond.
A caption that would round to nothing (shorter than a millisecond) lasts one, if the next one leaves room.
Movie times before 0 have no place in either format and become 0.
"""

from __future__ import annotations

import unicodedata
from fractions import Fraction

from video_pipeline.captions.document import Caption, CaptionsDocument, Strip
from video_pipeline.errors import BadInput

_REASONS = {
    "no_ocr": "not read",
    "script_not_readable": "writing not known",
    "nothing_recognised": "nothing recognised",
    None: "no text",
}


def to_srt(document: CaptionsDocument, *, placeholders: bool = True) -> str:
    """SubRip: UTF-8, LF, numbers from 1, `HH:MM:SS,mmm`. Empty for no captions.

    A caption without text becomes `[unread caption 7: writing not known]`, so that it can be found and typed
    in by hand; without `placeholders` it is left out, and the numbers count what is left.
    """
    blocks = []
    for caption, start, end in _timed(document, placeholders):
        text = "\n".join(_payload(caption))
        blocks.append(f"{len(blocks) + 1}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n")
    return "\n".join(blocks)


def to_vtt(document: CaptionsDocument, *, placeholders: bool = True) -> str:
    """WebVTT (W3C Candidate Recommendation, section 4): header, a NOTE of where it is from, cues.

    A cue's identifier is the caption's number in captions.json. Where the strip is not at the bottom of the
    picture, cues stand at its height (`line:` in per cent). Text without a reading as in `to_srt`.
    """
    note = [
        f"Captions of {document.tenant}--{document.video}",
        f"source {document.source_key} version {document.source_version}",
        f"text recipe {document.text_recipe}",
        f"read by {document.ocr or 'nobody'}",
    ]
    blocks = ["WEBVTT", "NOTE\n" + "\n".join(_one_line(line).replace("-->", "->") for line in note)]
    settings = _position(document.strip)
    for caption, start, end in _timed(document, placeholders):
        text = "\n".join(_escaped(line) for line in _payload(caption))
        times = f"{_clock(start, '.')} --> {_clock(end, '.')}{settings}"
        blocks.append(f"{caption.number}\n{times}\n{text}")
    return "\n\n".join(blocks) + "\n"


def _timed(document: CaptionsDocument, placeholders: bool) -> list[tuple[Caption, int, int]]:
    """The captions that are written, each with start and end in milliseconds; in order, never overlapping."""
    timed: list[tuple[Caption, int, int]] = []
    shown = [caption for caption in document.captions if placeholders or _lines(caption)]
    for place, caption in enumerate(shown):
        start, end = _milliseconds(caption.start.exact), _milliseconds(caption.end.exact)
        if end <= start:
            following = shown[place + 1].start.exact if place + 1 < len(shown) else None
            if following is None or _milliseconds(following) > start:
                end = start + 1
            elif start > (timed[-1][2] if timed else 0):
                start, end = start - 1, start
            else:
                raise BadInput(
                    f"Caption {caption.number} is too short for a subtitle file.",
                    input=f"{document.tenant}--{document.video}",
                    what_to_do="use a frame rate of 1000 or less",
                )
        timed.append((caption, start, end))
    return timed


def _milliseconds(seconds: Fraction) -> int:
    """To the nearest, halves up: the same for equal times, so that neighbours that touch still touch."""
    return max(0, (2000 * seconds.numerator + seconds.denominator) // (2 * seconds.denominator))


def _clock(milliseconds: int, separator: str) -> str:
    """`HH:MM:SS,mmm`; hours have two digits or more."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}{separator}{rest:03d}"


def _payload(caption: Caption) -> list[str]:
    """What is shown: one or more lines, none of them empty (an empty line would end the cue)."""
    return _lines(caption) or [f"[unread caption {caption.number}: {_REASONS[caption.unread]}]"]


def _lines(caption: Caption) -> list[str]:
    lines = [_one_line(line).strip() for line in (caption.text or "").splitlines()]
    # An arrow in the text would be read as a cue's times.
    return [line.replace("-->", "->") for line in lines if line]


def _one_line(text: str) -> str:
    """Without control characters; direction marks, which belong to right-to-left text, stay."""
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _position(strip: Strip) -> str:
    """Cue settings: none for a strip in the lowest quarter, where players put captions anyway.

    Otherwise the cue's upper edge stands at the strip's: `line:` counts from the top of the picture.
    """
    middle = Fraction(2 * strip.top + strip.height, 2 * strip.display_height)
    if middle >= Fraction(3, 4):
        return ""
    return f" line:{round(100 * strip.top / strip.display_height)}%"
