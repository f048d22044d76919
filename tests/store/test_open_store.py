"""Opening the store that the settings name, and what its errors say."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from botocore import exceptions as boto

from tests.servers.seaweedfs import SeaweedFS
from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectMissing, PreconditionFailed
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.store.s3_errors import S3Location, translate


def test_a_path_opens_a_directory(tmp_path: Path) -> None:
    store = open_store(load_settings(store=str(tmp_path / "data")))

    assert isinstance(store, DirectoryStore)
    assert store.uri == str(tmp_path / "data")


def test_a_bucket_is_opened_with_the_credentials_of_the_environment(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(load_settings())

    store.put("tests/open_store", b"content")
    assert store.get("tests/open_store") == b"content"
    assert store.uri == f"s3://{seaweedfs.bucket}"


def test_an_endpoint_without_a_scheme_is_refused() -> None:
    settings = load_settings(store="s3://videos", wasabi_endpoint_url="s3.wasabisys.com")
    with pytest.raises(BadInput, match="https://"):
        open_store(settings)


def test_opening_a_directory_does_not_import_boto3(tmp_path: Path) -> None:
    code = (
        "import sys; from video_pipeline.settings import load_settings; from video_pipeline.store import "
        f"open_store; open_store(load_settings(store={str(tmp_path)!r})).put('demo/a', b'x'); "
        "sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _answer(status: int, code: str, operation: str = "GetObject") -> boto.ClientError:
    return boto.ClientError(
        {"Error": {"Code": code, "Message": "…"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # pyright: ignore[reportArgumentType]
        operation,
    )


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (_answer(500, "InternalError"), "transient", "500 InternalError"),
        (_answer(503, "SlowDown"), "transient", "wait"),
        (_answer(429, "TooManyRequests"), "transient", "429"),
        (_answer(400, "RequestTimeout"), "transient", "RequestTimeout"),
        (_answer(404, "NoSuchUpload"), "transient", "NoSuchUpload"),
        (_answer(409, "OperationAborted"), "transient", "OperationAborted"),
        (_answer(403, "RequestTimeTooSkewed"), "bad_input", "clock"),
        (_answer(403, "403"), "bad_input", "WASABI_SECRET_KEY_READWRITE"),
        (_answer(400, "ExpiredToken"), "bad_input", "WASABI_SECRET_KEY_READWRITE"),
        (_answer(301, "PermanentRedirect"), "bad_input", "WASABI_REGION"),
        (_answer(400, "AuthorizationHeaderMalformed"), "bad_input", "WASABI_REGION"),
        (_answer(404, "NoSuchBucket"), "bad_input", "no such bucket"),
        (_answer(404, "NoSuchKey"), "bad_input", "no such object"),
        (_answer(501, "NotImplemented"), "bad_input", "does not implement"),
        (_answer(412, "PreconditionFailed"), "internal", "somebody else"),
        (_answer(409, "ConditionalRequestConflict"), "internal", "somebody else"),
        (_answer(400, "MalformedXML"), "internal", "MalformedXML"),
        (boto.ReadTimeoutError(endpoint_url="https://s3"), "transient", "cannot be reached"),
        (boto.ConnectTimeoutError(endpoint_url="https://s3"), "transient", "WASABI_ENDPOINT_URL"),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), "transient", "cannot be reached"),
        (ConnectionResetError("reset by peer"), "transient", "reset by peer"),
        (boto.NoCredentialsError(), "bad_input", "WASABI_ACCESS_KEY_READWRITE"),
        (boto.UnknownKeyError(value="x", param="y", choices="z"), "internal", "UnknownKeyError"),
    ],
)
def test_every_error_of_the_client_has_a_kind_and_names_the_place(
    error: Exception, kind: str, says: str
) -> None:
    ours = translate(error, S3Location("https://s3.example", "videos"), "demo/a")

    assert ours.kind == kind
    assert says in str(ours)
    assert "s3://videos" in str(ours)


@pytest.mark.parametrize("error", [ObjectMissing, PreconditionFailed])
def test_the_stores_errors_travel_between_processes(error: type[PipelineError]) -> None:
    again = pickle.loads(pickle.dumps(error("message", input="key", what_to_do="this")))

    assert type(again) is error
    assert str(again) == "message [key] What to do: this"
