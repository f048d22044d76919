"""Contexts of sources and workers: no teardown hides the error that came first, none is left open."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from video_pipeline.streaming.channel import Stopped
from video_pipeline.streaming.stage import Guarded, Stage, opened


class Context(contextlib.AbstractContextManager[str]):
    """A context that may fail as it is left, and may try to swallow what ended it."""

    def __init__(self, fails: BaseException | None = None, *, swallows: bool = False) -> None:
        self.fails, self.swallows = fails, swallows
        self.seen: BaseException | None = None
        self.left = False

    def __enter__(self) -> str:
        return "inside"

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.left, self.seen = True, error
        if self.fails is not None:
            raise self.fails
        return self.swallows


def test_a_body_that_ends_well_leaves_its_context_without_an_error() -> None:
    inner = Context()
    heard: list[BaseException] = []
    with Guarded(inner, heard.append) as value:
        assert value == "inside"
    assert (inner.left, inner.seen, heard) == (True, None, [])


def test_a_teardown_cannot_swallow_the_error_of_the_body() -> None:
    inner = Context(swallows=True)
    with pytest.raises(ValueError, match="the body's"), Guarded(inner):
        raise ValueError("the body's")
    assert isinstance(inner.seen, ValueError)


def test_a_teardown_that_fails_as_well_becomes_a_note() -> None:
    with pytest.raises(ValueError, match="the body's") as caught, Guarded(Context(OSError("no space"))):
        raise ValueError("the body's")
    assert caught.value.__notes__ == ["while stopping: OSError: no space"]


def test_a_teardown_that_fails_alone_is_the_error() -> None:
    with pytest.raises(OSError, match="no space"), Guarded(Context(OSError("no space"))):
        pass


def test_a_teardown_that_fails_while_the_stream_is_stopped_is_the_error() -> None:
    """A stop is no error of its own: what goes wrong on the way out must not be lost behind it."""
    with pytest.raises(OSError, match="no space"), Guarded(Context(OSError("no space"))):
        raise Stopped


def test_a_teardown_that_raises_the_same_error_again_adds_no_note_to_it() -> None:
    error = ValueError("one and the same")
    with pytest.raises(ValueError, match="one and the same") as caught, Guarded(Context(error)):
        raise error
    assert not hasattr(caught.value, "__notes__")


def test_the_error_is_told_before_the_teardown_runs_and_a_stop_is_not_told() -> None:
    inner = Context()
    order: list[bool] = []
    with pytest.raises(ValueError, match="x"), Guarded(inner, lambda _: order.append(inner.left)):
        raise ValueError("x")
    assert order == [False]
    told: list[BaseException] = []
    with pytest.raises(Stopped), Guarded(Context(), told.append):
        raise Stopped
    assert told == []


def test_a_source_that_is_a_generator_is_closed_and_another_iterator_is_left_alone() -> None:
    closed: list[bool] = []

    def source() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    with opened(source) as iterator:
        assert next(iterator) == 1
    assert closed == [True]
    with opened(lambda: iter([1])) as iterator:
        assert next(iterator) == 1


def test_a_stage_opens_its_work_or_what_its_setup_gives() -> None:
    with Stage("plain", lambda item: [item + 1]).open() as work:
        assert work(1) == [2]
    inner = contextlib.nullcontext(lambda item: [item * 10])
    with Stage("own", setup=lambda: inner, workers=3).open() as work:
        assert work(2) == [20]


def test_a_stage_with_both_work_and_setup_is_refused() -> None:
    with pytest.raises(ValueError, match="either work or setup"):
        Stage("both", lambda item: [item], setup=lambda: contextlib.nullcontext(lambda item: [item]))
