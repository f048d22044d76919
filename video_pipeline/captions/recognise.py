"""Reading the text in one picture of a caption strip.

Belongs here: finding lines of lettering in a picture, reading them, and saying when the writing is one that
the models do not know. Does not belong here: which pictures of a caption to read (`representative`), when a
caption is on screen (`extents`), tidying of characters that needs no picture (`wording`).

The models are PP-OCRv6 small, inside the rapidocr wheel. rapidocr finds the boxes; the recognition network is
run by onnxruntime directly, because rapidocr's own decoder keeps only the likeliest character of each column,
and the runners-up say where a space was swallowed.

Measured on rendered strips of 1-2 lines (20-56 pixels high, 18 fonts, outline, shadow or box, over
photographs without lettering, JPEG 60-92; 1 thread of a 2-core machine: about 45 ms a line). What the
settings below are worth is told beside each; the totals are at `Recogniser`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from video_pipeline.captions.document import Unread
from video_pipeline.captions.fine_structure import Box
from video_pipeline.captions.wording import closing_marks_only, letters_of, script_of, tidy
from video_pipeline.errors import BadInput

READER_VERSION = 4
"""Raise it when a change here, in `wording`, `representative` or `belonging` changes the text of any caption:
it enters the text recipe."""

_MODELS = ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx")

_LINE_HEIGHT = 48
"""Pixels; the recognition network's fixed input height."""
_LEAST_WIDTH = 320
"""Pixels; the network was trained on this width and more."""
_BORDER = 16
"""Pixels repeated around the strip, so that letters at its edge are found."""
_DETECTION_SIDE = 1280
"""A longer strip is looked at smaller: 1920x216 would take 3 times as long and find nothing more."""
_SPACE = 0.05
"""A space is read where its probability reaches this in any column between two letters. With 0.5 (what
rapidocr's decoder amounts to) a space is lost in one line of 20; 0.02 to 0.1 give the same result."""
_JOIN_GAP = 1.5
"""Boxes of one line closer than this many box heights are read in one go: the gap becomes a space."""
_CJK_MARGIN = 0.6
"""Box heights added left and right of a Chinese or Japanese line: the detector cuts off 、。 at its ends."""
_SURE = 0.85
_STRAY = 0.6
"""Where something was read with `_SURE`, what was read with less than `_STRAY` is background, not text."""
_LEAST_PROBABILITY = {"Latn": 0.88, "Hani": 0.8, "Jpan": 0.7}
"""Mean over the letters; below it, the letters are look-alikes from another writing. Of 227 short texts in
known writing that were read rightly 1 is below, of 9 made of unknown writing 3 (of 0.82 and 0.7 none)."""
_LEAST_FOR_MARKS = 0.8
"""Mean over a caption of punctuation only: of Arabic, often nothing but a "!" is found, and not surely."""
_LEAST_FILLING = 0.3
"""Share of the boxes' length that the letters read would fill; below it, most letters have no reading."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands in one picture.

    `lines` from top to bottom, empty if there is no text or it cannot be read; `confidence` 0..1 is the mean
    character probability of the least certain line, 0 if there is none. `script` is an ISO 15924 code (Latn,
    Hani for Chinese, Jpan) or None. `boxes` are the lettering found, read or not: left, top, right, bottom in
    pixels of the picture. `unread` says why there are no lines.
    """

    lines: tuple[str, ...]
    confidence: float
    script: str | None
    boxes: tuple[Box, ...]
    unread: Unread | None

    @property
    def text(self) -> str | None:
        return "\n".join(self.lines) or None


@dataclass(slots=True)
class _Box:
    """Lettering on one line, upright, in pixels of the padded picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def beside(self, other: _Box) -> bool:
        """Whether the two stand on one line: half of the lower one's height is shared."""
        shared = min(self.bottom, other.bottom) - max(self.top, other.top)
        return shared > 0.5 * min(self.height, other.height)

    def take(self, other: _Box) -> None:
        self.left, self.top = min(self.left, other.left), min(self.top, other.top)
        self.right, self.bottom = max(self.right, other.right), max(self.bottom, other.bottom)


Letter = tuple[str, float]
"""A character and its probability."""

OwnParts = Callable[[Sequence[Box]], Sequence[Box | None]]
"""Tells of each box found in a picture the part from left to right that is of interest, if any."""


def ocr_available() -> bool:
    """Whether the extra `ocr` is installed."""
    return find_spec("rapidocr") is not None and find_spec("onnxruntime") is not None


@lru_cache(maxsize=1)
def recogniser_version() -> str | None:
    """rapidocr's version, the models by hash, and ours; it enters the text recipe. Loads no model.

    None where the extra `ocr` is missing.
    """
    if not ocr_available():
        return None
    folder = _model_folder()
    models = ", ".join(f"{name} {sha256((folder / name).read_bytes()).hexdigest()[:12]}" for name in _MODELS)
    return f"rapidocr {installed_version('rapidocr')}, {models}, reader {READER_VERSION}"


