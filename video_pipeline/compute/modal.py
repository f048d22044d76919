"""Where we meet Modal's client: spawn, look, cancel, read logs; its errors become ours here and nowhere else.

Belongs here: everything that touches `modal`. Does not belong here: the contract of compute
(`compute.modal_calls`), what is deployed (`modal_ops`). `import modal` takes a second, so it happens when the
first `DeployedApp` is made. Nothing here was run against the real service, only against a stand-in on
loopback; what follows from its documentation alone says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from video_pipeline.calls import ErrorRecord
from video_pipeline.errors import BadInput, ErrorKind, PipelineError, Transient, VersionMismatch

DEPLOY = "deploy: python -m video_pipeline.modal_ops.deploy"
LOGS_KEPT = timedelta(days=34)
"""The client refuses to look back more than 35 days (`modal._logs`); results are given again for longer."""

_OUT_OF_MEMORY = re.compile(
    r"out[- ]of[- ]memory|(?<![a-z])oom|memory limit|thrashing"
    r"|\b(?:exit|exited|exits|code|status)\W(?:\w+\W+){0,2}137\b",
    re.IGNORECASE,
)
"""137 is what a process ends with that the kernel killed: in a container nearly always for its memory."""
_EVICTED = re.compile(r"evict|memory pressure", re.IGNORECASE)
"""Put off a machine that others had filled: the call is not to blame, and may run again."""
_CANCELLED = re.compile(r"cancel+ed", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call stands with Modal. `pending`: it waits, runs, or will be run again after a preemption.
    `returned`: the function gave back its worker's `exit_code`. `failed`: nothing more will come of it, and
    `kind` says why."""

    state: Literal["pending", "returned", "failed"]
    exit_code: int | None = None
    kind: ErrorKind = "internal"
    detail: str = ""


PENDING = Outcome("pending")


@dataclass(frozen=True, slots=True)
class Way:
    """How a task is reached on Modal: under which `name`. One that `holds_model` is a class, whose method
    `run` is called, else a function. `gpu` and `timeout_s` are None, or what this call wants other than
    deployed: Modal then uses other containers than for calls without."""

    name: str
    holds_model: bool = False
    gpu: str | None = None
    timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class LogPiece:
    """A piece of a container's output: usually a line, but neither whole nor single by contract."""

    at: datetime
    container: str
    text: str


