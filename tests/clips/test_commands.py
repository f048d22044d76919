"""The clip commands as a person types them, over a store of their own and real workers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clips.films import Sound, make_film, tone
from tests.conftest import ROOT
from video_pipeline import keys
from video_pipeline.cli import main
from video_pipeline.clips.commands import STEPS, _detected, stages_of
from video_pipeline.clips.current import current_renders
from video_pipeline.clips.detect_request import DetectPlayersResult
from video_pipeline.clips.intake import ClipRequest, add_clip
from video_pipeline.keys import ClipId
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

FILM = "acme/client/videos/film/video.mp4"
CLIP = ClipId("acme", "goal")
CUT = {"source_key": FILM, "start": 1, "end": 2, "encoding": {"crf": 16, "preset": "ultrafast"}}
LIT = {
    "highlight_regions": [
        {
            "start_time": 1,
            "end_time": 2,
            "keyframes": [{"time": 1, "x": 80, "y": 48, "radius_x": 20, "radius_y": 20}],
        }
    ]
}
FRAMED = {
    "output_width": 80,
    "output_height": 48,
    "fps": "25",
    "upscale": "never",
    "trim_start": 1.2,
    "trim_end": 1.6,
    "keyframes": [{"time": 1, "x": 0, "y": 0, "width": 160, "height": 96}],
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    return open_store(load_settings())


@pytest.fixture
def request_file(tmp_path: Path) -> Callable[[Any], str]:
    def write(content: Any) -> str:
        path = tmp_path / "request.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def file_lines(out: str) -> list[Path]:
    return [Path(found) for found in re.findall(r"(/\S+\.(?:mp4|png|json))$", out, re.MULTILINE)]


@pytest.mark.slow
def test_a_request_becomes_clips_by_two_commands(
    store: ObjectStore, tmp_path: Path, request_file: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(FILM, make_film(tmp_path / "film.mp4", frames=75, sound=Sound(tone(440))))
    asked = {**CUT, "players": {"timestamps": [1.5]}, "overlay": LIT, "framing": FRAMED}
    assert main(["add-clip", "acme--goal", request_file(asked)]) == 0
    assert "its partition is acme--goal" in capsys.readouterr().out

    # Only the cut is previewed: the others have nothing to look at yet.
    assert main(["clip", "acme--goal", "--preview", "2"]) == 0
    out = capsys.readouterr().out
    assert "clip: will have 25 frames, 1.000 s, 160x96 at 25 frames per second\n" in out
    assert "framed_clip: no preview: the clip acme--goal has no clip yet" in out
    assert "overlay_clip: no preview" in out
    assert STEPS["player_detections"].task not in out
    pictures = file_lines(out)
    assert [path.suffix for path in pictures] == [".png", ".png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert not current_renders(store, CLIP).renders
    assert not [item.key for item in store.list("acme/client/clips/") if item.key.endswith((".mp4", ".json"))]

    assert main(["clip", "acme--goal"]) == 0
    out, err = capsys.readouterr()
    headings = [line for line in out.splitlines() if not line.startswith(" ")]
    assert headings == [
        "clip: 25 frames, 1.000 s, 160x96 at 25 frames per second",
        "player_detections: 0 people in 1 picture, 1 without anybody",
        "overlay_clip: 25 frames, 1.000 s, 160x96 at 25 frames per second",
        "framed_clip: 10 frames, 0.400 s, 80x48 at 25 frames per second",
    ]
    assert "extract_clip: 25 of 25 frames" in err
    assert all(path.is_file() for path in file_lines(out))
    renders = current_renders(store, CLIP).renders
    assert set(renders) == {"clip", "overlay_clip", "framed_clip"}
    assert {str(store.local_path(one.output_key)) for one in renders.values()} <= set(
        map(str, file_lines(out))
    )

    assert main(["clip", "acme--goal", "--stage", "framed_clip", "player_detections", "--preview", "1"]) == 0
    out = capsys.readouterr().out
    assert "framed_clip: will have 10 frames, 0.400 s" in out
    assert "player_detections: will look for people at 1 moment\n" in out
    assert out.count("its time and cost are not foretold: nothing was measured of") == 2

    before = list(store.list("acme/client/"))
    assert main(["clip", "acme--goal", "--stage", "framed_clip", "clip"]) == 0
    out = capsys.readouterr().out
    assert [line.split(":")[0] for line in out.splitlines() if not line.startswith(" ")] == [
        "clip",
        "framed_clip",
    ]
    assert list(store.list("acme/client/")) == before


@pytest.mark.parametrize(
    ("people", "pictures", "moments", "said"),
    [
        (1, 1, None, ["1 person in 1 picture"]),
        (1200, 2, None, ["1,200 people in 2 pictures"]),
        (0, 2, 1, ["will look for people at 1 moment", "0 people in 2 pictures"]),
    ],
)
def test_people_pictures_and_moments_are_counted_in_words_that_fit_one(
    store: ObjectStore, people: int, pictures: int, moments: int | None, said: list[str]
) -> None:
    result = DetectPlayersResult(
        kind="detect_players_batch",
        recipe="r",
        source_key=FILM,
        time_base="1/25",
        frames=(),
        detected_pictures=pictures,
        detections=people,
        pictures_without=0,
        min_confidence=0.5,
        classes=("person",),
        model="nanodet_g",
        model_sha256="0",
        device="cpu",
        detections_key="acme/server/clips/goal/r/detections.json",
        preview_of=moments,
        seconds_taken=1,
    )
    *lines, place = _detected(store, result)
    assert lines == said
    assert place.endswith("detections.json")


def test_a_copied_clip_says_where_in_the_source_it_begins(
    store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Key frames at 0, 0.4, 0.8 s and so on, and none where the film's pictures differ much.
    options = {"preset": "veryfast", "sc_threshold": "0"}
    store.put(FILM, make_film(tmp_path / "film.mp4", frames=75, gop=10, options=options))
    add_clip(store, CLIP, {"source_key": FILM, "start": 1, "end": 2, "mode": "copy"})
    assert main(["clip", "acme--goal"]) == 0
    assert "copied without encoding; begins at 0.800 s of the source" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ({}, "name a source_key"),
        ({**CUT, "speed": 2}, "speed"),
        ({**CUT, "end": None}, "needs start and end"),
        ({**CUT, "source_key": "other/client/videos/film/video.mp4"}, "'acme/'"),
        ({**CUT, "framing": {**FRAMED, "keyframes": []}}, "framing.keyframes"),
    ],
)
def test_a_request_that_is_wrong_is_refused_and_not_stored(
    store: ObjectStore, request_file: Callable, capsys: pytest.CaptureFixture[str], content: Any, said: str
) -> None:
    assert main(["add-clip", "acme--goal", request_file(content)]) == 2
    assert said in capsys.readouterr().err
    assert store.head(keys.clip_request_key(CLIP)) is None


def test_a_request_that_is_not_there_is_named(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add-clip", "acme--goal", "/no/such.json"]) == 2
    assert "/no/such.json" in capsys.readouterr().err
    assert main(["clip", "acme--goal"]) == 2
    assert "add-clip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stage", "framed_clip"], "has no clip yet"),
        (["--stage", "framed_clip", "--preview", "3"], "has no clip yet"),
        (["--stage", "multi_clip"], "has no 'multi_clip'"),
        (["--stage", "player_detections", "--preview", "3"], "has no clip yet"),
    ],
)
def test_a_stage_that_cannot_be_made_is_refused(
    store: ObjectStore, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    add_clip(store, CLIP, {**CUT, "framing": FRAMED, "players": {}})
    assert main(["clip", "acme--goal", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "65", "some"])
def test_a_preview_has_a_sensible_number_of_frames(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["clip", "acme--goal", "--preview", count])
    assert f"{count} is not between 1 and 64" in capsys.readouterr().err


def test_stages_run_in_the_order_in_which_they_need_each_other() -> None:
    asked = ClipRequest.model_validate({**CUT, "framing": FRAMED, "players": {}, "overlay": LIT})
    assert stages_of(asked, None) == ["clip", "player_detections", "overlay_clip", "framed_clip"]
    assert stages_of(asked, ["framed_clip", "clip"]) == ["clip", "framed_clip"]


def test_the_schema_names_every_field_of_a_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clip-schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(ClipRequest.model_fields)
    assert schema["additionalProperties"] is False
    assert "radius_x" in schema["$defs"]["HighlightKeyframe"]["required"]


def test_the_requests_in_the_document_are_complete_and_valid(store: ObjectStore) -> None:
    blocks = re.findall(r"```json file=\S+\n(.*?)```", (ROOT / "docs" / "clips.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        add_clip(store, CLIP, json.loads(block))
