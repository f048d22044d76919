"""What `read_captions` says of times, doubts and missing texts, for extents and looks that it is given."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.captions.test_doubts import a_caption, hesitant, opinion
from tests.fixtures.media_factory import MediaFactory
from tests.media.conftest import media as media
from video_pipeline.captions import reading
from video_pipeline.captions.checks import check_captions
from video_pipeline.captions.document import CaptionsDocument
from video_pipeline.captions.doubts import Pairs
from video_pipeline.captions.extents import Extent
from video_pipeline.captions.intake import add_video, pass_request, reading_request
from video_pipeline.captions.look import Change, Looked
from video_pipeline.captions.parts import Part
from video_pipeline.captions.representative import CaptionText
from video_pipeline.captions.request import ReadCaptionsRequest, ReadCaptionsResult
from video_pipeline.captions.streaming_pass import run as run_pass
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.keys import VideoId
from video_pipeline.media.frames import CroppedPicture
from video_pipeline.media.geometry import CropRegion
from video_pipeline.models.weights import load_caption_model
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.worker import TaskContext

VIDEO = VideoId("acme", "late")
ABOVE_THE_CAPTIONS = CropRegion(left=0.05, top=0.02, width=0.9, height=0.27)
TICK = Fraction(1, 12800)
START = Fraction(2, 5)
"""When the video's first picture is shown: its edit list begins with nothing for so long."""
SAMPLES = 24
JPEG = b"\xff\xd8\xff and so on"
MakeContext = Callable[..., TaskContext]


@pytest.fixture(scope="session")
def passed(tmp_path_factory: pytest.TempPathFactory, media: MediaFactory) -> Path:
    """A store with a video that begins late after its pass at 10 Hz: 24 samples without a caption."""
    folder = tmp_path_factory.mktemp("late")
    settings = load_settings(store=str(folder / "store"))
    store = open_store(settings)
    add_video(
        store,
        VIDEO,
        media.path("edit_empty"),
        crop_region=ABOVE_THE_CAPTIONS,
        frame_rate=10,
        preset="fast",
    )
    (folder / "scratch").mkdir()
    context = TaskContext(
        store, settings, folder / "scratch", CancellationToken(), Recorder(), lambda _e: None
    )
    run_pass(pass_request(store, VIDEO, ("cropped_frames", "caption_frame_extents")), context)
    return folder / "store"


@pytest.fixture
def late(passed: Path, tmp_path: Path) -> ObjectStore:
    shutil.copytree(passed, tmp_path / "store")
    return open_store(load_settings(store=str(tmp_path / "store")))


def read(
    store: ObjectStore, make_context: MakeContext, **changes: Any
) -> tuple[ReadCaptionsResult, CaptionsDocument]:
    request = reading_request(store, VIDEO, chunks=False)
    request = ReadCaptionsRequest.model_validate({**request.model_dump(), **changes})
    result = reading.run(request, make_context(store))
    prefix = result.captions.manifest_key.removesuffix("manifest.json")
    return result, CaptionsDocument.model_validate_json(store.get(prefix + "captions.json"))


@dataclass
class Given:
    """Puts extents and a look in the place of those that would be found."""

    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *extents: Extent, looked: Looked | None = None) -> None:
        self.monkeypatch.setattr(reading._Reading, "_reconsider", lambda *_: list(extents))
        self.monkeypatch.setattr(reading, "look", lambda *_, **__: looked or Looked())


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    return Given(monkeypatch)


def extent(first: int, end: int, start: str = "empty", stop: str = "empty") -> Extent:
    return Extent(first, end, 0.75, 0.5, start, stop)  # pyright: ignore[reportArgumentType]


def change(number: int, end: str, sample: int, pts: int, ticks: int) -> Change:
    return Change(number, end, sample, pts, ticks, JPEG, JPEG, None)  # pyright: ignore[reportArgumentType]


