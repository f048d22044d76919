"""When each caption of a programme is on screen: the truth, and the moments libass is given for it.

Belongs here: durations, gaps, fades, and the exact frames they come to. Does not belong here: drawing.

A caption's frames are half-open source frames [start_frame, end_frame). Of one that fades they are the frames
on which it is at least half opaque; of any other, those on which it is drawn.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from evaluation.programmes import Gaps, Programme
from evaluation.texts import CaptionTexts

Effect = Literal["cut", "fade", "karaoke", "word_change", "very_short"]

CREDITS_SECONDS = 14
TAIL_SECONDS = 1.5
WITHOUT_CAPTIONS_SECONDS = 80


@dataclass(frozen=True)
class Cue:
    """A caption. `begin` and `stop` are libass's, in hundredths of a second; fades are milliseconds."""

    start_frame: int
    end_frame: int
    text: str
    effect: Effect
    begin: int
    stop: int
    fade_in: int = 0
    fade_out: int = 0


@dataclass(frozen=True)
class Schedule:
    """All cues in order, and the programme's number of frames."""

    cues: tuple[Cue, ...]
    frames: int


def make_schedule(programme: Programme, texts: CaptionTexts | None, chance: random.Random) -> Schedule:
    """Cues of a programme; without texts (no captions at all) only its length."""
    rate = programme.rate
    if texts is None:
        return Schedule((), round(WITHOUT_CAPTIONS_SECONDS * rate))
    cues: list[Cue] = []
    at = 0 if programme.from_first_frame else round(chance.uniform(0.4, 2.5) * rate)
    text = ""
    for _ in range(programme.captions):
        changed = texts.changed(text) if text and chance.random() < programme.word_changes else None
        text = changed or texts.next()
        seconds = _duration(programme, text, chance)
        frames = max(2, round(seconds * rate))
        fades = changed is None and seconds >= 0.8 and chance.random() < programme.fades
        effect = _effect(programme, fades=fades, changed=changed is not None)
        cues.append(make_cue(at, at + frames, text, effect, rate, chance))
        following_change = programme.word_changes > 0.3 and chance.random() < 0.6
        gap = 0.0 if following_change else _gap(programme.gaps, chance)
        at += frames + round(gap * rate)
    end = cues[-1].end_frame
    if programme.to_last_frame:
        return Schedule(tuple(cues), end)
    tail = CREDITS_SECONDS if programme.credits else TAIL_SECONDS
    return Schedule(tuple(cues), end + round(tail * rate))


def make_cue(
    first: int, end: int, text: str, effect: Effect, rate: Fraction, chance: random.Random | None = None
) -> Cue:
    """A cue drawn on frames first .. end - 1; `chance` decides the length of fades."""
    begin, stop = _hundredths(first, rate), _hundredths(end, rate)
    if effect != "fade":
        return Cue(first, end, text, effect, begin, stop)
    chance = chance or random.Random(0)
    fade_in = _clear_of_frames(chance.randrange(121, 420, 2), begin * 10, rate, 1)
    fade_out = _clear_of_frames(chance.randrange(121, 420, 2), stop * 10, rate, -1)
    # Half opaque: \fad is linear in time, so at half of its length.
    start = math.ceil(Fraction(20 * begin + fade_in, 2000) * rate)
    last = math.floor(Fraction(20 * stop - fade_out, 2000) * rate)
    return Cue(start, last + 1, text, effect, begin, stop, fade_in, fade_out)


def _hundredths(frame: int, rate: Fraction) -> int:
    """A moment between a frame and the one before it. libass shows an event while begin <= time < stop, its
    clock counts hundredths, and frames are 20 ms apart or more: rounding cannot reach either frame."""
    return max(0, math.floor((frame - Fraction(1, 2)) / rate * 100))


def _clear_of_frames(length: int, edge: int, rate: Fraction, direction: int) -> int:
    """A length (ms) of a fade from `edge` (ms) whose middle is 2 ms or more from any frame: libass's clock
    is cut to whole milliseconds."""
    while True:
        middle = Fraction(2 * edge + direction * length, 2000) * rate
        if abs(middle - round(middle)) / rate * 1000 >= 2:
            return length
        length += 2


def _effect(programme: Programme, *, fades: bool, changed: bool) -> Effect:
    if programme.very_short:
        return "very_short"
    if programme.karaoke:
        return "karaoke"
    if fades:
        return "fade"
    return "word_change" if changed else "cut"


def _duration(programme: Programme, text: str, chance: random.Random) -> float:
    """Seconds: as subtitles are timed, by reading speed, between 0.8 and 5 s; a few are shorter."""
    if programme.very_short:
        return chance.choice((0.08, 0.12, 0.16, 0.2, 0.2, 0.3, 0.6))
    if chance.random() < 0.04:
        return chance.uniform(0.3, 0.7)
    speed = 20 if ord(text[0]) < 0x2E80 else 8
    return min(5.0, max(0.8, 0.7 + len(text) / speed * chance.uniform(0.7, 1.3)))


def _gap(kind: Gaps, chance: random.Random) -> float:
    """Seconds between two captions: 0, one to three samples, or a pause."""
    if kind == "none":
        return 0.0
    if kind == "long":
        return chance.uniform(6, 16)
    tiny = chance.choice((0.0, 0.08, 0.12, 0.2, 0.3))
    if kind == "tiny":
        return tiny
    draw = chance.random()
    return 0.0 if draw < 0.35 else tiny if draw < 0.6 else chance.uniform(0.4, 2.2)
