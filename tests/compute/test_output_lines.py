"""Which lines of a worker are events. A task may print what it likes: no line ends who follows its call."""

from __future__ import annotations

from pathlib import Path

import pytest

from video_pipeline.compute.base import Event
from video_pipeline.compute.local_output import FileReader, last_lines
from video_pipeline.compute.output_lines import parse_line
from video_pipeline.worker import EVENT_PREFIX


def test_a_line_after_the_prefix_is_an_event_with_its_name_and_data() -> None:
    line = EVENT_PREFIX + '{"at": 1.5, "event": "progress", "done": 3}'
    assert parse_line(line) == Event("progress", {"at": 1.5, "done": 3})


@pytest.mark.parametrize(
    "line",
    [
        "a line of log",
        '{"event": "progress"}',
        f'said: {EVENT_PREFIX}{{"event": "progress"}}',
        EVENT_PREFIX,
        EVENT_PREFIX + '{"event": "prog',
        EVENT_PREFIX + '{"done": 3}',
        EVENT_PREFIX + "[1]",
        EVENT_PREFIX + '["event"]',
        EVENT_PREFIX + '"event"',
        EVENT_PREFIX + "null",
        EVENT_PREFIX + "NaN",
        EVENT_PREFIX + "1" * 5000,
        EVENT_PREFIX + "[" * 100_000,
    ],
    ids=lambda line: line[:40],
)
def test_every_other_line_is_log_as_it_stands(line: str) -> None:
    assert parse_line(line) == Event("log", {"line": line})


def test_a_reader_stays_with_the_file_that_it_began_with(tmp_path: Path) -> None:
    """Another attempt's worker may claim the call meanwhile: its output is for who follows that attempt."""
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    first.write_text("one\n")
    second.write_text("of the second\n")
    there = [second, first]
    reader = FileReader(there.pop)
    lines = [event.data["line"] for event in reader.read()]
    with first.open("a") as file:
        file.write("two\n")
    assert lines + [event.data["line"] for event in reader.read()] == ["one", "two"]


def test_a_line_is_what_ends_with_a_line_feed_whatever_bytes_are_in_it(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_bytes(b"10 %\r20 %\x0c\n\xff\xfe\n" + EVENT_PREFIX.encode() + b'{"event": "ended"}\n')
    assert FileReader(lambda: log).read() == [
        Event("log", {"line": "10 %\r20 %\x0c"}),
        Event("log", {"line": "\ufffd\ufffd"}),
        Event("ended"),
    ]


def test_the_last_words_of_a_worker_are_its_last_lines_of_log_whatever_bytes_are_in_them(
    tmp_path: Path,
) -> None:
    log = tmp_path / "output.log"
    said = [*(b"line %d" % number for number in range(1, 20)), b"\xff"]
    log.write_bytes(b"\n".join([*said, EVENT_PREFIX.encode() + b'{"event": "progress"}']))
    assert last_lines(log).splitlines() == [*(f"line {number}" for number in range(6, 20)), "\ufffd"]
    assert last_lines(None) == ""
