"""A stream of bounded stages: one source, stages with workers, one sink.

Belongs here: what a user of a stream writes. Does not belong here: how it runs (`run`, `sequential`), what
stages do, or reading the figures (`stats`, `report`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.run import THREAD_PREFIX, Run
from video_pipeline.streaming.sequential import run_one_after_the_other
from video_pipeline.streaming.stage import Stage
from video_pipeline.streaming.stats import PipelineReport, StageStats

__all__ = ["THREAD_PREFIX", "Pipeline", "ProgressSnapshot", "Stage"]


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """Items each stage has taken so far (the source: sent), by name, and seconds since the stream began."""

    items: dict[str, int]
    elapsed_s: float


class Pipeline:
    """One stream, which may be run any number of times if its source and stages allow it.

    `sink` is called in the thread that calls `run`. `on_progress` is called from a thread of its own every
    `progress_every_s` seconds; an error in it stops the stream like any other. Raises `ValueError` when two
    parts have one name.
    """

    def __init__(
        self,
        source_name: str,
        source: Callable[[], Iterator[Any]],
        stages: Sequence[Stage],
        *,
        cancel: CancellationToken | None = None,
        sink: Callable[[Any], None] | None = None,
        sink_name: str = "sink",
        on_progress: Callable[[ProgressSnapshot], None] | None = None,
        progress_every_s: float = 1.0,
    ) -> None:
        names = [source_name, *(stage.name for stage in stages), *([sink_name] if sink else [])]
        if len(set(names)) != len(names):
            raise ValueError(f"stages need names of their own: {names}")
        self._source_name = source_name
        self._source = source
        self._stages = list(stages)
        self._cancel = cancel or CancellationToken()
        self._sink = sink
        self._sink_name = sink_name
        self._on_progress = on_progress
        self._progress_every_s = progress_every_s

    def run(self) -> PipelineReport:
        """Runs every stage at once. Every thread has ended when it returns, or raises the first error.

        What the sink was given before an error stays given; nothing is given to it afterwards.
        """
        return Run(
            self._source_name,
            self._source,
            self._stages,
            self._cancel,
            self._sink or _nothing,
            self._new_stats(),
            self._tell if self._on_progress is not None else None,
            self._progress_every_s,
        ).run()

    def run_sequentially(self) -> PipelineReport:
        """Runs each stage to its end before the next, all in this thread and all in memory, with the same
        functions and so the same results. Errors come out as from `run`."""
        return run_one_after_the_other(
            self._source,
            self._stages,
            cancel=self._cancel,
            sink=self._sink or _nothing,
            stats=self._new_stats(),
            tell=self._tell,
        )

    def _new_stats(self) -> list[StageStats]:
        """Of the source, the stages, and the sink if there is one."""
        stats = [StageStats(self._source_name, scalable=False)]
        stats += [StageStats(stage.name, stage.workers, scalable=not stage.finish) for stage in self._stages]
        if self._sink is not None:
            stats.append(StageStats(self._sink_name, scalable=False))
        return stats

    def _tell(self, stats: list[StageStats], elapsed_s: float) -> None:
        if self._on_progress is None:
            return
        items = {stage.name: stage.items_in for stage in stats}
        items[stats[0].name] = stats[0].items_out
        self._on_progress(ProgressSnapshot(items, elapsed_s))


def _nothing(_item: Any) -> None:
    """The sink of a stream that is run for what its stages do."""
