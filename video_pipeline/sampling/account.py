"""From what a stream delivered to the result: rows, sums, wall times.

Belongs here: adding up. Does not belong here: the work, reports about the result. Pure.
"""

from __future__ import annotations

import platform as machine
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from video_pipeline.errors import PipelineError
from video_pipeline.media.ranges.base import RequestRecord
from video_pipeline.sampling.frames import Delivered, Failed, VideoLog
from video_pipeline.sampling.request import FrameError, FrameRow, VideoRow

EXTRACTION = ("index", "fetch", "fetch_again", "decode_pictures")
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Device:
    """Where the network ran."""

    platform: str
    device: str
    gpu_name: str | None
    cuda_version: str | None
    torch_version: str


def device_facts(device: str) -> Device:
    """`platform` is cuda, mac or cpu, as users of the runner know it."""
    import torch

    if device.startswith("cuda"):
        return Device(
            "cuda", device, torch.cuda.get_device_name(device), torch.version.cuda, torch.__version__
        )
    kind = "mac" if sys.platform == "darwin" and machine.machine() == "arm64" else "cpu"
    return Device(kind, device, None, None, torch.__version__)


def frame_row(item: Delivered | Failed, url: str, png_key: str | None) -> FrameRow:
    """`url` without what only signs it."""
    wanted, cost = item.wanted, item.cost
    asked = {
        "batch": wanted.batch,
        "video": wanted.video,
        "frame": wanted.frame,
        "url": url,
        "requested_seconds": None if wanted.seconds is None else float(wanted.seconds),
        "requests": cost.requests,
        "index_bytes": cost.index_bytes,
        "media_bytes": cost.media_bytes,
        "useful_bytes": cost.useful_bytes,
        "pictures_decoded": cost.pictures_decoded,
        "index_was_at_hand": cost.index_was_at_hand,
    }
    if isinstance(item, Failed):
        return FrameRow.model_validate({**asked, "delivered": False, "error": frame_error(item.error)})
    selection = item.selection
    return FrameRow.model_validate(
        {
            **asked,
            "delivered": True,
            "seconds": float(selection.pts * item.time_base),
            "pts": selection.pts,
            "time_base": str(item.time_base),
            "frame_index": selection.frame_index,
            "width": item.width,
            "height": item.height,
            "decoder": item.decoder,
            "prediction": item.prediction,
            "png_key": png_key,
            "minimum_bytes": selection.minimum_bytes,
        }
    )


def frame_error(error: PipelineError) -> FrameError:
    return FrameError(kind=error.kind, message=error.message, input=error.input, what_to_do=error.what_to_do)


def video_row(log: VideoLog, url: str) -> VideoRow:
    return VideoRow(
        url=url,
        index_kind=log.index_kind,
        index_was_at_hand=log.index_was_at_hand,
        codec=log.codec,
        requests=len(log.requests),
        index_bytes=received(log.requests, "index"),
        media_bytes=received(log.requests, "media"),
        useful_bytes=log.useful_bytes,
        minimum_bytes=log.minimum_bytes,
        file_bytes=log.file_bytes,
        retries=sum(record.attempt > 1 for record in log.requests),
        decoder=log.decoder,
        decoder_reason=log.decoder_reason,
        notes=tuple(log.notes),
        error=None if log.error is None else frame_error(log.error),
    )


def received(requests: Sequence[RequestRecord], purpose: str) -> int:
    return sum(record.received for record in requests if record.purpose == purpose)
