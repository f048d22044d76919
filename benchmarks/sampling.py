"""Random frames of a remote video: bytes, requests, waiting, and how well a large run overlaps its work.

Belongs here: figures over a loopback server that counts bytes and requests, against the bytes of the pictures
that must be decoded, and against other readers in the same run. Does not belong here: decoding speed
(`decode`).
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Figure, figure_of
from benchmarks.media import CACHE, LAYOUTS, ten_minutes, video_720p
from tests.servers.ranges import RangeServer
from video_pipeline.media.decode_memory import SoftwareMemoryDecoder
from video_pipeline.media.mp4.boxes import parse_header
from video_pipeline.media.mp4.index import ticks
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.mp4.seek import Search
from video_pipeline.media.mp4.sidecar import dump_index, load_index
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_pool import HttpPool
from video_pipeline.sampling.fetch import fetch_unit, plan_units
from video_pipeline.sampling.request import SampleOptions
from video_pipeline.sampling.runner import run_sample
from video_pipeline.telemetry.timing import Recorder, timed_operation, use_recorder

SEEDS = range(20)
FRAMES = 5
LATENCY_S = 0.03
BYTES_PER_S = 12_500_000
WALL_SEEDS = range(5)


def measure() -> list[Figure]:
    for layout in LAYOUTS:
        ten_minutes(layout)
    with RangeServer(CACHE) as server:
        figures = [*_bytes_and_requests(server), *_walls(server), _overlap(server), _span()]
    # At the speed of a network: what a reader asked for and left counts as far as it had come.
    with RangeServer(CACHE, latency_s=LATENCY_S, bytes_per_s=BYTES_PER_S) as server:
        return [*figures, *_against_pyav(server)]


def moments(seed: int) -> list[Fraction]:
    """Five times over the whole length."""
    chance = np.random.default_rng([seed, 77])
    return [Fraction(int(value * 1000), 1000) for value in chance.uniform(0, 630, FRAMES)]


def minimum(layout: str, times: Sequence[Fraction]) -> tuple[int, int, int]:
    """By the file on disk: bytes of the pictures from each key frame to its target, each once; bytes of the
    index that tells of them (moov, sidx or mfra, the headers of their fragments); and how many pictures they
    are."""
    path, traffic = ten_minutes(layout), Traffic()
    source = FileSource(path)
    index = open_index(source, traffic, search="bisect")
    at = [ticks(time, index.track.time_base) for time in times]
    units = plan_units({number: index.select(time, traffic) for number, time in enumerate(at)})
    told = sum(size for kind, size in _boxes(path) if kind in ("moov", "sidx", "mfra"))
    if index.fragments is not None:
        starts = {fragment.start for fragment, _ in index.fragments.loaded()}
        wanted = [s for unit in units for group in unit.groups for s in group.samples.offsets.tolist()]
        holding = {max(start for start in starts if start < offset) for offset in wanted}
        told += sum(
            part.moof_stop - part.start for part, _ in index.fragments.loaded() if part.start in holding
        )
    source.close()
    return (
        sum(unit.minimum_bytes for unit in units),
        told,
        sum(len(group.samples) for unit in units for group in unit.groups),
    )


def _boxes(path: Path) -> Iterator[tuple[str, int]]:
    """Kind and size of each top-level box."""
    with path.open("rb") as file:
        at, end = 0, path.stat().st_size
        while at < end:
            file.seek(at)
            header = parse_header(file.read(16), 0, at)
            stop = end if header.stop is None else header.stop
            yield header.kind, stop - at
            at = stop


class Ours:
    """Five frames by our reader. `stored` is an index of an earlier session, `search` how to do without
    one."""

    def __init__(self, server: RangeServer, layout: str, search: Search | None = None) -> None:
        self.server, self.name = server, ten_minutes(layout).name
        self.search: Search | None = search
        self.stored: bytes | None = None
        self.round_trips = 0
        self.units = 0

    def frames(self, times: Sequence[Fraction]) -> int:
        """Looks up, fetches and decodes side by side, as the stream does; the number of pictures decoded."""
        from concurrent.futures import ThreadPoolExecutor

        traffic, media = Traffic(), Traffic()
        with HttpPool() as pool, ThreadPoolExecutor(FRAMES) as workers:
            source = HttpSource(self.server.url(self.name), pool=pool)
            if self.stored is None:
                index = open_index(source, traffic, search=self.search)
            else:
                index = load_index(self.stored, source, name=self.name)
            opened = len(traffic.requests)
            targets = [ticks(time, index.track.time_base) for time in times]
            picked = list(workers.map(lambda at: index.select(at, traffic), targets))
            units = plan_units(dict(enumerate(picked)))
            # The headers of the targets' fragments are read side by side.
            self.round_trips, self.units = opened + (len(traffic.requests) > opened), len(units)

            def show(unit: Any) -> int:
                fetched, decoder = fetch_unit(unit, source, media), SoftwareMemoryDecoder()
                for group in unit.groups:
                    wanted = {selection.media_pts for _, selection in group.wanted}
                    assert len(list(decoder.decode(fetched.run(group, index), wanted))) == len(wanted)
                return sum(len(group.samples) for group in unit.groups)

            decoded = sum(workers.map(show, units))
            self.index = index
            source.close()
        return decoded


def _bytes_and_requests(server: RangeServer) -> list[Figure]:
    figures: list[Figure] = []
    for layout, most, trips in (
        ("faststart", 1.08, 2),
        ("moov at the end", 1.08, 3),
        ("sidx", 1.15, 3),
        ("mfra", 1.15, 3),
    ):
        runs = [_cold_and_warm(server, layout, seed) for seed in SEEDS]
        figures += [
            figure_of(f"{layout}: bytes cold / minimum and index", most, [run["cold"] for run in runs]),
            figure_of(f"{layout}: round trips before media", trips, [run["trips"] for run in runs], unit=""),
            figure_of(f"{layout}: media bytes warm / minimum", 1.05, [run["warm"] for run in runs]),
            figure_of(f"{layout}: requests warm / group of GOPs", 1.0, [run["per_group"] for run in runs]),
            figure_of(f"{layout}: pictures decoded / needed", 1.0, [run["decoded"] for run in runs]),
        ]
    searches: tuple[tuple[Search, float], ...] = (("walk", 1.6), ("bisect", 8.0))
    for search, most in searches:
        runs = [_cold_and_warm(server, "no index", seed, search) for seed in SEEDS]
        figures.append(
            figure_of(f"no index, {search}: bytes cold / minimum", most, [run["cold_media"] for run in runs])
        )
        if search == "bisect":
            requests = [run["requests"] for run in runs]
            figures.append(figure_of("no index, bisect: requests cold", 60, requests, unit=""))
        again = [run["warm"] for run in runs]
        figures.append(figure_of(f"no index, {search}: bytes reopened / minimum", 1.05, again))
    return figures


def _cold_and_warm(
    server: RangeServer, layout: str, seed: int, search: Search | None = None
) -> dict[str, float]:
    """One seed: five frames without knowing the file, then the same with the index that was kept."""
    times = moments(seed)
    least, told, pictures = minimum(layout, times)
    reader = Ours(server, layout, search)
    server.log.clear()
    decoded = reader.frames(times)
    cold, requests, trips = server.sent(), len(server.log), reader.round_trips
    reader.stored = dump_index(reader.index)
    server.log.clear()
    reader.frames(times)
    assert {logged.method for logged in server.log} == {"GET"}
    return {
        "cold": cold / (least + told),
        "cold_media": cold / least,
        "requests": requests,
        "trips": trips,
        "warm": server.sent() / least,
        "per_group": len(server.log) / reader.units,
        "decoded": decoded / pictures,
    }


def _against_pyav(server: RangeServer) -> list[Figure]:
    figures: list[Figure] = []
    for layout, most in (("faststart", 0.4), ("moov at the end", 0.4), ("sidx", 0.15), ("mfra", 0.04)):
        runs: list[float] = []
        for seed in SEEDS if layout in ("faststart", "moov at the end") else WALL_SEEDS:
            times = moments(seed)
            server.log.clear()
            Ours(server, layout).frames(times)
            ours = server.sent()
            server.log.clear()
            by_pyav(server.url(ten_minutes(layout).name), times)
            runs.append(ours / _settled(server))
        figures.append(figure_of(f"{layout}: bytes cold / PyAV's own HTTP reader", most, runs))
    return figures


def _settled(server: RangeServer) -> int:
    """Bytes sent, once the server has noticed that its client is gone."""
    sent, before = server.sent(), -1
    while sent != before:
        time.sleep(0.3)
        before, sent = sent, server.sent()
    return sent


def by_pyav(url: str, times: Sequence[Fraction]) -> None:
    """Open once, seek to each time, decode up to it: libav's own HTTP reader, a connection for each seek. On
    one connection it would have to read on to the end of what it asked for first, mostly the whole file."""
    import av
    import av.error

    try:
        container = av.open(url)
    except av.error.EOFError:
        # libav 8 fails on fragments with both sidx and mfra unless it keeps its connection.
        container = av.open(url, options={"multiple_requests": "1"})
    with container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        for time_ in times:
            target = int(time_ / stream.time_base)
            container.seek(target, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts + (frame.duration or 0) > target:
                    break


def by_opencv(url: str, times: Sequence[Fraction]) -> None:
    import cv2  # pyright: ignore[reportMissingImports]

    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        # As in `by_pyav`.
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "multiple_requests;1"
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        del os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]
    for time_ in times:
        capture.set(cv2.CAP_PROP_POS_MSEC, float(time_) * 1000)
        assert capture.read()[0]
    capture.release()


def by_torchcodec(url: str, times: Sequence[Fraction]) -> None:
    from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

    decoder = VideoDecoder(url, seek_mode="approximate")
    for time_ in times:
        decoder.get_frame_played_at(float(time_))


PEERS: dict[str, tuple[str, Callable[[str, Sequence[Fraction]], None]]] = {
    "PyAV": ("av", by_pyav),
    "OpenCV": ("cv2", by_opencv),
    "torchcodec": ("torchcodec", by_torchcodec),
}
"""Readers and the module each needs; those that are not installed are left out, and the figure says so."""


def _walls(server: RangeServer) -> list[Figure]:
    peers = {name: work for name, (module, work) in PEERS.items() if importlib.util.find_spec(module)}
    figures: list[Figure] = []
    server.latency_s = LATENCY_S
    for layout, most in (("faststart", 0.6), ("sidx", 0.4), ("mfra", 0.1), ("no index", 0.5)):
        url, runs, best = server.url(ten_minutes(layout).name), [], []
        # On fragments libav reads each header by a request of its own: eleven seconds a seed.
        for seed in WALL_SEEDS if layout == "faststart" else list(WALL_SEEDS)[:3]:
            times = moments(seed)
            ours = _seconds(partial(Ours(server, layout).frames, times))
            others = {name: _seconds(partial(work, url, times)) for name, work in peers.items()}
            best.append(min(others, key=lambda name: others[name]))
            runs.append(ours / min(others.values()))
        detail = {"peers": sorted(peers), "best": best}
        figures.append(figure_of(f"{layout}: wall at 30 ms / best peer", most, runs, detail=detail))
    server.latency_s = 0.0
    return figures


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _overlap(server: RangeServer) -> Figure:
    """40 videos of 720p, four frames of each."""
    video_720p(b_frames=True)
    urls = [server.url("720p_gop60.mp4") + f"?copy={number}" for number in range(40)]
    runs: list[float] = []
    for seed in range(3):
        options = SampleOptions(num_batches=4, random_seed=seed, offset_max_seconds=None)
        # The network is loaded, and warm, before the clock runs: that is a cost of the process.
        run_sample(options.model_copy(update={"num_batches": 1}), urls[:1])
        report = run_sample(options, urls).report
        runs.append(report.wall_s / report.floor_s)
    return figure_of("40 videos x 4 frames: wall / floor", 1.2, runs)


def _span() -> Figure:
    count, runs = 20_000, []
    for _ in range(5):
        with use_recorder(Recorder(limit=count)):
            began = time.perf_counter()
            for _ in range(count):
                with timed_operation("span"):
                    pass
            runs.append((time.perf_counter() - began) / count * 1e6)
    return Figure("a timing span", 5.0, statistics.median(runs), "us", runs=tuple(runs))
