"""What a foreground command tells of its call: progress, retries, whether its work is of another time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.compute.test_interrupted_in_dagster import DoubleOfCompute
from video_pipeline import cli, compute
from video_pipeline.compute.base import CallOptions, Event, Handle
from video_pipeline.compute.follow import retry_line
from video_pipeline.errors import ErrorKind
from video_pipeline.machine_probe import ProbeRequest
from video_pipeline.settings import Settings
from video_pipeline.store import open_store


class Known(DoubleOfCompute):
    """A call that was known when it was submitted, or had ended, and that is at its end now."""

    def __init__(
        self, *, attached: bool = False, ended: bool = False, errors: tuple[ErrorKind, ...] = ()
    ) -> None:
        super().__init__(
            [Event("progress", {"stage": "probe", "done": 1, "total": 2, "unit": "looks"})], None, []
        )
        self.attached, self.ended, self.errors = attached, ended, list(errors)

    def submit(self, task: str, request: Any, options: CallOptions | None = None) -> Handle:
        handle = super().submit(task, request, options)
        return replace(handle, attached=self.attached, ended=self.ended)


@pytest.mark.parametrize(
    ("double", "of_another_time"),
    [
        (Known(attached=True, ended=True), True),
        (Known(attached=True), False),
        (Known(), False),
        (Known(errors=("transient",)), False),
    ],
    ids=["ended before", "ran already", "new", "new and tried again"],
)
def test_only_a_call_that_had_ended_before_is_told_as_known(
    double: Known, of_another_time: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "open_compute", lambda settings, store: double)
    record, known = cli._call(settings, open_store(settings), "probe", ProbeRequest())
    assert record.status == "ok"
    assert known is of_another_time


def test_a_call_that_is_started_again_is_told_on_the_terminal(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    double = Known(errors=("preempted",))
    monkeypatch.setattr(compute, "open_compute", lambda settings, store: double)
    cli._call(settings, open_store(settings), "probe", ProbeRequest())
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("probe: 1 of 2 looks")
    assert said[1:] == ["starting again after preempted: it ended: preempted"]
    of_a_fan_out = {"kind": "transient", "message": "the store was away", "child": 2, "of": 3}
    assert retry_line(of_a_fan_out) == "starting call 2 of 3 again after transient: the store was away"
