"""What the headers of an answer mean, one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate

import pytest

from video_pipeline.errors import BadInput
from video_pipeline.media.ranges.http_answer import (
    ContentRange,
    Part,
    Validator,
    check_partial,
    content_length,
    parse_content_range,
    passes,
    refused,
    retry_after,
)


def headers(**given: str) -> Callable[[str], str | None]:
    found = {name.replace("_", "-").lower(): value for name, value in given.items()}
    return lambda name: found.get(name.lower())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-9/100", ContentRange(0, 10, 100)),
        (" Bytes  5-5/6 ", ContentRange(5, 6, 6)),
        ("bytes 0-9/*", ContentRange(0, 10, None)),
        ("bytes */100", ContentRange(None, None, 100)),
        ("bytes */*", ContentRange(None, None, None)),
    ],
)
def test_a_content_range_is_read(text: str, expected: ContentRange) -> None:
    assert parse_content_range(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "bytes", "bytes 0-9", "0-9/100", "items 0-9/100", "bytes 9-0/100", "bytes 0-100/100"),
        *("bytes -1-5/9", "bytes 0-9/1e3", "bytes 0-9/100, bytes 20-29/100", f"bytes 0-1/{'9' * 5000}"),
    ],
)
def test_a_content_range_that_cannot_be_is_none(text: str | None) -> None:
    assert parse_content_range(text) is None


def test_the_part_of_an_answer_is_told_by_both_headers_or_refused() -> None:
    told = {"Content_Range": "bytes 10-19/100"}
    assert check_partial(headers(**told), "name") == Part(10, 20, 100)
    assert check_partial(headers(**told, Content_Length="10"), "name") == Part(10, 20, 100)
    for wrong in ("9", "11", "ten", "-10", "9" * 5000):
        with pytest.raises(BadInput, match="two lengths"):
            check_partial(headers(**told, Content_Length=wrong), "name")
    with pytest.raises(BadInput, match="does not say which"):
        check_partial(headers(Content_Range="bytes */100"), "name")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), (" 12 ", 12), ("", None), ("-1", None), ("1.0", None), ("9" * 5000, None)],
)
def test_a_content_length_is_a_number_or_none(text: str, expected: int | None) -> None:
    assert content_length(headers(Content_Length=text)) == expected


def test_only_a_strong_etag_pins_a_version() -> None:
    date = "Sat, 21 Nov 2026 10:00:00 GMT"
    assert Validator.of(headers(ETag='"a"', Last_Modified=date)) == Validator('"a"', '"a"', date)
    assert Validator.of(headers(ETag='W/"a"')) == Validator('"a"', None)
    assert Validator.of(headers(ETag="bare")) == Validator("bare", None)
    assert Validator.of(headers(Last_Modified=date)) == Validator(modified=date)
    assert Validator.of(headers()) == Validator()


def test_validators_contradict_where_both_speak_and_differ() -> None:
    strong, weak, other = Validator('"a"', '"a"'), Validator('"a"'), Validator('"b"', '"b"')
    assert strong.contradicts(other)
    assert weak.contradicts(other)
    assert not strong.contradicts(weak)
    assert not strong.contradicts(Validator())
    assert not Validator().contradicts(strong)


def test_dates_are_compared_where_there_are_no_two_etags() -> None:
    """Servers behind one balancer may have other dates for the same content, so ETags go before."""
    monday, tuesday = Validator(modified="Mon"), Validator(modified="Tue")
    assert monday.contradicts(tuesday)
    assert Validator('"a"', modified="Mon").contradicts(tuesday)
    assert not Validator('"a"', modified="Mon").contradicts(monday)
    assert not Validator('"a"').contradicts(tuesday)
    assert not Validator('"a"', modified="Mon").contradicts(Validator('"a"', modified="Tue"))


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after(headers(Retry_After="7")) == 7.0
    assert retry_after(headers(Retry_After=formatdate(time.time() + 60, usegmt=True))) == pytest.approx(
        60, abs=2
    )
    for nothing in ("", "soon", "-5", formatdate(time.time() - 60, usegmt=True)):
        assert retry_after(headers(Retry_After=nothing)) == 0.0


def test_statuses_pass_or_stay() -> None:
    assert [status for status in range(400, 600) if passes(status)][:6] == [408, 425, 429, 500, 502, 503]
    assert not passes(501)
    assert "no such file" in str(refused(410, "name"))
    assert "refuses access" in str(refused(401, "name"))
    assert "answers 418" in str(refused(418, "name"))