def test_a_video_without_captions_gives_an_empty_valid_document_and_is_not_decoded_for_it(
    late: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("looked")

    monkeypatch.setattr(reading, "look", fail)
    result, document = read(late, make_context)
    assert document.captions == ()
    assert (document.frame_count, document.first_picture) == (SAMPLES, START)
    assert (result.caption_count, result.with_text, result.ocr_calls, result.least_certain) == (0, 0, 0, None)
    assert (result.unread, result.preview, result.degraded) == ({}, (), [])
    assert check_captions(late, result.captions.manifest_key) == []
    prefix = result.captions.manifest_key.removesuffix("manifest.json")
    assert late.get(prefix + "captions.srt") == b""
    assert late.get(prefix + "captions.vtt").startswith(b"WEBVTT\n")


def in_doubt(monkeypatch: pytest.MonkeyPatch, opinions: Callable[..., Any]) -> None:
    """Pairs of one caption over samples 2 to 21 that might become another one at sample 10, and a test double
    in the place of the network's second opinion."""
    pairs = hesitant(a_caption(SAMPLES - 5), 9, "different")
    monkeypatch.setattr(reading, "read_probabilities", lambda _path: pairs)
    monkeypatch.setattr(reading, "opinions", opinions)
    monkeypatch.setattr(reading, "look", lambda *_, **__: Looked())


def test_what_pairs_leave_in_doubt_is_looked_at_again_and_the_second_opinion_counts(
    late: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []

    def opinions(
        _net: object, pairs: Pairs, pictures: Iterator[CroppedPicture], device: str
    ) -> dict[int, Any]:
        assert device == "cpu"
        assert np.flatnonzero(pairs.doubtful).tolist() == [9]
        shown.extend(sample for picture in pictures for sample in picture.samples)
        return {1: opinion("empty_valid"), 9: opinion("different"), 21: opinion("valid_empty")}

    in_doubt(monkeypatch, opinions)
    events: list[dict[str, Any]] = []
    request = reading_request(late, VIDEO, chunks=False).model_copy(update={"ocr": False})
    result = reading.run(request, make_context(late, events))
    written = json.loads(late.get(result.captions.manifest_key.replace("manifest.json", "captions.json")))
    assert [(c["first_frame"], c["end_frame"]) for c in written["captions"]] == [(2, 10), (10, 22)]
    assert shown == list(range(SAMPLES)), "it is shown the pictures of all samples, once"
    told = [(event["done"], event["total"]) for event in events if event["event"] == "progress"]
    assert told[-1] == (SAMPLES, 2 * SAMPLES), "half of the way: another look is to come"


def test_a_cancel_ends_the_second_opinion_too(
    late: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(late)
    shown: list[int] = []

    def opinions(_net: object, _pairs: Pairs, pictures: Iterator[CroppedPicture], _device: str) -> Any:
        for picture in pictures:
            shown.append(picture.pts)
            if len(shown) == 3:
                context.cancel.cancel("enough")
        raise AssertionError("it went on to the end")

    in_doubt(monkeypatch, opinions)
    with pytest.raises(Cancelled, match="enough"):
        reading.run(reading_request(late, VIDEO, chunks=False), context)
    assert len(shown) == 3
    assert not [item.key for item in late.list("acme/") if "/captions/" in item.key]


def test_an_end_that_was_not_narrowed_is_known_to_a_sample_on_the_movies_clock(
    late: ObjectStore, make_context: MakeContext, given: Given
) -> None:
    given(extent(3, 9), extent(9, SAMPLES, "other_caption", "video_edge"))
    _, document = read(late, make_context, ocr=False)
    first, second = document.captions
    tenth = Fraction(1, 10)
    assert [(one.start.exact, one.end.exact) for one in (first, second)] == [
        (START + 3 * tenth, START + 9 * tenth),
        (START + 9 * tenth, START + 24 * tenth),
    ]
    ends = [first.start, first.end, second.start, second.end]
    assert [(end.resolution, end.pts) for end in ends] == [(tenth, None)] * 4
    assert [end.beside for end in ends] == ["empty", "other_caption", "other_caption", "video_edge"]
    assert [end.confidence for end in ends] == [0.75, 0.5, 0.75, 0.5]
    assert document.sample_time(3) == first.start.exact


def test_a_caption_that_is_there_from_the_start_begins_with_the_first_picture_exactly(
    late: ObjectStore, make_context: MakeContext, given: Given
) -> None:
    given(extent(0, 5, "video_edge"))
    _, document = read(late, make_context, ocr=False)
    start = document.captions[0].start
    assert (start.exact, start.resolution, start.pts) == (START, 0, START / TICK)


def test_an_end_that_was_narrowed_is_the_time_of_its_picture(
    late: ObjectStore, make_context: MakeContext, given: Given
) -> None:
    start, end = change(1, "start", 3, 8704, 512), change(1, "end", 10, 17408, 1024)
    given(extent(3, 9), looked=Looked(changes={(1, "start"): start, (1, "end"): end}))
    _, document = read(late, make_context, ocr=False)
    (caption,) = document.captions
    assert (caption.first_frame, caption.end_frame) == (3, 10), "a fade moves its end by a sample"
    assert (caption.start.exact, caption.start.resolution, caption.start.pts) == (
        8704 * TICK,
        512 * TICK,
        8704,
    )
    assert (caption.end.exact, caption.end.resolution, caption.end.pts) == (17408 * TICK, 1024 * TICK, 17408)


def test_where_one_picture_shows_both_samples_the_sample_is_all_that_is_known(
    late: ObjectStore, make_context: MakeContext, given: Given
) -> None:
    """At a rate above the video's own the same picture lies on both sides: no time between them is truer."""
    given(extent(3, 9), looked=Looked(changes={(1, "start"): change(1, "start", 3, 8704, 0)}))
    _, document = read(late, make_context, ocr=False)
    start = document.captions[0].start
    assert (start.exact, start.resolution, start.pts) == (START + Fraction(3, 10), Fraction(1, 10), None)


def test_a_confidence_that_rounding_carried_past_its_bounds_stays_a_probability(
    late: ObjectStore, make_context: MakeContext, given: Given
) -> None:
    given(replace(extent(3, 9), start_confidence=1 + 1e-12, end_confidence=-1e-12))
    result, document = read(late, make_context, ocr=False)
    (caption,) = document.captions
    assert (caption.start.confidence, caption.end.confidence) == (1.0, 0.0)
    assert result.least_certain == 0.0


def test_texts_stand_with_their_captions_and_what_was_not_read_says_why(
    late: ObjectStore, make_context: MakeContext, given: Given
) -> None:
    parts = {
        1: [Part(1, 4, CaptionText("one\ntwo", 0.987654, "Latn", None, 1))],
        2: [Part(7, 11, CaptionText(None, 0.0, None, "script_not_readable", 3))],
    }
    given(extent(1, 5), extent(7, 12), extent(15, 20), looked=Looked(parts=parts))
    result, document = read(late, make_context)
    first, second, third = document.captions
    assert (first.text, first.text_confidence, first.script, first.unread, first.ocr_calls) == (
        "one\ntwo", 0.9877, "Latn", None, 1,
    )  # fmt: skip
    assert (second.text, second.text_confidence, second.unread, second.ocr_calls) == (
        None, None, "script_not_readable", 3,
    )  # fmt: skip
    assert (third.text, third.unread, third.ocr_calls) == (None, "no_ocr", 0)
    assert (result.caption_count, result.with_text, result.ocr_calls) == (3, 1, 4)
    assert result.unread == {"no_ocr": 1, "script_not_readable": 1}
    assert result.least_certain == 0.5
    assert result.preview[0] == "0.500 to 0.900 s: one / two"
    assert result.preview[1] == "1.100 to 1.600 s: [script_not_readable]"


def test_what_was_taken_for_one_caption_and_says_two_things_is_two_captions(
    late: ObjectStore, make_context: MakeContext, given: Given
) -> None:
    one, other = (CaptionText(text, 0.95, "Latn", None, 1) for text in ("one", "other"))
    looked = Looked(
        changes={(1, "end"): change(1, "end", 14, 22528, 512)},
        parts={1: [Part(3, 5, one), Part(9, 13, other)], 2: [Part(17, 19, one)]},
    )
    given(extent(3, 14), extent(16, 20), looked=looked)
    result, document = read(late, make_context)
    first, second, third = document.captions
    assert [caption.text for caption in document.captions] == ["one", "other", "one"]
    assert (first.first_frame, second.end_frame, third.first_frame) == (3, 14, 16)
    assert 5 < first.end_frame <= second.first_frame <= 9
    # The new ends are known to a sample, the old ones as they were looked at.
    assert (first.end.pts, second.start.pts, second.end.pts) == (None, None, 22528)
    assert first.end.resolution == second.start.resolution == Fraction(1, 10)
    assert result.caption_count == 3
    assert check_captions(late, result.captions.manifest_key) == []


def test_the_document_names_what_it_was_made_of(
    late: ObjectStore, make_context: MakeContext, given: Given
) -> None:
    given(extent(3, 9))
    result, document = read(late, make_context, ocr=False)
    found = json.loads(late.get(result.captions.manifest_key))
    assert (document.tenant, document.video) == ("acme", "late") == (found["tenant"], found["video"])
    assert document.source_key == "acme/client/videos/late/video.mp4" == found["source_key"]
    assert document.source_version == found["source_version"]
    assert document.frames_recipe == found["frames_recipe"]
    assert document.text_recipe == found["recipe"] == result.captions.recipe
    assert document.time_base == TICK
    assert (document.frame_rate, found["frame_rate"], found["frame_count"]) == (10, "10", SAMPLES)
    strip = document.strip
    assert (strip.display_width, strip.display_height) == (320, 180)
    assert (strip.left, strip.top, strip.width, strip.height) == (16, 2, 288, 52)


def test_chunks_that_are_asked_for_must_be_there_first(late: ObjectStore, make_context: MakeContext) -> None:
    with pytest.raises(BadInput, match="the chunks of the video are not there") as caught:
        read(late, make_context, chunks=True)
    assert caught.value.what_to_do == "materialise vp9_chunks first"


def test_a_checkpoint_that_changed_since_the_extents_is_refused(
    late: ObjectStore, make_context: MakeContext, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(extent(3, 9))
    other = replace(load_caption_model(), sha256="0" * 64)
    monkeypatch.setattr(reading, "load_caption_model", lambda *_, **__: other)
    with pytest.raises(BadInput, match="changed while the call began"):
        read(late, make_context, ocr=False)
    assert not [item.key for item in late.list("acme/") if "/captions/" in item.key]


def test_the_manifest_is_written_after_every_file_it_names(
    late: ObjectStore, make_context: MakeContext, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(extent(3, 9))
    written: list[str] = []
    put = type(late).put

    def noting(self: Any, key: str, *arguments: Any, **options: Any) -> Any:
        done = put(self, key, *arguments, **options)
        written.append(key)
        return done

    monkeypatch.setattr(type(late), "put", noting)
    result, _ = read(late, make_context, ocr=False)
    assert written[-1] == result.captions.manifest_key
    named = [item["key"] for item in json.loads(late.get(written[-1]))["objects"]]
    assert sorted(named) == sorted(written[:-1])
