"""Makes the bucket of `VIDEO_PIPELINE_STORE` where it is not there yet, and looks whether the store works.

Run once before the first start; running it again changes nothing. Exit code 2 with what is wrong: the
settings, the credentials, or a server that does not answer.
"""

from __future__ import annotations

import sys
import time

from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store

WAIT_S = 60.0
"""How long a server that is still starting is waited for."""


def create(settings: Settings) -> str:
    """What was found or done, in one line. Raises `BadInput` where it cannot be had."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    if not settings.is_bucket:
        raise BadInput("the store is a directory", input=settings.store, what_to_do="set it to s3://BUCKET")
    name = settings.store.removeprefix("s3://")
    key, secret = settings.wasabi_access_key, settings.wasabi_secret_key
    client = boto3.client(
        "s3",
        endpoint_url=settings.wasabi_endpoint_url,
        region_name=settings.wasabi_region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 1}),
    )
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            if name in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                return f"{settings.store} is there"
            # Outside us-east-1, AWS wants the region said (CreateBucket, LocationConstraint).
            elsewhere = settings.wasabi_endpoint_url is None and settings.wasabi_region != "us-east-1"
            place = {"CreateBucketConfiguration": {"LocationConstraint": settings.wasabi_region}}
            client.create_bucket(Bucket=name, **(place if elsewhere else {}))
            return f"{settings.store} is made"
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            problem = error.response.get("Error", {}).get("Code", str(status))
            passes = status >= 500
        except BotoCoreError as error:
            problem, passes = type(error).__name__, True
        if not passes or time.monotonic() > deadline:
            raise BadInput(
                f"the bucket cannot be made: {problem}",
                input=f"{settings.store} at {settings.wasabi_endpoint_url or 'AWS'}",
                what_to_do="look at WASABI_ENDPOINT_URL and the two keys, or make the bucket by hand.",
            )
        time.sleep(1)


def main() -> int:
    try:
        settings = load_settings()
        print(create(settings))
        conditional = open_store(settings).conditional_writes()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"conditional writes: {'yes' if conditional else 'no: publish with one writer per video'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
