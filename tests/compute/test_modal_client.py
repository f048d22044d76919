"""What Modal's client says and raises, in our words: with doubles of its objects, and its own exceptions.

That the client does say and raise so is what the tests on the stand-in prove; here each case is quick.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import modal
import pytest
from modal import _logs
from modal import exception as errors

from video_pipeline.compute.modal import PENDING, DeployedApp, LogPiece, Outcome, Way
from video_pipeline.errors import BadInput, ErrorKind, PipelineError, Preempted, Transient, VersionMismatch

CALL = "fc-1"


class DoubleOfACall:
    """In the place of `modal.FunctionCall`: answers, or raises, what a test wants."""

    says: Any = None
    asked: list[tuple[str, Any]]

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.logs = SimpleNamespace(fetch=self._logs)

    @classmethod
    def from_id(cls, call_id: str) -> DoubleOfACall:
        return cls(call_id)

    def _answer(self, *about: Any) -> Any:
        self.asked.append((self.call_id, *about))
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says

    def get(self, timeout: float) -> Any:
        return self._answer(timeout)

    def cancel(self, *, terminate_containers: bool) -> Any:
        return self._answer(terminate_containers)

    def _logs(self, *, since: datetime) -> Any:
        return self._answer(since)


class DoubleOfAFunction:
    """In the place of `modal.Function` and `modal.Cls`: notes how it was found, and with which options."""

    def __init__(self, name: str, asked: list[Any], says: Any) -> None:
        self.name = name
        self.asked = asked
        self.says = says
        self.run = self

    def __call__(self) -> DoubleOfAFunction:
        self.asked.append("instance")
        return self

    def from_name(self, app: str, name: str) -> DoubleOfAFunction:
        self.asked += [self.name, (app, name)]
        return self

    def with_options(self, **options: Any) -> DoubleOfAFunction:
        self.asked.append(options)
        return self

    def spawn(self, call: dict[str, Any]) -> Any:
        self.asked.append(call)
        if isinstance(self.says, BaseException):
            raise self.says
        return SimpleNamespace(object_id=self.says)


@pytest.fixture
def app() -> DeployedApp:
    return DeployedApp("video-pipeline")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> type[DoubleOfACall]:
    class Call(DoubleOfACall):
        asked: list[tuple[str, Any]] = []  # noqa: RUF012  one list for the test's every object

    monkeypatch.setattr(modal, "FunctionCall", Call)
    return Call


def spawning(monkeypatch: pytest.MonkeyPatch, app: DeployedApp, way: Way, says: Any = CALL) -> list[Any]:
    asked: list[Any] = []
    for name in ("Function", "Cls"):
        monkeypatch.setattr(modal, name, DoubleOfAFunction(name, asked, says))
    app.spawn(way, {"key": "k"})
    return asked


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [
        (
            errors.FunctionTimeoutError("Task's current input hit its timeout"),
            "timeout",
            "time limit ended it",
        ),
        (errors.OutputExpiredError(), "preempted", "no longer keeps"),
        (errors.NotFoundError("gone"), "preempted", "does not know the call fc-1"),
        (errors.InternalFailure("the host was lost"), "preempted", "lost the worker"),
        (errors.InternalFailure("container killed: out of memory"), "out_of_memory", "lost the worker"),
        (errors.InputCancellation(), "cancelled", "cancelled at Modal"),
        (errors.RemoteError("Input was cancelled by user"), "cancelled", "cancelled by user"),
        (errors.RemoteError("the container exited with code 137"), "out_of_memory", "137"),
        (errors.RemoteError("the task was evicted"), "preempted", "evicted"),
        (errors.RemoteError(""), "internal", "gave no reason"),
        (ValueError("a defect"), "internal", "ValueError: a defect"),
        (Transient("the store is away"), "transient", "the store is away"),
        (Preempted("taken away"), "preempted", "taken away"),
    ],
)
def test_how_a_call_failed_is_said_in_our_kinds(
    says: Exception, kind: ErrorKind, words: str, app: DeployedApp, call: type[DoubleOfACall]
) -> None:
    call.says = says
    outcome = app.outcome(CALL)
    assert (outcome.state, outcome.kind) == ("failed", kind)
    assert words in outcome.detail
    assert call.asked == [(CALL, 0)], "it is asked once, and nothing waits"


def test_a_call_that_has_not_ended_is_pending_and_one_that_has_tells_its_exit_code(
    app: DeployedApp, call: type[DoubleOfACall]
) -> None:
    call.says = TimeoutError()
    assert app.outcome(CALL) == PENDING
    call.says = {"exit_code": 0}
    assert (app.outcome(CALL).state, app.outcome(CALL).exit_code) == ("returned", 0)
    error = {"kind": "version_mismatch", "message": "too old", "what_to_do": "deploy"}
    call.says = {"exit_code": 1, "error": error}
    assert app.outcome(CALL) == Outcome("failed", 1, "version_mismatch", "too old What to do: deploy")


@pytest.mark.parametrize(
    ("says", "ours", "input"),
    [
        (errors.ConnectionError("no route"), Transient, CALL),
        (errors.ServiceError("busy"), Transient, CALL),
        (errors.InternalError("theirs"), Transient, CALL),
        (errors.ResourceExhaustedError("slow down"), Transient, CALL),
        (errors.ClientClosed("closed"), Transient, CALL),
        (errors.AuthError("wrong"), BadInput, "MODAL_TOKEN_ID"),
        (errors.PermissionDeniedError("not yours"), BadInput, "MODAL_TOKEN_ID"),
        (errors.VersionError("too old"), BadInput, "modal"),
        (errors.InvalidError("no such option"), BadInput, CALL),
    ],
)
@pytest.mark.parametrize("what", ["outcome", "cancel", "log"])
def test_troubles_with_the_service_are_never_the_calls(
    what: str,
    says: Exception,
    ours: type[PipelineError],
    input: str,
    app: DeployedApp,
    call: type[DoubleOfACall],
) -> None:
    call.says = says
    ask = {
        "outcome": lambda: app.outcome(CALL),
        "cancel": lambda: app.cancel(CALL, terminate=False),
        "log": lambda: app.log(CALL, datetime.now(UTC)),
    }[what]
    with pytest.raises(ours) as caught:
        ask()
    assert caught.value.input == input


def test_a_cancel_is_as_hard_as_it_was_asked_for_and_one_of_an_unknown_call_is_fine(
    app: DeployedApp, call: type[DoubleOfACall]
) -> None:
    app.cancel(CALL, terminate=False)
    app.cancel(CALL, terminate=True)
    assert call.asked == [(CALL, False), (CALL, True)]
    call.says = errors.NotFoundError("gone")
    app.cancel(CALL, terminate=True)


def test_the_log_is_given_by_time_and_container_and_an_unknown_calls_is_empty(
    app: DeployedApp, call: type[DoubleOfACall]
) -> None:
    at = datetime.now(UTC)
    since = at - timedelta(days=1)
    call.says = [
        SimpleNamespace(timestamp=at, context_ids=["fu-1", "ta-1"], message="a line"),
        SimpleNamespace(timestamp=at, context_ids=[], message="nobody's"),
    ]
    assert app.log(CALL, since) == [LogPiece(at, "ta-1", "a line"), LogPiece(at, "", "nobody's")]
    assert call.asked == [(CALL, since)]
    call.says = errors.NotFoundError("gone")
    assert app.log(CALL, since) == []


def test_the_client_is_never_asked_for_a_log_longer_ago_than_it_looks_and_one_too_long_is_told(
    app: DeployedApp, call: type[DoubleOfACall]
) -> None:
    now, most = datetime.now(UTC), _logs._MAX_FETCH_RANGE
    call.says = []
    app.log(CALL, now - most + timedelta(days=2))
    asked = list(call.asked)
    assert len(asked) == 1
    assert app.log(CALL, now - most) == []
    assert call.asked == asked
    call.says = errors.LogsFetchError("Too many logs to fetch in time range")
    with pytest.raises(Transient, match="Too many logs") as caught:
        app.log(CALL, now)
    assert caught.value.input == CALL


@pytest.mark.parametrize(
    ("way", "asked"),
    [
        (Way("probe"), ["Function", ("video-pipeline", "probe")]),
        (Way("probe", gpu="T4"), ["Function", ("video-pipeline", "probe"), {"gpu": "T4"}]),
        (
            Way("run_inference", holds_model=True),
            ["Cls", ("video-pipeline", "run_inference"), "instance"],
        ),
        (
            Way("run_inference", holds_model=True, gpu="T4", timeout_s=7260),
            ["Cls", ("video-pipeline", "run_inference"), {"gpu": "T4", "timeout": 7260}, "instance"],
        ),
    ],
)
def test_a_task_is_reached_by_its_name_and_with_the_options_that_differ(
    way: Way, asked: list[Any], app: DeployedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spawning(monkeypatch, app, way) == [*asked, {"key": "k"}]


def test_a_function_that_is_not_deployed_is_a_mismatch_of_versions(
    app: DeployedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VersionMismatch, match="video-pipeline on Modal has no function probe") as caught:
        spawning(monkeypatch, app, Way("probe"), errors.NotFoundError("no function"))
    assert "modal_ops.deploy" in (caught.value.what_to_do or "")
    with pytest.raises(Transient) as away:
        spawning(monkeypatch, app, Way("probe"), errors.ConnectionError("no route"))
    assert away.value.input == "probe"
