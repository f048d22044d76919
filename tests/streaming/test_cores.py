"""The core that is left for the source: who may work when, and that nothing hangs on it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from video_pipeline.streaming import run as run_module
from video_pipeline.streaming.cancel import CancellationToken, Cancelled
from video_pipeline.streaming.channel import Stopped
from video_pipeline.streaming.cores import Cores
from video_pipeline.streaming.pipeline import Pipeline, Stage

LONG_S = 30.0


class Taker:
    """Takes a core in a thread of its own, which may have to wait for it."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self.took = threading.Event()
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(Stopped):
            self._cores.take()
            self.took.set()

    def waits(self) -> bool:
        return not self.took.wait(0.1)


@pytest.mark.parametrize(("cores", "beside_the_source"), [(1, 1), (2, 1), (3, 2), (16, 15)])
def test_one_core_is_the_sources_but_somebody_may_always_work(cores: int, beside_the_source: int) -> None:
    shared = Cores(cores)
    for _ in range(beside_the_source):
        assert shared.take() == 0.0
    one_more = Taker(shared)
    assert one_more.waits()
    shared.give_back()
    assert one_more.took.wait(LONG_S)


def test_a_source_that_has_ended_leaves_its_core_to_the_others() -> None:
    shared = Cores(2)
    shared.take()
    one_more = Taker(shared)
    assert one_more.waits()
    shared.source_ended()
    assert one_more.took.wait(LONG_S)


def test_a_source_that_waits_lends_its_core_until_it_goes_on() -> None:
    shared = Cores(2)
    shared.take()
    one_more = Taker(shared)
    assert one_more.waits()
    with shared.source_waits():
        assert one_more.took.wait(LONG_S)
    shared.give_back()
    late = Taker(shared)
    assert late.waits()
    shared.stop()


def test_whoever_waits_for_a_core_leaves_when_the_stream_is_stopped() -> None:
    shared = Cores(2)
    shared.take()
    left = threading.Event()

    def wait() -> None:
        with pytest.raises(Stopped):
            shared.take()
        left.set()

    thread = threading.Thread(target=wait)
    thread.start()
    shared.stop()
    thread.join(LONG_S)
    assert left.is_set()
    with pytest.raises(Stopped):
        shared.take()


class Crowd:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = 0
        self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self.inside -= 1


@pytest.mark.parametrize("needs_core", [True, False])
def test_while_the_source_works_a_stage_uses_the_cores_that_it_leaves(
    monkeypatch: pytest.MonkeyPatch, needs_core: bool
) -> None:
    monkeypatch.setattr(run_module, "usable_cores", lambda: 2)
    crowd, meeting = Crowd(), threading.Barrier(2)
    seen: list[int] = []
    all_through = threading.Event()

    def source() -> Iterator[int]:
        yield from range(4)
        # Works on until all of it has come through, and never waits for room.
        all_through.wait(LONG_S)

    def work(item: int) -> list[int]:
        with crowd, contextlib.suppress(threading.BrokenBarrierError):
            # Two who may be in at once meet here; one who is alone goes on after a while.
            meeting.wait(0.05 if needs_core else LONG_S)
        if needs_core:
            meeting.reset()
        return [item]

    def sink(item: int) -> None:
        seen.append(item)
        if len(seen) == 4:
            all_through.set()

    stage = Stage("work", work, workers=2, queue_size=4, needs_core=needs_core)
    Pipeline("source", source, [stage], sink=sink).run()
    assert seen == [0, 1, 2, 3]
    assert crowd.most == (1 if needs_core else 2)


def test_what_a_stage_leaves_to_the_source_is_told_and_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Waited(Cores):
        def take(self) -> float:
            super().take()
            return 1000.0

    monkeypatch.setattr(run_module, "Cores", Waited)
    stages = [Stage("one", lambda item: [item], needs_core=True), Stage("other", lambda item: [item])]
    report = Pipeline("source", lambda: iter(range(3)), stages).run()
    assert [stage.wait_turn_s for stage in report.stages] == [0, 3000, 0]
    assert report.stages[1].busy_s < 1000


def test_a_source_that_has_to_wait_for_room_lets_all_cores_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "usable_cores", lambda: 2)
    both = threading.Barrier(2)

    def work(item: int) -> list[int]:
        # Only two at once get past here, and the source is held back until they have.
        both.wait(LONG_S)
        return [item]

    seen: list[int] = []
    stage = Stage("work", work, workers=2, queue_size=1, needs_core=True)
    Pipeline("source", lambda: iter(range(20)), [stage], sink=seen.append).run()
    assert seen == list(range(20))


def test_a_core_is_given_back_by_work_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "usable_cores", lambda: 1)
    shared: list[Cores] = []

    class Kept(Cores):
        def __init__(self, cores: int) -> None:
            super().__init__(cores)
            shared.append(self)

        def stop(self) -> None:
            """Not told: so that only what is given back counts."""

    monkeypatch.setattr(run_module, "Cores", Kept)

    def work(item: int) -> list[int]:
        raise KeyError(item)

    with pytest.raises(KeyError):
        Pipeline("source", lambda: iter(range(3)), [Stage("work", work, needs_core=True)]).run()
    assert Taker(shared[0]).took.wait(LONG_S)


def test_a_cancel_ends_a_stream_in_which_somebody_waits_for_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "usable_cores", lambda: 1)
    token = CancellationToken()
    begun = threading.Event()

    def work(item: int) -> list[int]:
        begun.set()
        token.wait(LONG_S)
        return [item]

    def source() -> Iterator[int]:
        yield from range(4)
        begun.wait(LONG_S)
        token.cancel("enough")

    stage = Stage("work", work, workers=3, needs_core=True)
    with pytest.raises(Cancelled, match="enough"):
        Pipeline("source", source, [stage], cancel=token).run()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("stream-")] == []
