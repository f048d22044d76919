"""The partitions: one per video. A chunk is never a partition: an hour of video alone has 1,478 of them.

Belongs here: partition definitions and registering a key. Does not belong here: finding new videos
(`jobs.register_videos`, sensors).
"""

from __future__ import annotations

import dagster as dg

from video_pipeline.keys import VideoId

VIDEOS = "videos"
video_partitions = dg.DynamicPartitionsDefinition(name=VIDEOS)


def video_of(context: dg.AssetExecutionContext) -> VideoId:
    """The run's video. Registers the partition if the run came with a key that is not registered.

    `dagster job execute` runs the whole body for an unregistered key and fails only when it stores the
    outcome, and no command line adds a key; so the run registers its own, before anything is spent.
    """
    video = VideoId.from_partition_key(context.partition_key)
    if not context.instance.has_dynamic_partition(VIDEOS, video.partition_key):
        context.instance.add_dynamic_partitions(VIDEOS, [video.partition_key])
        context.log.info(f"registered the partition {video.partition_key}")
    return video
