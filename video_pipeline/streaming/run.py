"""One run of a stream: its threads, how they end, and what is measured of them.

Belongs here: threads, back-pressure and stopping. Does not belong here: what a user of a stream writes
(`pipeline`), waiting (`channel`, `reorder`), reading the figures (`stats`).

How it ends: the first error is kept, everything is stopped, every context and the source are closed in the
thread that opened them, every thread is joined, and that very exception is raised; later ones are its notes.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from video_pipeline.errors import Cancelled
from video_pipeline.machine import usable_cores
from video_pipeline.streaming.cancel import WAKE_S, CancellationToken
from video_pipeline.streaming.channel import Channel, Closed, Stopped
from video_pipeline.streaming.cores import Cores
from video_pipeline.streaming.reorder import Reorder
from video_pipeline.streaming.stage import END, Guarded, Stage, note, opened
from video_pipeline.streaming.stats import PipelineReport, StageStats
from video_pipeline.streaming.usage import thread_usage
from video_pipeline.telemetry.timing import Recorder, current_recorder

THREAD_PREFIX = "stream-"


class Run:
    """The threads of one run. The sink is called in the thread that calls `run`.

    `stats` are those of the source, of each stage, and of the sink if it is to have some.
    """

    def __init__(
        self,
        source_name: str,
        source: Callable[[], Iterator[Any]],
        stages: Sequence[Stage],
        cancel: CancellationToken,
        sink: Callable[[Any], None],
        stats: list[StageStats],
        tick: Callable[[list[StageStats], float], None] | None,
        tick_every_s: float,
    ) -> None:
        self._source_name = source_name
        self._source = source
        self._stages = stages
        self._cancel = cancel
        self._sink = sink
        self._tick = tick
        self._tick_every_s = tick_every_s
        self._recorder: Recorder | None = current_recorder()
        # One channel into every stage, and a last one into the sink.
        self._channels = [Channel(stage.queue_size) for stage in stages]
        self._channels.append(Channel(stages[-1].queue_size if stages else 8))
        # Twice the workers: one result that takes long does not keep the others from their next item.
        self._orders = [Reorder(2 * stage.workers) for stage in stages]
        self._cores = Cores(usable_cores())
        self._stats = stats
        self._live = [stage.workers for stage in stages]
        # Re-entrant: a signal handler may cancel while this very thread holds it.
        self._lock = threading.RLock()
        self._stopped = False
        self._drained = False
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._began = time.perf_counter()

    def run(self) -> PipelineReport:
        cpu = time.process_time()
        remove = self._cancel.add_callback(lambda: self._fail(Cancelled(self._cancel.reason or "cancelled")))
        try:
            self._start_all()
            self._drain()
        except BaseException as error:
            # The sink raised, or Ctrl-C came while this thread waited.
            self._fail(error)
        finally:
            self._join()
            remove()
        if self._error is not None:
            # The traceback holds this frame: an error kept here would hold itself, and every item with it.
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error
        report = PipelineReport(
            self._stats, time.perf_counter() - self._began, usable_cores(), time.process_time() - cpu
        )
        report.dropped_spans = self._recorder.dropped if self._recorder is not None else 0
        for stats, channel in zip(self._stats[1:], self._channels, strict=False):
            stats.queue_mean, stats.queue_max = channel.mean_occupancy, channel.maximum
        return report

    # Starting and stopping.

    def _start_all(self) -> None:
        self._start(self._source_name, self._run_source)
        for index, stage in enumerate(self._stages):
            for worker in range(stage.workers):
                name = stage.name if stage.workers == 1 else f"{stage.name} {worker + 1}"
                self._start(name, self._run_worker, index)
        if self._tick is not None:
            self._start("progress", self._run_ticker)

    def _start(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        # A copy of the context: spans of the threads go to the caller's recorder, below its open span.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._guard, target, *arguments), name=THREAD_PREFIX + name, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _guard(self, target: Callable[..., None], *arguments: Any) -> None:
        if self._stopped:
            return  # cancelled, or failed already: nothing more is opened
        try:
            target(*arguments)
        except Stopped:
            pass
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Keeps the first error and stops everything; a later one becomes a note of the first."""
        with self._lock:
            if self._error is None:
                self._error = error
            elif self._error is not error and not isinstance(error, Stopped | Cancelled):
                note(self._error, error)
        self._stop()

    def _stop(self) -> None:
        self._stopped = True
        for part in (*self._channels, *self._orders, self._cores):
            part.stop()

    def _join(self) -> None:
        """Every thread has ended when this returns, however often Ctrl-C comes meanwhile."""
        while True:
            try:
                self._ended.set()
                if not self._drained:
                    # Again each time: Ctrl-C may have cut the last one short.
                    self._stop()
                alive = [thread for thread in self._threads if thread.is_alive()]
                if not alive:
                    # What waited would live on in the error's traceback.
                    for part in (*self._channels, *self._orders):
                        part.clear()
                    return
                # Short: a join that waits for ever would keep the signal handlers of this thread waiting.
                alive[0].join(WAKE_S)
            except KeyboardInterrupt as error:
                self._fail(error)

    # What the threads do.

    def _run_source(self) -> None:
        stats, target = self._stats[0], self._channels[0]
        stats.started = self._elapsed()
        usage = thread_usage()
        with Guarded(opened(self._source), self._fail) as iterator:
            while not self._stopped:
                start = time.perf_counter()
                item = next(iterator, END)
                end = time.perf_counter()
                stats.busy_s += end - start
                if item is END:
                    break
                self._span(stats, start, end)
                # Nobody else sends there: if it is not full now, nothing will be waited for.
                with self._cores.source_waits() if target.full else contextlib.nullcontext():
                    stats.wait_out_s += target.put(item)
                stats.items_out += 1
        self._cores.source_ended()
        stats.cpu_s, stats.wait_cpu_s = thread_usage().since(usage)
        stats.ended = self._elapsed()
        target.close()

    def _run_worker(self, index: int) -> None:
        stage, source, target = self._stages[index], self._channels[index], self._channels[index + 1]
        order = self._orders[index] if stage.ordered and stage.workers > 1 else None
        mine = StageStats(stage.name, started=self._elapsed())
        usage = thread_usage()

        def send(outputs: Iterable[Any]) -> None:
            for output in outputs:
                mine.wait_out_s += target.put(output)
                mine.items_out += 1

        with contextlib.ExitStack() as stack:
            start = time.perf_counter()
            work = stack.enter_context(Guarded(stage.open(), self._fail))
            mine.busy_s += time.perf_counter() - start
            while True:
                try:
                    number, item, waited = source.get()
                except Closed:
                    break
                mine.wait_in_s += waited
                self._count(index)
                core = self._cores if stage.needs_core else None
                if order is None:
                    self._produce(mine, lambda work=work, item=item: work(item), send, core)
                else:
                    made: list[Any] = []
                    self._produce(mine, lambda work=work, item=item: work(item), made.extend, core)
                    mine.wait_out_s += order.hand_in(number, made, send)
                    del made
                del item
            if stage.finish is not None:
                self._produce(mine, stage.finish, send)
            start = time.perf_counter()
        mine.busy_s += time.perf_counter() - start
        mine.cpu_s, mine.wait_cpu_s = thread_usage().since(usage)
        mine.ended = self._elapsed()
        with self._lock:
            self._stats[index + 1].add(mine)
            self._live[index] -= 1
            last = self._live[index] == 0
        if last:
            target.close()

    def _produce(
        self,
        mine: StageStats,
        step: Callable[[], Iterable[Any] | None],
        send: Callable[[Iterable[Any]], None],
        cores: Cores | None = None,
    ) -> None:
        """Calls `step` and sends what it returns. A generator is pulled only as fast as `send` takes. Of
        `cores` one is taken for as long as `step` runs."""
        if cores is not None:
            mine.wait_turn_s += cores.take()
        start = time.perf_counter()
        try:
            outputs = step()
        finally:
            if cores is not None:
                cores.give_back()
        if outputs is None or isinstance(outputs, list | tuple):
            self._worked(mine, start)
            send(outputs or ())
            return
        with Guarded(opened(lambda: iter(outputs)), self._fail) as iterator:
            while (output := next(iterator, END)) is not END:
                self._worked(mine, start)
                send((output,))
                start = time.perf_counter()
        self._worked(mine, start)

    def _worked(self, mine: StageStats, start: float) -> None:
        end = time.perf_counter()
        mine.busy_s += end - start
        self._span(mine, start, end)

    def _drain(self) -> None:
        """The sink, in the caller's thread. Its own figures go into the last statistics, if it has some."""
        mine = StageStats("", started=self._elapsed())
        source, usage = self._channels[-1], thread_usage()
        listed = self._stats[-1] if len(self._stats) == len(self._stages) + 2 else None
        while True:
            try:
                _, item, waited = source.get()
            except Closed:
                break
            except Stopped:
                return
            mine.wait_in_s += waited
            start = time.perf_counter()
            self._sink(item)
            end = time.perf_counter()
            mine.busy_s += end - start
            if listed is not None:
                listed.items_in += 1
                self._span(listed, start, end)
            del item
        mine.cpu_s, mine.wait_cpu_s = thread_usage().since(usage)
        mine.ended = self._elapsed()
        if listed is not None:
            listed.add(mine)
        self._drained = True

    def _run_ticker(self) -> None:
        assert self._tick is not None
        while not self._ended.wait(self._tick_every_s) and not self._stopped:
            self._tick(self._stats, self._elapsed())

    def _span(self, stats: StageStats, start: float, end: float) -> None:
        if self._recorder is not None:
            self._recorder.record(stats.name, start, end)

    def _count(self, index: int) -> None:
        # At once, and not with the rest at the end: progress is read from it.
        with self._lock:
            self._stats[index + 1].items_in += 1

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began
