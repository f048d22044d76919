"""Videos for backfills: as small as a caption run takes them.

Belongs here: putting them, and one that is cut off, into a store. Does not belong here: running anything.
"""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.media_factory import DEMO_CLIP, ffmpeg
from video_pipeline import keys
from video_pipeline.captions.intake import add_video
from video_pipeline.keys import VideoId
from video_pipeline.media.geometry import CropRegion
from video_pipeline.store.base import ObjectStore

REGION = CropRegion(left=0.1, top=0.8, width=0.3, height=0.1)


def store_films(store: ObjectStore, tenant: str, count: int, folder: Path) -> list[str]:
    """`count` videos of half a second with their requests; their partition keys."""
    clip = folder / "tiny.mp4"
    ffmpeg(["-i", str(DEMO_CLIP), "-t", "0.5", "-c", "copy", str(clip)])
    found: list[str] = []
    for number in range(count):
        video = VideoId(tenant, f"film-{number:03d}")
        add_video(store, video, clip, crop_region=REGION, frame_rate="5", preset="fast")
        found.append(video.partition_key)
    return found


def cut_off(store: ObjectStore, partition: str) -> None:
    """Makes the video one whose upload broke off: the index at its end is gone."""
    key = keys.source_key(VideoId.from_partition_key(partition), "mp4")
    whole = store.get(key)
    store.put(key, whole[: len(whole) // 2], content_type="video/mp4")
