"""The judgement of an orphaned call, and the report of failures: its form and its delivery."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from video_pipeline.calls import CallRecord, ErrorRecord, ResultRecord, WorkerIdentity
from video_pipeline.errors import Transient
from video_pipeline.operations import failures_report
from video_pipeline.operations.failures_report import (
    DETAILED,
    MESSAGE,
    Failure,
    deliver,
    places_of,
    report_of,
)
from video_pipeline.operations.orphans import judge
from video_pipeline.settings import Settings, load_settings

WORKER = WorkerIdentity(host="elsewhere", backend="modal")
NOW = 1000.0


def call(**changes: object) -> CallRecord:
    fields = {"heartbeat_at": NOW - 5, "claimed_at": NOW - 100, **changes}
    return CallRecord(key="0" * 16, task="t", version=1, tenant="demo", request={}, worker=WORKER, **fields)  # pyright: ignore[reportArgumentType]


def result(status: str, attempt: int = 1) -> ResultRecord:
    now = datetime.now(UTC)
    error = None if status == "ok" else ErrorRecord(kind="internal", message="it broke")
    return ResultRecord(
        key="0" * 16, task="t", version=1, status=status, error=error, attempt=attempt, worker=WORKER,  # pyright: ignore[reportArgumentType]
        started_at=now, finished_at=now,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("record", "outcome", "verdict"),
    [
        (None, None, "nothing"),
        (call(), None, "attach"),
        (call(cancel_requested="by a person"), None, "nothing"),
        (call(state="finished"), result("ok"), "take"),
        (call(state="finished", cancel_requested="by a person"), result("ok"), "nothing"),
        (call(state="finished"), result("error"), "nothing"),
        (call(heartbeat_at=NOW - 500), None, "nothing"),
        (call(heartbeat_at=NOW - 500, attempt=2), result("ok", attempt=1), "nothing"),
        (call(attempt=2), result("error", attempt=1), "attach"),
    ],
)
def test_a_new_run_is_started_where_there_is_something_to_take(
    record: CallRecord | None, outcome: ResultRecord | None, verdict: str
) -> None:
    assert judge(record, outcome, NOW)[0] == verdict


class Receiver(ThreadingHTTPServer):
    """A double of a webhook's service: answers with `status`, keeps what it was sent."""

    status = 200
    location = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[dict] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/services/T0K3N-S3CR3T"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        assert self.headers["Content-Type"] == "application/json"
        server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(server.status)
        if server.location:
            self.send_header("Location", server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def settings_with(**fields: object) -> Settings:
    return load_settings(**fields)


def failure(number: int = 0) -> Failure:
    return Failure(
        run_id=f"run-{number}",
        job="caption_video",
        partition=f"demo--v{number}",
        ended="2026-11-21 02:00 UTC",
        asset="source_video",
        kind="bad_input",
        message="the video is cut off",
        what_to_do="upload it again",
        link=f"https://ui.example/runs/run-{number}",
    )


def test_a_report_says_which_why_what_to_do_and_where() -> None:
    report = report_of([failure()])
    for part in ("demo--v0", "source_video", "bad_input", "cut off", "upload it again", "/runs/run-0"):
        assert part in report["text"]
    assert report["failures"][0]["what_to_do"] == "upload it again"
    assert report["text"].startswith("1 run failed")
    assert report_of([failure(0), failure(1)])["text"].startswith("2 runs failed")


def test_advice_that_the_message_gives_already_is_told_once() -> None:
    told = replace(failure(), message="the video is cut off What to do: upload it again").line()
    assert told.count("upload it again") == 1


def test_a_long_report_is_cut_and_still_counts_everything() -> None:
    many = [failure(number) for number in range(DETAILED + 30)]
    report = report_of(many)
    assert report["total"] == len(report["runs"]) == DETAILED + 30
    assert len(report["failures"]) == DETAILED
    assert "… and 30 more" in report["text"]
    assert "more" not in report_of(many[:DETAILED])["text"]


def test_a_report_reaches_the_webhook_and_the_file(receiver: Receiver, tmp_path: Path) -> None:
    path = tmp_path / "reports" / "of_all" / "failures.jsonl"
    settings = settings_with(failure_webhook=receiver.url, failure_file=path)
    for _ in range(2):
        for place in places_of(settings):
            deliver(place, report_of([failure()]), settings)
    assert [json.loads(line)["total"] for line in path.read_text().splitlines()] == [1, 1]
    assert receiver.got == [report_of([failure()])] * 2
    assert path.stat().st_mode & 0o007 == 0  # messages name what lies in the store: not for everybody


@pytest.mark.parametrize("status", [301, 404, 500])
def test_a_webhook_that_fails_is_told_without_its_address(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    receiver.status = status
    receiver.location = receiver.url + "/elsewhere" if status == 301 else ""
    with caplog.at_level(logging.DEBUG), pytest.raises(Transient, match=str(status)) as caught:
        deliver("webhook", report_of([failure()]), settings_with(failure_webhook=receiver.url))
    assert len(receiver.got) == 1  # a redirect is not followed
    assert "S3CR3T" not in str(caught.value) + caplog.text
    assert caught.value.__cause__ is None


def test_a_webhook_that_is_not_there_is_told_without_its_address(receiver: Receiver) -> None:
    url = receiver.url
    receiver.shutdown()
    receiver.server_close()
    with pytest.raises(Transient, match="ConnectionRefusedError") as caught:
        deliver("webhook", report_of([failure()]), settings_with(failure_webhook=url))
    assert "S3CR3T" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Transient, match="could not be written"):
        deliver("file", report_of([failure()]), settings_with(failure_file=tmp_path / "file" / "x"))


def test_a_webhook_that_answers_byte_by_byte_is_left_after_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failures_report, "DEADLINE_S", 1.0)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not over.wait(0.1):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/T0K3N-S3CR3T"
        began = time.monotonic()
        with pytest.raises(Transient, match="did not answer within 1 s") as caught:
            deliver("webhook", report_of([failure()]), settings_with(failure_webhook=url))
        assert time.monotonic() - began < 30
        assert "S3CR3T" not in str(caught.value)
        over.set()
        thread.join(10)


def test_a_programs_whole_output_is_not_told() -> None:
    long = replace(failure(), message="x" * 1_000_000, what_to_do="y" * 1_000_000)
    report = report_of([long] * (DETAILED + 1))
    assert len(json.dumps(report)) < 100_000
    assert report["failures"][0]["message"].endswith("x…")
    assert len(report["failures"][0]["message"]) == MESSAGE
    fits = report_of([replace(failure(), message="x" * MESSAGE)])
    assert fits["failures"][0]["message"] == "x" * MESSAGE
