from __future__ import annotations

import io
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tests.fixtures.media_factory import DEMO_CLIP, MediaFactory
from video_pipeline.clips.detect import DETECTIONS, detect_players, detect_players_batch
from video_pipeline.clips.detect_request import (
    MAX_FRAMES,
    DetectedFrame,
    DetectPlayersBatchRequest,
    DetectPlayersRequest,
    DetectPlayersResult,
    moment,
)
from video_pipeline.clips.detection_pictures import PictureAt, moments_at_rate, pictures_at
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.media.clip_source import ClipSource
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.worker import TaskContext

FIXTURES = Path(__file__).parents[1] / "fixtures" / "clips"
PEOPLE = json.loads((FIXTURES / "people.json").read_text(encoding="utf-8"))["testing"]
STREET = [name for name in PEOPLE if name.startswith("street")]
FIXED, DEMO, OTHER = (f"acme/client/videos/{name}/video.mp4" for name in ("fixed", "demo", "other"))

VARIANTS = (
    "h264_b", "h264_open_gop", "h264_fragmented", "vfr", "edit_trim", "edit_empty", "non_zero_start", "ntsc",
    "h264_avi", "vp9", "rotated_90",
)  # fmt: skip


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> MediaFactory:
    return MediaFactory(tmp_path_factory.getbasetemp().parent / "media")


