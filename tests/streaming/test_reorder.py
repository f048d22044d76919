"""Order again: results leave by their numbers, who is too far ahead waits, and nobody waits for ever."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable

import pytest

from tests.streaming.test_channel import Asker
from video_pipeline.streaming.channel import Stopped
from video_pipeline.streaming.reorder import Reorder


def test_what_is_ahead_of_its_turn_waits_and_leaves_with_it() -> None:
    order = Reorder(4)
    sent: list[str] = []
    for number, outputs in ((2, ["c"]), (1, ["b", "b2"])):
        assert order.hand_in(number, outputs, sent.extend) == 0.0
    assert sent == []
    order.hand_in(0, ["a"], sent.extend)
    assert sent == ["a", "b", "b2", "c"]
    order.hand_in(3, [], sent.extend)
    order.hand_in(4, ["e"], sent.extend)
    assert sent == ["a", "b", "b2", "c", "e"]


def test_a_worker_that_is_the_whole_window_ahead_waits_and_one_that_is_not_goes_back_to_work() -> None:
    order = Reorder(2)
    sent: list[int] = []
    assert order.hand_in(1, [1], sent.extend) == 0.0
    ahead = Asker(lambda: order.hand_in(2, [2], sent.extend))
    assert ahead.is_waiting()
    order.hand_in(0, [0], sent.extend)
    assert ahead.ended().error is None
    assert ahead.result > 0, "it says how long it waited"
    assert sent == [0, 1, 2]


def test_one_worker_sends_for_all_and_the_others_go_back_to_work_meanwhile() -> None:
    order = Reorder(8)
    sent: list[int] = []
    go_on = threading.Event()

    def slowly(outputs: Iterable[int]) -> None:
        go_on.wait(60)
        sent.extend(outputs)

    sender = Asker(lambda: order.hand_in(0, [0], slowly))
    assert sender.is_waiting()
    # These are next, but somebody is sending: they must neither overtake nor wait.
    assert order.hand_in(1, [1], slowly) == 0.0
    assert order.hand_in(2, [2], slowly) == 0.0
    assert sent == []
    go_on.set()
    sender.ended()
    assert sent == [0, 1, 2]


def test_a_stop_wakes_who_waits_and_turns_away_who_comes_later() -> None:
    order = Reorder(1)
    ahead = Asker(lambda: order.hand_in(1, ["x"], lambda _: None))
    assert ahead.is_waiting()
    order.stop()
    assert isinstance(ahead.ended().error, Stopped)
    with pytest.raises(Stopped):
        order.hand_in(0, ["x"], lambda _: None)


def test_an_error_in_sending_is_raised_to_the_sender() -> None:
    def fail(_outputs: Iterable[int]) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        Reorder(2).hand_in(0, [0], fail)


def test_clearing_drops_what_waits_for_its_turn() -> None:
    order = Reorder(4)
    sent: list[int] = []
    order.hand_in(1, [1], sent.extend)
    order.clear()
    order.hand_in(0, [0], sent.extend)
    assert sent == [0]


@pytest.mark.parametrize("seed", range(5))
def test_any_interleaving_of_workers_sends_everything_once_and_in_order(seed: int) -> None:
    workers = 3
    order = Reorder(2 * workers)
    sent: list[int] = []
    numbers = iter(range(300))
    lock = threading.Lock()

    def work(chance: random.Random) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            if chance.random() < 0.1:
                threading.Event().wait(chance.random() * 0.002)
            order.hand_in(number, [number] * (number % 3), sent.extend)

    threads = [Asker(lambda k=k: work(random.Random(10 * seed + k))) for k in range(workers)]
    for thread in threads:
        assert thread.ended().error is None
    assert sent == [number for number in range(300) for _ in range(number % 3)]


def test_a_handler_that_interrupts_whoever_holds_the_lock_does_not_wait_for_itself() -> None:
    order = Reorder(2)

    def interrupted() -> None:
        with order._condition:
            order.stop()

    Asker(interrupted).ended()


def test_a_wake_up_that_found_nobody_asleep_is_made_up_for() -> None:
    order = Reorder(1)
    ahead = Asker(lambda: order.hand_in(1, ["x"], lambda _: None))
    assert ahead.is_waiting()
    order._stopped = True
    assert isinstance(ahead.ended().error, Stopped)
