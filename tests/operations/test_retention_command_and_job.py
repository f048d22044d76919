"""Retention as people meet it: the command and the job, both dry unless told otherwise."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tests.operations.retention_world import OLD_S, artefact, content, put_aged, recipe
from video_pipeline import keys
from video_pipeline.cleanup_job import clean_up
from video_pipeline.cli import main
from video_pipeline.definitions import build_definitions
from video_pipeline.resources.store import StoreResource
from video_pipeline.store.directory import DirectoryStore

OLD = recipe("old frames")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectoryStore:
    """A half-written recipe and a finished one, both old."""
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path))
    store = DirectoryStore(tmp_path)
    artefact(store, "frames", OLD, frames=OLD)
    artefact(store, "chunks", OLD, frames=OLD, finished=False)
    return store


def run(store: DirectoryStore, **config: object) -> dg.ExecuteInProcessResult:
    return clean_up.execute_in_process(
        resources={"store": StoreResource(uri=store.uri)},
        run_config={"ops": {"clean_up_store": {"config": config}}},
        raise_on_error=False,
    )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, dg.MetadataValue]:
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    data = event.step_output_data
    return dict(data.metadata)


def test_listing_shows_kinds_keys_and_costs_and_changes_nothing(
    store: DirectoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(store)

    assert main(["retention", "list"]) == 0

    shown = capsys.readouterr().out
    assert content(store) == before
    assert "unfinished recipes             1        2" in shown
    assert f"{keys.chunks_prefix(keys.VideoId('demo', 'street'), OLD)}part_0" in shown
    assert "costs: making them again" in shown
    assert "nothing was changed" in shown


def test_removing_says_what_comes_later(store: DirectoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retention", "remove", "--tenant", "demo", "--partial-older-than", "24"]) == 0

    assert "the manifests of 1 recipes were taken away" in capsys.readouterr().out
    assert {key.rpartition("/")[2] for key in content(store)} == {"part_0", "part_1", "removed.json"}


@pytest.mark.parametrize("action", ["list", "remove"])
def test_the_command_keeps_to_a_tenant_and_to_the_age_of_the_unfinished(
    store: DirectoryStore, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    before = content(store)
    assert main(["retention", action, "--tenant", "nobody"]) == 0
    assert main(["retention", action, "--older-than", "100", "--partial-older-than", "2400"]) == 0
    assert content(store) == before
    assert "unfinished recipes             0" in capsys.readouterr().out
    assert main(["retention", action, "--older-than", "100", "--partial-older-than", "24"]) == 0
    assert "unfinished recipes             1" in capsys.readouterr().out


def test_the_command_ends_with_1_where_something_could_not_be_removed(
    store: DirectoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = f"{keys.chunks_prefix(keys.VideoId('demo', 'park'), OLD)}removed.json"
    put_aged(store, mark, b"{damaged", OLD_S)
    put_aged(store, keys.current_key(keys.VideoId("demo", "park")), f'["{OLD}"]'.encode(), OLD_S)

    assert main(["retention", "remove"]) == 1

    shown = capsys.readouterr()
    assert "failed: " in shown.out
    assert "2 of 2" in shown.err, "progress is not among the results"


def test_an_age_that_is_not_safe_ends_the_command_with_2(
    store: DirectoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retention", "remove", "--older-than", "0.1"]) == 2
    assert "at least 1 day" in capsys.readouterr().err
    assert len(content(store)) == 5


def test_the_job_lists_by_default_and_shows_it(store: DirectoryStore) -> None:
    before = content(store)

    result = run(store)

    assert result.success
    assert content(store) == before
    shown = metadata(result)
    assert shown["removed"].value is False
    assert shown["units"].value == 2
    table = shown["kinds"].records  # pyright: ignore[reportAttributeAccessIssue]
    assert {row.data["kind"]: row.data["units"] for row in table if row.data["units"]} == {
        "old recipes": 1,
        "unfinished recipes": 1,
    }
    assert "part_0" in str(shown["samples"].value)


def test_the_job_removes_when_told(store: DirectoryStore) -> None:
    result = run(store, remove=True, tenant="demo")

    assert result.output_for_node("clean_up_store") == 2
    assert store.head(f"{keys.frames_prefix(keys.VideoId('demo', 'street'), OLD)}manifest.json") is None


def test_the_job_keeps_to_a_tenant_and_to_the_age_of_the_unfinished(store: DirectoryStore) -> None:
    before = content(store)
    put_aged(store, keys.current_key(keys.VideoId("demo", "park")), b"{half", OLD_S)
    for remove in (False, True):
        result = run(store, remove=remove, tenant="nobody")
        assert metadata(result)["units"].value == 0
    result = run(store, remove=True, older_than_days=100.0, partial_older_than_hours=2400.0)
    assert result.output_for_node("clean_up_store") == 0
    assert {key: data for key, data in content(store).items() if key in before} == before
    result = run(store, remove=True, older_than_days=100.0, partial_older_than_hours=24.0)
    assert result.output_for_node("clean_up_store") == 1
    assert "park" in str(metadata(result)["notes"].value)


def test_the_job_refuses_an_age_that_is_not_safe_without_a_retry(store: DirectoryStore) -> None:
    result = run(store, remove=True, older_than_days=0.0)

    assert not result.success
    assert len(content(store)) == 5
    (failure,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "not safe" in str(failure.step_failure_data.error)


def test_the_job_fails_after_the_rest_where_something_could_not_be_removed(
    store: DirectoryStore, tmp_path: Path
) -> None:
    mark = f"{keys.chunks_prefix(keys.VideoId('demo', 'park'), OLD)}removed.json"
    put_aged(store, mark, b"{damaged", OLD_S)
    put_aged(store, keys.current_key(keys.VideoId("demo", "park")), f'["{OLD}"]'.encode(), OLD_S)

    result = run(store, remove=True)

    assert not result.success
    assert content(store, keys.chunks_prefix(keys.VideoId("demo", "street"), OLD)) == {}
    assert store.head(mark) is not None


def test_dagster_knows_the_job() -> None:
    assert build_definitions().resolve_job_def("clean_up").name == "clean_up"
