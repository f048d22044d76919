"""Characters as captions have them: the writing a text is in, punctuation of its width, no stray spaces."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_pipeline.captions.wording import closing_marks_only, letters_of, script_of, tidy


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Good evening.", "Latn"),
        ("Größe, Öl und süße Äpfel", "Latn"),
        ("人人生而自由", "Hani"),
        ("すべての人間は", "Jpan"),
        ("カタカナ", "Jpan"),
        ("自由と平等", "Jpan"),
        ("人人生而自由在尊严和权利上一律平等ー", "Hani"),
        ("Все люди", "Zzzz"),
        ("모든 인간은", "Zzzz"),
        ("Hello мир и ещё", "Zzzz"),
        ("Αθήνα is warm today in May", "Latn"),
        ("OK 自由", "Latn"),
        ("OK 自由人", "Hani"),
        ("12:30", None),
        ("!?…", None),
        ("", None),
    ],
)
def test_a_text_is_in_the_writing_of_most_of_its_letters(text: str, script: str | None) -> None:
    assert script_of(text) == script


def test_one_kana_among_ten_characters_is_japanese_and_one_among_more_a_misreading() -> None:
    assert script_of("自" * 9 + "の") == "Jpan"
    assert script_of("自" * 10 + "の") == "Hani"


def test_a_quarter_of_other_letters_is_the_most_that_a_known_writing_has() -> None:
    assert script_of("abcЖ") == "Latn"
    assert script_of("abЖ") == "Zzzz"


def test_letters_are_letters_and_digits_of_any_writing() -> None:
    assert letters_of("A-1, 自由! é\u0301 ²") == "A1自由é²"


@pytest.mark.parametrize(
    ("line", "script", "tidied"),
    [
        ("Wait！  What？", "Latn", "Wait! What?"),
        ("ｆｕｌｌ　width，yes。", "Latn", "full width,yes."),
        ("  spaces   within ", "Latn", "spaces within"),
        ("Cafe\u0301", "Latn", "Café"),
        ("自由 平等", "Hani", "自由平等"),
        ("自由, 平等!", "Hani", "自由，平等！"),
        ("我看NBA 比赛", "Hani", "我看NBA比赛"),
        ("see NBA, ok", "Hani", "see NBA, ok"),
        ("12:30 开始", "Hani", "12:30开始"),
        ("コ一ヒ一を", "Jpan", "コーヒーを"),
        ("ア一般", "Jpan", "ア一般"),
        ("第一回", "Jpan", "第一回"),
        ("はい…,そう", "Jpan", "はい…，そう"),
        ("plain, text", None, "plain, text"),
    ],
)
def test_a_line_gets_the_punctuation_of_its_writing_and_loses_doubtful_spaces(
    line: str, script: str | None, tidied: str
) -> None:
    assert tidy(line, script) == tidied


@pytest.mark.slow
@given(st.text(max_size=40), st.sampled_from(["Latn", "Hani", "Jpan", None]))
def test_tidying_twice_changes_nothing_more_and_no_letter_at_all(line: str, script: str | None) -> None:
    once = tidy(line, script)
    assert tidy(once, script) == once
    assert "  " not in once
    assert once == once.strip(" ")
    if script in ("Hani", "Jpan"):
        before = letters_of(unicodedata.normalize("NFC", line))
        assert letters_of(once).replace("ー", "一") == before.replace("ー", "一")


@pytest.mark.parametrize(
    ("text", "wider", "only"),
    [
        ("自由", "自由。", True),
        ("自由", "「自由」", True),
        ("自由、", "自由", False),
        ("自由", "不自由", False),
        ("自由", "自由。平", False),
        ("自由", "自由", True),
        ("", "。", True),
    ],
)
def test_a_wider_look_counts_where_it_adds_marks_at_the_ends_and_nothing_else(
    text: str, wider: str, only: bool
) -> None:
    assert closing_marks_only(text, wider) is only
