"""What botocore's errors mean to this project, and what a reader can do about each.

Belongs here: the mapping to `BadInput`, `Transient`, `PreconditionFailed`, `ObjectMissing`. Does not belong
here: retries (botocore's own, and the reader's) or any request. No message ever holds a secret.

Codes: Amazon S3 API Reference, "Error responses", List of error codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from botocore import exceptions as boto
from urllib3.exceptions import HTTPError as Urllib3Error

from video_pipeline.errors import BadInput, Internal, PipelineError, Transient
from video_pipeline.store.base import PreconditionFailed, missing

NETWORK_ERRORS = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    boto.ChecksumError,
    Urllib3Error,
    OSError,
)
"""Everything by which a connection, or the body of an answer, can break off."""

CREDENTIAL_VARIABLES = "WASABI_ACCESS_KEY_READWRITE and WASABI_SECRET_KEY_READWRITE"

_CREDENTIAL_CODES = {
    "AccessDenied",
    "AllAccessDisabled",
    "AccountProblem",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "400",  # a HEAD has no body; AWS answers an expired token so
}
_ELSEWHERE_CODES = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
_PASSING_CODES = {
    "NoSuchUpload",  # somebody's clean-up aborted it: a new upload gets through
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}


@dataclass(frozen=True, slots=True)
class S3Location:
    """Which server and bucket an error is about."""

    endpoint: str
    bucket: str

    def __str__(self) -> str:
        return f"s3://{self.bucket} at {self.endpoint}"

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}"


def code_of(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_missing(error: BaseException) -> bool:
    """The object, or that version of it, is not there (a missing bucket is told apart by its code)."""
    return (
        isinstance(error, boto.ClientError) and status_of(error) == 404 and code_of(error) != "NoSuchBucket"
    )


def is_precondition(error: BaseException) -> bool:
    return isinstance(error, boto.ClientError) and (
        status_of(error) == 412
        or code_of(error) in ("PreconditionFailed", "ConditionalRequestConflict")
        or (status_of(error) == 409 and code_of(error) not in _PASSING_CODES)
    )


def is_not_implemented(error: BaseException) -> bool:
    """The server does not know a header, and says so rather than ignoring it."""
    return isinstance(error, boto.ClientError) and (
        status_of(error) == 501 or code_of(error) in ("NotImplemented", "InvalidArgument")
    )


def was_retried(error: boto.ClientError) -> bool:
    return int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0


def missing_bucket(location: S3Location) -> BadInput:
    return BadInput(
        "there is no such bucket",
        input=str(location),
        what_to_do="check VIDEO_PIPELINE_STORE, WASABI_ENDPOINT_URL and WASABI_REGION, or create the bucket",
    )


def translate(error: Exception, location: S3Location, key: str | None) -> PipelineError:
    """The project's error for one of botocore's. `key` is None for requests about the bucket itself."""
    where = f"{location.uri}/{key} at {location.endpoint}" if key is not None else str(location)
    if isinstance(error, boto.ClientError):
        return _of_answer(error, location, key, where)
    if isinstance(
        error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError
    ):
        return BadInput(
            "there are no credentials for the bucket",
            input=where,
            what_to_do=f"set {CREDENTIAL_VARIABLES}",
        )
    if isinstance(error, boto.ParamValidationError):
        return BadInput(
            f"the request is not valid: {error}", input=where, what_to_do="check the bucket's name"
        )
    if isinstance(error, NETWORK_ERRORS):
        return Transient(
            f"the object store cannot be reached: {error}",
            input=where,
            what_to_do="check WASABI_ENDPOINT_URL and the network, or wait for the server",
        )
    return Internal(f"an unexpected {type(error).__name__} of the S3 client: {error}", input=where)


def _of_answer(error: boto.ClientError, location: S3Location, key: str | None, where: str) -> PipelineError:
    code, status = code_of(error), status_of(error)
    if code == "NoSuchBucket":
        return missing_bucket(location)
    if status == 404 and code not in _PASSING_CODES:
        return missing_bucket(location) if key is None else missing(location.uri, key)
    if is_precondition(error):
        return PreconditionFailed("the object was written by somebody else first", input=where)
    if code == "RequestTimeTooSkewed":
        return BadInput("this machine's clock is wrong", input=where, what_to_do="set the clock")
    if status in (401, 403) or code in _CREDENTIAL_CODES:
        return BadInput(
            f"the server refuses these credentials ({code or status})",
            input=where,
            what_to_do=f"check {CREDENTIAL_VARIABLES}, and that they may read and write this bucket",
        )
    if status in (301, 307, 308) or code in _ELSEWHERE_CODES:
        return BadInput(
            f"the bucket is served from elsewhere ({code or status})",
            input=where,
            what_to_do="check WASABI_ENDPOINT_URL and WASABI_REGION",
        )
    message = error.response.get("Error", {}).get("Message", "")
    if status == 501:
        return BadInput(
            f"the server does not implement this: {message}",
            input=where,
            what_to_do="use a server that speaks the S3 protocol with conditional writes",
        )
    if status >= 500 or status == 429 or code in _PASSING_CODES:
        return Transient(
            f"the server failed with {status} {code}: {message}",
            input=where,
            what_to_do="wait for the server, then run it again",
        )
    return Internal(f"the server refused a request with {status} {code}: {message}", input=where)
