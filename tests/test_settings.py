from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from video_pipeline import settings as settings_module
from video_pipeline.errors import BadInput
from video_pipeline.keys import SYSTEM_TENANT
from video_pipeline.settings import Settings, load_settings


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
        ({"VIDEO_PIPELINE_ENV": "moon"}, "VIDEO_PIPELINE_ENV"),
        (
            {"VIDEO_PIPELINE_ENV": "staging"},
            "VIDEO_PIPELINE_ENV=staging needs VIDEO_PIPELINE_STORE=s3://BUCKET",
        ),
        ({"VIDEO_PIPELINE_ENV": "prod"}, "goes with its machine"),
        (
            {
                "VIDEO_PIPELINE_ENV": "prod",
                "VIDEO_PIPELINE_STORE": "s3://bucket",
                "WANDB_MODE": "online",
            },
            "WANDB_MODE=online without WANDB_API_KEY",
        ),
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


def test_every_problem_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_ENV", "prod")
    monkeypatch.setenv("VIDEO_PIPELINE_COMPUTE", "modal")
    with pytest.raises(BadInput) as caught:
        load_settings()
    assert "a Modal worker cannot see" in str(caught.value)
    assert "VIDEO_PIPELINE_ENV=prod needs" in str(caught.value)

    monkeypatch.setenv("LOGGER_LEVEL", "LOUD")
    monkeypatch.setenv("VIDEO_PIPELINE_MODAL_MAX_CONTAINERS", "0")
    with pytest.raises(
        BadInput, match=r"VIDEO_PIPELINE_MODAL_MAX_CONTAINERS.*LOGGER_LEVEL|LOGGER_LEVEL.*MAX_"
    ):
        load_settings()


@pytest.mark.parametrize(
    ("env", "per_call", "per_run", "containers", "wandb_mode", "automation"),
    [
        ("local", 20.0, 100.0, 50, None, False),
        ("ci", 1.0, 2.0, 2, "offline", False),
        ("staging", 10.0, 40.0, 10, None, False),
        ("prod", 20.0, 100.0, 50, None, True),
    ],
)
def test_an_environment_has_its_own_limits_tracking_and_automation(
    monkeypatch: pytest.MonkeyPatch,
    env: str,
    per_call: float,
    per_run: float,
    containers: int,
    wandb_mode: str | None,
    automation: bool,
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_ENV", env)
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", "s3://bucket")
    settings = load_settings()
    assert (settings.max_usd_per_call, settings.max_usd_per_run) == (per_call, per_run)
    assert (settings.modal_max_containers, settings.wandb_mode) == (containers, wandb_mode)
    assert settings.automation_runs is automation


def test_a_variable_wins_over_the_environments_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_ENV", "ci")
    monkeypatch.setenv("VIDEO_PIPELINE_MAX_USD_PER_CALL", "7.5")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    settings = load_settings(max_usd_per_run=9)
    assert (settings.max_usd_per_call, settings.max_usd_per_run) == (7.5, 9.0)
    assert (settings.modal_max_containers, settings.wandb_mode) == (2, "disabled")


def test_online_tracking_in_production_is_content_with_a_key_or_with_modals_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_ENV", "prod")
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", "s3://bucket")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert load_settings(compute="modal").wandb_api_key is None
    monkeypatch.setenv("WANDB_API_KEY", "hunter2")
    assert "hunter2" not in repr(load_settings())


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.setenv(str(field.validation_alias), "")
    settings = load_settings()
    assert settings.wasabi_endpoint_url is None
    assert settings.max_usd_per_call == 20.0


def test_the_command_shows_the_settings_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_ENV", "staging")
    assert settings_module.main() == 2
    assert "VIDEO_PIPELINE_ENV=staging needs" in capsys.readouterr().err

    monkeypatch.setenv("VIDEO_PIPELINE_STORE", "s3://bucket")
    monkeypatch.setenv("WASABI_ACCESS_KEY_READWRITE", "key-id")
    monkeypatch.setenv("WASABI_SECRET_KEY_READWRITE", "hunter2")
    assert settings_module.main() == 0
    shown = capsys.readouterr().out
    assert "VIDEO_PIPELINE_MAX_USD_PER_CALL: 10.0" in shown
    assert "WASABI_SECRET_KEY_READWRITE: set" in shown
    assert "WANDB_API_KEY: not set" in shown
    assert "hunter2" not in shown
    assert "key-id" not in shown


@pytest.mark.parametrize(
    "value",
    [
        "http://hooks.example.com/T0K3N",
        "http://localhost.example.com/T0K3N",
        "http://127.0.0.1.example.com/T0K3N",
        "http://localhost@example.com/T0K3N",
        "https://",
        "https:///T0K3N",
        "ftp://hooks.example.com/T0K3N",
        "file:///T0K3N",
        "hooks.example.com/T0K3N",
    ],
)
def test_a_webhook_without_https_is_refused_and_its_token_is_not_told(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_FAILURE_WEBHOOK", value)
    with pytest.raises(BadInput, match=r"VIDEO_PIPELINE_FAILURE_WEBHOOK.*https://") as caught:
        load_settings()
    assert "T0K3N" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "value",
    [
        "https://hooks.example.com/T0K3N",
        "http://127.0.0.1:8080/T0K3N",
        "http://[::1]:80/T0K3N",
        "http://localhost/",
    ],
)
def test_a_webhook_has_https_or_is_this_machines_own(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_FAILURE_WEBHOOK", value)
    settings = load_settings()
    assert settings.failure_webhook is not None
    assert settings.failure_webhook.get_secret_value() == value
    assert "T0K3N" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (" , ", []),
        ("acme", ["acme"]),
        ("acme, demo_2,acme,", ["acme", "demo_2"]),
    ],
)
def test_tenants_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, names: list[str]
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_TENANTS", value)
    assert load_settings().tenant_names == names


@pytest.mark.parametrize("value", ["Acme", "acme/demo", "acme;demo", "acme,..", "acme--demo", SYSTEM_TENANT])
def test_a_tenant_that_can_be_none_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_TENANTS", value)
    with pytest.raises(BadInput, match="VIDEO_PIPELINE_TENANTS"):
        load_settings()


@pytest.mark.parametrize(
    "value", ["https://ui.example.com/", "https://ui.example.com", "http://10.0.0.1:3000/x/"]
)
def test_the_uis_address_is_taken_without_its_last_slash(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_UI_URL", value)
    assert load_settings().ui_url == value.rstrip("/")


@pytest.mark.parametrize(
    "value",
    [
        "ui.example.com",
        "ftp://ui.example.com",
        "https://",
        "javascript:hunter2",
        "https://me:hunter2@ui.example.com",
        "https://ui.example.com?key=hunter2",
        "https://ui.example.com/#hunter2",
    ],
)
def test_an_address_of_the_ui_that_no_link_can_be_made_of_is_refused_and_not_told(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Links stand in reports and in metadata: a password in one would be told to everybody."""
    monkeypatch.setenv("VIDEO_PIPELINE_UI_URL", value)
    with pytest.raises(BadInput, match="VIDEO_PIPELINE_UI_URL") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_the_file_of_failures_may_lie_in_the_home_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VIDEO_PIPELINE_FAILURE_FILE", "~/failures.jsonl")
    assert load_settings().failure_file == tmp_path.resolve() / "failures.jsonl"
