"""The same stages without threads: each runs to its end before the next begins.

Belongs here: the yardstick that a stream is measured against. Does not belong here: the stream (`run`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from video_pipeline.machine import usable_cores
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.stage import END, Guarded, Stage, opened
from video_pipeline.streaming.stats import PipelineReport, StageStats
from video_pipeline.streaming.usage import thread_usage
from video_pipeline.telemetry.timing import current_recorder


def run_one_after_the_other(
    source: Callable[[], Iterator[Any]],
    stages: Sequence[Stage],
    *,
    cancel: CancellationToken,
    sink: Callable[[Any], None],
    stats: list[StageStats],
    tell: Callable[[list[StageStats], float], None],
) -> PipelineReport:
    """Everything between two stages is in memory. Raises the first error, as a stream does.

    `stats` are those of the source, of each stage, and of the sink where it has some; `tell` is called with
    them after each part.
    """
    began, cpu = time.perf_counter(), time.process_time()
    clock = _Clock(cancel, began)
    with clock.of(stats[0]), Guarded(opened(source)) as iterator:
        items: list[Any] = []
        while (item := clock.call(lambda: next(iterator, END))) is not END:
            items.append(item)
        stats[0].items_out = len(items)
    tell(stats, time.perf_counter() - began)
    for stage, mine in zip(stages, stats[1:], strict=False):
        outputs: list[Any] = []
        with clock.of(mine), Guarded(stage.open()) as work:
            for item in items:
                mine.items_in += 1
                outputs += clock.call(lambda work=work, item=item: _listed(work(item)))
            if stage.finish is not None:
                finish = stage.finish
                outputs += clock.call(lambda finish=finish: _listed(finish()))
            mine.items_out = len(outputs)
        items = outputs
        tell(stats, time.perf_counter() - began)
    last = stats[-1] if len(stats) == len(stages) + 2 else StageStats("sink")
    with clock.of(last):
        for item in items:
            last.items_in += 1
            clock.call(lambda item=item: sink(item))
    return PipelineReport(stats, time.perf_counter() - began, usable_cores(), time.process_time() - cpu)


class _Clock:
    """Times one part after the other, and looks at the token before each call."""

    def __init__(self, cancel: CancellationToken, began: float) -> None:
        self._cancel = cancel
        self._began = began
        self._recorder = current_recorder()
        self._stats = StageStats("")

    @contextlib.contextmanager
    def of(self, stats: StageStats) -> Iterator[None]:
        self._cancel.raise_if_cancelled()
        self._stats = stats
        # One worker does it all here, whatever the stage would have in a stream.
        stats.workers = 1
        stats.started = time.perf_counter() - self._began
        usage = thread_usage()
        yield
        stats.cpu_s, stats.wait_cpu_s = thread_usage().since(usage)
        stats.ended = time.perf_counter() - self._began

    def call(self, function: Callable[[], Any]) -> Any:
        self._cancel.raise_if_cancelled()
        start = time.perf_counter()
        result = function()
        end = time.perf_counter()
        if result is not END:
            self._stats.busy_s += end - start
            if self._recorder is not None:
                self._recorder.record(self._stats.name, start, end)
        return result


def _listed(outputs: Iterable[Any] | None) -> list[Any]:
    return [] if outputs is None else list(outputs)
