"""`read_captions` on the bundled clip: exact times, text, files, bounded work; and what it does without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline.captions import extents, look, reading
from video_pipeline.captions.checks import check_captions
from video_pipeline.captions.document import CaptionsDocument
from video_pipeline.captions.extents import Extent
from video_pipeline.captions.intake import load_caption_request, pass_request, reading_request
from video_pipeline.captions.plan import find_captions, plan_for
from video_pipeline.captions.publish import publish
from video_pipeline.captions.request import STAGES, ReadCaptionsRequest, ReadCaptionsResult
from video_pipeline.captions.streaming_pass import run as run_pass
from video_pipeline.demo.run import VIDEO, store_demo_clip
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.keys import caption_request_key
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.worker import TaskContext

MakeContext = Callable[..., TaskContext]
CUES = json.loads(DEMO_CLIP.with_suffix(".cues.json").read_text())


@pytest.fixture(scope="session")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the demo clip after its pass at 5 Hz: every boundary lies between samples somewhere."""
    folder = tmp_path_factory.mktemp("passed")
    settings = load_settings(store=str(folder / "store"))
    store = open_store(settings)
    store_demo_clip(store)
    wanted = load_caption_request(store, VIDEO).model_copy(update={"frame_rate": Fraction(5)})
    store.put(caption_request_key(VIDEO), wanted.model_dump_json().encode())
    (folder / "scratch").mkdir()
    context = TaskContext(
        store, settings, folder / "scratch", CancellationToken(), Recorder(), lambda _e: None
    )
    run_pass(pass_request(store, VIDEO, STAGES), context)
    return folder / "store"


@pytest.fixture
def after_pass(passed: Path, tmp_path: Path) -> ObjectStore:
    shutil.copytree(passed, tmp_path / "store")
    return open_store(load_settings(store=str(tmp_path / "store")))


def read(
    store: ObjectStore, make_context: MakeContext, **changes: Any
) -> tuple[ReadCaptionsResult, CaptionsDocument]:
    request = reading_request(store, VIDEO, chunks=True)
    request = ReadCaptionsRequest.model_validate({**request.model_dump(), **changes})
    result = reading.run(request, make_context(store))
    prefix = result.captions.manifest_key.removesuffix("manifest.json")
    return result, CaptionsDocument.model_validate_json(store.get(prefix + "captions.json"))


@pytest.mark.slow
def test_captions_come_with_their_text_and_exact_times(
    after_pass: ObjectStore, make_context: MakeContext
) -> None:
    result, document = read(after_pass, make_context)
    rate = Fraction(CUES["frame_rate"])
    assert [(c.start.exact, c.end.exact) for c in document.captions] == [
        (cue["start_frame"] / rate, cue["end_frame"] / rate) for cue in CUES["cues"]
    ]
    assert all(c.start.resolution <= 1 / rate for c in document.captions)
    assert [c.text for c in document.captions] == [cue["text"] for cue in CUES["cues"]]
    assert (result.caption_count, result.with_text, result.degraded) == (
        len(CUES["cues"]),
        len(CUES["cues"]),
        [],
    )
    assert result.ocr_calls <= 1.5 * result.caption_count
    assert check_captions(after_pass, result.captions.manifest_key) == []


@pytest.mark.slow
def test_every_file_is_there_and_the_page_holds_the_clip(
    after_pass: ObjectStore, make_context: MakeContext
) -> None:
    result, document = read(after_pass, make_context, ocr=False)
    prefix = result.captions.manifest_key.removesuffix("manifest.json")
    page = after_pass.get(prefix + "review.html").decode()
    # In base64 a WebM file begins with GkXfo and a JPEG with /9j/.
    chunks = [item.key for item in after_pass.list("demo/client/") if item.key.endswith(".webm")]
    assert page.count(">GkXfo") == len(chunks) > 3
    assert page.count("/9j/") >= 2 * len({c.start.pts for c in document.captions})
    assert {item.key.removeprefix(prefix) for item in after_pass.list(prefix)} == {
        "captions.json",
        "captions.srt",
        "captions.vtt",
        "review.html",
        "manifest.json",
    }


