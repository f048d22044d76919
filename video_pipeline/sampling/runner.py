"""`run_inference`: predictions for chosen frames of many videos, as a Python function and as a task.

Belongs here: what both share, which reports are made, where frames are stored. Does not belong here: the
stream (`stream.py`), sums (`account.py`), the pages (`bandwidth_report.py`, `telemetry.waterfall`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_pipeline import keys
from video_pipeline.errors import BadInput, problems_of
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
from video_pipeline.sampling.keeping import FolderKeeper, Keeper, StoreKeeper
from video_pipeline.sampling.request import RunInferenceRequest, RunInferenceResult, SampleOptions
from video_pipeline.settings import Settings, load_settings
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import ProgressSnapshot
from video_pipeline.streaming.stats import PipelineReport
from video_pipeline.telemetry.table import wall_seconds
from video_pipeline.telemetry.timing import Recorder, current_recorder, use_recorder

if TYPE_CHECKING:
    from video_pipeline.media.ranges.http_pool import HttpPool
    from video_pipeline.models.image_classifier import Classifier
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.worker import TaskContext

GRID_TILES = 200
"""Frames on the picture grid; more could not be looked at on one page."""

NO_PROXY_NOTE = "force_no_proxy changes nothing: the index is read from the video itself, there is no proxy"

REPORTS = {
    "timing_waterfall": "timing_waterfall.html",
    "bandwidth": "bandwidth_report.html",
    "picture_grid": "picture_grid.png",
}
"""What is made of each run, by file name; the grid where frames are kept as PNG."""

TYPES = {".html": "text/html", ".png": "image/png"}


@dataclass
class SampleRun:
    """A finished run: the result, and what is too large for it. PNGs are in the order of delivered frames."""

    result: RunInferenceResult
    pngs: tuple[bytes, ...]
    requests: Mapping[str, Sequence[RequestRecord]]
    recorder: Recorder
    report: PipelineReport


def run_inference_impl(
    video_url: str | None = None,
    video_urls: Sequence[str] | None = None,
    force_no_proxy: bool = False,
    random_seed: int = 42,
    offset_max_seconds: float | None = 10.0,
    num_batches: int = 1,
    return_frame_png: bool = False,
    frames_per_sample: int = 1,
    frame_stride_seconds: float = 0.16,
    *,
    report_directory: Path | str | None = None,
    track: bool = False,
    index_directory: Path | str | None = None,
    store: ObjectStore | None = None,
    device: str | None = None,
    cancel: CancellationToken | None = None,
    on_progress: Callable[[ProgressSnapshot], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Predictions for frames of `video_url` or `video_urls`: http(s) URLs, `s3://` addresses or keys of
    `store`, paths. Returns the fields of `RunInferenceResult` as a dictionary and, with `return_frame_png`,
    the delivered frames under `frame_png_bytes_list`.

    `options` are further fields of `SampleOptions`. With `track`, the run goes to W&B as WANDB_MODE,
    WANDB_PROJECT and WANDB_API_KEY say, offline without a key; it needs a `report_directory`. Reports are
    written into `report_directory`; indexes are kept in `index_directory` between calls, if given. Frames
    that fail are recorded and never raised: requested = delivered + failed. Raises BadInput for a request or
    a classifier that is wrong.
    """
    if (video_url is None) == (video_urls is None):
        raise BadInput(
            "give either video_url or video_urls", input="run_inference_impl", what_to_do="name one of them."
        )
    addresses = [video_url] if video_url is not None else list(video_urls or ())
    if not addresses:
        raise BadInput("video_urls is empty", input="run_inference_impl", what_to_do="name a video.")
    wanted = _options(
        random_seed=random_seed,
        offset_max_seconds=offset_max_seconds,
        num_batches=num_batches,
        return_frame_png=return_frame_png,
        frames_per_sample=frames_per_sample,
        frame_stride_seconds=frame_stride_seconds,
        **options,
    )
    run = run_sample(
        wanted,
        addresses,
        store=store,
        keeper=FolderKeeper(Path(index_directory)) if index_directory is not None else None,
        device=device,
        cancel=cancel,
        on_progress=on_progress,
        notes=(NO_PROXY_NOTE,) if force_no_proxy else (),
    )
    if report_directory is not None:
        folder = Path(report_directory)
        folder.mkdir(parents=True, exist_ok=True)
        reports = reports_of(run)
        for name, data in reports.items():
            (folder / name).write_bytes(data)
        if track:
            run.result = _tracked(run, wanted, reports, load_settings(), folder)
    answer = run.result.model_dump(mode="json")
    if return_frame_png:
        answer["frame_png_bytes_list"] = list(run.pngs)
    return answer