class Recogniser:
    """Reads pictures of caption strips. Costs about 0.3 s and 150 MB to make; use one per thread.

    Reads Latin with the diacritics of Europe, Turkish and Indonesian, Chinese in both forms, and Japanese.
    Other writings are noticed, not guessed at.
    """

    def __init__(self, *, threads: int = 1) -> None:
        """`threads`: of one call, at most the machine's cores. Raises BadInput without the extra `ocr`."""
        folder = _model_folder()
        import onnxruntime
        from rapidocr import RapidOCR

        threads = max(1, min(threads, os.cpu_count() or 1))  # rapidocr takes all cores for a larger number
        self._finder: Any = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_preprocess_img": False,
                "Global.use_vertical_padding": False,  # it makes a 1280x80 strip 320 high: 4 times the work
                "Det.limit_side_len": 64,
                "Det.limit_type": "min",
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._reader = onnxruntime.InferenceSession(
            str(folder / _MODELS[1]), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._input = self._reader.get_inputs()[0].name
        known = self._reader.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._characters = ["", *known, " "]  # class 0 is the CTC blank

    @property
    def version(self) -> str:
        """As `recogniser_version`."""
        return str(recogniser_version())

    def read(self, rgb: np.ndarray, own: OwnParts | None = None) -> Reading:
        """The text of one picture, (H, W, 3) uint8 RGB, captions horizontal. ValueError for other shapes.

        `own` tells what of the boxes found is to be read; all without it.
        """
        import cv2

        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"a picture is (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
        bgr = np.ascontiguousarray(rgb[:, :, ::-1])
        padded = cv2.copyMakeBorder(bgr, _BORDER, _BORDER, _BORDER, _BORDER, cv2.BORDER_REPLICATE)
        found = self._find(padded, 1.0, own) or self._find(padded, 2.0, own)
        if not found:
            return Reading((), 0.0, None, (), "nothing_recognised")
        rows = [[self._read_box(padded, box) for box in row] for row in _rows(found)]
        boxes = tuple(_in_picture(box, rgb.shape) for box in found)
        return _judge(_without_strays(rows), found, boxes)

    def _find(self, bgr: np.ndarray, scale: float, own: OwnParts | None) -> list[_Box]:
        """Boxes of lettering, from one look at the padded picture at `scale` times its size or less."""
        import cv2

        scale = min(scale, _DETECTION_SIDE / max(bgr.shape[:2])) if scale <= 1 else scale
        looked = cv2.resize(bgr, None, fx=scale, fy=scale) if scale != 1 else bgr
        corners = self._finder(looked, use_det=True, use_cls=False, use_rec=False).boxes
        if corners is None:
            return []
        boxes = [
            _Box(*(box.min(0) / scale), *(box.max(0) / scale)) for box in np.asarray(corners, np.float64)
        ]
        if own is None:
            return boxes
        shape = (bgr.shape[0] - 2 * _BORDER, bgr.shape[1] - 2 * _BORDER)
        wholes = [_in_picture(box, shape) for box in boxes]
        parts = zip(boxes, wholes, own(wholes), strict=True)
        return [_narrowed(box, whole, part) for box, whole, part in parts if part is not None]

    def _read_box(self, bgr: np.ndarray, box: _Box) -> list[Letter]:
        letters = self._recognise(bgr, box, 0)
        if script_of(_text(letters)) in ("Hani", "Jpan"):
            wider = self._recognise(bgr, box, _CJK_MARGIN * box.height)
            if closing_marks_only(_text(letters), _text(wider)):
                return wider
        return letters

    def _recognise(self, bgr: np.ndarray, box: _Box, margin: float) -> list[Letter]:
        """Characters and probabilities of one box, the box widened by `margin` pixels at both ends."""
        import cv2

        left, right = max(0, round(box.left - margin)), min(bgr.shape[1], round(box.right + margin))
        cut = bgr[max(0, round(box.top)) : round(box.bottom), left:right]
        if min(cut.shape[:2]) < 2:
            return []
        width = max(2, -(-_LINE_HEIGHT * cut.shape[1] // cut.shape[0]))
        line = cv2.resize(cut, (width, _LINE_HEIGHT)).astype(np.float32)
        batch = np.zeros((1, 3, _LINE_HEIGHT, max(_LEAST_WIDTH, width)), np.float32)
        batch[0, :, :, :width] = (line / 127.5 - 1).transpose(2, 0, 1)
        columns = self._reader.run(None, {self._input: batch})[0]
        return _decode(np.asarray(columns)[0], self._characters)


def _model_folder() -> Path:
    spec = find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations or not ocr_available():
        raise BadInput(
            "Captions cannot be read: the text recogniser is not installed.",
            what_to_do="Install it with: pip install 'video-pipeline[ocr]'",
        )
    return Path(spec.submodule_search_locations[0]) / "models"


def _decode(columns: np.ndarray, characters: list[str]) -> list[Letter]:
    """CTC, likeliest path, with spaces wherever one is at all likely. `columns`: (T, classes) float32."""
    best, probability = columns.argmax(1), columns.max(1)
    space = len(characters) - 1
    letters: list[Letter] = []
    after = 0
    for column in np.flatnonzero((best != 0) & (best != np.concatenate(([0], best[:-1])))):
        character = characters[best[column]]
        swallowed = columns[after:column, space].max(initial=0.0)
        if letters and swallowed > _SPACE and " " not in (character, letters[-1][0]):
            letters.append((" ", float(swallowed)))
        letters.append((character, float(probability[column])))
        after = int(column) + 1
    return letters


def _rows(boxes: list[_Box]) -> list[list[_Box]]:
    """Boxes in reading order: rows from top to bottom, in each from left to right, near ones joined."""
    rows: list[list[_Box]] = []
    for box in sorted(boxes, key=lambda box: box.left):
        row = next((row for row in rows if row[-1].beside(box)), None)
        if row is None:
            rows.append([_Box(box.left, box.top, box.right, box.bottom)])
        elif box.left - row[-1].right < _JOIN_GAP * row[-1].height:
            row[-1].take(box)
        else:
            row.append(_Box(box.left, box.top, box.right, box.bottom))
    return sorted(rows, key=lambda row: sum(box.top + box.bottom for box in row) / len(row))


def _without_strays(rows: list[list[list[Letter]]]) -> list[list[list[Letter]]]:
    """Drops what was read with doubt beside what was read with certainty."""
    if not any(_certainty(part) >= _SURE for row in rows for part in row):
        return rows
    return [[part for part in row if _certainty(part) >= _STRAY] for row in rows]


def _judge(rows: list[list[list[Letter]]], found: list[_Box], boxes: Any) -> Reading:
    """The reading, or that the writing is not one the models know.

    Letters the network was never shown come out as look-alikes with low probability (Hebrew, Thai, Greek) or
    as nothing at all (Arabic, Korean, Cyrillic), so that the letters read fill little of the boxes.
    """
    rows = [[part for part in row if _text(part).strip()] for row in rows]
    rows = [row for row in rows if row]
    whole = "\n".join(" ".join(_text(part) for part in row) for row in rows)
    script = script_of(whole)
    probabilities = [p for row in rows for part in row for c, p in part if letters_of(c)]
    length = sum((box.right - box.left) / box.height for box in found)
    # A Latin letter is about 0.38 box heights wide, a Chinese one twice that.
    filled = sum(0.75 if script_of(c) in ("Hani", "Jpan") else 0.38 for c in whole if not c.isspace())
    if length >= 2 and filled < _LEAST_FILLING * length:
        return Reading((), 0.0, None, boxes, "script_not_readable")
    confidence = min((_certainty([letter for part in row for letter in part]) for row in rows), default=0.0)
    if not whole or (not probabilities and confidence < _LEAST_FOR_MARKS):
        return Reading((), 0.0, None, boxes, "nothing_recognised")
    if probabilities and (
        script == "Zzzz" or np.mean(probabilities) < _LEAST_PROBABILITY.get(script or "Latn", 0.88)
    ):
        return Reading((), 0.0, None, boxes, "script_not_readable")
    lines = tuple(tidy(" ".join(_text(part) for part in row), script) for row in rows)
    return Reading(lines, confidence, script, boxes, None)


def _text(letters: list[Letter]) -> str:
    return "".join(character for character, _ in letters)


def _certainty(letters: list[Letter]) -> float:
    """Mean probability of what is not a space; 0 for nothing."""
    return float(np.mean([p for c, p in letters if c != " "] or [0.0]))


def _narrowed(box: _Box, whole: Box, part: Box) -> _Box:
    """The box from left to right of `part`, of what it is in the picture, `whole`."""
    left = box.left if part[0] == whole[0] else part[0] + _BORDER
    right = box.right if part[2] == whole[2] else part[2] + _BORDER
    return _Box(left, box.top, right, box.bottom)


def _in_picture(box: _Box, shape: tuple[int, ...]) -> Box:
    height, width = shape[:2]
    left, right = (min(width, max(0, round(x - _BORDER))) for x in (box.left, box.right))
    top, bottom = (min(height, max(0, round(y - _BORDER))) for y in (box.top, box.bottom))
    return left, top, right, bottom
