"""The stream of a sampling run: choose and index, fetch, decode and prepare, classify, all at once.

Belongs here: the order of the work, what each stage does with one item, and that a frame is delivered or
fails, never lost. Does not belong here: the parts (`choose`, `fetch`, `indexes`, `preprocess`), figures
(`account.py`).

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
from video_pipeline.media.colour import frame_to_rgb
from video_pipeline.media.decode_memory import MemoryDecoder, NoPicture
from video_pipeline.media.frames import CroppedFrame, DeviceFrame
from video_pipeline.media.mp4.index import Selection, VideoIndex, ticks
from video_pipeline.media.ranges.base import RangeSource, Traffic
from video_pipeline.sampling.choose import sample_times
from video_pipeline.sampling.fetch import Fetched, Group, Unit, fetch_unit, plan_units, shares
from video_pipeline.sampling.frames import Cost, Delivered, Failed, VideoLog, Visit, Wanted
from video_pipeline.sampling.indexes import Indexes, is_stale
from video_pipeline.sampling.preprocess import prepare
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

CPU_BATCH, GPU_BATCH = 4, 32
"""Frames classified at a time. A CPU is no faster with more (14 ms a picture one by one, 19 to 23 ms in
batches), and what waits for a full batch does not overlap with decoding."""

MAX_BACK = 16
"""Key frames gone back before a picture that a decoder does not give is given up."""


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


@dataclass(frozen=True, eq=False)
class _Work:
    """A unit of one video on its way: `wanted` by frame number within the visit."""

    video: int
    source: RangeSource
    index: VideoIndex
    decoder: MemoryDecoder
    unit: Unit
    wanted: dict[int, Wanted]
    costs: dict[int, Cost]


@dataclass(frozen=True, eq=False)
class _Bytes:
    """One group of a fetched unit."""

    work: _Work
    fetched: Fetched
    group: Group


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
        batcher = _Batcher(self._options, self._classifier)
        return Pipeline(
            "choose",
            self._visits,
            [
                Stage("index", self._index, workers=IO_WORKERS, queue_size=IO_WORKERS),
                Stage("fetch", self._fetch, workers=IO_WORKERS, queue_size=IO_WORKERS),
                Stage("decode", self._decode, workers=usable_cores(), queue_size=8),
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

    def _index(self, visit: Visit) -> list[_Work | Failed]:
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
        works: list[_Work] = []
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
                    _Work(visit.video, source, index, decoder, unit, wanted, costs)
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

    def _fetch(self, work: _Work | Failed) -> list[_Bytes | Failed]:
        if isinstance(work, Failed):
            return [work]
        numbers = [number for group in work.unit.groups for number, _ in group.wanted]
        costs = [work.costs[number] for number in numbers]
        traffic = Traffic()
        out: list[_Bytes | Failed] = []
        try:
            fetched = fetch_unit(work.unit, work.source, traffic)
            if is_stale(work.index, work.source):
                out = self._fetch_again(work, numbers, traffic)
            else:
                out = [_Bytes(work, fetched, group) for group in work.unit.groups]
        except Cancelled:
            raise
        except PipelineError as error:
            out = [Failed(work.wanted[number], error, work.costs[number]) for number in numbers]
        units = {item.fetched.unit for item in out if isinstance(item, _Bytes)}
        self._charge(work.video, traffic, costs, fetched=units)
        return out

    def _fetch_again(self, work: _Work, numbers: Sequence[int], traffic: Traffic) -> list[_Bytes | Failed]:
        """The stored index was of another version of the file: look up and fetch with a new one."""
        index = self._context.indexes.renew(work.index, work.source, traffic)
        errors: dict[int, PipelineError] = {}
        selections = self._select(index, {number: work.wanted[number] for number in numbers}, errors, traffic)
        out: list[_Bytes | Failed] = [
            Failed(work.wanted[number], error, work.costs[number]) for number, error in errors.items()
        ]
        for unit in plan_units(selections):
            renewed = replace(work, index=index, unit=unit)
            fetched = fetch_unit(unit, work.source, traffic)
            out += [_Bytes(renewed, fetched, group) for group in unit.groups]
        return out

    # Decode

    def _decode(self, item: _Bytes | Failed) -> list[Delivered | Failed]:
        if isinstance(item, Failed):
            return [item]
        work, group = item.work, item.group
        numbers = dict(group.wanted)
        out: dict[int, Delivered | Failed] = {}
        try:
            self._decode_group(work, group, item.fetched, out)
        except Cancelled:
            raise
        except PipelineError:
            # One damaged picture must not cost those beside it: each is tried by itself.
            for number in numbers:
                if number not in out:
                    out[number] = self._decode_alone(work, number, numbers[number])
        return [out[number] for number in sorted(out)]

    def _decode_group(
        self, work: _Work, group: Group, fetched: Fetched, out: dict[int, Delivered | Failed]
    ) -> None:
        by_pts: dict[int, list[tuple[int, Selection]]] = {}
        for number, selection in group.wanted:
            by_pts.setdefault(selection.media_pts, []).append((number, selection))
        with timed_operation("decode_pictures", {"url": work.index.name, "pictures": len(group.samples)}):
            run = fetched.run(group, work.index)
            frames = list(work.decoder.decode(run, set(by_pts)))
        for place, cost in enumerate(shares(len(group.samples), [1] * len(group.wanted))):
            work.costs[group.wanted[place][0]].pictures_decoded += cost
        for pts, frame in frames:
            for number, selection in by_pts[pts]:
                out[number] = self._delivered(work, number, selection, frame)

    def _decode_alone(self, work: _Work, number: int, selection: Selection) -> Delivered | Failed:
        """One picture by a run of its own; from further back where a key frame is only a recovery point."""
        wanted, traffic, out = work.wanted[number], Traffic(), {}
        assert wanted.seconds is not None
        error: PipelineError | None = None
        for back in range(MAX_BACK + 1):
            try:
                if back:
                    moment = ticks(wanted.seconds, work.index.track.time_base)
                    selection = work.index.select(moment, traffic, back=back)
                (unit,) = plan_units({number: selection})
                with timed_operation("fetch_again", {"url": work.index.name, "back": back}):
                    fetched = fetch_unit(unit, work.source, traffic)
                self._decode_group(work, unit.groups[0], fetched, out)
                break
            except NoPicture as missing:
                error = error or missing
            except Cancelled:
                raise
            except PipelineError as other:
                error = error or other
                break
        self._charge(work.video, traffic, [work.costs[number]])
        return out[number] if number in out else Failed(wanted, error or _unknown(work), work.costs[number])

    def _delivered(
        self, work: _Work, number: int, selection: Selection, frame: CroppedFrame | DeviceFrame
    ) -> Delivered:
        classifier = self._classifier.result()
        with timed_operation("preprocess"):
            pixels = prepare([frame], classifier.spec, classifier.device)
        png = None
        if self._options.return_frame_png:
            with timed_operation("png"):
                png = as_png(frame.to_host())
        return Delivered(
            work.wanted[number],
            selection,
            work.index.track.time_base,
            frame.width,
            frame.height,
            work.decoder.backend,
            work.costs[number],
            pixels,
            png,
        )

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


class _Batcher:
    """Collects prepared frames into batches of the network, in the order of the stream."""

    def __init__(self, options: SampleOptions, classifier: Future[Classifier]) -> None:
        self._options, self._classifier = options, classifier
        self._size = options.inference_batch_size
        self._waiting: list[Delivered | Failed] = []

    def push(self, item: Delivered | Failed) -> list[Delivered | Failed]:
        self._waiting.append(item)
        if self._size is None:
            on_cpu = self._classifier.result().device.type == "cpu"
            self._size = CPU_BATCH if on_cpu else GPU_BATCH
        ready = sum(isinstance(waiting, Delivered) for waiting in self._waiting)
        return self.finish() if ready >= self._size else []

    def finish(self) -> list[Delivered | Failed]:
        waiting, self._waiting = self._waiting, []
        ready = [item for item in waiting if isinstance(item, Delivered)]
        if not ready:
            # Even a run that delivers nothing tells that its classifier is wrong.
            self._classifier.result()
            return waiting
        import torch

        with timed_operation("inference", {"frames": len(ready)}):
            batch = torch.cat([item.pixels for item in ready])
            predictions = iter(self._classifier.result().classify(batch, top_k=self._options.top_k))
        return [
            replace(item, prediction=next(predictions), pixels=batch[:0])
            if isinstance(item, Delivered)
            else item
            for item in waiting
        ]


def as_png(frame: CroppedFrame) -> bytes:
    """The whole picture, 8-bit RGB."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    # Level 1 is three times as fast as the default, and 8 % larger.
    Image.fromarray(frame_to_rgb(frame)).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def _exact(seconds: float | None) -> Fraction | None:
    return None if seconds is None else Fraction(repr(seconds))


def _unknown(work: _Work) -> PipelineError:
    return NoPicture(
        f"no decoder gave a picture, beginning up to {MAX_BACK} key frames back",
        input=work.index.name,
        what_to_do="choose another picture, or re-encode the video.",
    )
