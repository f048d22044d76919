"""The tables of the documents against what they describe: settings, keys, errors and their messages."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from tests.conftest import ROOT
from tests.docs.document import documents, table_under
from video_pipeline import keys
from video_pipeline.cli import _parser
from video_pipeline.definitions import build_definitions
from video_pipeline.errors import ErrorKind
from video_pipeline.keys import ClipId, VideoId
from video_pipeline.operations.retention_units import place_of
from video_pipeline.settings import PER_ENVIRONMENT, Settings
from video_pipeline.tasks import BUILT_IN

DOCS = ROOT / "docs"
SETTINGS = (DOCS / "settings.md").read_text(encoding="utf-8")
STORAGE = (DOCS / "storage.md").read_text(encoding="utf-8")
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")

VIDEO, CLIP, HASH = VideoId("acme", "holiday"), ClipId("acme", "goal"), "0123456789abcdef"
WHEN = datetime(2026, 1, 2, tzinfo=UTC)

OBJECTS: dict[str, list[str]] = {
    "source_key": [keys.source_key(VIDEO, "mp4")],
    "caption_request_key": [keys.caption_request_key(VIDEO)],
    "frames_prefix": [keys.frames_prefix(VIDEO, HASH) + "frames.json"],
    "chunk_key": [keys.chunk_key(VIDEO, HASH, 16, 512)],
    "chunks_prefix": [keys.chunks_prefix(VIDEO, HASH) + "manifest.json"],
    "database_key": [keys.database_key(VIDEO, HASH)],
    "extents_prefix": [keys.extents_prefix(VIDEO, HASH) + "manifest.json"],
    "layout_prefix": [keys.layout_prefix(VIDEO, HASH) + "layout.json"],
    "captions_prefix": [keys.captions_prefix(VIDEO, HASH) + "captions.srt"],
    "manifest_key": [keys.manifest_key(keys.frames_prefix(VIDEO, HASH))],
    "current_key": [keys.current_key(VIDEO)],
    "indexes_prefix": [keys.indexes_prefix("acme") + f"{HASH * 2}.vpindex"],
    "sample_request_key": [keys.sample_request_key("acme", "look")],
    "sample_result_prefix": [keys.sample_result_prefix("acme", "look", HASH) + "picture_grid.png"],
    "clip_request_key": [keys.clip_request_key(CLIP)],
    "clip_current_key": [keys.clip_current_key(CLIP)],
    "clip_parts_prefix": [keys.clip_parts_prefix(CLIP, HASH) + "0.mp4"],
    "clip_prefix": [keys.clip_prefix(CLIP, HASH) + "clip.mp4"],
    "call_key": [keys.call_key("acme", HASH)],
    "result_key": [keys.result_key("acme", HASH)],
    "spawn_key": [keys.spawn_key("acme", HASH)],
    "report_prefix": [keys.report_prefix("acme", HASH) + "performance.txt"],
    "ledger_entry_key": [keys.ledger_entry_key(WHEN, HASH, 1)],
    "ledger_table_key": [keys.ledger_table_key(date(2026, 1, 2))],
    "cost_object_key": [keys.cost_object_key("plan", HASH, "json")],
    "cost_current_key": [keys.cost_current_key("plan")],
    "deployment_key": [keys.deployment_key("video-pipeline", WHEN)],
}
"""An object under every key that `keys` builds, by the function that builds it."""

LISTED_ONLY = {
    "videos_prefix",
    "samples_prefix",
    "clips_prefix",
    "calls_prefix",
    "results_prefix",
    "ledger_entries_prefix",
    "ledger_table_prefix",
    "deployments_prefix",
    "source_keys",
}
"""Functions for listing what the others name."""


def code(cell: str) -> str:
    """What stands between backticks, or nothing."""
    match = re.search(r"`([^`]*)`", cell)
    return match[1] if match else ""


def shown(value: Any) -> str:
    """A default as the table has it."""
    if value is None or value == "" or isinstance(value, SecretStr):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_table_of_settings_has_every_field_and_no_other() -> None:
    fields = [str(field.validation_alias) for field in Settings.model_fields.values()]
    assert [code(row[0]) for row in table_under(SETTINGS, "## Variables")] == fields


def test_the_table_of_settings_has_the_defaults() -> None:
    rows = {code(row[0]): code(row[1]) for row in table_under(SETTINGS, "## Variables")}
    for name, field in Settings.model_fields.items():
        if name == "state_dir":  # a function of the machine: see below
            continue
        assert rows[str(field.validation_alias)] == shown(field.default), name


def test_the_state_folder_is_where_the_table_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_STATE_HOME", "VIDEO_PIPELINE_STATE"):
        monkeypatch.delenv(name, raising=False)
    rows = {code(row[0]): code(row[1]) for row in table_under(SETTINGS, "## Variables")}
    assert str(Settings().state_dir) == rows["VIDEO_PIPELINE_STATE"].replace("~", str(tmp_path))  # pyright: ignore[reportCallIssue]


def test_the_table_of_environments_says_what_each_sets() -> None:
    told = {tuple(code(cell) for cell in row) for row in table_under(SETTINGS, "## Environments")}
    assert told == {
        (env, str(Settings.model_fields[name].validation_alias), shown(value))
        for env, values in PER_ENVIRONMENT.items()
        for name, value in values.items()
    }


def storage_rows() -> list[tuple[re.Pattern[str], list[str]]]:
    """The table's patterns, `{…}` standing for a part of a key, and the other cells."""
    rows = []
    for row in table_under(STORAGE, "## Every object"):
        parts = re.split(r"\{[^}]*\}", code(row[0]))
        rows.append((re.compile("[^/]+".join(map(re.escape, parts)).replace("…", ".+")), row))
    return rows


