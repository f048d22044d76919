"""Subtitle files: what other programs' parsers read out of them is what the document says."""

from __future__ import annotations

import io
import itertools
from datetime import timedelta
from fractions import Fraction
from typing import Any

import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from tests.captions.documents import boundary, caption, document
from video_pipeline.captions.document import CaptionsDocument, Strip
from video_pipeline.captions.subtitles import to_srt, to_vtt

TEXTS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="\x85"), min_size=1
).map(str.strip).filter(bool)  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> CaptionsDocument:
    """Captions at any times that are in order; some touch, some have two lines."""
    rate = draw(st.sampled_from([Fraction(10), Fraction(30000, 1001), Fraction(1, 2)]))
    clock, captions = Fraction(0), []
    for number in range(1, draw(st.integers(0, 8)) + 1):
        start = clock + draw(st.fractions(0, 5, max_denominator=90_000))
        clock = start + draw(st.fractions(Fraction(1, 90_000), 6, max_denominator=90_000))
        text = "\n".join(draw(st.lists(TEXTS, min_size=1, max_size=2)))
        ends = {"start": boundary(start), "end": boundary(clock)}
        captions.append(caption(number, number - 1, number, rate=rate, text=text, **ends))
    return document(*captions, rate=rate)


@given(documents())
def test_srt_is_read_back_to_the_millisecond_and_in_order(made: CaptionsDocument) -> None:
    cues = list(srt.parse(to_srt(made)))
    assert [cue.index for cue in cues] == [one.number for one in made.captions]
    for cue, one in zip(cues, made.captions, strict=True):
        assert abs(cue.start / timedelta(milliseconds=1) - one.start.exact * 1000) <= Fraction(1, 2)
        assert abs(cue.end / timedelta(milliseconds=1) - one.end.exact * 1000) <= Fraction(3, 2)
        assert cue.content == "\n".join(line.strip() for line in (one.text or "").splitlines())
    for earlier, later in itertools.pairwise(cues):
        assert earlier.start <= earlier.end <= later.start


@given(documents())
def test_vtt_is_read_back_too(made: CaptionsDocument) -> None:
    cues = webvtt.from_buffer(io.StringIO(to_vtt(made))).captions
    assert len(cues) == len(made.captions)
    for cue, one in zip(cues, made.captions, strict=True):
        assert abs(Fraction(cue.start_in_seconds) * 1000 - one.start.exact * 1000) <= 1000  # whole seconds
        assert cue.identifier == str(one.number)


def test_captions_that_touch_still_touch() -> None:
    third = Fraction(1001, 30000)
    made = document(
        caption(1, 0, 1, text="a", start=boundary(third), end=boundary(third * 50)),
        caption(2, 1, 2, text="b", start=boundary(third * 50), end=boundary(third * 99)),
    )
    first, second = srt.parse(to_srt(made))
    assert first.end == second.start == timedelta(milliseconds=1668)


def test_a_caption_shorter_than_a_millisecond_is_not_empty() -> None:
    made = document(
        caption(1, 0, 1, text="a", start=boundary(Fraction(1)), end=boundary(Fraction(10001, 10000)))
    )
    (cue,) = srt.parse(to_srt(made))
    assert cue.end - cue.start == timedelta(milliseconds=1)


def test_text_that_looks_like_markup_or_timing_stays_text() -> None:
    made = document(caption(1, 0, 9, text="1 < 2 && 3 > 2\n00:01 --> 00:02"))
    written = to_vtt(made)
    assert "1 &lt; 2 &amp;&amp; 3 &gt; 2" in written
    assert written.count("-->") == 1
    (cue,) = webvtt.from_buffer(io.StringIO(written)).captions
    assert "--&gt;" in cue.raw_text


def test_a_caption_without_text_says_why_and_is_not_lost() -> None:
    made = document(caption(1, 0, 9, unread="script_not_readable"), caption(2, 9, 12, unread="no_ocr"))
    texts = [cue.content for cue in srt.parse(to_srt(made))]
    assert texts == ["[caption in a script that is not read]", "[caption not read]"]


def test_blank_lines_in_a_text_do_not_end_its_cue() -> None:
    (cue,) = srt.parse(to_srt(document(caption(1, 0, 9, text="one\n\n  \ntwo"))))
    assert cue.content == "one\ntwo"


def test_captions_at_the_top_are_placed_at_the_top() -> None:
    strip = Strip(left=0, top=20, width=1280, height=120, display_width=1280, display_height=720)
    assert " line:11%,center\n" in to_vtt(document(caption(1, 0, 9, text="a"), strip=strip))
    assert "line:" not in to_vtt(document(caption(1, 0, 9, text="a")))


def test_no_captions_are_a_valid_file() -> None:
    assert to_srt(document()) == ""
    assert webvtt.from_buffer(io.StringIO(to_vtt(document()))).captions == []


def test_hours_are_counted_on() -> None:
    late: dict[str, Any] = {
        "start": boundary(Fraction(3600 * 11 + 61)),
        "end": boundary(Fraction(3600 * 11 + 62)),
    }
    assert "11:01:01,000 --> 11:01:02,000" in to_srt(document(caption(1, 0, 9, text="a", **late)))


def test_a_caption_before_the_clocks_zero_begins_with_it() -> None:
    """An edit list may show the first picture a moment before the movie's own zero."""
    start, end = boundary(Fraction(-3, 100)), boundary(Fraction(1))
    made = to_srt(document(caption(1, 0, 9, text="a", start=start, end=end)))
    assert made.startswith("1\n00:00:00,000 --> 00:00:01,000\n")


def test_times_are_rounded_to_the_nearest_millisecond_halves_up() -> None:
    start, end = boundary(Fraction(14996, 10000)), boundary(Fraction(15005, 10000))
    made = to_srt(document(caption(1, 0, 9, text="a", start=start, end=end)))
    assert "00:00:01,500 --> 00:00:01,501" in made


def test_a_moment_is_given_to_an_empty_cue_only_where_the_next_one_leaves_room() -> None:
    start, end = boundary(Fraction(1)), boundary(Fraction(10003, 10000))
    first = caption(1, 0, 1, text="a", start=start, end=end)
    for next_at, ends_at in ((Fraction(10004, 10000), 0), (Fraction(1001, 1000), 1), (Fraction(2), 1)):
        later = caption(2, 1, 9, text="b", start=boundary(next_at), end=boundary(Fraction(3)))
        cue, following = srt.parse(to_srt(document(first, later)))
        assert cue.end - cue.start == timedelta(milliseconds=ends_at)
        assert cue.end <= following.start


def test_a_vtt_file_says_what_it_was_made_of() -> None:
    text = to_vtt(document(caption(1, 0, 9, text="a")))
    assert text.startswith(f"WEBVTT\n\nNOTE demo/street, text recipe {'2' * 16}\n\n")
    assert "00:00:00.000 --> 00:00:00.900" in text


def test_captions_in_the_middle_are_placed_there_and_those_in_the_lower_third_are_not() -> None:
    for top, placed in ((300, True), (390, True), (410, False)):
        strip = Strip(left=0, top=top, width=1280, height=160, display_width=1280, display_height=720)
        assert (" line:" in to_vtt(document(caption(1, 0, 9, text="a"), strip=strip))) is placed
