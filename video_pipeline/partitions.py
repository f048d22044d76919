"""The partitions: one per video, sample or clip. A chunk is never one: an hour of video alone has 1,478.

Belongs here: partition definitions and registering a key. Does not belong here: finding new videos
(`jobs.register_videos`, sensors).
"""

from __future__ import annotations

import dagster as dg

from video_pipeline.keys import ClipId, SampleId, VideoId

VIDEOS = "videos"
video_partitions = dg.DynamicPartitionsDefinition(name=VIDEOS)

SAMPLES = "samples"
sample_partitions = dg.DynamicPartitionsDefinition(name=SAMPLES)

CLIPS = "clips"
clip_partitions = dg.DynamicPartitionsDefinition(name=CLIPS)


def video_of(context: dg.AssetExecutionContext) -> VideoId:
    """The run's video. Registers the partition if the run came with a key that is not registered.

    `dagster job execute` runs the whole body for an unregistered key and fails only when it stores the
    outcome, and no command line adds a key; so the run registers its own, before anything is spent.
    """
    video = VideoId.from_partition_key(context.partition_key)
    _register(context, VIDEOS, video.partition_key)
    return video


def sample_of(context: dg.AssetExecutionContext) -> SampleId:
    """The run's sample, registered like a video."""
    sample = SampleId.from_partition_key(context.partition_key)
    _register(context, SAMPLES, sample.partition_key)
    return sample


def clip_of(context: dg.AssetExecutionContext) -> ClipId:
    """The run's clip, registered like a video."""
    clip = ClipId.from_partition_key(context.partition_key)
    _register(context, CLIPS, clip.partition_key)
    return clip


def _register(context: dg.AssetExecutionContext, definition: str, key: str) -> None:
    if not context.instance.has_dynamic_partition(definition, key):
        context.instance.add_dynamic_partitions(definition, [key])
        context.log.info(f"registered the partition {key}")
