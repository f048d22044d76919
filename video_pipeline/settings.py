"""Every environment variable the pipeline reads, typed and validated once.

Belongs here: names, types, defaults, what differs from environment to environment, and the rules between
them (Modal needs a bucket). Does not belong here: what the settings open; `store.open_store` and
`compute.open_compute` take a `Settings`. Secrets are `SecretStr`: they never show in a repr, log or error.

`python -m video_pipeline.settings` prints the settings as they are understood, or what is wrong with them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from video_pipeline.errors import BadInput, problems_of
from video_pipeline.keys import SYSTEM_TENANT, check_name

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Environment = Literal["local", "ci", "staging", "prod"]

PER_ENVIRONMENT: Mapping[str, Mapping[str, Any]] = {
    "local": {},
    "ci": {
        "max_usd_per_call": 1.0,
        "max_usd_per_run": 2.0,
        "modal_max_containers": 2,
        "wandb_mode": "offline",
    },
    "staging": {"max_usd_per_call": 10.0, "max_usd_per_run": 40.0, "modal_max_containers": 10},
    "prod": {},
}
"""Defaults of an environment, where they differ from the fields' own. A variable that is set wins."""

LASTING = frozenset({"staging", "prod"})
"""Environments whose results somebody relies on: the store is a bucket, and no fallback is silent."""