@pytest.mark.slow
def test_a_second_run_makes_nothing_and_says_the_same(
    after_pass: ObjectStore, make_context: MakeContext
) -> None:
    first, _ = read(after_pass, make_context, ocr=False)
    second, _ = read(after_pass, make_context, ocr=False)
    assert (first.captions.made, second.captions.made) == (True, False)
    volatile = {"captions", "durations", "wall_seconds"}
    assert first.model_dump(exclude=volatile) == second.model_dump(exclude=volatile)


@pytest.mark.slow
def test_without_the_extra_captions_come_without_text_and_say_why(
    after_pass: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "recogniser_version", lambda: None)
    result, document = read(after_pass, make_context)
    assert {c.unread for c in document.captions} == {"no_ocr"}
    assert document.ocr is None
    assert "video-pipeline[ocr]" in " ".join(result.degraded)
    assert list(document.notes) == result.degraded


def test_a_logo_that_never_goes_is_no_caption_and_the_files_say_so(
    after_pass: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    throughout = Extent(0, 210, 0.9, 0.9, "video_edge", "video_edge")
    monkeypatch.setattr(reading, "extents_of", lambda _probabilities: [throughout])
    monkeypatch.setattr(reading, "reconsidered", lambda _pairs, _opinions: [throughout])
    _, kept = read(after_pass, make_context, ocr=False)
    assert len(kept.captions) == 1
    monkeypatch.setattr(extents, "LONGEST_S", 41)
    result, document = read(after_pass, make_context, chunks=False, ocr=False)
    assert (document.frame_count, document.captions, result.caption_count) == (210, (), 0)
    assert document.notes == (
        "lettering that stands from the first picture to the last was taken for a logo, not a caption",
    )
    assert check_captions(after_pass, result.captions.manifest_key) == []


@pytest.mark.slow
def test_captions_are_published_beside_the_pass(after_pass: ObjectStore, make_context: MakeContext) -> None:
    result, _ = read(after_pass, make_context, ocr=False)
    plan = plan_for(after_pass, pass_request(after_pass, VIDEO, STAGES))
    found = find_captions(after_pass, plan)
    assert found == result.captions.manifest_key.removesuffix("manifest.json")
    prefixes = {kind: plan.prefix(kind) for kind in plan.existing} | {"captions": found}
    published = publish(after_pass, VIDEO, prefixes).current  # pyright: ignore[reportArgumentType]
    assert set(published.artefacts) == {"frames", "extents", "chunks", "captions"}


def test_extents_must_be_there_first(store: ObjectStore, make_context: MakeContext) -> None:
    store_demo_clip(store)
    with pytest.raises(BadInput, match="frames") as raised:
        reading.run(reading_request(store, VIDEO, chunks=False), make_context(store))
    assert "materialise cropped_frames first" in str(raised.value.what_to_do)


def test_a_cancelled_reading_leaves_no_artefact(after_pass: ObjectStore, make_context: MakeContext) -> None:
    context = make_context(after_pass)
    context.cancel.cancel("enough")
    with pytest.raises(Cancelled):
        reading.run(reading_request(after_pass, VIDEO, chunks=True), context)
    assert not [item.key for item in after_pass.list("demo/") if "/captions/" in item.key]


def test_an_error_amid_the_stream_leaves_no_artefact(
    after_pass: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise BadInput("no", input="x", what_to_do="y")

    monkeypatch.setattr(look, "narrowed", fail)
    with pytest.raises(BadInput, match="no"):
        reading.run(reading_request(after_pass, VIDEO, chunks=True), make_context(after_pass))
    assert not [item.key for item in after_pass.list("demo/") if "/captions/" in item.key]
