"""Characters as captions should have them, whatever the recogniser made of them.

Belongs here: which writing a text is in, width of punctuation, spaces, Unicode form. Pure text. Does not
belong here: pictures, or correcting words by a dictionary.
"""

from __future__ import annotations

import re
import unicodedata

_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CJK = _HAN + _KANA + "\u3000-\u303f\uff00-\uff65"
_FULL_WIDTH = str.maketrans(",!?:;()", "，！？：；（）")
_CLOSING = "、。，．！？：；…‥・・」』）〉》】,.!?:;~～ー―-"
_TO_ASCII = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    ord("。"): ".",
    ord("、"): ",",
    ord("\u3000"): " ",
}


def letters_of(text: str) -> str:
    """Only the letters and digits."""
    return "".join(c for c in text if unicodedata.category(c)[0] in "LN")


def script_of(text: str) -> str | None:
    """ISO 15924 code of most of the letters: Latn, Jpan (any kana), Hani, "Zzzz" for any other; None if
    there are no letters at all."""
    letters = [c for c in text if unicodedata.category(c)[0] == "L"]
    if not letters:
        return None
    kana = sum(bool(re.match(f"[{_KANA}]", c)) for c in letters)
    han = sum(bool(re.match(f"[{_HAN}]", c)) for c in letters)
    latin = sum("LATIN" in unicodedata.name(c, "") for c in letters)
    if latin + kana + han < 0.75 * len(letters):
        return "Zzzz"
    if kana + han <= latin:
        return "Latn"
    # One kana among many Chinese characters is a misreading; Japanese has one in three or more.
    return "Jpan" if kana * 10 >= kana + han else "Hani"


def closing_marks_only(text: str, wider: str) -> bool:
    """Whether `wider` is `text` with punctuation added at its ends."""
    strip = _CLOSING + "「『（〈《【― "
    return len(wider) >= len(text) and text.strip(strip) == wider.strip(strip)


def tidy(line: str, script: str | None) -> str:
    """One line in Unicode NFC, with punctuation of its writing's width and no doubtful spaces.

    Latin gets ASCII punctuation. Chinese and Japanese get full-width punctuation after their own characters,
    no space between them, and a long vowel mark where the likewise drawn character for "one" follows a
    katakana.
    """
    line = unicodedata.normalize("NFC", line)
    if script in ("Hani", "Jpan"):
        line = re.sub(f"(?<=[{_CJK}…])[,!?:;]", lambda mark: mark[0].translate(_FULL_WIDTH), line)
        line = re.sub("(?<=[\u30a1-\u30fa])一(?![\u4e00-\u9fff])", "ー", line)
        line = re.sub(f"(?<=[{_CJK}…]) +| +(?=[{_CJK}…])", "", line)
    else:
        line = line.translate(_TO_ASCII)
    return re.sub(" +", " ", line).strip()