def test_every_function_that_builds_a_key_is_known_here() -> None:
    public = {
        name for name in vars(keys) if re.search(r"_(key|keys|prefix)$", name) and not name.startswith("_")
    }
    assert public - {"check_key"} == set(OBJECTS) | LISTED_ONLY


@pytest.mark.parametrize("function", OBJECTS)
def test_the_table_of_objects_has_every_key(function: str) -> None:
    for key in OBJECTS[function]:
        assert [row for pattern, row in storage_rows() if pattern.fullmatch(key)], key


def test_the_table_of_objects_has_nothing_that_no_key_leads_to() -> None:
    objects = [key for found in OBJECTS.values() for key in found]
    for pattern, row in storage_rows():
        assert any(pattern.fullmatch(key) for key in objects), row[0]


def test_the_table_of_objects_says_what_retention_takes() -> None:
    for pattern, row in storage_rows():
        for key in (key for found in OBJECTS.values() for key in found if pattern.fullmatch(key)):
            taken = "retention" in row[3] and not row[3].startswith("never")
            assert taken == (place_of(key) is not None), (key, row[3])


def test_the_failure_table_has_every_kind_of_error() -> None:
    kinds = [code(row[0]) for row in table_under(OPERATIONS, "## Kinds of error")]
    assert sorted(kinds) == sorted(get_args(ErrorKind))


def test_the_failure_table_quotes_messages_that_the_code_has() -> None:
    """Each message's parts between `…` stand in the source; line breaks within its texts do not count."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "video_pipeline").rglob("*.py")]
    source = re.sub(r'"\s*\n\s*f?"', "", "\n".join(texts))
    rows = table_under(OPERATIONS, "## When something fails")
    assert len(rows) > 20
    for row in rows:
        for message in re.findall(r"`([^`]+)`", row[0]):
            for part in message.split("…"):
                assert part.strip() in source, (message, part)


def test_operating_names_every_job_schedule_and_sensor() -> None:
    defs = build_definitions()
    jobs = [job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]
    others = [item.name for item in (*(defs.schedules or ()), *(defs.sensors or ()))]
    assert len(jobs) > 10
    assert others
    assert not [name for name in (*jobs, *others) if f"`{name}`" not in OPERATIONS]


def test_every_command_of_the_program_is_shown() -> None:
    shown = "\n".join(path.read_text(encoding="utf-8") for path in documents())
    actions = [action for action in _parser()._actions if action.choices]
    names = [name for action in actions for name in action.choices or ()]
    assert len(names) > 10
    assert not [name for name in names if not re.search(rf"(video-pipeline|make) {name}\b", shown)]


def test_the_concepts_name_every_task() -> None:
    text = (DOCS / "concepts.md").read_text(encoding="utf-8")
    assert not [task.name for task in BUILT_IN if f"`{task.name}`" not in text]
