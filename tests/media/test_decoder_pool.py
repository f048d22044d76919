"""The pool of decoders: bounded, fair, never giving out one that failed; counted and under seeded threads."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable

import pytest

from video_pipeline.media.decoder_pool import DecoderKey, DecoderPool, PoolClosed

SMALL = DecoderKey("h264", 640, 360)
LARGE = DecoderKey("h264", 1280, 720)
HUGE = DecoderKey("h264", 7680, 4320)
HEVC = DecoderKey("hevc", 640, 360)


class Fleet:
    """Makes decoders that do nothing but tell of misuse; counts those alive."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.alive = self.most_alive = self.made = 0
        self.fail_to_make: Callable[[], bool] = lambda: False
        self.fail_to_reconfigure: Callable[[], bool] = lambda: False
        self.reconfigure_error: BaseException = OSError("reconfigure not supported")
        self.fail_to_close = False

    def make(self, key: DecoderKey) -> Machine:
        if self.fail_to_make():
            raise OSError("no session left on the device")
        with self.lock:
            self.made += 1
            self.alive += 1
            self.most_alive = max(self.most_alive, self.alive)
        return Machine(self, key)


class Machine:
    def __init__(self, fleet: Fleet, key: DecoderKey) -> None:
        self.fleet, self.key = fleet, key
        self.broken = self.closed = False
        self.user = threading.Lock()

    def fits(self, key: DecoderKey) -> bool:
        return key.codec == self.key.codec and key.width <= 1920

    def reconfigure(self, key: DecoderKey) -> None:
        assert not self.closed
        assert not self.broken
        if self.fleet.fail_to_reconfigure():
            self.broken = True
            raise self.fleet.reconfigure_error
        self.key = key

    def use(self, key: DecoderKey) -> None:
        assert self.user.acquire(blocking=False), "two threads in one decoder"
        assert not self.closed
        assert not self.broken
        assert self.key == key
        self.user.release()

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True
        with self.fleet.lock:
            self.fleet.alive -= 1
        if self.fleet.fail_to_close:
            raise OSError("the driver has gone")


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_a_decoder_of_the_same_key_is_used_again(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 2)
    with pool.lease(SMALL) as first:
        pass
    with pool.lease(SMALL) as second:
        assert second is first
    stats = pool.stats()
    assert (stats.created, stats.reused, stats.reconfigured, stats.waits) == (1, 1, 0, 0)


def test_another_size_reconfigures_and_another_codec_makes_a_new_one(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 2)
    with pool.lease(SMALL) as first:
        pass
    with pool.lease(LARGE) as second:
        assert second is first
        assert second.key == LARGE
    with pool.lease(HEVC) as third:
        assert third is not first
    stats = pool.stats()
    assert (stats.created, stats.reconfigured, stats.leases, fleet.alive) == (2, 1, 3, 2)


def test_a_same_key_is_preferred_to_one_that_must_be_reconfigured(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 2)
    with pool.lease(SMALL) as small, pool.lease(LARGE) as large:
        pass
    for _ in range(2):
        with pool.lease(SMALL) as again:
            assert again is small
        with pool.lease(LARGE) as again:
            assert again is large
    assert pool.stats().reused == 4


def test_an_idle_one_of_another_kind_makes_room_when_the_pool_is_full(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 1)
    for key in (SMALL, HEVC, HUGE):
        with pool.lease(key) as decoder:
            decoder.use(key)
    stats = pool.stats()
    assert (stats.created, stats.replaced, stats.recovered, fleet.most_alive) == (3, 2, 0, 1)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_one_whose_user_raised_is_thrown_away_and_recovered(fleet: Fleet, error: type[BaseException]) -> None:
    pool = DecoderPool(fleet.make, 1)
    seen: list[Machine] = []

    def work() -> None:
        with pool.lease(SMALL) as decoder:
            seen.append(decoder)
            raise error

    with pytest.raises(error):
        work()
    assert seen[0].closed
    with pool.lease(SMALL) as second:
        assert second is not seen[0]
    stats = pool.stats()
    assert (stats.created, stats.recovered, stats.reused) == (2, 1, 0)


def test_one_that_cannot_be_reconfigured_after_all_is_recovered(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 1)
    with pool.lease(SMALL) as first:
        pass
    fleet.fail_to_reconfigure = lambda: True
    with pool.lease(LARGE) as second:
        second.use(LARGE)
    stats = pool.stats()
    assert first.closed
    assert (stats.created, stats.reconfigured, stats.recovered, fleet.alive) == (2, 0, 1, 1)


def test_an_interrupt_while_one_is_reconfigured_is_passed_on_and_leaves_the_place_free(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 1)
    with pool.lease(SMALL) as first:
        pass
    fleet.fail_to_reconfigure, fleet.reconfigure_error = lambda: True, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), pool.lease(LARGE):
        raise AssertionError("there is no decoder")
    assert first.closed
    with pool.lease(LARGE) as second:
        second.use(LARGE)
    assert (pool.stats().created, pool.stats().recovered, fleet.alive) == (2, 1, 1)


