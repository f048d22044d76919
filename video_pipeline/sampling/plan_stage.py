"""The stage that plans: from a video and the frames wanted of it to the bytes that hold them.

Belongs here: opening each video once, its index, choosing moments, looking them up, and doing that again
where a stored index turns out to be of another version of the file. Does not belong here: how moments are
chosen (`choose`), how ranges are joined (`fetch`), reading pictures (`stream`).
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from video_pipeline.errors import Cancelled, PipelineError
from video_pipeline.media.decode_memory import MemoryDecoder
from video_pipeline.media.mp4.index import Selection, VideoIndex, ticks
from video_pipeline.media.ranges.base import RangeSource, Traffic
from video_pipeline.sampling.choose import sample_times
from video_pipeline.sampling.fetch import plan_units
from video_pipeline.sampling.frames import Cost, Failed, PlannedUnit, VideoLog, Wanted
from video_pipeline.sampling.indexes import Indexes, is_stale
from video_pipeline.sampling.request import SampleOptions
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import ProgressSnapshot

if TYPE_CHECKING:
    from video_pipeline.models.image_classifier import Classifier


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


class PlanStage:
    """A context: it closes every source that it opened. Safe from any thread."""

    def __init__(self, context: Context, workers: int) -> None:
        self._context = context
        self._options = context.options
        self._sources: dict[int, RangeSource] = {}
        self._lock = threading.Lock()
        self._lookups = ThreadPoolExecutor(workers, thread_name_prefix="sampling-lookup")
        self._kept: list[Future[tuple[str, ...]]] = []

    def __enter__(self) -> PlanStage:
        return self

    def __exit__(self, *_: object) -> None:
        self._lookups.shutdown()
        for source in self._sources.values():
            source.close()

    def raise_if_not_kept(self) -> None:
        """Raises what went wrong beside the stream, while indexes were kept."""
        for kept in self._kept:
            kept.result()

    def plan(
        self,
        video: int,
        wanted: dict[int, Wanted],
        costs: Mapping[int, Cost],
        traffic: Traffic,
        *,
        stale: VideoIndex | None = None,
    ) -> list[PlannedUnit | Failed]:
        """Choose and look up frames of one video, and set their `seconds` in `wanted`.

        By a new index in place of `stale`, and of any that turns out to be of another version of the file:
        the times, too, are those of the file that is there. What is wrong with the video fails all of them.
        """
        indexes = self._context.indexes
        try:
            source = self._source(video)
            if stale is None:
                index, at_hand = indexes.get(source, traffic)
            else:
                index, at_hand = indexes.renew(stale, source, traffic), False
            planned = self._look_up(video, source, index, at_hand, wanted, costs, traffic)
        except Cancelled:
            raise
        except PipelineError as error:
            self._context.logs[video].error = error
            return [Failed(frame, error, costs[number]) for number, frame in wanted.items()]
        if is_stale(index, source):
            return self.plan(video, wanted, costs, traffic, stale=index)
        if not at_hand:
            self._keep(source)
        return planned

    def _source(self, video: int) -> RangeSource:
        with self._lock:
            if video not in self._sources:
                self._sources[video] = self._context.open_source(self._context.logs[video].address)
            return self._sources[video]

    def _keep(self, source: RangeSource) -> None:
        """Keep the index now and beside the other work, so that a run that is killed has not read it in
        vain."""
        kept = self._lookups.submit(self._context.indexes.save, source)
        with self._lock:
            self._kept.append(kept)

    def _look_up(
        self,
        video: int,
        source: RangeSource,
        index: VideoIndex,
        at_hand: bool,
        wanted: dict[int, Wanted],
        costs: Mapping[int, Cost],
        traffic: Traffic,
    ) -> list[PlannedUnit | Failed]:
        log = self._context.logs[video]
        log.index_kind, log.codec = index.kind, index.track.entries[0].codec
        log.file_bytes = index.identity.size
        log.index_was_at_hand, log.notes = at_hand, tuple(index.notes)
        for number in wanted:
            costs[number].index_was_at_hand = at_hand
        errors: dict[int, PipelineError] = {}
        self._choose(index, video, wanted, errors, traffic)
        selections = self._select(index, wanted, errors, traffic)
        planned: list[PlannedUnit | Failed] = [
            Failed(wanted[number], error, costs[number]) for number, error in errors.items()
        ]
        if selections:
            decoder, reason = self._context.choose_decoder(index, list(selections.values()))
            log.decoder, log.decoder_reason = decoder.backend, reason
            planned += [
                PlannedUnit(video, source, index, decoder, unit, wanted, costs)
                for unit in plan_units(selections)
            ]
        return planned

    def _choose(
        self,
        index: VideoIndex,
        video: int,
        wanted: dict[int, Wanted],
        errors: dict[int, PipelineError],
        traffic: Traffic,
    ) -> None:
        """Set the moments of each batch's sample; a batch whose time lies outside of the video fails
        alone."""
        options = self._options
        for batch in sorted({frame.batch for frame in wanted.values()}):
            numbers = [number for number, frame in wanted.items() if frame.batch == batch]
            try:
                times = sample_times(
                    index,
                    traffic,
                    strategy=options.strategy,
                    seed=options.random_seed,
                    batch=batch,
                    batches=options.batches,
                    video=video,
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
            for number in numbers:
                wanted[number] = replace(wanted[number], seconds=times[wanted[number].frame])

    def _select(
        self, index: VideoIndex, wanted: dict[int, Wanted], errors: dict[int, PipelineError], traffic: Traffic
    ) -> dict[int, Selection]:
        """Look up every moment that has no error yet, side by side where that may need requests."""
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


def _exact(seconds: float | None) -> Fraction | None:
    return None if seconds is None else Fraction(repr(seconds))