def run(request: RunInferenceRequest, context: TaskContext) -> RunInferenceResult:
    """The task. Frames and reports lie beside each other in the store; indexes are shared by the tenant."""
    started = time.monotonic()
    total = len(request.video_urls) * request.batches * request.frames_per_sample

    def tell(snapshot: ProgressSnapshot) -> None:
        context.progress("sample", snapshot.items["collect"], total, unit="frames", started=started)

    finished = run_sample(
        request,
        request.video_urls,
        store=context.store,
        keeper=StoreKeeper(context.store, keys.indexes_prefix(request.tenant_id)),
        cancel=context.cancel,
        on_progress=tell,
    )
    context.usage.frames = finished.result.delivered
    context.usage.bytes_read = finished.result.bandwidth_total_upstream_bytes
    prefix = keys.sample_result_prefix(request.tenant_id, request.sample_id, context.call_key)
    png_keys = _store_frames(finished, context.store, prefix)
    reports = reports_of(finished)
    report_keys: dict[str, str] = {}
    for name, file in REPORTS.items():
        if file in reports:
            report_keys[name] = f"{prefix}{file}"
            context.store.put(report_keys[name], reports[file], content_type=TYPES[Path(file).suffix])
    result = _tracked(finished, request, reports, context.settings, context.scratch)
    if result.wandb_run is not None and "://" not in result.wandb_run:
        result = result.model_copy(
            update={"wandb_run": _store_tracked(Path(result.wandb_run).parent, context.store, prefix)}
        )
    frames = iter(png_keys)
    rows = tuple(
        row.model_copy(update={"png_key": next(frames)}) if row.delivered and png_keys else row
        for row in result.frames
    )
    return result.model_copy(
        update={"frames": rows, "frame_png_keys": tuple(png_keys), "report_keys": report_keys}
    )


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
        from video_pipeline.sampling.stream import Context, SampleStream

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


def reports_of(run: SampleRun) -> dict[str, bytes]:
    """The pages, by file name, and the picture grid where there are PNGs."""
    from video_pipeline.sampling.bandwidth_report import bandwidth_report
    from video_pipeline.sampling.picture_grid import picture_grid, result_tiles
    from video_pipeline.telemetry.waterfall import waterfall_html

    spans, dropped = run.recorder.spans(), run.recorder.dropped
    sizes = {
        f"{number} {row.url}": row.file_bytes
        for number, row in enumerate(run.result.videos)
        if row.file_bytes is not None
    }
    reports = {
        REPORTS["timing_waterfall"]: waterfall_html(spans, title="Sampling", dropped=dropped).encode(),
        REPORTS["bandwidth"]: bandwidth_report(run.result, run.requests, sizes=sizes).encode(),
    }
    if run.pngs:
        reports[REPORTS["picture_grid"]] = picture_grid(result_tiles(run.result, run.pngs)[:GRID_TILES])
    return reports


def _tracked(
    run: SampleRun, options: SampleOptions, reports: Mapping[str, bytes], settings: Settings, directory: Path
) -> RunInferenceResult:
    """The result with where W&B has the run, or a note of why it has not."""
    from video_pipeline.tracking.wandb_run import track_sample

    tracked = track_sample(
        run.result,
        settings=settings,
        spans=run.recorder.spans(),
        waterfall_html=reports[REPORTS["timing_waterfall"]].decode(),
        bandwidth_html=reports[REPORTS["bandwidth"]].decode(),
        config=options.model_dump(mode="json", exclude={"classifier"}),
        directory=directory,
        pictures=run.pngs,
    )
    notes = (*run.result.notes, tracked.note) if tracked.note else run.result.notes
    return run.result.model_copy(update={"wandb_run": tracked.url_or_path, "notes": notes})


def _store_tracked(folder: Path, store: ObjectStore, prefix: str) -> str:
    """Keep an offline run's files in the store, with the artifacts staged beside it; `wandb sync` takes them
    from a copy of that folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put(f"{prefix}wandb/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"{prefix}wandb/"


def _options(**fields: Any) -> SampleOptions:
    from pydantic import ValidationError

    if fields.get("timestamps"):
        fields.setdefault("strategy", "timestamps")
    try:
        return SampleOptions.model_validate(fields)
    except ValidationError as error:
        raise BadInput(
            f"the options are not valid: {problems_of(error, 'options')}",
            input="run_inference_impl",
            what_to_do="correct the named fields.",
        ) from None


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
    if asked is not None:
        return asked
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _store_frames(run: SampleRun, store: ObjectStore, prefix: str) -> list[str]:
    names = [
        f"{prefix}frames/batch_{row.batch:05d}_video_{row.video:05d}_frame_{row.frame:03d}.png"
        for row in run.result.frames
        if row.delivered
    ]
    for name, data in zip(names, run.pngs, strict=False):
        store.put(name, data, content_type="image/png")
    return names[: len(run.pngs)]
