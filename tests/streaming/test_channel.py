"""The queue between two stages: bounded, in order, ends once it is closed, leaves at once when stopped."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from video_pipeline.streaming import channel as module
from video_pipeline.streaming.channel import Channel, Closed, Stopped


class Asker(threading.Thread):
    """Calls a function in a thread and keeps what came of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:
            self.error = error

    def is_waiting(self) -> bool:
        """Whether it comes to wait for something, however long a busy machine takes to let it come so far."""
        while self.is_alive():
            frame = sys._current_frames().get(self.ident or 0)
            if frame is not None and frame.f_code in (
                threading.Condition.wait.__code__,
                threading.Event.wait.__code__,
            ):
                return True
            time.sleep(0.001)
        return False

    def ended(self) -> Asker:
        self.join(60)
        assert not self.is_alive()
        return self


def filled(capacity: int, count: int) -> Channel:
    channel = Channel(capacity)
    for item in range(count):
        channel.put(item)
    return channel


def test_items_come_in_order_and_are_numbered_as_they_are_taken() -> None:
    channel = filled(3, 3)
    assert [channel.get()[:2] for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
    channel.put("later")
    assert channel.get()[:2] == (3, "later")


def test_it_holds_as_many_items_as_it_has_room_for_and_no_more() -> None:
    channel = Channel(2)
    assert channel.put("a") == 0.0
    assert channel.put("b") == 0.0
    third = Asker(lambda: channel.put("c"))
    assert third.is_waiting()
    assert channel.maximum == 2
    assert channel.get()[1] == "a"
    assert third.ended().result > 0, "it waited for room, and says how long"
    assert channel.maximum == 2
    assert [channel.get()[1], channel.get()[1]] == ["b", "c"]


def test_whoever_takes_from_an_empty_one_waits_for_an_item_and_says_how_long() -> None:
    channel = Channel(2)
    taker = Asker(channel.get)
    assert taker.is_waiting()
    channel.put(None)
    number, item, waited = taker.ended().result
    assert (number, item) == (0, None)
    assert waited > 0
    channel.put("here already")
    assert channel.get()[2] == 0.0


def test_what_was_put_before_the_end_is_still_taken_and_then_everybody_hears_of_the_end() -> None:
    channel = filled(4, 2)
    channel.close()
    assert [channel.get()[1], channel.get()[1]] == [0, 1]
    for _ in range(2):
        with pytest.raises(Closed):
            channel.get()


def test_the_end_wakes_all_who_wait_for_an_item() -> None:
    channel = Channel(1)
    takers = [Asker(channel.get) for _ in range(3)]
    assert all(taker.is_waiting() for taker in takers)
    channel.close()
    assert all(isinstance(taker.ended().error, Closed) for taker in takers)


def test_a_stop_wakes_who_waits_and_turns_away_who_comes_later() -> None:
    full, empty = filled(1, 1), Channel(1)
    waiting = [Asker(lambda: full.put("no room")), Asker(empty.get)]
    assert all(one.is_waiting() for one in waiting)
    full.stop()
    empty.stop()
    assert all(isinstance(one.ended().error, Stopped) for one in waiting)
    for channel in (full, empty):
        with pytest.raises(Stopped):
            channel.get()
        with pytest.raises(Stopped):
            channel.put("late")


def test_a_stopped_one_that_was_closed_too_is_stopped_and_not_at_its_end() -> None:
    """Else a worker would take a stream that failed for one that ended well, and write its tail."""
    channel = filled(2, 1)
    channel.close()
    channel.stop()
    with pytest.raises(Stopped):
        channel.get()


def test_clearing_drops_what_waits() -> None:
    channel = filled(3, 3)
    channel.clear()
    channel.close()
    with pytest.raises(Closed):
        channel.get()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of channels, in its one item."""
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_occupancy_is_averaged_over_time_until_the_end(clock: list[float]) -> None:
    channel = Channel(4)
    clock[0] += 1
    channel.put("a")
    channel.put("b")
    clock[0] += 2
    channel.get()
    clock[0] += 3
    channel.get()
    clock[0] += 1
    assert channel.mean_occupancy == (2 * 2 + 1 * 3) / 7
    channel.close()
    # What comes after the end does not thin it out.
    clock[0] += 5
    assert channel.mean_occupancy == (2 * 2 + 1 * 3) / 7
    assert channel.maximum == 2


def test_items_that_are_taken_after_the_end_do_not_count_as_waiting(clock: list[float]) -> None:
    channel = filled(2, 2)
    clock[0] += 2
    channel.close()
    assert channel.mean_occupancy == 2
    clock[0] += 5
    channel.get()
    assert channel.mean_occupancy == 2


def test_many_threads_on_both_sides_lose_and_double_nothing() -> None:
    channel = Channel(3)
    putters = [
        Asker(lambda base=base: [channel.put(base + item) for item in range(200)]) for base in (0, 1000)
    ]
    taken: list[tuple[int, int]] = []
    lock = threading.Lock()

    def take() -> None:
        while True:
            try:
                number, item, _ = channel.get()
            except Closed:
                return
            with lock:
                taken.append((number, item))

    takers = [Asker(take) for _ in range(3)]
    for putter in putters:
        assert putter.ended().error is None
    channel.close()
    for taker in takers:
        assert taker.ended().error is None
    assert sorted(number for number, _ in taken) == list(range(400))
    assert sorted(item for _, item in taken) == [*range(200), *range(1000, 1200)]
    assert channel.maximum <= 3


def test_a_handler_that_interrupts_whoever_holds_the_lock_does_not_wait_for_itself() -> None:
    channel = filled(1, 1)

    def interrupted() -> None:
        with channel._condition:
            channel.stop()

    Asker(interrupted).ended()
    with pytest.raises(Stopped):
        channel.get()


def test_a_wake_up_that_found_nobody_asleep_is_made_up_for() -> None:
    full, empty = filled(1, 1), Channel(1)
    waiting = [Asker(lambda: full.put("no room")), Asker(empty.get)]
    assert all(one.is_waiting() for one in waiting)
    full._stopped = empty._stopped = True
    assert all(isinstance(one.ended().error, Stopped) for one in waiting)
