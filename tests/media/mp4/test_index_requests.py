"""How many requests an index costs, on eight minutes of video in every layout."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.fixtures.media_factory import DEMO_CLIP, MediaFactory, ffmpeg, place_to_make
from tests.media.mp4.test_fuzz import Bytes
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.mp4.seek import Search
from video_pipeline.media.ranges.base import Purpose, Traffic

FRAGMENTS = "+frag_keyframe+empty_moov+default_base_moof"
LAYOUTS = {
    "faststart": "+faststart",
    "moov_at_end": "",
    "sidx": f"{FRAGMENTS}+global_sidx",
    "mfra": FRAGMENTS,
    "no_index": f"{FRAGMENTS}+skip_trailer",
}
PICTURES = 12 * 1260


@pytest.fixture(scope="module")
def films(media: MediaFactory) -> dict[str, bytes]:
    """The bundled clip twelve times over, in each layout."""
    found: dict[str, bytes] = {}
    for name, flags in LAYOUTS.items():
        path = media.directory / f"long_{name}.mp4"
        with place_to_make(path) as folder:
            if folder:
                made = folder / path.name
                extra = ["-movflags", flags] if flags else []
                ffmpeg(["-stream_loop", "11", "-i", str(DEMO_CLIP), "-c", "copy", *extra, str(made)])
                made.rename(path)
        found[name] = path.read_bytes()
    return found


def moments(count: int = 5) -> list[int]:
    chance = random.Random(11)
    return [chance.randrange(500 * 15_360) for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "to_open", "kind"),
    [("faststart", 2, "plain"), ("moov_at_end", 2, "plain"), ("sidx", 1, "sidx"), ("mfra", 2, "mfra")],
)
def test_opening_asks_little_and_the_first_picture_one_header_more(
    films: dict[str, bytes], name: str, to_open: int, kind: str
) -> None:
    traffic = Traffic()
    index = open_index(Bytes(films[name], name), traffic)
    assert index.kind == kind
    assert len(traffic.requests) <= to_open
    index.select(moments()[0], traffic)
    # The header of the fragment, and at a GOP's end of the next one.
    assert len(traffic.requests) <= to_open + (0 if kind == "plain" else 2)


@pytest.mark.parametrize("name", LAYOUTS)
def test_looking_up_again_asks_nothing(films: dict[str, bytes], name: str) -> None:
    traffic = Traffic()
    index = open_index(Bytes(films[name], name), traffic)
    for moment in moments():
        index.select(moment, traffic)
    asked = len(traffic.requests)
    for moment in moments():
        index.select(moment, traffic)
    assert len(traffic.requests) == asked


@pytest.mark.parametrize("search", ["walk", "bisect"])
def test_lookups_side_by_side_read_no_fragments_header_twice(films: dict[str, bytes], search: Search) -> None:
    index = open_index(Bytes(films["no_index"], "film"), Traffic(), search=search)
    alone = [index.select(moment, Traffic()).pts for moment in moments(16)]
    traffic = Traffic()
    index = open_index(Bytes(films["no_index"], "film"), traffic, search=search)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda moment: index.select(moment, traffic).pts, moments(16)))
    assert found == alone
    if search == "walk":
        starts = [record.start for record in traffic.requests if record.start]
        assert len(starts) == len(set(starts))


def test_walking_reads_each_header_once_and_knows_every_picture(films: dict[str, bytes]) -> None:
    traffic = Traffic()
    index = open_index(Bytes(films["no_index"], "film"), traffic, search="walk")
    assert len(index.all_samples(traffic)) == PICTURES
    fragments = index.fragments
    assert fragments is not None
    assert len(traffic.requests) <= len(fragments.loaded()) + 3


def test_bisecting_asks_far_less_often_than_walking_and_finds_the_same(films: dict[str, bytes]) -> None:
    walked, bisected = Traffic(), Traffic()
    by_walking = open_index(Bytes(films["no_index"], "film"), walked, search="walk")
    by_bisecting = open_index(Bytes(films["no_index"], "film"), bisected, search="bisect")
    for moment in moments():
        assert by_bisecting.select(moment, bisected).pts == by_walking.select(moment, walked).pts
    assert len(bisected.requests) <= 60
    assert bisected.received() < len(films["no_index"]) / 2
    # The end is known to a bisection too.
    assert by_bisecting.end(bisected) == by_walking.end(walked)


def test_the_way_is_chosen_by_the_measured_latency(films: dict[str, bytes]) -> None:
    class Slow(Bytes):
        def read(self, start: int, stop: int, *, purpose: Purpose, traffic: Traffic) -> bytes:
            here = Traffic()
            data = super().read(start, stop, purpose=purpose, traffic=here)
            (record,) = here.requests
            traffic.add(replace(record, ended=record.began + 0.05))
            return data

    assert open_index(Bytes(films["no_index"], "near"), Traffic()).kind == "walk"
    far = open_index(Slow(films["no_index"], "far"), Traffic())
    assert far.kind == "bisect"
    assert "ms a request" in far.notes[0]
