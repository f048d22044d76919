"""The object store as a Dagster resource.

Belongs here: opening the store the settings name. Does not belong here: any store (`video_pipeline.store`).
"""

from __future__ import annotations

import dagster as dg

from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore


class StoreResource(dg.ConfigurableResource):
    """`uri` overrides `VIDEO_PIPELINE_STORE`; everything else comes from the environment at run time."""

    uri: str | None = None

    def settings(self) -> Settings:
        return load_settings(**({} if self.uri is None else {"store": self.uri}))

    def open(self) -> ObjectStore:
        return open_store(self.settings())
