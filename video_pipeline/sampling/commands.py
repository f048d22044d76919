"""`video-pipeline sample`.

Belongs here: arguments and what is printed. Does not belong here: anything else (`runner.py`), what is
prepared for later samples (`intake_commands.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_pipeline.sampling.command_parts import files_named, needs_store
from video_pipeline.sampling.intake_commands import add_intake_commands
from video_pipeline.wording import counted

if TYPE_CHECKING:
    from video_pipeline.streaming.cancel import CancellationToken
    from video_pipeline.streaming.pipeline import ProgressSnapshot

DECODED_FRAMES = "decoded_frames"
TELL_EVERY_S = 5.0


def add_sampling_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `sample`, `add-sample` and `index` to the parser of the program."""
    sample = commands.add_parser("sample", help="classify chosen frames of remote videos, reading few bytes")
    sample.add_argument(
        "--video-url",
        action="append",
        required=True,
        metavar="ADDRESS",
        help="an http(s) URL, s3://BUCKET/KEY, a key of the store, or a path; may be given several times",
    )
    sample.add_argument("--num-batches", type=int, default=None, help="samples of each video (default 1)")
    sample.add_argument("--frames-per-sample", type=int, default=1)
    sample.add_argument("--frame-stride-seconds", type=float, default=0.16)
    sample.add_argument("--random-seed", type=int, default=42)
    sample.add_argument(
        "--offset-max-seconds", type=_seconds, default=10.0, metavar="SECONDS|end", help="default 10"
    )
    moments = sample.add_mutually_exclusive_group()
    moments.add_argument(
        "--strategy", choices=["random", "uniform", "key_frames"], default=None, help="default random"
    )
    moments.add_argument("--timestamps", type=float, nargs="+", default=(), metavar="SECONDS")
    sample.add_argument("--decoder", choices=["auto", "pyav", "nvdec", "videotoolbox"], default="auto")
    sample.add_argument("--device", default=None, help="cpu, cuda:0, ... (default: a GPU if there is one)")
    sample.add_argument("--weights", metavar="FILE", default=None, help="a classifier of your own")
    sample.add_argument(
        "--architecture", default=None, help="of a state dict; not needed for torch.export files"
    )
    sample.add_argument(
        "--labels", metavar="FILE", type=Path, default=None, help="one class name a line, or JSON"
    )
    sample.add_argument("--force-no-proxy", action="store_true", help="accepted; there is no proxy")
    sample.add_argument("--output", type=Path, default=Path("sample"), metavar="FOLDER")
    sample.add_argument("--no-frames", action="store_true", help="do not save the decoded frames as PNG")
    sample.set_defaults(run=run_sample_command)
    add_intake_commands(commands)


def run_sample_command(arguments: argparse.Namespace) -> int:
    """Prints what was seen and what it cost, writes frames, reports and the whole result into a folder.

    Tells on the way how far it is. Exit code 0 if at least one frame was delivered, 1 if none was; Ctrl-C
    cancels it.
    """
    from video_pipeline.sampling.runner import run_inference_impl
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store
    from video_pipeline.telemetry.timing import Recorder, use_recorder

    settings = load_settings()
    folder: Path = arguments.output
    said = {"num_batches": arguments.num_batches, "strategy": arguments.strategy}
    extra = {name: value for name, value in said.items() if value is not None}
    batches = len(arguments.timestamps) or extra.get("num_batches", 1)
    total = len(arguments.video_url) * batches * arguments.frames_per_sample
    with use_recorder(Recorder()), _cancelled_by_ctrl_c() as cancel:
        result = run_inference_impl(
            video_urls=arguments.video_url,
            force_no_proxy=arguments.force_no_proxy,
            random_seed=arguments.random_seed,
            offset_max_seconds=arguments.offset_max_seconds,
            return_frame_png=not arguments.no_frames,
            frames_per_sample=arguments.frames_per_sample,
            frame_stride_seconds=arguments.frame_stride_seconds,
            report_directory=folder,
            track=True,
            index_directory=settings.state_dir / "indexes",
            store=open_store(settings) if needs_store(arguments.video_url) else None,
            device=arguments.device,
            timestamps=arguments.timestamps,
            decoder=arguments.decoder,
            classifier=_classifier(arguments),
            cancel=cancel,
            on_progress=_Progress(total),
            **extra,
        )
    _save(result, folder)
    _print(result, folder)
    return 0 if result["delivered"] else 1


