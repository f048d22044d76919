"""Everything Dagster loads.

Belongs here: putting assets, jobs and resources together. Does not belong here: any of them. Loading takes
no credential and no heavy import; `build_definitions` makes a fresh set that tests override.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from video_pipeline.assets.caption_files import caption_layout, captions
from video_pipeline.assets.captions import caption_pass, source_video, wasabi_upload
from video_pipeline.assets.clips import (
    annotated_compilation,
    clip,
    framed_clip,
    multi_clip,
    overlay_clip,
    player_detections,
)
from video_pipeline.assets.costs import cost_assets, cost_checks
from video_pipeline.assets.health import health_checks
from video_pipeline.assets.machines import machines
from video_pipeline.assets.samples import sample_pass
from video_pipeline.jobs import default_jobs
from video_pipeline.resources.compute import ComputeResource
from video_pipeline.resources.console import console
from video_pipeline.resources.store import StoreResource
from video_pipeline.schedules import default_schedules
from video_pipeline.sensors import default_sensors

caption_assets = [source_video, caption_layout, caption_pass, captions, wasabi_upload]
clip_assets = [clip, player_detections, overlay_clip, framed_clip, multi_clip, annotated_compilation]
default_assets = [*caption_assets, sample_pass, *clip_assets, *cost_assets, machines]


def build_definitions(*, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Fresh definitions; `resource_overrides` replaces resources by name.

    The executor sits here and not on a job: UI materialisations and backfills run as `__ASSET_JOB`, where a
    job's executor does not apply. In-process, because the steps wait for calls that run elsewhere: a process
    per step would cost 2.5 s and 110 MB and buy nothing.
    """
    store = StoreResource()
    resources: dict[str, Any] = {"store": store, "compute": ComputeResource(store=store)}
    return dg.Definitions(
        assets=default_assets,
        asset_checks=[*health_checks, *cost_checks],
        jobs=default_jobs,
        schedules=default_schedules,
        sensors=default_sensors,
        resources={**resources, **(resource_overrides or {})},
        executor=dg.in_process_executor,
        loggers={"console": console},
    )


defs = build_definitions()
