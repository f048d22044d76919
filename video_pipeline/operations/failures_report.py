"""The report of runs that failed: what it says, and bringing it to a webhook or a file.

Belongs here: the report's form, delivering it. Does not belong here: finding the failures (`sensors`).

The address of a webhook is a secret. It is in no message of this module: of a delivery that failed, the
kind of the trouble is told, and neither the address nor the text of the library's error. `urllib` it is,
because `urllib3` logs every path it asks for at DEBUG.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from video_pipeline.errors import Transient
from video_pipeline.settings import Settings
from video_pipeline.wording import counted

DETAILED = 20
"""Failures told in full: chat services cut messages at some 4,000 characters."""

MESSAGE = 600
"""Characters that are told of a message: some carry a program's whole output."""

TIMEOUT_S = 10.0
DEADLINE_S = 20.0
"""For the whole delivery to a webhook: `TIMEOUT_S` is for each read, and a server may answer byte by byte. A
tick has 60 s, and what comes after it in the code server waits."""

Place = Literal["webhook", "file"]
PLACES: tuple[Place, ...] = ("webhook", "file")


@dataclass(frozen=True, slots=True)
class Failure:
    """One run that failed. `asset` is the step, `kind` an `errors.ErrorKind` or None, `link` to the UI."""

    run_id: str
    job: str
    partition: str | None
    ended: str
    asset: str | None = None
    kind: str | None = None
    message: str = ""
    what_to_do: str | None = None
    link: str | None = None

    def line(self) -> str:
        """`demo--street: captions failed (bad_input): … What to do: …`."""
        what = f"{self.partition or self.run_id}: {self.asset or self.job} failed"
        kind = f" ({self.kind})" if self.kind else ""
        # A message may end with the advice already: it is told once.
        told = self.what_to_do and self.what_to_do not in self.message
        advice = f" What to do: {self.what_to_do}" if told else ""
        link = f" {self.link}" if self.link else ""
        return f"{what}{kind}: {self.message}{advice}{link}"


def report_of(failures: Sequence[Failure]) -> dict[str, Any]:
    """The report as JSON. `text` is what chat services show; `failures` holds the first `DETAILED` in full,
    and `runs` every run's id, partition and job."""
    count = len(failures)
    shown = [
        replace(failure, message=_cut(failure.message), what_to_do=_cut(failure.what_to_do or "") or None)
        for failure in failures[:DETAILED]
    ]
    head = f"{counted(count, 'run')} failed"
    more = [f"… and {count - len(shown)} more"] if count > len(shown) else []
    return {
        "text": "\n".join([f"{head}:", *(f"- {failure.line()}" for failure in shown), *more]),
        "total": count,
        "failures": [asdict(failure) for failure in shown],
        "runs": [{"run_id": item.run_id, "job": item.job, "partition": item.partition} for item in failures],
    }


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE else f"{text[: MESSAGE - 1]}…"


def places_of(settings: Settings) -> list[Place]:
    """Where the settings want reports."""
    there = {"webhook": settings.failure_webhook, "file": settings.failure_file}
    return [place for place in PLACES if there[place] is not None]


def deliver(place: Place, report: dict[str, Any], settings: Settings) -> None:
    """Brings the report to one of the places that the settings name. `Transient` where it was not taken,
    without the webhook's address."""
    if place == "webhook":
        assert settings.failure_webhook is not None
        _post(settings.failure_webhook.get_secret_value(), report)
    else:
        assert settings.failure_file is not None
        _append(settings.failure_file, report)


def _post(address: str, report: dict[str, Any]) -> None:
    asked = urllib.request.Request(
        address,
        data=json.dumps(report).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    # A thread of its own, left alone after the deadline: nothing else ends a read that gets a byte in time.
    threading.Thread(target=lambda: answers.put(_refusal(asked)), daemon=True, name="failure-report").start()
    try:
        refusal = answers.get(timeout=DEADLINE_S)
    except queue.Empty:
        refusal = f"it did not answer within {DEADLINE_S:g} s"
    if refusal is not None:
        raise Transient(
            f"the webhook did not take the report: {refusal}",
            input="VIDEO_PIPELINE_FAILURE_WEBHOOK",
            what_to_do="look at the service behind it; the report is sent again at the next tick",
        )


def _refusal(asked: urllib.request.Request) -> str | None:
    """Sends it; what went wrong, None if nothing did."""
    try:
        with urllib.request.build_opener(_Stay).open(asked, timeout=TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answered {error.code}"
    except Exception as error:  # whatever it is: its text may hold the address
        return type(getattr(error, "reason", error)).__name__


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect would take the report to a place that nobody configured."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        del req, fp, code, msg, headers, newurl
        return


def _append(path: Path, report: dict[str, Any]) -> None:
    line = json.dumps(report, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write to a file opened for appending: reports of two processes do not mix.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Transient(
            f"the report could not be written: {error.strerror}",
            input=str(path),
            what_to_do="correct VIDEO_PIPELINE_FAILURE_FILE or the folder's permissions",
        ) from error