def _default_state_dir() -> Path:
    """Where this machine keeps the logs of local calls (XDG Base Directory specification, state)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "video_pipeline"


class Settings(BaseSettings):
    """The environment, validated. Fields map to upper-case variables of the alias's name."""

    # An empty variable counts as not set: that is what a compose file makes of one that its user left out.
    model_config = SettingsConfigDict(
        extra="ignore", populate_by_name=True, frozen=True, env_ignore_empty=True
    )

    env: Environment = Field("local", validation_alias="VIDEO_PIPELINE_ENV")
    store: str = Field("./data", validation_alias="VIDEO_PIPELINE_STORE")
    compute: Literal["local", "modal"] = Field("local", validation_alias="VIDEO_PIPELINE_COMPUTE")
    wasabi_endpoint_url: str | None = Field(None, validation_alias="WASABI_ENDPOINT_URL")
    wasabi_region: str = Field("us-east-1", validation_alias="WASABI_REGION")
    wasabi_access_key: SecretStr | None = Field(None, validation_alias="WASABI_ACCESS_KEY_READWRITE")
    wasabi_secret_key: SecretStr | None = Field(None, validation_alias="WASABI_SECRET_KEY_READWRITE")
    task_modules: str = Field("", validation_alias="VIDEO_PIPELINE_TASK_MODULES")
    state_dir: Path = Field(default_factory=_default_state_dir, validation_alias="VIDEO_PIPELINE_STATE")
    logger_level: LogLevel = Field("INFO", validation_alias="LOGGER_LEVEL")
    wandb_project: str | None = Field(None, validation_alias="WANDB_PROJECT")
    wandb_mode: Literal["online", "offline", "disabled"] | None = Field(None, validation_alias="WANDB_MODE")
    """None: online where WANDB_API_KEY is set, else offline."""
    wandb_api_key: SecretStr | None = Field(None, validation_alias="WANDB_API_KEY")
    max_usd_per_call: float = Field(
        20.0, gt=0, allow_inf_nan=False, validation_alias="VIDEO_PIPELINE_MAX_USD_PER_CALL"
    )
    """What one paid call may cost at most, in US dollars, before it is refused (`modal_ops.guard`)."""
    max_usd_per_run: float = Field(
        100.0, gt=0, allow_inf_nan=False, validation_alias="VIDEO_PIPELINE_MAX_USD_PER_RUN"
    )
    """What the calls that one task fans out may cost at most, together."""
    modal_max_containers: int = Field(
        50, ge=1, le=10_000, validation_alias="VIDEO_PIPELINE_MODAL_MAX_CONTAINERS"
    )
    """How many containers of one function Modal may run at a time; taken at deployment."""
    tenants: str = Field("", validation_alias="VIDEO_PIPELINE_TENANTS")
    """Whose uploads the sensor looks for, separated by commas; empty: everybody's who is in the store."""
    automation: Literal["running", "stopped"] | None = Field(
        None, validation_alias="VIDEO_PIPELINE_AUTOMATION"
    )
    """Whether sensors and schedules start switched on. None: in `prod` only; elsewhere a person does it."""
    backfill_cron: str = Field("0 2 * * *", validation_alias="VIDEO_PIPELINE_BACKFILL_CRON")
    backfill_timezone: str = Field("UTC", validation_alias="VIDEO_PIPELINE_BACKFILL_TIMEZONE")
    backfill_max_runs: int = Field(50, ge=1, le=10_000, validation_alias="VIDEO_PIPELINE_BACKFILL_MAX_RUNS")
    """How many runs one nightly schedule asks for in one night."""
    backfill_max_usd: float = Field(
        500.0, gt=0, allow_inf_nan=False, validation_alias="VIDEO_PIPELINE_BACKFILL_MAX_USD"
    )
    """What the runs that one nightly schedule asks for in one night may cost on Modal, in US dollars, each
    counted at the most it can cost (`modal_ops.guard`): some fifty times what it does cost as a rule."""
    backfill_stale: bool = Field(False, validation_alias="VIDEO_PIPELINE_BACKFILL_STALE")
    """Whether the nightly schedules also take what an older version of the code made."""
    backfill_cancelled: bool = Field(False, validation_alias="VIDEO_PIPELINE_BACKFILL_CANCELLED")
    """Whether the nightly schedules also take what a person cancelled."""
    clean_up_remove: bool = Field(False, validation_alias="VIDEO_PIPELINE_CLEAN_UP_REMOVE")
    """Whether the weekly clean-up removes what it finds. False: it lists it."""
    clean_up_older_than_days: float = Field(
        30.0, ge=1, allow_inf_nan=False, validation_alias="VIDEO_PIPELINE_CLEAN_UP_OLDER_THAN_DAYS"
    )
    """How old that must be (`operations.retention_report`)."""
    ui_url: str | None = Field(None, validation_alias="VIDEO_PIPELINE_UI_URL")
    """Where people open the UI, for links in reports: `https://dagster.example.com`."""
    failure_webhook: SecretStr | None = Field(None, validation_alias="VIDEO_PIPELINE_FAILURE_WEBHOOK")
    """Where failure reports are posted as JSON. A secret: such addresses carry a token."""
    failure_file: Path | None = Field(None, validation_alias="VIDEO_PIPELINE_FAILURE_FILE")
    """The file to which failure reports are appended, one JSON object a line."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_environment(cls, values: Any) -> Any:
        given = dict(values)
        env = given.get("env", given.get("VIDEO_PIPELINE_ENV", "local"))
        for name, default in PER_ENVIRONMENT.get(str(env), {}).items():
            if name not in given and cls.model_fields[name].validation_alias not in given:
                given[name] = default
        return given

    @field_validator("logger_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("store")
    @classmethod
    def _a_directory_or_a_bucket(cls, value: str) -> str:
        parsed = urlparse(value)
        if parsed.scheme == "s3":
            if not parsed.netloc or parsed.path.strip("/"):
                raise ValueError(f"{value!r} is not s3://BUCKET (a bucket alone, without a path)")
            return f"s3://{parsed.netloc}"
        if "://" in value:
            raise ValueError(f"{value!r}: use a directory (./data) or s3://BUCKET")
        if not value.strip():
            raise ValueError("empty: use a directory (./data) or s3://BUCKET")
        return str(Path(value).expanduser().resolve())

    @field_validator("tenants")
    @classmethod
    def _names_of_tenants(cls, value: str) -> str:
        try:
            for name in _parts(value):
                check_name("tenant", name)
                if name == SYSTEM_TENANT:
                    raise ValueError(f"{name!r} is the system's own folder and no tenant")
        except BadInput as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("failure_webhook")
    @classmethod
    def _an_https_address(cls, value: SecretStr | None) -> SecretStr | None:
        """Refused without the value in the message: it is a secret."""
        if value is None:
            return None
        parsed = urlparse(value.get_secret_value())
        own = parsed.scheme == "http" and parsed.hostname in ("127.0.0.1", "::1", "localhost")
        if not parsed.hostname or (parsed.scheme != "https" and not own):
            raise ValueError("not an https:// address (http:// is taken for this machine's own only)")
        return value

    @field_validator("ui_url")
    @classmethod
    def _without_a_slash_at_the_end(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parsed = urlparse(value)
        if parsed.scheme not in ("http", "https") or not parsed.hostname:
            raise ValueError("not an http:// or https:// address")
        if "@" in parsed.netloc or parsed.query or parsed.fragment:
            # Links are shown in the UI and in chats: no password goes there.
            raise ValueError("an address without user, password, query and fragment is needed")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _rules(self) -> Settings:
        problems = []
        if self.compute == "modal" and not self.is_bucket:
            problems.append(
                "VIDEO_PIPELINE_COMPUTE=modal needs VIDEO_PIPELINE_STORE=s3://BUCKET: "
                f"a Modal worker cannot see the directory {self.store}"
            )
        if self.env in LASTING and not self.is_bucket:
            problems.append(
                f"VIDEO_PIPELINE_ENV={self.env} needs VIDEO_PIPELINE_STORE=s3://BUCKET: "
                f"the directory {self.store} goes with its machine"
            )
        if self.is_bucket and (self.wasabi_access_key is None) != (self.wasabi_secret_key is None):
            problems.append(
                "set both WASABI_ACCESS_KEY_READWRITE and WASABI_SECRET_KEY_READWRITE, or neither"
            )
        # On Modal the key is in the secret `wandb-secret`, which the caller cannot see.
        keyless = self.wandb_mode == "online" and self.wandb_api_key is None
        if self.env in LASTING and self.compute == "local" and keyless:
            problems.append(
                f"WANDB_MODE=online without WANDB_API_KEY: in {self.env}, runs are not silently kept offline"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @field_validator("state_dir", "failure_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().resolve()

    @property
    def is_bucket(self) -> bool:
        return self.store.startswith("s3://")

    @property
    def automation_runs(self) -> bool:
        """Whether schedules and sensors run from the start. Elsewhere a person starts them in the UI."""
        return self.automation == "running" or (self.automation is None and self.env == "prod")

    @property
    def tenant_names(self) -> list[str]:
        """`tenants` as a list, without repeats, in the order given."""
        return list(dict.fromkeys(_parts(self.tenants)))


def _parts(text: str) -> list[str]:
    """What commas separate in `text`."""
    return [part.strip() for part in text.split(",") if part.strip()]


def load_settings(**overrides: object) -> Settings:
    """Reads the environment; `overrides` are by field name. Raises `BadInput` with one line per problem."""
    try:
        return Settings(**overrides)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        raise BadInput(
            f"The environment is not usable: {problems_of(error, 'settings')}",
            what_to_do="correct the variables; docs/settings.md lists them.",
        ) from None


def main() -> int:
    """Prints one line per setting, a secret as `set` or `not set`. Exit code 2 with what is wrong."""
    try:
        settings = load_settings()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = "not set" if value is None else "set" if isinstance(value, SecretStr) else str(value)
        print(f"{field.validation_alias}: {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
