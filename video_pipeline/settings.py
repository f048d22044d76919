"""Every environment variable the pipeline reads, typed and validated once.

Belongs here: names, types, defaults, and the rules between them (Modal needs a bucket). Does not belong
here: what the settings open; `store.open_store` and `compute.open_compute` take a `Settings`. Secrets are
`SecretStr`: they never show in a repr, a log or an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from video_pipeline.errors import BadInput, problems_of

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


def _default_state_dir() -> Path:
    """Where this machine keeps the logs of local calls (XDG Base Directory specification, state)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "video_pipeline"


class Settings(BaseSettings):
    """The environment, validated. Fields map to upper-case variables of the alias's name."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, frozen=True)

    env: Literal["local", "ci", "staging", "prod"] = Field("local", validation_alias="VIDEO_PIPELINE_ENV")
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

    @model_validator(mode="after")
    def _modal_needs_a_bucket(self) -> Settings:
        if self.compute == "modal" and not self.is_bucket:
            raise ValueError(
                "VIDEO_PIPELINE_COMPUTE=modal needs VIDEO_PIPELINE_STORE=s3://BUCKET: "
                f"a Modal worker cannot see the directory {self.store}"
            )
        if self.is_bucket and (self.wasabi_access_key is None) != (self.wasabi_secret_key is None):
            raise ValueError(
                "set both WASABI_ACCESS_KEY_READWRITE and WASABI_SECRET_KEY_READWRITE, or neither"
            )
        return self

    @field_validator("state_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def is_bucket(self) -> bool:
        return self.store.startswith("s3://")


def load_settings(**overrides: object) -> Settings:
    """Reads the environment; `overrides` are by field name. Raises `BadInput` with one line per problem."""
    try:
        return Settings(**overrides)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        raise BadInput(
            f"The environment is not usable: {problems_of(error, 'settings')}",
            what_to_do="correct the variables; README.md, section Settings, lists them.",
        ) from None
