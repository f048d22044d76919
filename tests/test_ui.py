"""Dagster's UI as a person meets it: `make ui`, a video, one stage, its progress and picture, a failure."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Page, expect

from scripts.take_screenshots import HEIGHT, NAMES, TALL, WIDTH, store_broken_video, take_screenshots
from tests.browser import chromium
from tests.conftest import ROOT
from tests.dagster_ui import DagsterUi, dagster_ui
from tests.test_demo import held, running_call, wait_for, workers
from video_pipeline import keys
from video_pipeline.calls import list_calls
from video_pipeline.demo import clips, run
from video_pipeline.demo.ui import PARTITIONS, add_demo_objects, free_port, main, prepare
from video_pipeline.errors import BadInput
from video_pipeline.store.base import ObjectStore

CONFIG = ROOT / "deploy" / "local" / "dagster.yaml"
VIDEO = run.VIDEO.partition_key
ONE_STAGE_S = 200_000
"""Milliseconds that a stage of the demonstration's video may take on a machine with other work."""


@pytest.fixture
def page() -> Iterator[Page]:
    """Skipped with the reason where there is no Chromium. To be asked for before `ui`, a slow start."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(90_000)
        yield page
        page.close()


@pytest.fixture
def ui(store: ObjectStore, tmp_path: Path) -> Iterator[DagsterUi]:
    with dagster_ui(tmp_path) as ui:
        yield ui


def partitions_in(home: Path) -> dict[str, list[str]]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return {name: list(instance.get_dynamic_partitions(name)) for name in PARTITIONS}


def test_the_first_start_adds_the_demonstration_and_later_ones_nothing(
    store: ObjectStore, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    assert "demo--street" in " ".join(prepare(home, CONFIG))
    assert partitions_in(home) == PARTITIONS
    for video in (run.VIDEO, clips.VIDEO):
        assert store.head(keys.source_key(video, "mp4")) is not None
    before = {item.key: item.version for item in store.list("demo/")}
    assert prepare(home, CONFIG) == []
    assert {item.key: item.version for item in store.list("demo/")} == before

    # What a person takes away stays away, unless the store is another one.
    store.delete(keys.clip_request_key(clips.FLIP))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.delete_dynamic_partition("clips", clips.FLIP.partition_key)
    assert prepare(home, CONFIG) == []
    assert clips.FLIP.partition_key not in partitions_in(home)["clips"]
    assert store.head(keys.clip_request_key(clips.FLIP)) is None


def test_a_persons_own_objects_under_the_demonstrations_names_stay(store: ObjectStore) -> None:
    mine = {
        keys.source_key(run.VIDEO, "mkv"): b"mine",
        keys.clip_request_key(clips.FLIP): b"{}",
        keys.sample_request_key("demo", "look"): b"{}",
    }
    for key, data in mine.items():
        store.put(key, data)
    written = add_demo_objects(store)
    assert {key: store.get(key) for key in mine} == mine
    # The video has a source under another extension: a second one would make it unusable.
    assert store.head(keys.source_key(run.VIDEO, "mp4")) is None
    assert set(written) == {keys.source_key(clips.VIDEO, "mp4"), keys.clip_request_key(clips.HIGHLIGHTS)}


def test_an_edited_instance_config_stays(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    config = tmp_path / "home" / "dagster.yaml"
    config.write_text("telemetry: {enabled: false}\n")
    told = prepare(tmp_path / "home", CONFIG)
    assert config.read_text() == "telemetry: {enabled: false}\n"
    assert "run_launcher is new" in told[0]
    assert prepare(tmp_path / "home", CONFIG) == told[:2]


def test_nothing_is_put_into_a_bucket_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", "s3://somebodys-bucket")
    (line,) = prepare(tmp_path / "home", CONFIG)
    assert "directories only" in line
    assert partitions_in(tmp_path / "home") == {name: [] for name in PARTITIONS}


def test_a_port_that_is_taken_is_said_and_an_unasked_one_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(BadInput, match="is taken"):
            free_port(taken)
        assert main(["--port", str(taken)]) == 2
        assert "make ui PORT=" in capsys.readouterr().err
    assert free_port(None) > 0


def open_partition(page: Page, ui: DagsterUi, asset: str, partition: str) -> None:
    """From the catalogue to the asset, its partitions, and one of them, by clicks."""
    page.goto(ui.url)
    page.get_by_role("link", name="Catalog").click()
    page.get_by_text(asset, exact=True).first.click()
    page.get_by_role("link", name="Partitions", exact=True).or_(
        page.get_by_role("tab", name="Partitions")
    ).first.click()
    page.get_by_text(partition, exact=True).first.click()
    expect(page).to_have_url(re.compile(f"partition={partition}$"))
    expect(page.get_by_role("button", name="View all historical events")).to_be_visible()


def materialise(page: Page, ui: DagsterUi) -> str:
    """Presses Materialize on a partition's page; the run that starts."""
    before = ui.run_count()
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("button", name="Launch 1 run").click()
    wait_for(lambda: ui.run_count() > before)
    run_id = ui.newest_run()
    assert run_id is not None
    return run_id


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_person_materialises_watches_looks_cancels_and_reads_a_failure(
    page: Page, ui: DagsterUi, store: ObjectStore, tmp_path: Path
) -> None:
    assert ui.partitions("source_video") == PARTITIONS["videos"]
    assert ui.run_count() == 0  # starting it runs nothing
    printed = (tmp_path / "ui.log").read_text()
    assert f"{ui.url} in some" in printed
    assert "Ctrl-C ends it" in printed

    # Cancel: the call's process ends with the run, and nothing is published.
    cancelled = ui.launch("caption_video", VIDEO)
    page.goto(f"{ui.url}/runs/{cancelled}")
    with held(wait_for(lambda: running_call(store))):
        page.get_by_role("button", name="Terminate").click()
        page.get_by_role("dialog").get_by_role("button", name=re.compile("Terminate|Cancel 1 run")).click()
    assert ui.wait_for_end(cancelled) == "CANCELED"
    expect(page.get_by_text("Canceled", exact=True).first).to_be_visible()
    wait_for(lambda: not workers(tmp_path))
    assert all(call.cancel_requested for call in list_calls(store))
    assert store.head(keys.current_key(run.VIDEO)) is None
    page.keyboard.press("Escape")

    # One stage of one video: progress on the run's page, then a picture on the partition's.
    open_partition(page, ui, "cropped_frames", VIDEO)
    stage = materialise(page, ui)
    page.goto(f"{ui.url}/runs/{stage}")
    expect(page.get_by_text(re.compile(r"\d+ of 420 frames")).first).to_be_visible(timeout=ONE_STAGE_S)
    assert ui.wait_for_end(stage) == "SUCCESS"
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    page.goto(f"{ui.url}/assets/cropped_frames?view=partitions&partition={VIDEO}")
    page.get_by_text("[Show Markdown]").first.click()
    picture = page.get_by_role("img", name="contact sheet")
    expect(picture).to_be_visible()
    assert picture.evaluate("picture => picture.complete && picture.naturalWidth") == 900

    # The link in a description leads to a page of the UI.
    page.goto(f"{ui.url}/assets/captions")
    page.get_by_role("link", name="its partitions").click()
    expect(page.get_by_text(VIDEO, exact=True).first).to_be_visible()

    # A video that is cut off: the run's page names it, says why, and what to do, without a click.
    broken = store_broken_video(ui, store)
    failed = ui.launch("caption_video", broken.partition_key)
    assert ui.wait_for_end(failed) == "FAILURE"
    page.goto(f"{ui.url}/runs/{failed}")
    expect(page.get_by_text("the video is cut off").last).to_be_in_viewport()
    expect(page.get_by_text(keys.source_key(broken, "mp4")).last).to_be_in_viewport()
    expect(page.get_by_text("What to do: upload the file again").last).to_be_in_viewport()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_pictures_of_the_documents_can_be_taken_again(tmp_path: Path) -> None:
    taken = take_screenshots(tmp_path / "pictures", tmp_path)
    assert [path.stem for path in taken] == list(NAMES)
    assert sum(path.stat().st_size for path in taken) < 1_500_000
    from PIL import Image

    for path in taken:
        with Image.open(path) as picture:
            assert picture.size == (WIDTH, TALL if path.stem == "groups" else HEIGHT)
            assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20  # not an empty page
