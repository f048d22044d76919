"""One run of the sampling stream: what it needs around it, and the result that is made of it.

Belongs here: network, device and classifier of a run, its result and its pictures. Does not belong here: how
one asks for it and where things are kept (`runner`), the stream (`stream`), sums (`account`), reports.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from video_pipeline.errors import BadInput
from video_pipeline.media.ranges.base import RangeSource, RequestRecord
from video_pipeline.sampling.account import (
    EXTRACTION,
    MEGABYTE,
    device_facts,
    frame_row,
    received,
    video_row,
)
from video_pipeline.sampling.frames import Delivered, Failed, VideoLog
from video_pipeline.sampling.indexes import Indexes
from video_pipeline.sampling.keeping import Keeper
from video_pipeline.sampling.request import RunInferenceResult, SampleOptions
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import ProgressSnapshot
from video_pipeline.streaming.stats import PipelineReport
from video_pipeline.telemetry.table import wall_seconds
from video_pipeline.telemetry.timing import Recorder, current_recorder, timed_operation, use_recorder

if TYPE_CHECKING:
    from video_pipeline.media.ranges.http_pool import HttpPool
    from video_pipeline.models.image_classifier import Classifier
    from video_pipeline.store.base import ObjectStore


@dataclass
class SampleRun:
    """A finished run: the result, and what is too large for it. PNGs are in the order of delivered frames."""

    result: RunInferenceResult
    pngs: tuple[bytes, ...]
    requests: Mapping[str, Sequence[RequestRecord]]
    recorder: Recorder
    report: PipelineReport


def run_sample(
    options: SampleOptions,
    addresses: Sequence[str],
    *,
    store: ObjectStore | None = None,
    keeper: Keeper | None = None,
    device: str | None = None,
    cancel: CancellationToken | None = None,
    on_progress: Callable[[ProgressSnapshot], None] | None = None,
    notes: Sequence[str] = (),
) -> SampleRun:
    """One run of the stream and everything that is known of it."""
    began = time.perf_counter()
    cancel = cancel or CancellationToken()
    with _recording() as recorder, _network(cancel, store) as open_source:
        with timed_operation("load_torch"):  # seconds, the first time in a process
            machine = _device(device)
        run = _Run(options, addresses, machine)
        indexes = Indexes(keeper, None if options.index_search == "auto" else options.index_search)
        report = run.stream(open_source, indexes, store, cancel, on_progress)
        indexes.save()
        seconds = time.perf_counter() - began
        result = run.result(recorder, seconds, notes)
    requests = {f"{number} {name}": log.requests for number, (name, log) in enumerate(run.named_logs())}
    pngs = tuple(item.png for item in run.in_order() if isinstance(item, Delivered) and item.png is not None)
    return SampleRun(result, pngs, requests, recorder, report)


@dataclass
class _Run:
    options: SampleOptions
    addresses: Sequence[str]
    device: str
    items: list[Delivered | Failed] = field(default_factory=list)

    def __post_init__(self) -> None:
        from video_pipeline.media.ranges.http_address import without_secrets

        self.logs = [VideoLog(address) for address in self.addresses]
        self.names = [without_secrets(address) for address in self.addresses]
        self.classifier: Classifier | None = None
        self.notes: list[str] = []

    def stream(
        self,
        open_source: Callable[[str], RangeSource],
        indexes: Indexes,
        store: ObjectStore | None,
        cancel: CancellationToken,
        on_progress: Callable[[ProgressSnapshot], None] | None,
    ) -> PipelineReport:
        import torch

        from video_pipeline.sampling.decoders import DecoderChooser
        from video_pipeline.sampling.plan_stage import Context
        from video_pipeline.sampling.stream import SampleStream

        # One thread per stage: torch's own would take the cores that decode, and spin.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with DecoderChooser(self.options.decoder) as chooser:
                context = Context(
                    options=self.options,
                    logs=self.logs,
                    open_source=open_source,
                    indexes=indexes,
                    choose_decoder=chooser.choose,
                    load_classifier=lambda: self._load(store),
                    cancel=cancel,
                    on_progress=on_progress,
                )
                report = SampleStream(context).run(self.items.append)
                self.notes = chooser.notes
                return report
        finally:
            torch.set_num_threads(threads)

    def _load(self, store: ObjectStore | None) -> Classifier:
        from video_pipeline.models.image_classifier import find_classifier, load_classifier

        self.classifier = load_classifier(find_classifier(self.options.classifier, store), self.device)
        return self.classifier

    def named_logs(self) -> list[tuple[str, VideoLog]]:
        return list(zip(self.names, self.logs, strict=True))

    def in_order(self) -> list[Delivered | Failed]:
        """By batch, then video, then frame."""
        return sorted(self.items, key=lambda item: (item.wanted.batch, item.wanted.video, item.wanted.frame))

    def result(self, recorder: Recorder, seconds: float, notes: Sequence[str]) -> RunInferenceResult:
        items, spans = self.in_order(), recorder.spans()
        rows = tuple(frame_row(item, self.names[item.wanted.video], None) for item in items)
        delivered = [row for row in rows if row.delivered]
        facts, classifier = device_facts(self.device), self.classifier
        assert classifier is not None, "a stream that ended has a classifier"
        requests = [record for log in self.logs for record in log.requests]
        upstream, useful = (
            sum(record.received for record in requests),
            sum(log.useful_bytes for log in self.logs),
        )
        videos = tuple(video_row(log, name) for name, log in self.named_logs())
        return RunInferenceResult.model_validate(
            {
                **{name: getattr(facts, name) for name in facts.__slots__},
                "decoder": ", ".join(sorted({row.decoder for row in delivered if row.decoder})) or "none",
                "model": classifier.architecture or classifier.name,
                "model_sha256": classifier.sha256,
                "requested": len(self.addresses) * self.options.batches * self.options.frames_per_sample,
                "delivered": len(delivered),
                "failed": len(rows) - len(delivered),
                "top_classes": [row.prediction.label for row in delivered if row.prediction],
                "confidences": [row.prediction.confidence for row in delivered if row.prediction],
                "selected_timestamps_seconds": [row.seconds for row in delivered],
                "model_load_time_seconds": wall_seconds(spans, ("model_load",)),
                "frame_extraction_time_seconds": wall_seconds(spans, EXTRACTION),
                "preprocess_time_seconds": wall_seconds(spans, ("preprocess",)),
                "inference_time_seconds": wall_seconds(spans, ("inference",)),
                "total_pipeline_time_seconds": seconds,
                "bandwidth_total_upstream_bytes": upstream,
                "bandwidth_total_downstream_bytes": useful,
                "bandwidth_total_upstream_mb": upstream / MEGABYTE,
                "bandwidth_total_downstream_mb": useful / MEGABYTE,
                "bandwidth_num_proxy_requests": len(requests),
                "index_bytes": received(requests, "index"),
                "media_bytes": received(requests, "media"),
                "useful_bytes": useful,
                "minimum_bytes": sum(log.minimum_bytes for log in self.logs),
                "index_cache_hits": sum(row.index_was_at_hand for row in rows),
                "pictures_decoded": sum(row.pictures_decoded for row in rows),
                "frames": rows,
                "videos": videos,
                "notes": (*notes, *classifier.notes, *self.notes),
            }
        )


@contextlib.contextmanager
def _recording() -> Iterator[Recorder]:
    """The caller's recorder, or one of our own."""
    outer = current_recorder()
    if outer is not None:
        yield outer
        return
    with use_recorder(Recorder()) as recorder:
        yield recorder


@contextlib.contextmanager
def _network(cancel: CancellationToken, store: ObjectStore | None) -> Iterator[Callable[[str], RangeSource]]:
    """One pool of connections for the run."""
    from video_pipeline.media.ranges.http_pool import HttpPool
    from video_pipeline.media.ranges.opening import open_source

    pool: HttpPool
    with HttpPool() as pool:
        yield lambda address: open_source(address, pool=pool, store=store, cancel=cancel)


def _device(asked: str | None) -> str:
    import torch

    if asked is None:
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(1, device=asked).is_meta:
            raise RuntimeError("it holds no values")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # An unknown name, a GPU that is not there, a torch that was built without it: one kind each.
        raise BadInput(
            f"the network cannot run there: {str(error).strip().splitlines()[0]}",
            input=f"device {asked!r}",
            what_to_do='use "cpu", "cuda:0" where there is a GPU, or leave it out.',
        ) from None
    return asked
