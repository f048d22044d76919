"""Which partitions an older version of the code made, or were made from inputs that are others by now.

Belongs here: reading what Dagster notes of versions at each materialisation. Does not belong here: which
partitions are made, failed or in progress (`history`), or whether stale ones are made again
(`operations.backfill`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import dagster as dg
from dagster._core.events import DagsterEventType

from video_pipeline.operations.states import Product

BATCH = 500
"""Events of one query, as many as there are runs in one of `history`."""


def stale_partitions(
    instance: dg.DagsterInstance,
    product: Product,
    code_versions: Mapping[str, str | None],
    partitions: set[str],
) -> set[str]:
    """Those of the partitions with an asset that another version of the code made, or that was made from
    inputs which have been made anew with another content since. Dagster tags every materialisation with all
    three; the tags lie in its event, so this reads one event for each asset and partition."""
    inputs = {asset: f"dagster/input_data_version/{asset}" for asset in product.assets}
    tags = {asset: _latest_tags(instance, asset, partitions) for asset in product.assets}
    stale: set[str] = set()
    for asset, rows in tags.items():
        version = code_versions.get(asset)
        for partition, own in rows.items():
            older = version is not None and own.get("dagster/code_version", version) != version
            changed = any(
                name in own and not _is_version(own[name], tags[parent].get(partition, {}))
                for parent, name in inputs.items()
            )
            if older or changed:
                stale.add(partition)
    return stale


def _is_version(noted: str, of: Mapping[str, str]) -> bool:
    """Whether what was noted of an input is its present version. Of a partitioned input Dagster notes the
    SHA-256 over the versions of the partitions that were read, here one."""
    version = of.get("dagster/data_version")
    return version is None or noted in (version, hashlib.sha256(version.encode()).hexdigest())


def _latest_tags(
    instance: dg.DagsterInstance, asset: str, partitions: set[str]
) -> dict[str, Mapping[str, str]]:
    """The tags of each partition's latest materialisation."""
    key = dg.AssetKey(asset)
    latest = instance.event_log_storage.get_latest_storage_id_by_partition(
        key, DagsterEventType.ASSET_MATERIALIZATION
    )
    wanted = sorted(storage_id for partition, storage_id in latest.items() if partition in partitions)
    found: dict[str, Mapping[str, str]] = {}
    for start in range(0, len(wanted), BATCH):
        ids = wanted[start : start + BATCH]
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, storage_ids=ids), limit=len(ids)
        ).records
        for record in records:
            made = record.asset_materialization
            if made is not None and made.partition is not None:
                found[made.partition] = made.tags or {}
    return found