class _Progress:
    """Prints a line each TELL_EVERY_S seconds: nothing of a sample that is done sooner."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._told_s = 0.0

    def __call__(self, snapshot: ProgressSnapshot) -> None:
        if snapshot.elapsed_s - self._told_s < TELL_EVERY_S:
            return
        self._told_s = snapshot.elapsed_s
        done = snapshot.items["collect"]
        rate = done / snapshot.elapsed_s
        left = f", {(self._total - done) / rate:.0f} s left" if done else ""
        line = f"{done} of {self._total} frames after {snapshot.elapsed_s:.0f} s, {rate:.1f}/s{left}"
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _cancelled_by_ctrl_c() -> Iterator[CancellationToken]:
    """A token that the first Ctrl-C cancels; the second one ends the program as ever."""
    from video_pipeline.streaming.cancel import CancellationToken

    cancel = CancellationToken()

    def stop(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        cancel.cancel("interrupted")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)


def _seconds(text: str) -> float | None:
    try:
        return None if text == "end" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seconds nor 'end'") from None


def _classifier(arguments: argparse.Namespace) -> dict[str, Any]:
    from video_pipeline.models.classifier_spec import parse_labels

    spec: dict[str, Any] = {}
    if arguments.weights is not None:
        spec["path"] = arguments.weights
    if arguments.architecture is not None:
        spec["architecture"] = arguments.architecture
    if arguments.labels is not None:
        with files_named():
            data = arguments.labels.read_bytes()
        spec["labels"] = parse_labels(data, name=str(arguments.labels))
    return spec


def _save(result: dict[str, Any], folder: Path) -> None:
    """`result.json` and the frames, named as in the store; those of a sample before this one go."""
    from video_pipeline.sampling.runner import REPORTS

    pictures = result.pop("frame_png_bytes_list", [])
    delivered = [row for row in result["frames"] if row["delivered"]]
    (folder / DECODED_FRAMES).mkdir(parents=True, exist_ok=True)
    for left in _decoded(folder):
        left.unlink()
    if not pictures:
        (folder / REPORTS["picture_grid"]).unlink(missing_ok=True)
    for row, png in zip(delivered, pictures, strict=False):
        name = f"batch_{row['batch']:05d}_video_{row['video']:05d}_frame_{row['frame']:03d}.png"
        (folder / DECODED_FRAMES / name).write_bytes(png)
    (folder / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


def _decoded(folder: Path) -> list[Path]:
    return list((folder / DECODED_FRAMES).glob("batch_*_video_*_frame_*.png"))


def _print(result: Mapping[str, Any], folder: Path) -> None:
    from video_pipeline.errors import PipelineError
    from video_pipeline.sampling.runner import REPORTS

    failed: dict[tuple[int, str], list[str]] = {}
    for row in result["frames"]:
        place = f"batch {row['batch']}  video {row['video']}  frame {row['frame']}"
        if not row["delivered"]:
            error = PipelineError(**{name: row["error"][name] for name in ("message", "input", "what_to_do")})
            failed.setdefault((row["video"], str(error)), []).append(place)
            continue
        top = row["prediction"]["top"][0]
        cost = f"{row['index_bytes'] + row['media_bytes']:>9,} bytes"
        print(f"{place}  {row['seconds']:9.3f} s  {top['confidence']:5.1%}  {top['label']:<24} {cost}")
    for (video, error), places in failed.items():
        # What is wrong with a video is said once, however many frames were wanted of it.
        where = places[0] if len(places) == 1 else f"video {video}, {len(places)} frames"
        print(f"{where}  FAILED: {error}", file=sys.stderr)
    print(
        f"\n{result['delivered']} of {result['requested']} frames on {result['device']} ({result['decoder']})"
        f" in {result['total_pipeline_time_seconds']:.2f} s: extraction"
        f" {result['frame_extraction_time_seconds']:.2f} s, preprocessing"
        f" {result['preprocess_time_seconds']:.2f} s, inference {result['inference_time_seconds']:.2f} s"
    )
    requests = counted(result["bandwidth_num_proxy_requests"], "request")
    print(
        f"read {result['bandwidth_total_upstream_mb']:.2f} MB in {requests};"
        f" the frames needed {result['minimum_bytes'] / 1e6:.2f} MB"
    )
    for note in (*result["notes"], *result["degraded"]):
        print(f"note: {note}")
    if result["wandb_run"]:
        print(f"W&B: {result['wandb_run']}")
    made = [folder / name for name in REPORTS.values() if (folder / name).exists()]
    kept = f"; frames are in {folder / DECODED_FRAMES}/" if any(_decoded(folder)) else ""
    print(f"open {', '.join(map(str, made))}{kept}")
