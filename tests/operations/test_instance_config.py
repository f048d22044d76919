"""The copy of `dagster.yaml` in an instance's folder, over upgrades of the project."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from video_pipeline.errors import BadInput
from video_pipeline.operations.instance_config import CONFIG, NOTE, OLDER, renew_config

FIRST = (
    "# of the first version\nrun_monitoring: {enabled: true}\nconcurrency: {runs: {max_concurrent_runs: 2}}\n"
)
SECOND = FIRST + "run_launcher: {module: m, class: Launcher}\n"
BEFORE_NOTES = """\
# The instance of `make ui`: one machine, SQLite, no account.
telemetry: {enabled: false}
nux: {enabled: false}
run_monitoring: {enabled: true, poll_interval_seconds: 15, free_slots_after_run_end_seconds: 60}
run_retries: {enabled: true, max_retries: 0} # jobs opt in by tag
concurrency: {runs: {max_concurrent_runs: 2}, pools: {granularity: run, default_limit: 1}}
"""
"""What the project's first version put into the folder."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    path = tmp_path / "packaged.yaml"
    path.write_text(FIRST)
    return path


def test_the_first_start_copies_it_and_the_next_ones_say_nothing(home: Path, packaged: Path) -> None:
    for _ in range(2):
        assert renew_config(home, packaged) == []
        assert (home / CONFIG).read_text() == FIRST
    assert sorted(path.name for path in home.iterdir()) == [CONFIG, NOTE]


def test_an_unedited_copy_is_renewed_by_an_upgrade_and_that_is_said_once(home: Path, packaged: Path) -> None:
    renew_config(home, packaged)
    packaged.write_text(SECOND.replace("runs: 2", "runs: 4"))
    (line,) = renew_config(home, packaged)
    assert "renewed" in line
    assert str(home / CONFIG) in line
    assert (home / CONFIG).read_text() == packaged.read_text()
    # What a person edits from then on is compared with the renewed file.
    (home / CONFIG).write_text(SECOND.replace("runs: 2", "runs: 8"))
    assert renew_config(home, packaged) == []


def test_a_copy_from_before_there_were_notes_is_renewed(home: Path, packaged: Path) -> None:
    (home / CONFIG).write_text(BEFORE_NOTES)
    (line,) = renew_config(home, packaged)
    assert "renewed" in line
    assert (home / CONFIG).read_text() == FIRST


def test_an_edited_copy_stays_and_each_start_says_what_it_lacks(home: Path, packaged: Path) -> None:
    renew_config(home, packaged)
    edited = FIRST.replace("max_concurrent_runs: 2", "max_concurrent_runs: 8")
    (home / CONFIG).write_text(edited)
    assert renew_config(home, packaged) == [], "nothing changed but what the person wanted"

    packaged.write_text(SECOND.replace("runs: 2", "runs: 4").replace("run_monitoring: {enabled: true}\n", ""))
    for _ in range(2):
        told, advice = renew_config(home, packaged)
        assert told.endswith("concurrency differs, run_launcher is new, run_monitoring is no more")
        assert str(packaged) in advice
        assert (home / CONFIG).read_text() == edited


def test_an_edited_copy_that_has_caught_up_is_left_in_peace(home: Path, packaged: Path) -> None:
    renew_config(home, packaged)
    (home / CONFIG).write_text(f"{FIRST}nux: {{enabled: false}}\n")
    packaged.write_text(SECOND)
    assert renew_config(home, packaged)
    mine = f"{SECOND}nux: {{enabled: false}}\n"
    (home / CONFIG).write_text(mine)
    assert renew_config(home, packaged) == []
    assert (home / CONFIG).read_text() == mine


def test_the_command_that_the_advice_gives_keeps_an_edited_copy_as_it_is(home: Path, packaged: Path) -> None:
    renew_config(home, packaged)
    (home / CONFIG).write_text("telemetry: {enabled: false}\n")
    packaged.write_text(SECOND)
    _, advice = renew_config(home, packaged)
    subprocess.run(advice.rpartition("keep yours as it is: ")[2].split(), check=True)
    assert renew_config(home, packaged) == []
    assert (home / CONFIG).read_text() == "telemetry: {enabled: false}\n"
    # The next upgrade is told again.
    packaged.write_text(f"{SECOND}run_queue: {{max_user_code_failure_retries: 9}}\n")
    told, _ = renew_config(home, packaged)
    assert told.endswith(": run_queue is new")


def test_an_edited_copy_without_a_note_is_compared_with_what_is_packaged_now(
    home: Path, packaged: Path
) -> None:
    (home / CONFIG).write_text("run_monitoring: {enabled: true}\n")
    told, _ = renew_config(home, packaged)
    assert told.endswith(": concurrency is new")
    assert (home / CONFIG).read_text() == "run_monitoring: {enabled: true}\n"


def test_comments_alone_are_nothing_to_tell(home: Path, packaged: Path) -> None:
    renew_config(home, packaged)
    (home / CONFIG).write_text(f"{FIRST}nux: {{enabled: false}}\n")
    packaged.write_text(FIRST.replace("of the first version", "with another comment"))
    assert renew_config(home, packaged) == []


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"- a list"])
def test_a_copy_that_cannot_be_read_is_named_and_left(home: Path, packaged: Path, content: bytes) -> None:
    (home / CONFIG).write_bytes(content)
    with pytest.raises(BadInput, match=r"configuration") as caught:
        renew_config(home, packaged)
    assert caught.value.input == str(home / CONFIG)
    assert caught.value.what_to_do
    assert (home / CONFIG).read_bytes() == content


def test_the_files_from_before_there_were_notes_are_known() -> None:
    assert hashlib.sha256(BEFORE_NOTES.encode()).hexdigest() in OLDER
    git = shutil.which("git")
    name = "deploy/local/dagster.yaml"
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone of the repository")

    def asked(*arguments: str) -> bytes:
        return subprocess.run([git, *arguments], cwd=ROOT, capture_output=True, check=True).stdout

    with_notes = asked(
        "log", "--format=%H", "--diff-filter=A", "--", "video_pipeline/operations/instance_config.py"
    )
    if asked("rev-parse", "--is-shallow-repository").strip() == b"true" or not with_notes.strip():
        pytest.skip("the history is not there")
    first = with_notes.split()[-1].decode()
    versions = asked("log", "--format=%H", first, "--", name).split()
    assert versions
    files = {asked("show", f"{version.decode()}:{name}") for version in versions}
    assert {hashlib.sha256(file).hexdigest() for file in files} <= OLDER
