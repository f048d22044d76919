"""A stream of bounded stages: one source, stages with workers, one sink.

Belongs here: threads, order, back-pressure and stopping. Does not belong here: what stages do, or reading
the figures (`stats`, `report`). The first error anywhere stops everything, every thread is joined, and that
very exception is raised; later ones become its notes.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from video_pipeline.errors import Cancelled
from video_pipeline.machine import usable_cores
from video_pipeline.streaming.cancel import WAKE_S, CancellationToken
from video_pipeline.streaming.channel import Channel, Closed, Stopped
from video_pipeline.streaming.stats import PipelineReport, StageStats
from video_pipeline.telemetry.timing import Recorder, current_recorder

Work = Callable[[Any], Iterable[Any] | None]
THREAD_PREFIX = "stream-"


@dataclass
class Stage:
    """One step. `work(item)` returns what goes on, or None.

    `setup()` gives each worker a context and a work function of its own, in place of `work`. `finish()`
    returns what is left after the last item and needs `workers == 1`. With several workers, `ordered` keeps
    the order of the input; a worker that is ahead holds one item's outputs until its turn.
    """

    name: str
    work: Work | None = None
    workers: int = 1
    queue_size: int = 8
    ordered: bool = True
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
        if self.setup is not None:
            return self.setup()
        assert self.work is not None
        return contextlib.nullcontext(self.work)


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """Items each stage has taken so far, by name, and the seconds since the stream began."""

    items: dict[str, int]
    elapsed_s: float


class Pipeline:
    """One run of one stream. `sink` is called in the thread that calls `run`."""

    def __init__(
        self,
        source_name: str,
        source: Callable[[], Iterator[Any]],
        stages: Sequence[Stage],
        *,
        cancel: CancellationToken | None = None,
        sink: Callable[[Any], None] | None = None,
        on_progress: Callable[[ProgressSnapshot], None] | None = None,
        progress_every_s: float = 1.0,
    ) -> None:
        names = [source_name, *(stage.name for stage in stages)]
        if len(set(names)) != len(names):
            raise ValueError(f"stages need names of their own: {names}")
        self._source_name = source_name
        self._source = source
        self._stages = list(stages)
        self._cancel = cancel or CancellationToken()
        self._sink = sink or (lambda _item: None)
        self._on_progress = on_progress
        self._progress_every_s = progress_every_s

    def run(self) -> PipelineReport:
        """Runs every stage at once. Every thread has ended when it returns, or raises the first error."""
        return _Run(
            self._source_name,
            self._source,
            self._stages,
            self._cancel,
            self._sink,
            self._on_progress,
            self._progress_every_s,
        ).run()

    def run_sequentially(self) -> PipelineReport:
        """Runs each stage to its end before the next: the same functions, the same results, all in memory."""
        recorder = current_recorder()
        began, cpu = time.perf_counter(), time.process_time()
        all_stats: list[StageStats] = []

        def timed(stats: StageStats, step: Callable[[], Any]) -> Any:
            self._cancel.raise_if_cancelled()
            start, thread_cpu = time.perf_counter(), time.thread_time()
            try:
                return step()
            finally:
                end = time.perf_counter()
                stats.busy_s += end - start
                stats.cpu_s += time.thread_time() - thread_cpu
                if recorder is not None:
                    recorder.record(stats.name, start, end)

        def begin(name: str) -> StageStats:
            stats = StageStats(name, started=time.perf_counter() - began)
            all_stats.append(stats)
            return stats

        stats = begin(self._source_name)
        items: list[Any] = []
        with _closing(self._source()) as iterator:
            while (item := timed(stats, lambda: next(iterator, _END))) is not _END:
                items.append(item)
        stats.items_out, stats.ended = len(items), time.perf_counter() - began
        for stage in self._stages:
            stats = begin(stage.name)
            outputs: list[Any] = []
            with stage.open() as work:
                for item in items:
                    outputs += timed(stats, lambda work=work, item=item: list(work(item) or ()))
                if stage.finish is not None:
                    finish = stage.finish
                    outputs += timed(stats, lambda finish=finish: list(finish() or ()))
            stats.items_in, stats.items_out = len(items), len(outputs)
            stats.ended = time.perf_counter() - began
            items = outputs
        for item in items:
            self._cancel.raise_if_cancelled()
            self._sink(item)
        return PipelineReport(
            all_stats, time.perf_counter() - began, usable_cores(), time.process_time() - cpu
        )


_END = object()


@contextlib.contextmanager
def _closing(iterator: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Closes a generator whatever happens, so that its `finally` runs now and in this thread."""
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


