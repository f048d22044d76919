"""Which font file draws which characters: the bundled one, else whatever this machine has.

Belongs here: characters to faces, by the fonts' own tables; where fonts lie on a machine. Does not belong
here: line breaking, direction, drawing (`text_lines.py`, `annotate.py`).
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from video_pipeline.errors import BadInput

BUNDLED = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
"""DejaVu Sans: Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew, Arabic, signs, some emoji."""

FONT_DIRECTORIES = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path("~/.local/share/fonts"),
    Path("~/.fonts"),
    Path("/System/Library/Fonts"),
    Path("/Library/Fonts"),
    Path("~/Library/Fonts"),
)
"""Where fonts are looked for where fontconfig's `fc-list` is not installed."""

SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
OUTLINES = ("glyf", "CFF ", "CFF2")
"""Tables with outlines, which scale. Fonts of pictures alone (colour emoji) have none of them."""

INSTALL = (
    "install a font that has them (on Debian fonts-noto-core for most scripts, fonts-noto-cjk for Chinese, "
    "Japanese and Korean, fonts-symbola for emoji and signs), or leave the characters out."
)


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a font file; a collection (.ttc) has several."""

    path: Path
    number: int = 0


def clusters(text: str) -> list[str]:
    """`text` in pieces that are drawn by one font and never parted: a character with the marks, variation
    selectors, skin tones and joiners after it, and what a zero-width joiner joins (a simple form of the
    grapheme clusters of UAX #29)."""
    pieces: list[str] = []
    for character in text:
        if pieces and (_extends(character) or pieces[-1].endswith("\N{ZERO WIDTH JOINER}")):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def _extends(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Mn", "Mc", "Me")
        or character in "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
        or 0x1F3FB <= ord(character) <= 0x1F3FF
    )


def needed_glyphs(text: str) -> frozenset[int]:
    """Code points of `text` a font must have: all but format characters and variation selectors."""
    return frozenset(
        ord(character)
        for character in text
        if unicodedata.category(character) != "Cf"
        and not 0xFE00 <= ord(character) <= 0xFE0F
        and not 0xE0100 <= ord(character) <= 0xE01EF
    )


def faces_for(text: str, *, input: str) -> Mapping[str, Face]:
    """The face of each cluster of `text`: one for all if any font has all, else as few as choosing the
    best next one gives; the bundled font first. Of a collection its first face is taken: Chinese characters
    then look as that face's language writes them (in Noto Sans CJK as Japanese does).

    BadInput, naming `input` and the characters, where no font of this machine has them.
    """
    whole = needed_glyphs(text)
    missing = {piece: needed_glyphs(piece) for piece in clusters(text)}
    chosen: dict[str, Face] = {}
    candidates: Sequence[Face] = (Face(BUNDLED),)
    while missing:
        face = _best(candidates, missing, whole)
        if face is None:
            if candidates != (Face(BUNDLED),):
                raise _no_font(missing, input)
        elif whole <= glyphs_of(face):
            return dict.fromkeys(clusters(text), face)
        else:
            has = glyphs_of(face)
            taken = [piece for piece, glyphs in missing.items() if glyphs <= has]
            chosen.update((piece, face) for piece in taken)
            for piece in taken:
                del missing[piece]
        if missing:
            candidates = _installed_with(next(iter(missing.values())))
    return chosen


def _best(
    candidates: Iterable[Face], missing: Mapping[str, frozenset[int]], whole: frozenset[int]
) -> Face | None:
    """The face with most of what is missing, then with most of the whole text, then the plainest."""

    def order(face: Face) -> tuple[int, int, bool, bool, bool, str, int]:
        has, name = glyphs_of(face), face.path.stem.lower()
        return (
            -sum(glyphs <= has for glyphs in missing.values()),
            -len(whole & has),
            any(
                word in name for word in ("bold", "italic", "oblique", "light", "thin", "black", "condensed")
            ),
            "mono" in name,
            "sans" not in name,
            str(face.path),
            face.number,
        )

    able = [face for face in candidates if any(glyphs <= glyphs_of(face) for glyphs in missing.values())]
    return min(able, key=order, default=None)


def _no_font(missing: Mapping[str, frozenset[int]], input: str) -> BadInput:
    # The first cluster is one that no font has; of the others it is not known yet.
    lost = [
        piece
        for piece, glyphs in missing.items()
        if not any(glyphs <= glyphs_of(face) for face in _installed_with(glyphs))
    ]
    named = ", ".join(f"{_shown(piece)} ({' '.join(f'U+{ord(c):04X}' for c in piece)})" for piece in lost[:8])
    more = f" and {len(lost) - 8} more" if len(lost) > 8 else ""
    return BadInput(
        f"no font of this machine has these characters: {named}{more}", input=input, what_to_do=INSTALL
    )


def _shown(piece: str) -> str:
    return piece if piece.isprintable() else "not printable"


@functools.lru_cache(maxsize=512)
def glyphs_of(face: Face) -> frozenset[int]:
    """Code points the face can draw at any size; none for a file that is damaged or has no outlines."""
    from fontTools.ttLib import TTFont

    try:
        with TTFont(face.path, fontNumber=face.number, lazy=True) as font:
            if not any(table in font for table in OUTLINES):
                return frozenset()
            return frozenset(font.getBestCmap() or ())
    except Exception:
        # A damaged table fails as it happens to be read: struct.error, IndexError and others were seen. One
        # such file on a machine is no reason to draw no text from the others.
        return frozenset()


def _installed_with(glyphs: frozenset[int]) -> Sequence[Face]:
    """Faces of this machine that may have all of `glyphs`; the caller looks at their tables."""
    program = shutil.which("fc-list")
    if program is None:
        return _in_directories(FONT_DIRECTORIES)
    return _by_fontconfig(program, " ".join(f"{glyph:x}" for glyph in sorted(glyphs)))


@functools.lru_cache(maxsize=512)
def _by_fontconfig(program: str, charset: str) -> Sequence[Face]:
    """What fontconfig knows: `fc-list` with a pattern of charset (fontconfig's "Font Properties")."""
    answer = subprocess.run(
        [program, f":charset={charset}:outline=True", "--format", "%{file}\n"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return tuple(Face(Path(line)) for line in sorted(set(answer.stdout.splitlines())) if _usable(Path(line)))


@functools.lru_cache(maxsize=8)
def _in_directories(directories: Sequence[Path]) -> Sequence[Face]:
    """Every font file below the directories."""
    found = (path for directory in directories for path in sorted(directory.expanduser().rglob("*")))
    return tuple(Face(path) for path in found if _usable(path) and path.is_file())


def _usable(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES
