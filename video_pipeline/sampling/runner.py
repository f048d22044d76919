"""`run_inference`: predictions for chosen frames of many videos, as a Python function and as a task.

Belongs here: both, which reports are made, where frames and reports are kept. Does not belong here: a run
(`sample_run`), the pages (`bandwidth_report`, `telemetry.waterfall`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_pipeline import keys
from video_pipeline.errors import BadInput, problems_of
from video_pipeline.sampling.keeping import FolderKeeper, StoreKeeper
from video_pipeline.sampling.request import RunInferenceRequest, RunInferenceResult, SampleOptions
from video_pipeline.sampling.sample_run import SampleRun, run_sample
from video_pipeline.settings import Settings, load_settings
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import ProgressSnapshot

if TYPE_CHECKING:
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.worker import TaskContext

NO_PROXY_NOTE = "force_no_proxy changes nothing: the index is read from the video itself, there is no proxy"

REPORTS = {
    "timing_waterfall": "timing_waterfall.html",
    "bandwidth": "bandwidth_report.html",
    "picture_grid": "picture_grid.png",
}
"""What is made of each run, by file name; the grid where frames are kept as PNG."""

HOW_TO_SYNC = "how_to_sync.txt"

TYPES = {".html": "text/html", ".png": "image/png"}


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
    that fail are recorded and never raised: requested = delivered + failed. Raises BadInput for a request, a
    classifier, a device or a folder that is wrong.
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
    if track and report_directory is None:
        raise BadInput(
            "a run can only be tracked where its reports are kept",
            input="run_inference_impl",
            what_to_do="give a report_directory.",
        )
    folder = None if report_directory is None else _folder(Path(report_directory))
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
    if folder is not None:
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
        reports[REPORTS["picture_grid"]] = picture_grid(result_tiles(run.result, run.pngs))
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
    """Keep an offline run's files in the store, with the artifacts staged beside it and a note of how to
    upload them: wandb writes where its artifacts lie into the run as absolute paths, so `wandb sync` finds
    them only in a copy of that folder at its old place. What a killed attempt has left there of its own run
    goes first: `wandb sync` would upload both."""
    for left in list(store.list(f"{prefix}wandb/")):
        store.delete(left.key)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put(f"{prefix}wandb/{path.relative_to(folder).as_posix()}", path.read_bytes())
    said = (
        f"To upload this run, copy this folder to {folder} and run: wandb sync {folder}/offline-run-*\n"
        "It names its artifacts (tables, pages) by their path there, so they are found nowhere else.\n"
    )
    store.put(f"{prefix}wandb/{HOW_TO_SYNC}", said.encode(), content_type="text/plain")
    return f"{prefix}wandb/"


def _folder(folder: Path) -> Path:
    """The folder, made before anything is fetched: what was paid for must have a place to go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"reports cannot be kept there: {error.strerror or error}",
            input=str(folder),
            what_to_do="name a folder that can be written.",
        ) from None
    return folder


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


def _store_frames(run: SampleRun, store: ObjectStore, prefix: str) -> list[str]:
    names = [
        f"{prefix}frames/batch_{row.batch:05d}_video_{row.video:05d}_frame_{row.frame:03d}.png"
        for row in run.result.frames
        if row.delivered
    ]
    for name, data in zip(names, run.pngs, strict=False):
        store.put(name, data, content_type="image/png")
    return names[: len(run.pngs)]
