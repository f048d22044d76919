"""The jobs: named selections of assets, and registering the videos that are in the store.

Belongs here: jobs and the ops that only jobs need. Does not belong here: what an asset does, or when a job
runs (schedules, sensors).
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

import sys

import dagster as dg
from pydantic import Field

from video_pipeline.assets.common import GROUP
from video_pipeline.assets.health import health_selection
from video_pipeline.cleanup_job import clean_up
from video_pipeline.keys import check_name
from video_pipeline.operations.inputs import KINDS, look, tenants_of
from video_pipeline.resources.store import StoreResource

_RETRIES = {"dagster/max_retries": "1", "dagster/retry_strategy": "FROM_ASSET_FAILURE"}

caption_video = dg.define_asset_job(
    "caption_video",
    selection=dg.AssetSelection.groups(GROUP) - health_selection,
    description="One video, from its source to its published captions set. Choose the video by partition.",
    tags=_RETRIES,
)

sample_videos = dg.define_asset_job(
    "sample_videos",
    selection=dg.AssetSelection.groups("sampling") - health_selection,
    description="One sample: frames of many videos, and what a classifier sees in them. Choose by partition.",
    tags=_RETRIES,
)

make_clip = dg.define_asset_job(
    "make_clip",
    selection=dg.AssetSelection.assets("clip", "player_detections", "overlay_clip", "framed_clip")
    - health_selection,
    description="One clip, as far as its request goes: cut, people found, lit, re-framed. By partition.",
    tags=_RETRIES,
)

join_clips = dg.define_asset_job(
    "join_clips",
    selection=dg.AssetSelection.assets("multi_clip", "annotated_compilation") - health_selection,
    description="One clip made of others, as its request says: re-framed and joined, or one after the other "
    "with their annotations. By partition.",
    tags=_RETRIES,
)

single_clip_jobs = [
    dg.define_asset_job(
        f"{name}_only",
        selection=dg.AssetSelection.assets(name) - health_selection,
        description=text,
        tags=_RETRIES,
    )
    for name, text in (
        ("clip", "Cut one clip from its source."),
        ("player_detections", "Find the people in one clip."),
        ("overlay_clip", "Put spotlights over one clip."),
        ("framed_clip", "Re-frame one clip."),
        ("multi_clip", "Re-frame several clips and join them."),
        ("annotated_compilation", "Join clips with their annotations."),
    )
]


check_health = dg.define_asset_job(
    "check_health",
    selection=health_selection,
    description="Looks over all partitions of every end product and lists those whose last run failed, why, "
    "and what to do.",
)
account_costs = dg.define_asset_job(
    "account_costs",
    selection=dg.AssetSelection.groups("costs"),
    description="Collects what calls used into the ledger, fits the cost model to it anew, and says what "
    "follows: a plan, a month's cost, the dashboard.",
)


probe_machines = dg.define_asset_job(
    "probe_machines",
    selection=dg.AssetSelection.groups("machines"),
    description="Asks the machines that run tasks what they have, and says what tasks would miss there.",
)


class RegisterConfig(dg.Config):
    """Whose videos, samples and clips to look for. Nobody named: as the sensor `new_uploads` does, those of
    `VIDEO_PIPELINE_TENANTS`, or everybody's."""

    tenants: list[str] = Field(default_factory=list)


@dg.op(
    description="Lists the videos, and the requests of samples and clips, of the tenants that are named, "
    "else of all, and registers those that are not partitions yet."
)
def find_videos(context: dg.OpExecutionContext, config: RegisterConfig, store: StoreResource) -> int:
    objects = store.open()
    tenants = config.tenants or store.settings().tenant_names or tenants_of(objects)
    registered: dict[str, list[str]] = {}
    refused: list[str] = []
    for kind in KINDS:
        definition = kind.partitions
        found: set[str] = set()
        for tenant in tenants:
            seen = look(objects, kind, check_name("tenant", tenant), checks=sys.maxsize)
            # What is still being written is there, too: a person asked, and runs it when it is whole.
            found.update(seen.found, seen.unsettled)
            refused += [f"{definition} of {tenant}: {reason}" for reason in seen.refused.values()]
        known = set(context.instance.get_dynamic_partitions(definition))
        new = registered[definition] = sorted(found - known)
        if new:
            context.instance.add_dynamic_partitions(definition, new)
        context.log.info(f"{definition}: {len(new)} new, {len(found & known)} known")
    for line in refused:
        context.log.warning(f"not registered: {line}")
    total = sum(map(len, registered.values()))
    context.add_output_metadata(
        {
            "new": total,
            "refused": refused,
            **{f"new_{definition}": new[:100] for definition, new in registered.items()},
        }
    )
    return total


@dg.job(description="Registers every video, sample and clip that is in the store as a partition.")
def register_videos() -> None:
    find_videos()


default_jobs = [
    caption_video,
    sample_videos,
    make_clip,
    join_clips,
    *single_clip_jobs,
    register_videos,
    check_health,
    account_costs,
    probe_machines,
    clean_up,
]