def test_one_that_does_not_close_cleanly_is_said_and_hides_no_error(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    pool = DecoderPool(fleet.make, 1)
    fleet.fail_to_close = True
    with pytest.raises(ValueError, match="a damaged picture"), pool.lease(SMALL):
        raise ValueError("a damaged picture")
    assert "did not close cleanly" in caplog.text
    assert "the driver has gone" in caplog.text


def test_a_pool_nobody_used_has_counted_nothing(fleet: Fleet) -> None:
    stats = DecoderPool(fleet.make, 1).stats()
    assert (stats.leases, stats.waits, stats.wait_seconds, stats.most_in_use) == (0, 0, 0.0, 0)


def test_a_decoder_that_cannot_be_made_leaves_its_place_free(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 1)
    fleet.fail_to_make = lambda: True
    for _ in range(3):
        with pytest.raises(OSError, match="no session left"), pool.lease(SMALL):
            raise AssertionError("there is no decoder")
    fleet.fail_to_make = lambda: False
    with pool.lease(SMALL) as decoder:
        decoder.use(SMALL)
    assert (pool.stats().created, pool.stats().recovered) == (1, 0)


def test_a_full_pool_is_waited_for_in_the_order_of_arrival(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 1)
    order: list[int] = []

    def work(number: int) -> None:
        with pool.lease(SMALL):
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    with pool.lease(SMALL):
        for number, thread in enumerate(threads, start=1):
            thread.start()
            _until(lambda number=number: pool.stats().waits == number)
        time.sleep(0.02)
    for thread in threads:
        thread.join(60)
    assert order == list(range(6))
    stats = pool.stats()
    assert (stats.waits, stats.most_in_use, stats.created, stats.reused) == (6, 1, 1, 6)
    assert 6 * 0.02 <= stats.wait_seconds < 60


def test_closing_ends_the_idle_at_once_and_the_leased_when_they_come_back(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 2)
    with pool.lease(SMALL) as leased, pool.lease(SMALL):
        pass
    with pool.lease(SMALL) as leased:
        pool.close()
        assert fleet.alive == 1
        assert not leased.closed
        with pytest.raises(PoolClosed), pool.lease(SMALL):
            pass
    assert fleet.alive == 0
    pool.close()


def test_closing_sends_those_who_wait_away(fleet: Fleet) -> None:
    pool = DecoderPool(fleet.make, 1)
    refused: list[BaseException] = []

    def work() -> None:
        try:
            with pool.lease(SMALL):
                pass
        except PoolClosed as error:
            refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    with pool.lease(SMALL):
        for thread in threads:
            thread.start()
        _until(lambda: pool.stats().waits == 3)
        pool.close()
        for thread in threads:
            thread.join(60)
        assert len(refused) == 3
    assert fleet.alive == 0


def test_a_pool_without_a_place_is_refused(fleet: Fleet) -> None:
    with pytest.raises(ValueError, match="a pool of 0"):
        DecoderPool(fleet.make, 0)


@pytest.mark.parametrize("seed", range(24))
def test_under_threads_and_faults_it_stays_bounded_and_its_figures_add_up(fleet: Fleet, seed: int) -> None:
    rng = random.Random(seed)
    limit, workers, each = rng.randint(1, 4), rng.randint(2, 8), 40
    fault = rng.choice((0.0, 0.1, 0.5))
    lock = threading.Lock()
    granted = failed_to_make = raised = 0
    draws = [random.Random(f"{seed} {worker}") for worker in range(workers)]
    fleet_rng = random.Random(f"{seed} fleet")

    def fails() -> bool:
        with lock:
            return fleet_rng.random() < fault

    def counted_make() -> bool:
        nonlocal failed_to_make
        if failing := fails():
            with lock:
                failed_to_make += 1
        return failing

    fleet.fail_to_make, fleet.fail_to_reconfigure = counted_make, fails
    pool = DecoderPool(fleet.make, limit)

    def work(draw: random.Random) -> None:
        nonlocal granted, raised
        for _ in range(each):
            key = draw.choice((SMALL, LARGE, HUGE, HEVC))
            with contextlib.suppress(OSError, ZeroDivisionError), pool.lease(key) as decoder:
                with lock:
                    granted += 1
                decoder.use(key)
                time.sleep(draw.choice((0, 0, 0.0002)))
                decoder.use(key)
                if draw.random() < fault:
                    decoder.broken = True
                    with lock:
                        raised += 1
                    raise ZeroDivisionError

    errors: list[BaseException] = []

    def guarded(draw: random.Random) -> None:
        try:
            work(draw)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(draw,), daemon=True) for draw in draws]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a deadlock"
    assert not errors
    stats = pool.stats()
    assert fleet.most_alive <= limit
    assert stats.most_in_use <= limit
    assert granted + failed_to_make == workers * each
    assert stats.leases == granted
    assert stats.created == fleet.made
    assert stats.recovered <= stats.created
    # Each decoder made is alive, was replaced, or was thrown away; of the last, all but those since whose
    # throwing away no decoder was made count as recovered.
    thrown = fleet.made - fleet.alive - stats.replaced
    assert thrown >= raised
    assert 0 <= thrown - stats.recovered <= limit
    pool.close()
    assert fleet.alive == 0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "never came to be"
        time.sleep(0.001)