@dataclass
class _Turn:
    """Lets the workers of an ordered stage send in the order in which they took."""

    condition: threading.Condition = field(default_factory=threading.Condition)
    next: int = 0
    stopped: bool = False

    def wait(self, number: int) -> None:
        with self.condition:
            while self.next != number and not self.stopped:
                self.condition.wait(WAKE_S)
            if self.stopped:
                raise Stopped

    def done(self) -> None:
        with self.condition:
            self.next += 1
            self.condition.notify_all()

    def stop(self) -> None:
        with self.condition:
            self.stopped = True
            self.condition.notify_all()


class _Run:
    """The threads of one run."""

    def __init__(
        self,
        source_name: str,
        source: Callable[[], Iterator[Any]],
        stages: list[Stage],
        cancel: CancellationToken,
        sink: Callable[[Any], None],
        on_progress: Callable[[ProgressSnapshot], None] | None,
        progress_every_s: float,
    ) -> None:
        self.source_name = source_name
        self.source = source
        self.stages = stages
        self.cancel = cancel
        self.sink = sink
        self.on_progress = on_progress
        self.progress_every_s = progress_every_s
        self.recorder: Recorder | None = current_recorder()
        # One channel into every stage, and a last one into the sink.
        self.channels = [Channel(stage.queue_size) for stage in stages]
        self.channels.append(Channel(stages[-1].queue_size if stages else 8))
        self.turns = [_Turn() for _ in stages]
        self.stats = [StageStats(source_name), *(StageStats(stage.name, stage.workers) for stage in stages)]
        self.live = [1, *(stage.workers for stage in stages)]
        self.taken = [0] * (len(stages) + 1)
        self.lock = threading.Lock()
        self.error: BaseException | None = None
        self.threads: list[threading.Thread] = []
        self.began = time.perf_counter()

    def run(self) -> PipelineReport:
        cpu = time.process_time()
        remove = self.cancel.add_callback(lambda: self.fail(Cancelled(self.cancel.reason or "cancelled")))
        try:
            self.start(self.source_name, self.run_source)
            for index, stage in enumerate(self.stages):
                for worker in range(stage.workers):
                    name = stage.name if stage.workers == 1 else f"{stage.name} {worker + 1}"
                    self.start(name, self.run_worker, index)
            self.drain()
        except BaseException as error:
            # The sink raised, or Ctrl-C came while this thread waited.
            self.fail(error)
        finally:
            self.join()
            remove()
        if self.error is not None:
            raise self.error
        report = PipelineReport(
            self.stats, time.perf_counter() - self.began, usable_cores(), time.process_time() - cpu
        )
        report.dropped_spans = self.recorder.dropped if self.recorder is not None else 0
        for stats, channel in zip(self.stats[1:], self.channels, strict=False):
            stats.queue_mean, stats.queue_max = channel.mean_occupancy, channel.maximum
        return report

    def start(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        # A copy of the context: spans of the threads go to the caller's recorder, below its open span.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self.guard, target, *arguments), name=THREAD_PREFIX + name, daemon=True
        )
        self.threads.append(thread)
        thread.start()

    def guard(self, target: Callable[..., None], *arguments: Any) -> None:
        try:
            target(*arguments)
        except Stopped:
            pass
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Keeps the first error and stops everything; a later one becomes a note of the first."""
        with self.lock:
            if self.error is None:
                self.error = error
            elif self.error is not error and not isinstance(error, Stopped | Cancelled):
                self.error.add_note(f"while stopping: {type(error).__name__}: {error}")
        for part in (*self.channels, *self.turns):
            part.stop()

    def run_source(self) -> None:
        stats = self.stats[0]
        cpu = time.thread_time()
        with _closing(self.source()) as iterator:
            while True:
                start = time.perf_counter()
                item = next(iterator, _END)
                end = time.perf_counter()
                stats.busy_s += end - start
                if item is _END:
                    break
                self.span(self.source_name, start, end)
                stats.wait_out_s += self.channels[0].put(item)
                stats.items_out += 1
                self.taken[0] += 1
        stats.cpu_s = time.thread_time() - cpu
        stats.ended = time.perf_counter() - self.began
        self.channels[0].close()

    def run_worker(self, index: int) -> None:
        stage, source, target = self.stages[index], self.channels[index], self.channels[index + 1]
        turn = self.turns[index] if stage.ordered and stage.workers > 1 else None
        mine = StageStats(stage.name)
        cpu = time.thread_time()
        try:
            with stage.open() as work:
                while True:
                    try:
                        number, item, waited = source.get()
                    except Closed:
                        break
                    mine.wait_in_s += waited
                    mine.items_in += 1
                    self.count(index)
                    outputs = self.busy(mine, lambda work=work, item=item: work(item))
                    del item
                    if turn is not None:
                        start = time.perf_counter()
                        turn.wait(number)
                        mine.wait_out_s += time.perf_counter() - start
                    self.send(mine, target, outputs)
                    if turn is not None:
                        turn.done()
                if stage.finish is not None:
                    self.send(mine, target, self.busy(mine, stage.finish))
        finally:
            mine.cpu_s = time.thread_time() - cpu
            with self.lock:
                self.stats[index + 1].add(mine)
        with self.lock:
            self.live[index + 1] -= 1
            last = self.live[index + 1] == 0
        if last:
            self.stats[index + 1].ended = time.perf_counter() - self.began
            target.close()

    def busy(self, mine: StageStats, step: Callable[[], Iterable[Any] | None]) -> list[Any]:
        start = time.perf_counter()
        try:
            return list(step() or ())
        finally:
            end = time.perf_counter()
            mine.busy_s += end - start
            self.span(mine.name, start, end)

    def send(self, mine: StageStats, target: Channel, outputs: list[Any]) -> None:
        for output in outputs:
            mine.wait_out_s += target.put(output)
            mine.items_out += 1

    def span(self, name: str, start: float, end: float) -> None:
        if self.recorder is not None:
            self.recorder.record(name, start, end)

    def count(self, index: int) -> None:
        with self.lock:
            self.taken[index + 1] += 1

    def drain(self) -> None:
        """The sink, in the caller's thread; tells progress between items and while it waits."""
        ticker = _Ticker(self) if self.on_progress is not None else contextlib.nullcontext()
        with ticker:
            while True:
                try:
                    _, item, _ = self.channels[-1].get()
                except (Closed, Stopped):
                    return
                self.sink(item)

    def join(self) -> None:
        for thread in self.threads:
            while thread.is_alive():
                try:
                    thread.join(WAKE_S)
                except KeyboardInterrupt as error:
                    self.fail(error)


class _Ticker:
    """Calls `on_progress` every so often. An error in it stops the stream like any other."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, name=THREAD_PREFIX + "progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _tick(self) -> None:
        run = self._run
        names = [stats.name for stats in run.stats]
        while not self._stop.wait(run.progress_every_s):
            assert run.on_progress is not None
            try:
                run.on_progress(
                    ProgressSnapshot(
                        dict(zip(names, run.taken, strict=True)), time.perf_counter() - run.began
                    )
                )
            except BaseException as error:
                run.fail(error)
                return