@pytest.fixture(scope="module")
def fixed_camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-boxed frames of the fixed camera as a video of two pictures a second."""
    path = tmp_path_factory.mktemp("fixed") / "fixed.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"crf": "12", "g": "4", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for name in STREET:
            container.mux(stream.encode(av.VideoFrame.from_image(Image.open(FIXTURES / name))))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def store(settings: Settings, fixed_camera: Path) -> ObjectStore:
    store = open_store(settings)
    store.put(FIXED, fixed_camera)
    store.put(DEMO, DEMO_CLIP)
    return store


def context_of(
    store: ObjectStore, settings: Settings, scratch: Path
) -> tuple[TaskContext, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    scratch.mkdir(exist_ok=True)
    made = TaskContext(
        store=store,
        settings=settings,
        scratch=scratch,
        cancel=CancellationToken(),
        recorder=Recorder(),
        emit=events.append,
    )
    return made, events


@pytest.fixture
def context(store: ObjectStore, settings: Settings, tmp_path: Path) -> TaskContext:
    return context_of(store, settings, tmp_path / "scratch")[0]


def batch(**fields: Any) -> DetectPlayersBatchRequest:
    return DetectPlayersBatchRequest(
        **{"tenant_id": "acme", "clip_id": "rally", "source_key": FIXED, "draw": False, **fields}
    )


def one(time: float | str, **fields: Any) -> DetectPlayersRequest:
    return DetectPlayersRequest(
        **{"tenant_id": "acme", "clip_id": "rally", "source_key": FIXED, "time": time, **fields}
    )


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of boxes [left, top, width, height]."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    tall = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0.0, wide) * max(0.0, tall)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def found_false_missed(frame: DetectedFrame, drawn: dict[str, list[list[int]]]) -> tuple[int, int, int]:
    left, false = list(drawn["people"]), 0
    for box in ([d.x, d.y, d.width, d.height] for d in frame.detections):
        best = max(left, key=lambda person: overlap(box, person), default=None)
        if best is not None and overlap(box, best) >= 0.5:
            left.remove(best)
        elif not any(overlap(box, hidden) >= 0.3 for hidden in drawn["hidden"]):
            false += 1
    return len(drawn["people"]) - len(left), false, len(left)


def test_the_people_of_the_fixed_camera_are_found_in_the_video(context: TaskContext) -> None:
    result = detect_players_batch(batch(rate="2"), context)
    assert [frame.seconds for frame in result.frames] == [number / 2 for number in range(len(STREET))]
    counts = [
        found_false_missed(frame, PEOPLE[name]) for name, frame in zip(STREET, result.frames, strict=True)
    ]
    found, false, missed = np.sum(counts, axis=0)
    assert found + missed == 94
    assert found / (found + missed) >= 0.8
    assert found / (found + false) >= 0.9
    for frame in result.frames:
        assert (frame.width, frame.height) == (640, 480)
        for box in frame.detections:
            assert box.centre_x == pytest.approx(box.x + box.width / 2, abs=0.02)
            assert box.centre_y == pytest.approx(box.y + box.height / 2, abs=0.02)
            assert 0.5 <= box.confidence <= 1
            assert box.class_name == "person"
    assert result.detections == found + false
    assert result.model_sha256
    assert result.time_base == "1/16384"


def test_one_picture_is_the_one_of_the_batch(context: TaskContext) -> None:
    single = detect_players(one("2.7", draw=False), context)
    whole = detect_players_batch(batch(timestamps=(0.1, "2.7")), context)
    (alone,), together = single.frames, whole.frames[1]
    assert alone.detections
    for one_box, other in zip(alone.detections, together.detections, strict=True):
        # A network's sums depend on the size of its batch in their last bits.
        assert one_box.model_dump() == pytest.approx(other.model_dump(), abs=0.02)
    assert alone.seconds == 2.5
    assert alone.asked_seconds == 2.7


def test_the_demo_clip_has_people(context: TaskContext) -> None:
    result = detect_players_batch(batch(source_key=DEMO, rate="1/10"), context)
    assert len(result.frames) == 5
    assert result.detections >= 5


def test_rows_stand_as_asked_and_a_picture_is_looked_at_once(context: TaskContext) -> None:
    result = detect_players_batch(batch(timestamps=("3.1", 0.2, 3.3, "0:03.25", "31/10")), context)
    assert [frame.asked_seconds for frame in result.frames] == [3.1, 0.2, 3.3, 3.25, 3.1]
    assert [frame.seconds for frame in result.frames] == [3, 0, 3, 3, 3]
    assert result.detected_pictures == 2
    assert result.frames[0].detections == result.frames[2].detections != result.frames[1].detections


def test_what_is_stored_is_the_answer_and_the_pictures_show_the_boxes(
    context: TaskContext, store: ObjectStore
) -> None:
    result = detect_players_batch(batch(timestamps=(0.0, 4.0), draw=True), context)
    assert DetectPlayersResult.model_validate_json(store.get(result.detections_key)) == result
    assert result.output_keys() == [result.detections_key, *result.picture_keys]
    assert result.detections_key == f"acme/client/clips/rally/{result.recipe}/{DETECTIONS}"
    for name, key, frame in zip((STREET[0], STREET[8]), result.picture_keys, result.frames, strict=True):
        assert frame.picture_key == key
        drawn = np.asarray(Image.open(io.BytesIO(store.get(key)))).astype(int)
        plain = np.asarray(Image.open(FIXTURES / name)).astype(int)
        changed = np.abs(drawn - plain).max(axis=2) > 60
        box = frame.detections[0]
        top, left = round(box.y), round(box.x)
        middle = slice(left + round(box.width / 4), left + round(box.width * 3 / 4))
        assert changed[top + round(box.height) - 2 : top + round(box.height) + 1, middle].any(axis=0).all()
        assert 0 < changed.mean() < 0.2


def test_doing_it_again_writes_nothing(
    context: TaskContext, store: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    request = batch(timestamps=(0.0, 4.0), draw=True)
    first = detect_players_batch(request, context)
    before = {key: store.head(key) for key in first.output_keys()}
    again = detect_players_batch(request, context_of(store, settings, tmp_path / "again")[0])
    assert again == first.model_copy(update={"made": False})
    assert {key: store.head(key) for key in first.output_keys()} == before

    store.delete(first.picture_keys[1])
    mended = detect_players_batch(request, context_of(store, settings, tmp_path / "third")[0])
    assert mended.made
    assert store.head(first.picture_keys[1]) is not None
    middle = float(np.median([box.confidence for frame in first.frames for box in frame.detections]))
    surer = detect_players_batch(batch(timestamps=(0.0, 4.0), draw=True, min_confidence=middle), context)
    assert surer.recipe != first.recipe
    assert 0 < surer.detections < first.detections


def test_times_outside_the_video_are_named_and_nothing_is_written(
    context: TaskContext, store: ObjectStore
) -> None:
    for request in (
        batch(timestamps=(1.0, 8.0, 9.5)),
        batch(rate="1", start=8.0),
        batch(rate="1", stop="8.5"),
    ):
        with pytest.raises(BadInput, match=r"0\.000 s to 8\.000 s.*(8\.0|8\.5)") as caught:
            detect_players_batch(request, context)
        assert FIXED in str(caught.value)
    with pytest.raises(BadInput, match=r"9\.500 s"):
        detect_players(one(9.5), context)
    assert list(store.list("acme/client/clips/")) == []


def test_damage_is_an_error_and_leaves_no_result(
    context: TaskContext, store: ObjectStore, media: MediaFactory
) -> None:
    store.put(OTHER, media.path("corrupt_middle"))
    with pytest.raises(BadInput):
        detect_players_batch(batch(source_key=OTHER, rate="25"), context)
    assert [info.key for info in store.list("acme/client/clips/") if info.key.endswith(".json")] == []


def test_a_class_or_weights_that_do_not_exist_are_refused_by_name(
    context: TaskContext, store: ObjectStore
) -> None:
    with pytest.raises(BadInput, match="ball boy") as caught:
        detect_players(one(0, classes=("person", "ball boy")), context)
    assert "sports ball" in (caught.value.what_to_do or "")
    store.put("acme/server/mine.safetensors", b"no weights")
    with pytest.raises(BadInput) as caught:
        detect_players(one(0, weights_key="acme/server/mine.safetensors"), context)
    assert caught.value.input == "acme/server/mine.safetensors"
    with pytest.raises(BadInput, match="nowhere"):
        detect_players(one(0, source_key="acme/client/nowhere.mp4"), context)


@pytest.mark.slow
def test_progress_tells_rate_and_time_left_and_a_cancel_is_heard(
    store: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    context, events = context_of(store, settings, tmp_path / "scratch")
    detect_players_batch(batch(source_key=DEMO, rate="1"), context)
    told = [event for event in events if event["event"] == "progress"]
    assert [(event["done"], event["total"]) for event in told] == [(16, 42), (32, 42), (42, 42)]
    assert told[0]["rate_per_s"] > 0
    assert told[0]["seconds_left"] > 0

    context.cancel.cancel("enough")
    with pytest.raises(Cancelled):
        detect_players_batch(batch(source_key=DEMO, rate="2"), context)


def shown(pictures: Sequence[PictureAt], count: int) -> list[int]:
    """The PTS given for each of `count` moments."""
    given = {index: at.picture.pts for at in pictures for index in at.asked}
    assert len(given) == sum(len(at.asked) for at in pictures) == count
    return [given[index] for index in range(count)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_moment_gets_the_picture_shown_then(media: MediaFactory, variant: str) -> None:
    with ClipSource(media.path(variant), name="the video") as source:
        everything = {picture.pts: picture for picture in source.pictures()}
        starts = [pts * source.time_base for pts in everything]
        random = np.random.default_rng(3)
        span = source.stop - source.start
        moments = [
            source.start + span * Fraction(int(part), 10_000) for part in random.integers(0, 10_000, 40)
        ]
        moments += [Fraction(0) if source.start >= 0 else source.start, source.stop - source.time_base / 4]
        moments += starts[:: -len(starts) // 12]
        found = list(pictures_at(source, moments))
        spare = min(source.time_base / 2, Fraction(1, 2000))
        expected = [
            max(
                (pts for pts in everything if pts * source.time_base <= time + spare), default=min(everything)
            )
            for time in moments
        ]
        assert shown(found, len(moments)) == expected
        assert [at.picture.pts for at in found] == sorted(set(expected))
        for at in found:
            assert np.array_equal(at.picture.frame.y, everything[at.picture.pts].frame.y)


def test_moments_far_apart_are_sought_and_near_ones_read_on() -> None:
    def decoded(*moments: float) -> int:
        with ClipSource(DEMO_CLIP, name="demo") as source:
            before = source.stats.pictures_decoded
            assert len(list(pictures_at(source, [Fraction(str(time)) for time in moments]))) == len(moments)
            return source.stats.pictures_decoded - before

    near = decoded(20.0, 20.5, 21.0, 21.5)
    assert decoded(1.0, 20.0, 40.0) < 900  # of 1260
    assert near < decoded(20.0) + 60


@pytest.mark.parametrize(
    ("rate", "start", "stop", "count"),
    [
        ("1", None, None, 8),
        ("2", "1", "3", 4),
        ("2", "1", "3.01", 5),
        ("1/4", "0.5", None, 2),
        ("3", "7.9", "8", 1),
    ],
)
def test_a_rate_gives_moments_from_the_start_to_before_the_stop(
    fixed_camera: Path, rate: str, start: str | None, stop: str | None, count: int
) -> None:
    with ClipSource(fixed_camera, name="fixed") as source:
        begin, end = (None if text is None else Fraction(text) for text in (start, stop))
        moments = moments_at_rate(source, Fraction(rate), begin, end)
        assert moments == [(begin or 0) + k / Fraction(rate) for k in range(count)]
        assert moments[-1] + 1 / Fraction(rate) >= (end or 8)


def test_more_pictures_than_a_call_takes_are_refused_before_any_is_read(
    context: TaskContext,
) -> None:
    with ClipSource(DEMO_CLIP, name="demo") as source, pytest.raises(BadInput, match=str(MAX_FRAMES)):
        moments_at_rate(source, Fraction(1000), None, None)
    with pytest.raises(BadInput, match="draw=false"):
        detect_players_batch(batch(source_key=DEMO, rate="60", draw=True), context)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0.1, Fraction(1, 10)), (12, Fraction(12)), ("12.5", Fraction(25, 2)), ("1:02.5", Fraction(125, 2)),
        ("1:00:00.25", Fraction(14401, 4)), ("1001/30", Fraction(1001, 30)), ("0:59", Fraction(59)),
        ("12:34:56.789", Fraction(45_296_789, 1000)), ("100:59:09", Fraction(363_549)),
        ("7:5", Fraction(425)), ("3600", Fraction(3600)), (1e6, Fraction(10**6)),
        ("0.123456789", Fraction(123_456_789, 10**9)),
    ],
)  # fmt: skip
def test_moments_are_the_numbers_that_were_written(written: float | str, seconds: Fraction) -> None:
    assert moment(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "1:60", "1:75.5", "1:123", "60:00", "1:60:00", "1:2:3:4", ":30", "1:", "1:-2", "1e3", "", "1 ", "1/0",
        "-1/2", -0.1, 1_000_000.1, float("nan"), float("inf"),
    ],
)  # fmt: skip
def test_what_is_no_time_of_a_clock_is_refused(written: float | str) -> None:
    with pytest.raises(ValueError, match=r"is no time: write|is not between 0 and a million seconds"):
        moment(written)


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"timestamps": (1,), "rate": "1"}, {"timestamps": ()}, {"timestamps": (1,), "start": 0},
        {"rate": "1", "start": 3, "stop": 3}, {"rate": "0"}, {"rate": "241"}, {"rate": "1/0"},
        {"timestamps": ("soon",)}, {"timestamps": (-1,)}, {"timestamps": ("-1",)},
        {"timestamps": (float("nan"),)},
        {"timestamps": ("1/0",)}, {"rate": "1", "min_confidence": 1.5},
        {"rate": "1", "confidence": 1},
        {"rate": "1", "source_key": "other/client/videos/a/video.mp4"}, {"rate": "1", "classes": ()},
        {"timestamps": tuple(range(2001)), "draw": True}, {"rate": "1", "weights_key": "../up"},
    ],
)  # fmt: skip
def test_a_request_that_is_wrong_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, BadInput)):
        batch(**fields)


@pytest.mark.parametrize(("written", "rate"), [("240", "240"), ("0.5", "1/2"), ("30000/1001", "30000/1001")])
def test_a_rate_is_one_fraction_however_it_is_written(written: str, rate: str) -> None:
    assert batch(rate=written).rate == rate


def test_requests_come_as_json_and_name_what_they_read() -> None:
    request = DetectPlayersBatchRequest.model_validate_json(
        json.dumps(
            {
                "tenant_id": "acme",
                "clip_id": "rally",
                "source_key": FIXED,
                "timestamps": [1, 2.5, "0:03"],
                "weights_key": "acme/server/mine.safetensors",
            }
        )
    )
    assert request.timestamps == (1, 2.5, "0:03")
    assert request.input_keys() == {"source": FIXED, "weights": "acme/server/mine.safetensors"}
    assert request.draw
    assert request.classes == ("person",)
