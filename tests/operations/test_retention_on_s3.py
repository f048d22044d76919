"""Retention in a real S3 server: the same rules, and uploads that were never completed."""

from __future__ import annotations

import uuid

import pytest
from botocore.stub import Stubber

from tests.operations.retention_world import (
    DAY_S,
    HOUR_S,
    artefact,
    call,
    content,
    later,
    recipe,
    running_call,
)
from tests.servers.seaweedfs import SeaweedFS, seaweedfs
from tests.store.conftest import s3_store, shared_s3
from video_pipeline import keys
from video_pipeline.captions.publish import publish
from video_pipeline.keys import VideoId
from video_pipeline.operations.retention import clean, survey
from video_pipeline.operations.retention_commands import lines_of
from video_pipeline.operations.retention_report import RetentionReport
from video_pipeline.store.s3 import S3Store

__all__ = ["seaweedfs", "shared_s3"]

LATER_S = 31 * DAY_S
"""An S3 server states its own times, so the tests move the present instead."""


@pytest.fixture
def tenant() -> str:
    """Nothing else is under it."""
    return f"t{uuid.uuid4().hex}"


def found(report: RetentionReport) -> dict[str, int]:
    return {item.kind: item.units for item in report.kinds if item.units}


@pytest.mark.slow
def test_what_nothing_refers_to_goes_in_two_runs_and_the_published_set_stays(
    shared_s3: S3Store, tenant: str
) -> None:
    video, old, new = VideoId(tenant, "street"), recipe("old"), recipe("new")
    gone = artefact(shared_s3, "frames", old, frames=old, video=video)
    half = artefact(shared_s3, "chunks", old, frames=old, video=video, finished=False)
    shown = artefact(shared_s3, "frames", new, frames=new, video=video)
    publish(shared_s3, video, {"frames": shown})
    call(shared_s3, old * 2, tenant=tenant)
    before = content(shared_s3, f"{tenant}/")

    assert found(survey(shared_s3, tenant=tenant)) == {}
    listed = survey(shared_s3, tenant=tenant, now=later(LATER_S))
    assert found(listed) == {"old recipes": 1, "unfinished recipes": 1, "calls": 1}
    assert content(shared_s3, f"{tenant}/") == before

    first = clean(shared_s3, tenant=tenant, now=later(LATER_S))
    assert first.failed == first.held_back == ()
    assert content(shared_s3, half) == {}
    assert set(content(shared_s3, gone)) == {f"{gone}part_0", f"{gone}part_1", f"{gone}removed.json"}

    clean(shared_s3, tenant=tenant, now=later(LATER_S + 2 * HOUR_S))
    left = content(shared_s3, f"{tenant}/")
    assert left == {key: before[key] for key in (*content(shared_s3, shown), keys.current_key(video))}


def test_a_recipe_that_is_published_again_gets_its_manifest_back(shared_s3: S3Store, tenant: str) -> None:
    video, old = VideoId(tenant, "street"), recipe("old")
    prefix = artefact(shared_s3, "frames", old, frames=old, video=video)
    before = content(shared_s3, prefix)
    clean(shared_s3, tenant=tenant, now=later(LATER_S))
    assert content(shared_s3, prefix) != before
    pointer = f'{{"artefacts": {{"frames": {{"recipe": "{old}"}}}}}}'
    shared_s3.put(keys.current_key(video), pointer.encode())

    report = clean(shared_s3, tenant=tenant, now=later(LATER_S + 2 * HOUR_S))

    assert len(report.restored) == 1
    assert content(shared_s3, prefix) == before


def test_a_running_call_keeps_its_video(shared_s3: S3Store, tenant: str) -> None:
    video, old = VideoId(tenant, "street"), recipe("old")
    artefact(shared_s3, "chunks", old, frames=old, video=video, finished=False)
    running_call(shared_s3, old * 2, {"tenant_id": tenant, "video_id": "street"}, tenant=tenant)
    before = content(shared_s3, f"{tenant}/")

    clean(shared_s3, tenant=tenant, now=later(LATER_S))

    assert content(shared_s3, f"{tenant}/") == before


