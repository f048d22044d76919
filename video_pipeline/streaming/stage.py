"""What a stream is made of: a stage, and how sources and workers are opened and closed.

Belongs here: what needs no thread. Does not belong here: running (`run`, `sequential`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from video_pipeline.streaming.channel import Stopped

Work = Callable[[Any], Iterable[Any] | None]
END = object()
"""What `next` gives at the end of a source; None is an item like any other."""

T = TypeVar("T")


@dataclass
class Stage:
    """One step. `work(item)` returns what goes on, or None.

    A generator is pulled only as fast as the next queue takes, except in an ordered stage of several workers:
    there each item's outputs are collected first, so they should be few.

    `setup()` gives each worker a context and a work function of its own, in place of `work`. `finish()`
    returns what is left after the last item and needs `workers == 1`. With several workers, `ordered` keeps
    the order of the input; results of at most twice as many items as workers wait for their turn.

    `needs_core`: the work keeps a core busy, and so waits for one that the source leaves (`cores`). It
    returns a list, since a generator's work would be done later.

    Raises `ValueError` for options that exclude each other.
    """

    name: str
    work: Work | None = None
    workers: int = 1
    queue_size: int = 8
    ordered: bool = True
    needs_core: bool = False
    finish: Callable[[], Iterable[Any] | None] | None = None
    setup: Callable[[], AbstractContextManager[Work]] | None = None

    def __post_init__(self) -> None:
        if (self.work is None) == (self.setup is None):
            raise ValueError(f"stage {self.name!r} needs either work or setup")
        if self.workers < 1 or self.queue_size < 1:
            raise ValueError(f"stage {self.name!r} needs at least one worker and a queue of at least one")
        if self.finish is not None and self.workers != 1:
            raise ValueError(f"stage {self.name!r} has a finish, so it can have one worker only")

    def open(self) -> AbstractContextManager[Work]:
        """The context of one worker."""
        if self.setup is not None:
            return self.setup()
        assert self.work is not None
        return contextlib.nullcontext(self.work)


class Guarded(AbstractContextManager[T], Generic[T]):
    """A context whose teardown can neither replace nor swallow the error that ended its body.

    `on_error` hears of that error before the teardown runs. A teardown's own error is raised when the body
    ended well or was `Stopped`, and is a note of the body's error otherwise.
    """

    def __init__(
        self, inner: AbstractContextManager[T], on_error: Callable[[BaseException], None] | None = None
    ) -> None:
        self._inner = inner
        self._on_error = on_error

    def __enter__(self) -> T:
        return self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None and self._on_error is not None and not isinstance(error, Stopped):
            self._on_error(error)
        try:
            self._inner.__exit__(kind, error, trace)
        except BaseException as second:
            if error is None or (isinstance(error, Stopped) and second is not error):
                raise
            if second is not error:
                note(error, second)
        return False


def note(error: BaseException, later: BaseException) -> None:
    """Keeps a later error as a line under the first one's traceback."""
    error.add_note(f"while stopping: {type(later).__name__}: {later}")


@contextlib.contextmanager
def opened(source: Callable[[], Iterator[Any]]) -> Iterator[Iterator[Any]]:
    """Closes a generator whatever happens, so that its `finally` runs now and in this thread."""
    iterator = source()
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
