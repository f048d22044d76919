"""The stream of a sampling run: plan, fetch, decode and prepare, classify, all at once.

Belongs here: the order of the work, fetching, who bears what it cost, and that a frame is delivered or fails,
never lost. Does not belong here: which bytes (`plan_stage`), decoding (`decode_stage`), classifying
(`batcher`), figures (`account`).

Every stage keeps the order of the items that entered it, so predictions are computed in the same batches
whoever is first: the same request gives the same answer to the last bit on one machine. There are no barriers
between batches of the request: a stage takes the next item as soon as it is free.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from video_pipeline.errors import Cancelled, PipelineError
from video_pipeline.machine import usable_cores
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.sampling.batcher import Batcher
from video_pipeline.sampling.decode_stage import DecodeStage
from video_pipeline.sampling.fetch import Unit, fetch_unit, shares
from video_pipeline.sampling.frames import (
    Cost,
    Delivered,
    Failed,
    FetchedGroup,
    PlannedUnit,
    Visit,
    Wanted,
)
from video_pipeline.sampling.indexes import is_stale
from video_pipeline.sampling.plan_stage import Context, PlanStage
from video_pipeline.streaming.pipeline import Pipeline, Stage
from video_pipeline.streaming.stats import PipelineReport
from video_pipeline.telemetry.timing import timed_operation

if TYPE_CHECKING:
    from video_pipeline.models.image_classifier import Classifier

IO_WORKERS = 16
"""Videos indexed, and units fetched, at a time: they wait for the network. A connection each is kept open."""

VISIT_FRAMES = 16
"""Frames of one video that are looked up together, so that neighbouring GOPs are one request."""


class SampleStream:
    """One run. `run` gives every frame to `sink`, in the order of visits."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._options = context.options
        self._planning = PlanStage(context, IO_WORKERS)
        self._lock = threading.Lock()
        self._classifier: Future[Classifier] = Future()

    def run(self, sink: Callable[[Delivered | Failed], None]) -> PipelineReport:
        """Raises the first error that is no frame's own: a defect, a wrong classifier, a cancel."""
        loading = threading.Thread(
            target=contextvars.copy_context().run, args=(self._load,), name="sampling-model"
        )
        with self._planning:
            loading.start()
            try:
                report = self._pipeline(sink).run()
            finally:
                loading.join()
            self._planning.raise_if_not_kept()
            return report

    def _pipeline(self, sink: Callable[[Delivered | Failed], None]) -> Pipeline:
        decoding = DecodeStage(self._options, self._classifier, self._charge)
        batcher = Batcher(self._options, self._classifier)
        return Pipeline(
            "choose",
            self._visits,
            [
                Stage("index", self._index, workers=IO_WORKERS, queue_size=IO_WORKERS),
                Stage("fetch", self._fetch, workers=IO_WORKERS, queue_size=IO_WORKERS),
                Stage("decode", decoding.decode, workers=usable_cores(), queue_size=8),
                Stage("classify", batcher.push, finish=batcher.finish, queue_size=64),
            ],
            cancel=self._context.cancel,
            sink=sink,
            sink_name="collect",
            on_progress=self._context.on_progress,
        )

    def _load(self) -> None:
        try:
            with timed_operation("model_load"):
                self._classifier.set_result(self._context.load_classifier())
        except BaseException as error:
            self._classifier.set_exception(error)

    def _visits(self) -> Iterator[Visit]:
        step = max(1, VISIT_FRAMES // self._options.frames_per_sample)
        for first in range(0, self._options.batches, step):
            batches = range(first, min(first + step, self._options.batches))
            for video in range(len(self._context.logs)):
                yield Visit(video, batches)

    def _index(self, visit: Visit) -> list[PlannedUnit | Failed]:
        wanted = dict(
            enumerate(
                Wanted(batch, visit.video, frame)
                for batch in visit.batches
                for frame in range(self._options.frames_per_sample)
            )
        )
        costs, traffic = {number: Cost() for number in wanted}, Traffic()
        planned = self._planning.plan(visit.video, wanted, costs, traffic)
        self._charge(visit.video, traffic, list(costs.values()))
        return planned

    def _fetch(self, work: PlannedUnit | Failed) -> list[FetchedGroup | Failed]:
        if isinstance(work, Failed):
            return [work]
        traffic = Traffic()
        planned: list[PlannedUnit | Failed] = [work]
        out = _fetched(work, traffic)
        if is_stale(work.index, work.source):
            # The stored index was of another version of the file: those bytes are no pictures.
            wanted = {number: work.wanted[number] for number in work.numbers}
            planned = self._planning.plan(work.video, wanted, work.costs, traffic, stale=work.index)
            out = [item for part in planned for item in _fetched(part, traffic)]
        self._charge(
            work.video,
            traffic,
            [work.costs[number] for number in work.numbers],
            planned=[part.unit for part in planned if isinstance(part, PlannedUnit)],
            fetched={item.fetched.unit for item in out if isinstance(item, FetchedGroup)},
        )
        return out

    def _charge(
        self,
        video: int,
        traffic: Traffic,
        costs: Sequence[Cost],
        *,
        planned: Iterable[Unit] = (),
        fetched: Iterable[Unit] = (),
    ) -> None:
        """Split what was requested evenly among the frames it was for; parts add up to the whole."""
        log = self._context.logs[video]
        useful = sum(unit.minimum_bytes for unit in fetched)
        with self._lock:
            log.requests += traffic.requests
            log.minimum_bytes += sum(unit.minimum_bytes for unit in planned)
            log.useful_bytes += useful
            for whole, name in (
                (len(traffic.requests), "requests"),
                (traffic.received("index"), "index_bytes"),
                (traffic.received("media"), "media_bytes"),
                (useful, "useful_bytes"),
            ):
                for cost, share in zip(costs, shares(whole, [1] * len(costs)), strict=True):
                    setattr(cost, name, getattr(cost, name) + share)


def _fetched(work: PlannedUnit | Failed, traffic: Traffic) -> list[FetchedGroup | Failed]:
    if isinstance(work, Failed):
        return [work]
    try:
        fetched = fetch_unit(work.unit, work.source, traffic)
    except Cancelled:
        raise
    except PipelineError as error:
        return [Failed(work.wanted[number], error, work.costs[number]) for number in work.numbers]
    return [FetchedGroup(work, fetched, group) for group in work.unit.groups]
