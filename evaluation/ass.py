"""Programmes as Advanced SubStation Alpha scripts, which libass draws.

Belongs here: styles, cues, and what is drawn beside captions (logo, ticker, credits). Does not belong here:
running ffmpeg, timing.
"""

from __future__ import annotations

import math
from fractions import Fraction

from evaluation.programmes import Look, Programme
from evaluation.schedule import CREDITS_SECONDS, Cue
from evaluation.texts import Face

ALIGNMENT = {"bottom": 2, "left": 1, "right": 3, "top": 8}
"""As on a numeric keypad."""

_FORMAT = (
    "Format: Name,Fontname,Fontsize,PrimaryColour,SecondaryColour,OutlineColour,BackColour,Bold,Italic,"
    "Underline,StrikeOut,ScaleX,ScaleY,Spacing,Angle,BorderStyle,Outline,Shadow,Alignment,MarginL,MarginR,"
    "MarginV,Encoding"
)


def font_size(programme: Programme) -> float:
    return round(programme.look.size * programme.height, 1)


def ass_script(
    programme: Programme, face: Face, cues: tuple[Cue, ...], *, frames: int, ticker: str = ""
) -> str:
    """The whole script. Without `cues` it draws only what is no caption."""
    return "\n".join(
        [
            "[Script Info]",
            "ScriptType: v4.00+",
            f"PlayResX: {programme.width}",
            f"PlayResY: {programme.height}",
            "WrapStyle: 2",
            "ScaledBorderAndShadow: yes",
            "",
            "[V4+ Styles]",
            _FORMAT,
            _caption_style(programme, face),
            _other_style(programme, face),
            "",
            "[Events]",
            "Format: Layer,Start,End,Style,Name,MarginL,MarginR,MarginV,Effect,Text",
            *_beside(programme, frames, ticker),
            *(_dialogue(cue) for cue in cues),
            "",
        ]
    )


def bare(cues: tuple[Cue, ...]) -> tuple[Cue, ...]:
    """The same captions for a contact sheet: cue i stands still on frame i of 25 a second."""
    return tuple(Cue(i, i + 1, cue.text, "cut", 4 * i, 4 * i + 4) for i, cue in enumerate(cues))


def logo_place(programme: Programme) -> tuple[int, int, int]:
    """Left, top and height in pixels: beside the captions' upper line at the right edge."""
    height = round(0.07 * programme.height)
    return round(0.86 * programme.width), round(0.79 * programme.height), height


def ticker_top(programme: Programme) -> int:
    return round(0.93 * programme.height)


def _caption_style(programme: Programme, face: Face) -> str:
    look, size = programme.look, font_size(programme)
    margin = round(0.045 * programme.height)
    if programme.ticker:
        margin = programme.height - ticker_top(programme) + round(0.02 * programme.height)
    side = round(0.06 * programme.width)
    border = 3 if look.edge == "box" else 1
    outline, shadow = f"{look.outline * size:.1f}", f"{look.shadow * size:.1f}"
    sung = _colour("8080FF") if programme.karaoke else _colour(look.colour)
    edge, back = _edges(look)
    # Encoding -1 lets libass find the direction of writing; 1 would set Arabic from left to right.
    return (
        f"Style: Caption,{face.family},{size},{_colour(look.colour)},{sung},{edge},{back},"
        f"{-int(face.bold)},{-int(face.italic)},0,0,100,100,0,0,{border},{outline},{shadow},"
        f"{ALIGNMENT[programme.position]},{side},{side},{margin},-1"
    )


def _edges(look: Look) -> tuple[str, str]:
    if look.edge == "box":
        return _colour("101010", 0x30), _colour("101010", 0x30)
    return _colour("101010"), _colour("000000", 0x60)


def _other_style(programme: Programme, face: Face) -> str:
    size = round(0.045 * programme.height, 1)
    return (
        f"Style: Beside,{face.family},{size},{_colour('F0F0F0')},{_colour('F0F0F0')},{_colour('202020')},"
        f"{_colour('000000', 0x80)},{-int(face.bold)},0,0,0,100,100,0,0,1,1,0,7,0,0,0,-1"
    )


def _colour(rgb: str, transparency: int = 0) -> str:
    return f"&H{transparency:02X}{rgb[4:6]}{rgb[2:4]}{rgb[0:2]}"


def _clock(hundredths: int) -> str:
    seconds, rest = divmod(hundredths, 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:02d}"


def _dialogue(cue: Cue) -> str:
    text = cue.text.replace("\n", "\\N")
    if cue.effect == "fade":
        text = f"{{\\fad({cue.fade_in},{cue.fade_out})}}{text}"
    elif cue.effect == "karaoke":
        words = cue.text.split(" ")
        each = max(1, (cue.stop - cue.begin) * 8 // 10 // len(words))
        text = " ".join(f"{{\\k{each}}}{word}" for word in words).replace("\n", "\\N")
    return f"Dialogue: 1,{_clock(cue.begin)},{_clock(cue.stop)},Caption,,0,0,0,,{text}"


def _beside(programme: Programme, frames: int, ticker: str) -> list[str]:
    """Logo, ticker and credits: events of layer 0, under the captions."""
    end = math.ceil(frames / programme.rate * 100) + 100
    events = []
    if programme.logo:
        left, top, height = logo_place(programme)
        ring = f"m 0 0 l {2 * height} 0 {2 * height} {height} 0 {height}"
        events.append((0, end, f"{{\\pos({left},{top})\\bord0\\1c&H3030C0&\\1a&H30&\\p1}}{ring}"))
        number = f"{{\\pos({left + height // 4},{top + height // 5})\\fs{height * 0.7:.0f}}}24"
        events.append((0, end, number))
    if programme.ticker:
        events += _ticker(programme, end, ticker)
    if programme.credits:
        start = math.ceil((frames / programme.rate - CREDITS_SECONDS + Fraction(1, 2)) * 100)
        lines = ticker.replace("  +++  ", " ").split(" ")
        pairs = [" ".join(lines[i : i + 3]) for i in range(0, len(lines), 3)]
        centre, height = programme.width // 2, programme.height
        rolled = f"{{\\an8\\move({centre},{height},{centre},{-height})}}" + "\\N".join(pairs)
        events.append((start, end, rolled))
    return [f"Dialogue: 0,{_clock(a)},{_clock(b)},Beside,,0,0,0,,{text}" for a, b, text in events]


def _ticker(programme: Programme, end: int, text: str) -> list[tuple[int, int, str]]:
    """One line from right to left, 12 s a time, at a sixth of the width a second."""
    events, begin, lasts = [], 0, 1200
    length = programme.width * 2
    while begin < end:
        top = ticker_top(programme)
        moved = f"{{\\move({programme.width},{top},{programme.width - length},{top})}}{text}"
        events.append((begin, min(end, begin + lasts), moved))
        begin += lasts
    return events
