"""Where every object lives in the store, and the grammar of names. Pure: no I/O, no store, no Dagster.

Belongs here: building and taking apart keys, names and recipes' hashes. Does not belong here: what an
object holds (the domains know) or how it is written (`store`).
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction

from video_pipeline.errors import BadInput

SYSTEM_TENANT = "system"
"""The tenant of calls that belong to no customer."""

MAX_NAME_LENGTH = 64
VIDEO_EXTENSIONS = ("mp4", "mov", "mkv", "webm", "avi")
_NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")
_HASH = re.compile(r"[0-9a-f]{16,64}")


def suggest_name(text: str) -> str:
    """The nearest valid name to `text`: ASCII, lower case, runs of anything else become one `-`."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"_+", "_", re.sub(r"[^a-z0-9_]+", "-", ascii_text))
    slug = re.sub(r"[-_]{2,}", "-", slug).strip("-_")[:MAX_NAME_LENGTH].strip("-_")
    return slug or "video"


def check_name(kind: str, name: str) -> str:
    """Returns `name` if it is a valid tenant, video, clip or sample; else `BadInput` with a suggestion."""
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} is not a valid {kind} name: lower-case letters and digits, joined by single "
            f"'-' or '_', at most {MAX_NAME_LENGTH} characters",
            input=f"{kind}={name!r}",
            what_to_do=f"use {suggest_name(str(name))!r}",
        )
    return name


@dataclass(frozen=True, slots=True)
class VideoId:
    """A video's identity: tenant and video name; as a partition key `tenant--video`."""

    tenant: str
    video: str

    def __post_init__(self) -> None:
        check_name("tenant", self.tenant)
        check_name("video", self.video)

    @property
    def partition_key(self) -> str:
        return f"{self.tenant}--{self.video}"

    @classmethod
    def from_partition_key(cls, key: str) -> VideoId:
        return cls(*_split_partition_key(key, "video"))


@dataclass(frozen=True, slots=True)
class SampleId:
    """One sample of one tenant; its partition key is `tenant--sample`."""

    tenant: str
    sample: str

    def __post_init__(self) -> None:
        check_name("tenant", self.tenant)
        check_name("sample", self.sample)

    @property
    def partition_key(self) -> str:
        return f"{self.tenant}--{self.sample}"

    @classmethod
    def from_partition_key(cls, key: str) -> SampleId:
        return cls(*_split_partition_key(key, "sample"))


@dataclass(frozen=True, slots=True)
class ClipId:
    """One clip of one tenant; its partition key is `tenant--clip`."""

    tenant: str
    clip: str

    def __post_init__(self) -> None:
        check_name("tenant", self.tenant)
        check_name("clip", self.clip)

    @property
    def partition_key(self) -> str:
        return f"{self.tenant}--{self.clip}"

    @classmethod
    def from_partition_key(cls, key: str) -> ClipId:
        return cls(*_split_partition_key(key, "clip"))


def _split_partition_key(key: str, what: str) -> tuple[str, str]:
    tenant, separator, name = key.partition("--")
    if not separator or "--" in name:
        raise BadInput(
            f"{key!r} is not a partition key: it is tenant--{what}, with '--' exactly once",
            input=f"partition={key!r}",
            what_to_do="for example 'demo--street'",
        )
    return tenant, name