def test_uploads_that_were_never_completed_are_aborted_once_old(
    shared_s3: S3Store, seaweedfs: SeaweedFS, tenant: str
) -> None:
    key = f"{tenant}/client/videos/street/video.mp4"
    client = shared_s3._client
    upload = client.create_multipart_upload(Bucket=seaweedfs.bucket, Key=key)["UploadId"]
    body = b"x" * (5 << 20)
    client.upload_part(Bucket=seaweedfs.bucket, Key=key, UploadId=upload, PartNumber=1, Body=body)

    assert found(clean(shared_s3, tenant=tenant)) == {}
    report = clean(shared_s3, tenant=tenant, now=later(LATER_S))

    (row,) = [item for item in report.kinds if item.kind == "uploads"]
    assert (row.units, row.bytes, row.done, row.freed_bytes) == (1, len(body), 1, len(body))
    assert row.sample == (key,)
    assert list(shared_s3.unfinished_uploads(f"{tenant}/")) == []


@pytest.fixture(scope="session")
def kept(seaweedfs: SeaweedFS) -> S3Store:
    """A bucket that keeps versions."""
    client = seaweedfs.client()
    client.create_bucket(Bucket="kept")
    client.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    return s3_store(seaweedfs, bucket="kept")


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_a_bucket_that_keeps_versions_is_told_for_what_is_removed_stays_there(
    kept: S3Store, seaweedfs: SeaweedFS, tenant: str, status: str
) -> None:
    old = recipe("old")
    client = seaweedfs.client()
    half = artefact(kept, "chunks", old, frames=old, video=VideoId(tenant, "street"), finished=False)
    client.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": status})
    store = s3_store(seaweedfs, bucket="kept")
    for report in (
        survey(store, tenant=tenant, now=later(LATER_S)),
        clean(store, tenant=tenant, now=later(LATER_S)),
    ):
        (note,) = report.notes
        assert "the bucket keeps versions" in note
        assert "lifecycle rule" in note
        assert f"note: {note}" in lines_of(report)
    assert content(store, half) == {}
    versions = client.list_object_versions(Bucket="kept", Prefix=half)
    assert {item["Key"] for item in versions["DeleteMarkers"]} == {f"{half}part_0", f"{half}part_1"}
    assert {item["Key"] for item in versions["Versions"]} == {f"{half}part_0", f"{half}part_1"}


def test_of_a_bucket_that_keeps_none_and_of_an_empty_tenant_nothing_is_told(
    shared_s3: S3Store, kept: S3Store, tenant: str
) -> None:
    assert shared_s3.keeps_versions() is False
    old = recipe("old")
    artefact(shared_s3, "chunks", old, frames=old, video=VideoId(tenant, "street"), finished=False)
    assert survey(shared_s3, tenant=tenant, now=later(LATER_S)).notes == ()
    assert survey(kept, tenant=tenant, now=later(LATER_S)).notes == ()


def test_a_bucket_that_may_not_be_asked_whether_it_keeps_versions_is_told(
    seaweedfs: SeaweedFS, shared_s3: S3Store, tenant: str
) -> None:
    old = recipe("old")
    artefact(shared_s3, "chunks", old, frames=old, video=VideoId(tenant, "street"), finished=False)
    reader = s3_store(seaweedfs, access_key=seaweedfs.reader_key, secret_key=seaweedfs.reader_secret)
    with Stubber(reader._client) as stub:
        # This server lets every reader ask, AWS only whom a policy allows it.
        stub.add_client_error("get_bucket_versioning", "AccessDenied", http_status_code=403)
        assert reader.keeps_versions() is None
    (note,) = survey(reader, tenant=tenant, now=later(LATER_S)).notes
    assert "may not be asked" in note
