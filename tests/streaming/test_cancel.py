"""The token: set once, with the first reason; everybody who waits or asked to be called hears of it."""

from __future__ import annotations

import time

import pytest

from tests.streaming.test_channel import Asker
from video_pipeline.errors import Cancelled
from video_pipeline.streaming.cancel import CancellationToken


def test_a_fresh_token_lets_everybody_go_on() -> None:
    token = CancellationToken()
    token.raise_if_cancelled()
    assert (token.cancelled, token.reason) == (False, "")
    began = time.monotonic()
    assert token.wait(0.05) is False
    assert time.monotonic() - began > 0.04
    assert token.wait(0) is False


def test_the_first_reason_stays() -> None:
    token = CancellationToken()
    token.cancel("first")
    token.cancel("second")
    assert (token.cancelled, token.reason) == (True, "first")
    with pytest.raises(Cancelled, match=r"^first"):
        token.raise_if_cancelled()


def test_a_cancel_without_words_still_says_something() -> None:
    token = CancellationToken()
    token.cancel("")
    with pytest.raises(Cancelled, match="cancelled"):
        token.raise_if_cancelled()


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_whoever_waits_is_woken_at_once(timeout: float | None) -> None:
    token = CancellationToken()
    waiter = Asker(lambda: token.wait(timeout))
    assert waiter.is_waiting()
    began = time.monotonic()
    token.cancel("now")
    assert waiter.ended().result is True
    assert time.monotonic() - began < 15
    assert token.wait() is True


def test_each_callback_is_called_once_and_one_that_comes_late_at_once() -> None:
    token = CancellationToken()
    called: list[str] = []
    token.add_callback(lambda: called.append("early"))
    token.cancel("now")
    token.cancel("again")
    assert called == ["early"]
    remove = token.add_callback(lambda: called.append("late"))
    assert called == ["early", "late"]
    remove()


def test_a_callback_that_was_removed_is_not_called_and_removing_twice_is_fine() -> None:
    token = CancellationToken()
    called: list[str] = []
    keep = token.add_callback(lambda: called.append("kept"))
    remove = token.add_callback(lambda: called.append("removed"))
    remove()
    remove()
    token.cancel("now")
    assert called == ["kept"]
    keep()


def test_an_error_in_one_callback_keeps_no_other_from_being_called() -> None:
    token = CancellationToken()
    called: list[int] = []

    def fail(number: int) -> None:
        called.append(number)
        raise OSError(f"callback {number}")

    for number in range(3):
        token.add_callback(lambda number=number: fail(number))
    with pytest.raises(OSError, match="callback 0"):
        token.cancel("now")
    assert called == [0, 1, 2]
    assert token.cancelled


def test_a_callback_sees_the_token_set_and_may_use_it() -> None:
    """As the stream's does, which asks for the reason; and a signal's, in the very thread that waits."""
    token = CancellationToken()
    seen: list[tuple[bool, str]] = []
    token.add_callback(lambda: seen.append((token.wait(0), token.reason)))
    token.cancel("why")
    assert seen == [(True, "why")]


def test_a_handler_that_interrupts_whoever_holds_the_lock_does_not_wait_for_itself() -> None:
    """A signal comes in the very thread that has just looked at the token, between two of its lines."""
    token = CancellationToken()
    called: list[str] = []
    token.add_callback(lambda: called.append("told"))

    def interrupted() -> None:
        with token._condition:
            token.cancel("a signal")

    Asker(interrupted).ended()
    assert called == ["told"]


def test_a_wake_up_that_found_nobody_asleep_is_made_up_for() -> None:
    """A handler sets the token after its thread has looked and before it sleeps: there is nobody to wake."""
    token = CancellationToken()
    waiter = Asker(token.wait)
    assert waiter.is_waiting()
    token._cancelled = True
    assert waiter.ended().result is True
