"""A video that is captioned in seconds: the beginning of the demo's."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fixtures.media_factory import DEMO_CLIP, ffmpeg
from video_pipeline.captions.intake import add_video
from video_pipeline.keys import VideoId
from video_pipeline.media.geometry import CropRegion
from video_pipeline.store.base import ObjectStore

SECONDS = 3


def store_short_clip(store: ObjectStore, video: VideoId, folder: Path) -> str:
    """Cuts it in `folder` and stores it with its caption request. Returns its key."""
    clip = folder / "short.mp4"
    ffmpeg(["-i", str(DEMO_CLIP), "-t", str(SECONDS), "-c", "copy", str(clip)])
    cues = json.loads(DEMO_CLIP.with_name("street.cues.json").read_text())
    region = CropRegion.model_validate(cues["crop_region"])
    return add_video(store, video, clip, crop_region=region, frame_rate="5", preset="fast")