def check_key(key: str, *, tenant: str) -> str:
    """Returns `key` if it is a clean object key under `tenant`; `BadInput` otherwise.

    Refused: other tenants, absolute paths, empty or dot segments, backslashes, control characters, and
    keys over 1024 bytes of UTF-8 (the S3 limit).
    """
    segments = key.split("/")
    unclean = (
        not key
        or any(part in ("", ".", "..") for part in segments)
        or "\\" in key
        or any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in key)
        or len(key.encode("utf-8", "surrogatepass")) > 1024
    )
    if unclean:
        raise BadInput(
            f"{key!r} is not a clean object key",
            input=f"key={key!r}",
            what_to_do="no empty, '.' or '..' segments, no control characters",
        )
    if segments[0] != tenant or len(segments) < 2:
        raise BadInput(
            f"{key!r} does not lie under the request's tenant {tenant!r}",
            input=f"key={key!r}",
            what_to_do=f"keys of this request begin with '{tenant}/'",
        )
    return key


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces, fractions as strings: equal values give equal text.

    Floats are refused: their text depends on how they were computed, and a recipe must not.
    """

    def plain(item: object) -> object:
        if isinstance(item, Fraction):
            return str(item)
        if isinstance(item, float):
            raise TypeError(f"a recipe takes no float ({item!r}): use a Fraction or a string")
        if isinstance(item, dict):
            return {str(key): plain(part) for key, part in item.items()}
        if isinstance(item, list | tuple):
            return [plain(part) for part in item]
        return item

    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def recipe_hash(**parts: object) -> str:
    """A recipe: the first 16 hex digits of SHA-256 over the canonical JSON of `parts`."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:16]


def _hash(value: str, what: str) -> str:
    if not _HASH.fullmatch(value):
        raise ValueError(f"{value!r} is not a {what}: 16 to 64 hex digits")
    return value


def _client(video: VideoId) -> str:
    return f"{video.tenant}/client/videos/{video.video}"


def _server(video: VideoId) -> str:
    return f"{video.tenant}/server/videos/{video.video}"


def source_key(video: VideoId, extension: str) -> str:
    if extension not in VIDEO_EXTENSIONS:
        raise BadInput(
            f"'.{extension}' is not a video extension this store takes",
            input=video.partition_key,
            what_to_do=f"use one of {', '.join(VIDEO_EXTENSIONS)}",
        )
    return f"{_client(video)}/video.{extension}"


def source_keys(video: VideoId) -> list[str]:
    """Every key at which the video's source may lie, in order of preference."""
    return [source_key(video, extension) for extension in VIDEO_EXTENSIONS]


def videos_prefix(tenant: str) -> str:
    return f"{check_name('tenant', tenant)}/client/videos/"


def caption_request_key(video: VideoId) -> str:
    return f"{_server(video)}/caption_request.json"


def frames_prefix(video: VideoId, frames: str) -> str:
    return f"{_client(video)}/frames/{_hash(frames, 'frames recipe')}/"


def chunks_prefix(video: VideoId, chunks: str) -> str:
    return f"{_client(video)}/chunks/{_hash(chunks, 'chunks recipe')}/"


def chunk_key(video: VideoId, chunks: str, level: int, window: int) -> str:
    if level not in (16, 4, 1) or window < 0 or window % (32 * level):
        raise ValueError(f"no chunk at level {level} begins at frame {window}")
    return f"{chunks_prefix(video, chunks)}modulo_{level}/chunk_{window:010d}.webm"


def extents_prefix(video: VideoId, extents: str) -> str:
    return f"{_server(video)}/extents/{_hash(extents, 'extents recipe')}/"


def database_key(video: VideoId, extents: str) -> str:
    return f"{extents_prefix(video, extents)}caption_frame_extents.db"


def layout_prefix(video: VideoId, layout: str) -> str:
    return f"{_server(video)}/layouts/{_hash(layout, 'layout recipe')}/"


def captions_prefix(video: VideoId, text: str) -> str:
    return f"{_client(video)}/captions/{_hash(text, 'text recipe')}/"


def manifest_key(prefix: str) -> str:
    return f"{prefix}manifest.json"


def current_key(video: VideoId) -> str:
    return f"{_client(video)}/current.json"


def indexes_prefix(tenant: str) -> str:
    """Where indexes of remote videos are kept between runs."""
    return f"{check_name('tenant', tenant)}/server/indexes/"


def sample_request_key(tenant: str, sample: str) -> str:
    return f"{_sample(tenant, sample)}/request.json"


def sample_result_prefix(tenant: str, sample: str, call: str) -> str:
    """Where the frames and reports of one call lie."""
    return f"{_sample(tenant, sample)}/result/{_hash(call, 'call key')}/"


def samples_prefix(tenant: str) -> str:
    return f"{check_name('tenant', tenant)}/server/samples/"


def _sample(tenant: str, sample: str) -> str:
    return f"{samples_prefix(tenant)}{check_name('sample', sample)}"


