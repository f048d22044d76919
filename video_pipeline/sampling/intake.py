"""A sample's request in the store: what a person wants of one partition.

Belongs here: its form, reading it, putting it there. Does not belong here: running it (`runner.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field, ValidationError

from video_pipeline import keys
from video_pipeline.errors import BadInput, problems_of
from video_pipeline.keys import SampleId
from video_pipeline.sampling.request import RunInferenceRequest, SampleOptions
from video_pipeline.store.base import ObjectMissing, ObjectStore


class SampleRequest(SampleOptions):
    """`request.json` of a sample: the videos, and `SampleOptions`. Decoded frames are kept unless it says
    no."""

    video_urls: tuple[str, ...] = Field(min_length=1)
    return_frame_png: bool = True


def load_sample_request(store: ObjectStore, sample: SampleId) -> RunInferenceRequest:
    """The task's request for a partition. BadInput that names the object if it is missing or wrong."""
    key = keys.sample_request_key(sample.tenant, sample.sample)
    name = f"{store.uri}/{key}"
    try:
        data = json.loads(store.get(key))
        asked = SampleRequest.model_validate(data)
        return RunInferenceRequest(
            tenant_id=sample.tenant, sample_id=sample.sample, **asked.model_dump(mode="json")
        )
    except ObjectMissing:
        raise BadInput(
            f"the sample {sample.partition_key} has no request",
            input=name,
            what_to_do="put one there: video-pipeline add-sample",
        ) from None
    except (ValueError, RecursionError) as error:  # the latter for brackets within brackets without end
        raise BadInput(
            f"the sample's request is not valid: {_problems(error)}",
            input=name,
            what_to_do="correct the named fields.",
        ) from None


def add_sample(store: ObjectStore, sample: SampleId, video_urls: Sequence[str], /, **options: Any) -> str:
    """Validate a request and store it; its key. BadInput for options or addresses that are wrong."""
    if "video_urls" in options:
        raise BadInput(
            "video_urls is no option: the videos are named beside the options",
            input=sample.partition_key,
            what_to_do="leave it out; the command takes --video-url, as often as there are videos.",
        )
    try:
        asked = SampleRequest(video_urls=tuple(video_urls), **options)
        RunInferenceRequest(tenant_id=sample.tenant, sample_id=sample.sample, **asked.model_dump(mode="json"))
    except ValidationError as error:
        raise BadInput(
            f"the sample's request is not valid: {_problems(error)}",
            input=sample.partition_key,
            what_to_do="correct the named fields.",
        ) from None
    key = keys.sample_request_key(sample.tenant, sample.sample)
    data = json.dumps(asked.model_dump(mode="json", exclude_defaults=True), indent=2).encode()
    store.put(key, data, content_type="application/json")
    return key


def _problems(error: Exception) -> str:
    return problems_of(error, "request") if isinstance(error, ValidationError) else str(error)
