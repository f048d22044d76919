from __future__ import annotations

from pathlib import Path

import pytest

from video_pipeline.errors import BadInput
from video_pipeline.settings import load_settings


def test_the_defaults_need_no_account() -> None:
    settings = load_settings()
    assert settings.store == str(Path("data").resolve())
    assert (settings.compute, settings.env, settings.wandb_mode) == ("local", "local", None)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"VIDEO_PIPELINE_STORE": "s3://"}, "s3://BUCKET"),
        ({"VIDEO_PIPELINE_STORE": "s3://bucket/path"}, "s3://BUCKET"),
        ({"VIDEO_PIPELINE_STORE": "gs://bucket"}, "use a directory"),
        ({"VIDEO_PIPELINE_STORE": " "}, "empty"),
        ({"VIDEO_PIPELINE_COMPUTE": "cloud"}, "VIDEO_PIPELINE_COMPUTE"),
        ({"VIDEO_PIPELINE_COMPUTE": "modal"}, "cannot see the directory"),
        ({"LOGGER_LEVEL": "LOUD"}, "LOGGER_LEVEL"),
        (
            {"VIDEO_PIPELINE_STORE": "s3://bucket", "WASABI_SECRET_KEY_READWRITE": "hunter2"},
            "WASABI_ACCESS_KEY_READWRITE",
        ),
    ],
)
def test_a_wrong_environment_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=message) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_no_secret_shows_in_a_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", "s3://bucket")
    monkeypatch.setenv("WASABI_ACCESS_KEY_READWRITE", "key-id")
    monkeypatch.setenv("WASABI_SECRET_KEY_READWRITE", "hunter2")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.wasabi_secret_key is not None
    assert settings.wasabi_secret_key.get_secret_value() == "hunter2"


def test_the_log_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGGER_LEVEL", "debug")
    assert load_settings().logger_level == "DEBUG"


@pytest.mark.parametrize("name", ["VIDEO_PIPELINE_MAX_USD_PER_CALL", "VIDEO_PIPELINE_MAX_USD_PER_RUN"])
@pytest.mark.parametrize("value", ["0", "-1", "inf", "much"])
def test_a_limit_in_dollars_is_a_positive_number(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=name):
        load_settings()