def clips_prefix(tenant: str) -> str:
    return f"{check_name('tenant', tenant)}/server/clips/"


def clip_request_key(clip: ClipId) -> str:
    return f"{clips_prefix(clip.tenant)}{clip.clip}/request.json"


def clip_current_key(clip: ClipId) -> str:
    """Which render of each kind is the clip's present one."""
    return f"{clip.tenant}/client/clips/{clip.clip}/current.json"


def clip_parts_prefix(clip: ClipId, recipe: str) -> str:
    """Where a parallel render keeps its chunks until the clip is joined."""
    return f"{clips_prefix(clip.tenant)}{clip.clip}/parts/{_hash(recipe, 'clip recipe')}/"


def clip_prefix(clip: ClipId, recipe: str) -> str:
    """Where one render of a clip lies, or what was detected in it."""
    return f"{clip.tenant}/client/clips/{clip.clip}/{_hash(recipe, 'clip recipe')}/"


def call_key(tenant: str, key: str) -> str:
    return f"{check_name('tenant', tenant)}/server/calls/{_hash(key, 'call key')}.json"


def calls_prefix(tenant: str) -> str:
    return f"{check_name('tenant', tenant)}/server/calls/"


def result_key(tenant: str, key: str) -> str:
    return f"{check_name('tenant', tenant)}/server/results/{_hash(key, 'call key')}.json"


def results_prefix(tenant: str) -> str:
    return f"{check_name('tenant', tenant)}/server/results/"


def spawn_key(tenant: str, key: str) -> str:
    """Which of Modal's function calls runs a call (`compute.modal_spawns`)."""
    return f"{check_name('tenant', tenant)}/server/spawns/{_hash(key, 'call key')}.json"


def report_prefix(tenant: str, key: str) -> str:
    """Where a call's report lies: waterfall, trace and statistics, beside its result."""
    return f"{check_name('tenant', tenant)}/server/results/{_hash(key, 'call key')}/"


LEDGER = f"{SYSTEM_TENANT}/server/ledger/"
"""What all calls of all tenants used (`costs.ledger`)."""


def ledger_entries_prefix(day: date | None = None) -> str:
    """Where the entries lie that are not in the table yet: all, or those claimed on a day (UTC)."""
    return f"{LEDGER}entries/" + (f"{day:%Y-%m-%d}/" if day is not None else "")


def ledger_entry_key(claimed_at: datetime, call: str, attempt: int) -> str:
    """One attempt of one call, by the moment at which it was claimed."""
    at = claimed_at.astimezone(UTC)
    name = f"{at:%Y%m%dT%H%M%S%fZ}_{_hash(call, 'call key')}_{attempt}.json"
    return ledger_entries_prefix(at.date()) + name


def ledger_table_prefix() -> str:
    return f"{LEDGER}attempts/"


def ledger_table_key(day: date) -> str:
    """The ledger's rows of the attempts that were claimed on a day (UTC), as Parquet."""
    return f"{ledger_table_prefix()}{day:%Y-%m-%d}.parquet"


COST_MODEL = f"{SYSTEM_TENANT}/server/cost_model/"
"""What is concluded from the ledger (`costs.stored`): models, plans, projections."""


def cost_current_key(kind: str) -> str:
    """The pointer to the newest of a kind: `models`, `plan`, `projection`, `dashboard`."""
    return f"{COST_MODEL}{check_name('kind', kind)}/current.json"


def cost_object_key(kind: str, digest: str, extension: str) -> str:
    """One of a kind, named by what it holds."""
    return f"{COST_MODEL}{check_name('kind', kind)}/{_hash(digest, 'digest')}.{extension}"


def deployments_prefix(app: str) -> str:
    """Where the records of an app's deployments lie: what was deployed, when, and what its probes found."""
    return f"{SYSTEM_TENANT}/server/deployments/{check_name('app', app)}/"


def deployment_key(app: str, at: datetime) -> str:
    """One deployment's record, named by its time in UTC: the last by name is the latest."""
    return f"{deployments_prefix(app)}{at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}.json"
