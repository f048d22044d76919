"""What people see of clips in Dagster: pictures, a file that plays, the people that were found."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest

from tests.assets.test_clips import FILM, FIRST, OUTPUT, QUICK, WHOLE, film, metadata_of, run, store
from tests.clips.films import shown
from video_pipeline.clips.intake import add_clip
from video_pipeline.store.base import ObjectStore

_ = film, store  # the fixtures


@pytest.mark.slow
def test_every_clip_shows_its_pictures_its_file_and_its_figures(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    light = {"x": 80, "y": 48, "radius_x": 30, "radius_y": 30}
    region = {"start_time": 1.2, "end_time": 2.4, "keyframes": [{"time": 1.2, **light}]}
    add_clip(
        store,
        FIRST,
        {
            "source_key": FILM,
            "start": 1.2,
            "end": 2.4,
            **QUICK,
            "players": {"timestamps": [1.2, 2.0]},
            "overlay": {"highlight_regions": [region]},
            "framing": {**OUTPUT, "keyframes": WHOLE, "num_chunks": 1},
        },
    )
    shows = metadata_of(run(instance, FIRST))
    assert set(shows) == {"clip", "player_detections", "overlay_clip", "framed_clip"}
    for stage in ("clip", "overlay_clip", "framed_clip"):
        seen = shows[stage]
        assert seen["before_and_after"].startswith("![before and after](data:image/jpeg;base64,")
        assert len(shown(Path(seen["clip"]))) == seen["frames"] == 30
        assert seen["bytes"] == Path(seen["clip"]).stat().st_size
        assert (seen["duration_seconds"], seen["frames_per_second"]) == (1.2, 25.0)
        assert abs(seen["av_offset_ms"]) <= 1024 / 48
        assert (seen["chunks"], seen["copied"], seen["made"]) == (1, False, True)
        assert seen["ms_per_frame"] > 0
        assert Path(seen["timing_waterfall.html"]).is_file()
    people = shows["player_detections"]
    assert people["people"].startswith("![the fullest frame](data:image/jpeg;base64,")
    assert people["frames"] == 2
    answer = json.loads(Path(people["json"]).read_text())
    assert [frame["seconds"] for frame in answer["frames"]] == [0.0, 0.8]
    assert people["detections"] == sum(len(frame["detections"]) for frame in answer["frames"])
