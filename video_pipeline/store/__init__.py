"""The object store: one small contract, a directory by default, S3 for everything larger.

Belongs here: opening the store that the settings name. Does not belong here: which keys exist (`keys`) or
what the objects hold (the domains). boto3 is imported only when a bucket is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from video_pipeline.errors import BadInput

if TYPE_CHECKING:
    from video_pipeline.settings import Settings
    from video_pipeline.store.base import ObjectStore


def open_store(settings: Settings) -> ObjectStore:
    """The store that `settings.store` names: a directory (made at the first write) or `s3://BUCKET`.

    Nothing is asked of a server here. Raises `BadInput` for an endpoint that is not a URL, or a "directory"
    that is a file.
    """
    if not settings.is_bucket:
        from video_pipeline.store.directory import DirectoryStore

        return DirectoryStore(settings.store)

    from video_pipeline.store.s3 import S3Store

    if settings.wasabi_endpoint_url and "://" not in settings.wasabi_endpoint_url:
        raise BadInput(
            f"{settings.wasabi_endpoint_url!r} is not an endpoint URL",
            input="WASABI_ENDPOINT_URL",
            what_to_do="write it with its scheme, for example https://s3.eu-central-1.wasabisys.com",
        )
    access_key, secret_key = settings.wasabi_access_key, settings.wasabi_secret_key
    return S3Store(
        settings.store.removeprefix("s3://"),
        endpoint_url=settings.wasabi_endpoint_url,
        region=settings.wasabi_region,
        access_key=access_key.get_secret_value() if access_key else None,
        secret_key=secret_key.get_secret_value() if secret_key else None,
    )