class DeployedApp:
    """The app of `name`, as deployed. Safe to use from several threads.

    Every method raises `Transient` when Modal stays away after the client's own retries, and `BadInput` for
    a token that is not accepted or a client that is too old.
    """

    def __init__(self, name: str) -> None:
        import modal

        self.name = name
        self._modal = modal

    def spawn(self, way: Way, call: dict[str, Any]) -> str:
        """Starts the call and returns Modal's id of it. `VersionMismatch` if it is not deployed so."""
        options: dict[str, Any] = {}
        if way.gpu is not None:
            options["gpu"] = way.gpu
        if way.timeout_s is not None:
            options["timeout"] = way.timeout_s
        with self._our_errors(way.name):
            try:
                return self._found(way, options).spawn(call).object_id
            except self._modal.exception.NotFoundError as error:
                raise VersionMismatch(
                    f"the app {self.name} on Modal has no function {way.name}: {error}",
                    input=way.name,
                    what_to_do=DEPLOY,
                ) from None

    def _found(self, way: Way, options: dict[str, Any]) -> Any:
        """The function, or the method of the class; its look-up waits until it is called."""
        if way.holds_model:
            found = self._modal.Cls.from_name(self.name, way.name)
            return (found.with_options(**options) if options else found)().run
        found = self._modal.Function.from_name(self.name, way.name)
        return found.with_options(**options) if options else found

    def outcome(self, call_id: str) -> Outcome:
        """How the call stands; one request, and no waiting."""
        errors = self._modal.exception
        with self._our_errors(call_id):
            try:
                returned = self._modal.FunctionCall.from_id(call_id).get(timeout=0)
            except TimeoutError:
                return PENDING
            except errors.FunctionTimeoutError as error:
                return Outcome("failed", kind="timeout", detail=f"Modal's time limit ended it: {error}")
            except errors.OutputExpiredError:
                return Outcome("failed", kind="preempted", detail="Modal no longer keeps the call's result")
            except errors.NotFoundError:
                return Outcome("failed", kind="preempted", detail=f"Modal does not know the call {call_id}")
            except errors.InternalFailure as error:
                kind = "out_of_memory" if _OUT_OF_MEMORY.search(str(error)) else "preempted"
                return Outcome("failed", kind=kind, detail=f"Modal lost the worker: {error}")
            except errors.InputCancellation:
                return Outcome("failed", kind="cancelled", detail="the call was cancelled at Modal")
            except errors.RemoteError as error:
                detail = str(error) or "Modal ended it and gave no reason"
                return Outcome("failed", kind=_kind_of_text(detail), detail=detail)
            except (*self._of_the_service(), *self._of_the_caller()):
                raise
            except Exception as error:
                # The function's own exception: it failed before its worker could begin.
                kind = error.kind if isinstance(error, PipelineError) else "internal"
                return Outcome("failed", kind=kind, detail=f"{type(error).__name__}: {error}")
        return _of_return(returned)

    def cancel(self, call_id: str, *, terminate: bool) -> None:
        """Ends the call: with `terminate` by killing its container, else by an exception in the function.
        An unknown or ended call is fine."""
        with self._our_errors(call_id):
            try:
                self._modal.FunctionCall.from_id(call_id).cancel(terminate_containers=terminate)
            except self._modal.exception.NotFoundError:
                return

    def log(self, call_id: str, since: datetime) -> list[LogPiece]:
        """What the call's containers have written since then (UTC), in order; nothing where that is longer
        ago than Modal's client asks for. `Transient` also for more lines than it fetches at once."""
        if datetime.now(UTC) - since > LOGS_KEPT:
            return []
        with self._our_errors(call_id):
            try:
                return [
                    LogPiece(
                        entry.timestamp, entry.context_ids[-1] if entry.context_ids else "", entry.message
                    )
                    for entry in self._modal.FunctionCall.from_id(call_id).logs.fetch(since=since)
                ]
            except self._modal.exception.NotFoundError:
                return []
            except self._modal.exception.LogsFetchError as error:
                raise Transient(f"Modal's client does not fetch the log: {error}", input=call_id) from None

    def _of_the_service(self) -> tuple[type[Exception], ...]:
        """What may pass: no connection, and the server's own troubles."""
        errors = self._modal.exception
        return (
            errors.ConnectionError,
            errors.ServiceError,
            errors.InternalError,
            errors.ResourceExhaustedError,
            errors.ClientClosed,
        )

    def _of_the_caller(self) -> tuple[type[Exception], ...]:
        """What is wrong with who asks, whatever became of the call."""
        errors = self._modal.exception
        return errors.AuthError, errors.PermissionDeniedError, errors.VersionError, errors.InvalidError

    @contextmanager
    def _our_errors(self, about: str) -> Iterator[None]:
        errors = self._modal.exception
        try:
            yield
        except self._of_the_service() as error:
            raise Transient(f"Modal cannot be reached: {error}", input=about) from error
        except (errors.AuthError, errors.PermissionDeniedError) as error:
            raise BadInput(
                f"Modal does not accept the token: {error}",
                input="MODAL_TOKEN_ID",
                what_to_do="run `modal token new`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET",
            ) from None
        except errors.VersionError as error:
            raise BadInput(
                f"Modal does not accept this client: {error}", input="modal", what_to_do="upgrade modal"
            ) from None
        except errors.InvalidError as error:
            raise BadInput(f"Modal refuses the call: {error}", input=about) from None


def _of_return(returned: dict[str, Any]) -> Outcome:
    """`modal_ops.entry.run_call_file` says with `error` why a call could not even begin."""
    if "error" in returned:
        error = ErrorRecord.model_validate(returned["error"])
        return Outcome("failed", returned["exit_code"], kind=error.kind, detail=str(error))
    code = returned["exit_code"]
    return Outcome("returned", code, detail=f"its function returned (exit code {code}) and left no result")


def _kind_of_text(text: str) -> ErrorKind:
    """A `RemoteError` has no type for its reason, only words. That the service tells apart being killed for
    memory, thrashing at the limit and being evicted is in its messages' definition (`GenericResult`); the
    words are not documented."""
    if _OUT_OF_MEMORY.search(text):
        return "out_of_memory"
    if _EVICTED.search(text):
        return "preempted"
    return "cancelled" if _CANCELLED.search(text) else "internal"
