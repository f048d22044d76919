"""The stream of a sampling run: choose and index, fetch, decode and prepare, classify, all at once.

Belongs here: the order of the work, looking up and fetching, who bears what it cost, and that a frame is
delivered or fails, never lost. Does not belong here: decoding (`decode_stage`), classifying (`batcher`), the
parts (`choose`, `fetch`, `indexes`), figures (`account`).

Every stage keeps the order of the items that entered it, so predictions are computed in the same batches
whoever is first: the same request gives the same answer to the last bit on one machine. There are no barriers
between batches of the request: a stage takes the next item as soon as it is free.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from video_pipeline.errors import Cancelled, PipelineError
from video_pipeline.machine import usable_cores
from video_pipeline.media.decode_memory import MemoryDecoder
from video_pipeline.media.mp4.index import Selection, VideoIndex, ticks
from video_pipeline.media.ranges.base import RangeSource, Traffic
from video_pipeline.sampling.batcher import Batcher
from video_pipeline.sampling.choose import sample_times
from video_pipeline.sampling.decode_stage import DecodeStage
from video_pipeline.sampling.fetch import Unit, fetch_unit, plan_units, shares
from video_pipeline.sampling.frames import (
    Cost,
    Delivered,
    Failed,
    FetchedGroup,
    PlannedUnit,
    VideoLog,
    Visit,
    Wanted,
)
from video_pipeline.sampling.indexes import Indexes, is_stale
from video_pipeline.sampling.request import SampleOptions
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import Pipeline, ProgressSnapshot, Stage
from video_pipeline.streaming.stats import PipelineReport
from video_pipeline.telemetry.timing import timed_operation

if TYPE_CHECKING:
    from video_pipeline.models.image_classifier import Classifier

IO_WORKERS = 16
"""Videos indexed, and units fetched, at a time: they wait for the network. A connection each is kept open."""

VISIT_FRAMES = 16
"""Frames of one video that are looked up together, so that neighbouring GOPs are one request."""


@dataclass(frozen=True)
class Context:
    """What the stages of one run share."""

    options: SampleOptions
    logs: Sequence[VideoLog]
    open_source: Callable[[str], RangeSource]
    indexes: Indexes
    choose_decoder: Callable[[VideoIndex, Sequence[Selection]], tuple[MemoryDecoder, str]]
    load_classifier: Callable[[], Classifier]
    cancel: CancellationToken
    on_progress: Callable[[ProgressSnapshot], None] | None = None


class SampleStream:
    """One run. `run` gives every frame to `sink`, in the order of visits."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._options = context.options
        self._sources: dict[int, RangeSource] = {}
        self._lock = threading.Lock()
        self._classifier: Future[Classifier] = Future()
        self._lookups: ThreadPoolExecutor | None = None

    def run(self, sink: Callable[[Delivered | Failed], None]) -> PipelineReport:
        """Raises the first error that is no frame's own: a defect, a wrong classifier, a cancel."""
        loading = threading.Thread(
            target=contextvars.copy_context().run, args=(self._load,), name="sampling-model"
        )
        with ThreadPoolExecutor(IO_WORKERS, thread_name_prefix="sampling-lookup") as self._lookups:
            loading.start()
            try:
                return self._pipeline(sink).run()
            finally:
                loading.join()
                for source in self._sources.values():
                    source.close()

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

    # Index: which pictures, and where they lie.

    def _index(self, visit: Visit) -> list[PlannedUnit | Failed]:
        log, traffic = self._context.logs[visit.video], Traffic()
        wanted = dict(
            enumerate(
                Wanted(batch, visit.video, frame)
                for batch in visit.batches
                for frame in range(self._options.frames_per_sample)
            )
        )
        costs = {number: Cost() for number in wanted}
        errors: dict[int, PipelineError] = {}
        works: list[PlannedUnit] = []
        try:
            source = self._source(visit.video)
            index, at_hand = self._context.indexes.get(source, traffic)
            log.index_kind, log.codec = index.kind, index.track.entries[0].codec
            log.file_bytes = index.identity.size
            log.index_was_at_hand, log.notes = at_hand, tuple(index.notes)
            for cost in costs.values():
                cost.index_was_at_hand = at_hand
            self._choose(index, visit, wanted, errors, traffic)
            selections = self._select(index, wanted, errors, traffic)
            if selections:
                decoder, reason = self._context.choose_decoder(index, list(selections.values()))
                log.decoder, log.decoder_reason = decoder.backend, reason
                works = [
                    PlannedUnit(visit.video, source, index, decoder, unit, wanted, costs)
                    for unit in plan_units(selections)
                ]
        except Cancelled:
            raise
        except PipelineError as error:
            log.error = error
            errors = dict.fromkeys(wanted, error)
        self._charge(visit.video, traffic, list(costs.values()), planned=[work.unit for work in works])
        return [*(Failed(wanted[number], error, costs[number]) for number, error in errors.items()), *works]

    def _source(self, video: int) -> RangeSource:
        with self._lock:
            if video not in self._sources:
                self._sources[video] = self._context.open_source(self._context.logs[video].address)
            return self._sources[video]

    def _choose(
        self,
        index: VideoIndex,
        visit: Visit,
        wanted: dict[int, Wanted],
        errors: dict[int, PipelineError],
        traffic: Traffic,
    ) -> None:
        """Set the moments of each batch's sample; a batch whose time lies outside of the video fails
        alone."""
        options = self._options
        for batch in visit.batches:
            numbers = [number for number, frame in wanted.items() if frame.batch == batch]
            try:
                times = sample_times(
                    index,
                    traffic,
                    strategy=options.strategy,
                    seed=options.random_seed,
                    batch=batch,
                    batches=options.batches,
                    video=visit.video,
                    offset_max=_exact(options.offset_max_seconds),
                    frames=options.frames_per_sample,
                    stride=Fraction(repr(options.frame_stride_seconds)),
                    timestamps=[Fraction(repr(value)) for value in options.timestamps],
                )
            except Cancelled:
                raise
            except PipelineError as error:
                errors |= dict.fromkeys(numbers, error)
                continue
            for number, seconds in zip(numbers, times, strict=True):
                wanted[number] = replace(wanted[number], seconds=seconds)

    def _select(
        self, index: VideoIndex, wanted: dict[int, Wanted], errors: dict[int, PipelineError], traffic: Traffic
    ) -> dict[int, Selection]:
        """Look up every moment that has no error yet, side by side where that may need requests."""
        assert self._lookups is not None
        selections: dict[int, Selection] = {}
        looks: dict[int, Callable[[], Selection]] = {}
        for number, frame in wanted.items():
            if number in errors or frame.seconds is None:
                continue
            call = partial(index.select, ticks(frame.seconds, index.track.time_base), traffic)
            if index.fragments is None:
                looks[number] = call
            else:
                looks[number] = self._lookups.submit(contextvars.copy_context().run, call).result
        for number, answer in looks.items():
            try:
                selections[number] = answer()
            except Cancelled:
                raise
            except PipelineError as error:
                errors[number] = error
        return selections

    # Fetch

    def _fetch(self, work: PlannedUnit | Failed) -> list[FetchedGroup | Failed]:
        if isinstance(work, Failed):
            return [work]
        numbers = [number for group in work.unit.groups for number, _ in group.wanted]
        costs = [work.costs[number] for number in numbers]
        traffic = Traffic()
        out: list[FetchedGroup | Failed] = []
        try:
            fetched = fetch_unit(work.unit, work.source, traffic)
            if is_stale(work.index, work.source):
                out = self._fetch_again(work, numbers, traffic)
            else:
                out = [FetchedGroup(work, fetched, group) for group in work.unit.groups]
        except Cancelled:
            raise
        except PipelineError as error:
            out = [Failed(work.wanted[number], error, work.costs[number]) for number in numbers]
        units = {item.fetched.unit for item in out if isinstance(item, FetchedGroup)}
        self._charge(work.video, traffic, costs, fetched=units)
        return out

    def _fetch_again(
        self, work: PlannedUnit, numbers: Sequence[int], traffic: Traffic
    ) -> list[FetchedGroup | Failed]:
        """The stored index was of another version of the file: look up and fetch with a new one."""
        index = self._context.indexes.renew(work.index, work.source, traffic)
        errors: dict[int, PipelineError] = {}
        selections = self._select(index, {number: work.wanted[number] for number in numbers}, errors, traffic)
        out: list[FetchedGroup | Failed] = [
            Failed(work.wanted[number], error, work.costs[number]) for number, error in errors.items()
        ]
        for unit in plan_units(selections):
            renewed = replace(work, index=index, unit=unit)
            fetched = fetch_unit(unit, work.source, traffic)
            out += [FetchedGroup(renewed, fetched, group) for group in unit.groups]
        return out

    # Accounts

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


def _exact(seconds: float | None) -> Fraction | None:
    return None if seconds is None else Fraction(repr(seconds))
