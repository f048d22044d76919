"""The kinds of error, and the exceptions that carry them.

Belongs here: exceptions that several packages raise or catch, each with its kind, the input it names and
what the reader can do. Does not belong here: retry rules (the backends own them) or how errors are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from pydantic import ValidationError

ErrorKind = Literal[
    "bad_input",
    "transient",
    "preempted",
    "timeout",
    "cancelled",
    "out_of_memory",
    "version_mismatch",
    "internal",
]


class PipelineError(Exception):
    """An error with a kind, the input it is about and what to do.

    `str(error)` is one line for people: message, then the input, then what to do.
    """

    kind: ClassVar[ErrorKind] = "internal"

    def __init__(self, message: str, *, input: str | None = None, what_to_do: str | None = None) -> None:
        self.message = message
        self.input = input
        self.what_to_do = what_to_do
        super().__init__(message)

    def __str__(self) -> str:
        about = f" [{self.input}]" if self.input else ""
        advice = f" What to do: {self.what_to_do}" if self.what_to_do else ""
        return f"{self.message}{about}{advice}"

    def __reduce__(self):
        return (_rebuild, (type(self), self.message, self.input, self.what_to_do))


def _rebuild(cls: type[PipelineError], message: str, input: str | None, what_to_do: str | None):
    return cls(message, input=input, what_to_do=what_to_do)


class BadInput(PipelineError):
    """The request or the media is wrong: the same call fails in the same way for ever. Never retried."""

    kind = "bad_input"


class Transient(PipelineError):
    """Something outside failed in a way that may pass (network, server restart). The backend retries."""

    kind = "transient"


class Preempted(PipelineError):
    """The worker's machine was taken away. The backend retries."""

    kind = "preempted"


class TimedOut(PipelineError):
    """The task ran past its own time limit."""

    kind = "timeout"


class Cancelled(PipelineError):
    """A person, or the caller on a person's behalf, asked for the call to end."""

    kind = "cancelled"


class OutOfMemory(PipelineError):
    """The worker ran out of host or device memory."""

    kind = "out_of_memory"


class VersionMismatch(PipelineError):
    """Caller and deployed worker disagree on a task's version: deploy."""

    kind = "version_mismatch"


class Internal(PipelineError):
    """A defect of ours: an invariant did not hold."""

    kind = "internal"


def problems_of(error: ValidationError, whole: str) -> str:
    """Every problem of a model with its field, in one line, without the input; `whole` names what has no
    field. Ours come without the kind of exception that pydantic puts before them. A tuple is not told to be
    too short for the items in it that are wrong: pydantic counts those that are right."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    around = {item["loc"][:depth] for item in found for depth in range(len(item["loc"]))}
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or whole}: {item['msg'].removeprefix('Value error, ')}"
        for item in found
        if item["type"] != "too_short" or item["loc"] not in around
    )
