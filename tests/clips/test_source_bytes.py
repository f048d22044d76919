"""What a part of a fragmented source costs to read from a store that is far away."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips.films import TENANT, Desk, make_film
from tests.fixtures.media_factory import DEMO_CLIP, ffmpeg
from video_pipeline.clips.sources import StoreSources
from video_pipeline.errors import Transient
from video_pipeline.media.clip_source import ClipSource
from video_pipeline.media.stream_copy import copy_range
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.store.reader import FIRST_BLOCK, BlockReader, FileReader, ReadStats, StoreReader

FRAGMENTED = "+frag_keyframe+empty_moov+default_base_moof"
SPARE = 1_500_000
"""Bytes added to each fragment's media data, for the size of a film with a high bit rate."""


class FarStore(DirectoryStore):
    """A double of S3: its readers fetch blocks as S3's do. `fetched` are the bytes that left it, `small` the
    requests for less than a block, `furthest` the end of the last byte asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched = 0
        self.small = 0
        self.opened = 0
        self.furthest = 0

    def get_range(self, key: str, start: int, stop: int, *, version: str | None = None) -> bytes:
        self.furthest = max(self.furthest, stop)
        data = super().get_range(key, start, stop, version=version)
        self.fetched += len(data)
        self.small += len(data) < FIRST_BLOCK
        return data

    def open_reader(self, key: str) -> StoreReader:  # type: ignore[override]
        info = self.head(key)
        assert info is not None
        self.opened += 1

        def fetch(start: int, stop: int, *, stats: ReadStats, stopped: object) -> bytes:
            data = self.get_range(key, start, stop, version=info.version)
            stats.add(requests=1, bytes_fetched=len(data))
            return data

        return BlockReader(fetch, name=key, version=info.version, size=info.size)


def spaced(data: bytes) -> bytes:
    """The same fragmented film with SPARE zeros at the end of all media data. Its addresses are relative to
    the fragments, so they stay right."""
    parts, at = [], 0
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + size]
        spare = bytes(SPARE if kind == b"mdat" else 0)
        parts += [(size + len(spare)).to_bytes(4, "big"), kind, body, spare]
        at += size
    return b"".join(parts)


@pytest.fixture(params=["no index", "mfra"])
def far(request: pytest.FixtureRequest, desk: Desk) -> tuple[Desk, FarStore, str, int]:
    """A film of 168 s in 36 fragments, the store, the film's key and size."""
    path = desk.films / "long.mp4"
    flags = FRAGMENTED + ("+skip_trailer" if request.param == "no index" else "")
    ffmpeg(["-stream_loop", "3", "-i", str(DEMO_CLIP), "-c", "copy", "-movflags", flags, str(path)])
    path.write_bytes(spaced(path.read_bytes()))
    key = desk.put(path)
    desk.store = store = FarStore(desk.films.parent / "store")
    return desk, store, key, path.stat().st_size


def test_a_chunk_of_a_fragmented_source_reads_only_its_part(far: tuple[Desk, FarStore, str, int]) -> None:
    desk, store, key, size = far
    result = desk.run(
        "process_framing_ai_chunk",
        source_key=key,
        keyframes=[{"time": 0, "x": 0, "y": 0, "width": 640, "height": 360}],
        output_width=160,
        output_height=90,
        fps="2",
        start_frame=200,
        end_frame=204,
    )
    assert result.frames == 4
    assert store.opened > 1
    # 2 s of 168, in blocks of 256 KiB and 1 MiB: at the beginning, the end, and where they are.
    assert 0 < store.fetched < 0.08 * size
    assert desk.last is not None
    assert desk.last.usage.bytes_read == pytest.approx(store.fetched, rel=0.05)
    store.fetched = 0
    with store.open_reader(key) as reader, ClipSource(reader, name="it"):  # type: ignore[arg-type]
        assert store.fetched > 0.12 * size


def test_sound_and_copied_parts_read_no_more(far: tuple[Desk, FarStore, str, int], tmp_path: Path) -> None:
    _, store, key, size = far
    sources = StoreSources(store, [key])
    with sources.open_bytes(0) as source:
        copied = copy_range(source, Fraction(100), Fraction(102), tmp_path / "copy.mp4", name="it")
    assert copied.frames > 50
    assert store.fetched < 0.12 * size
    assert "36 fragments' headers" in (sources.how_read(0) or "")


def test_headers_are_fetched_once_however_often_a_source_is_opened(
    far: tuple[Desk, FarStore, str, int],
) -> None:
    _, store, key, _ = far
    sources = StoreSources(store, [key, key])
    assert sources.how_read(1) is None
    first = sources.facts(0)
    assert 36 <= store.small <= 40
    small = store.small
    for number in (0, 1, 0):
        with sources.open(number) as source:
            assert (source.start, source.frame_rate) == (first.start, first.frame_rate)
    assert store.small == small
    assert sources.bytes_read == pytest.approx(store.fetched, rel=0.05)
    assert sources.how_read(1) == sources.how_read(0)


def test_a_source_that_was_replaced_is_read_by_its_own_headers(desk: Desk, tmp_path: Path) -> None:
    key = f"{TENANT}/client/videos/film/video.mp4"
    films = []
    for name, frames in (("one", 50), ("other", 75)):
        made = make_film(tmp_path / f"{name}.mp4", frames=frames)
        films.append(tmp_path / f"{name}_fragmented.mp4")
        ffmpeg(["-i", str(made), "-c", "copy", "-movflags", FRAGMENTED, str(films[-1])])
    version = desk.store.put(key, films[0]).version
    sources, pinned = StoreSources(desk.store, [key]), StoreSources(desk.store, [key], {key: version})
    with sources.open(0) as source, pinned.open(0) as same:
        assert source.stop - source.start == same.stop - same.start == 2
    desk.store.put(key, films[1])
    with sources.open(0) as source:
        assert source.stop - source.start == 3
        assert len(list(source.pictures())) == 75
    with pytest.raises(Transient, match="was replaced"), pinned.open(0):
        pass


def test_a_local_source_goes_on_with_its_old_content_when_it_is_replaced_meanwhile(
    desk: Desk, tmp_path: Path
) -> None:
    key = f"{TENANT}/client/videos/film/video.mp4"
    made = make_film(tmp_path / "film.mp4", frames=50)
    ffmpeg(["-i", str(made), "-c", "copy", "-movflags", FRAGMENTED, str(tmp_path / "one.mp4")])
    desk.store.put(key, tmp_path / "one.mp4")

    class Replaced(DirectoryStore):
        """Replaces what it has opened at once."""

        def open_reader(self, key: str) -> FileReader:
            reader = super().open_reader(key)
            self.put(key, made)
            return reader

    sources = StoreSources(Replaced(desk.films.parent / "store"), [key])
    with sources.open(0) as source:
        assert source.stop - source.start == 2
    assert "fragments' headers in" in (sources.how_read(0) or "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "most"),
    [("+faststart", 13.6), (f"{FRAGMENTED}+skip_trailer", 13.6), ("+frag_keyframe+dash+global_sidx", 14.2)],
    ids=["plain", "fragmented", "indexed"],
)
def test_nothing_is_read_ahead_behind_a_part(desk: Desk, flags: str, most: float) -> None:
    path = desk.films / "noise.mp4"
    noise = "testsrc2=size=320x180:rate=25:duration=24,noise=alls=60:allf=t"
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "8", "-g", "25", "-threads", "1"]
    ffmpeg(["-f", "lavfi", "-i", noise, *encoder, "-movflags", flags, str(path)])
    size = path.stat().st_size
    key = desk.put(path)
    store = FarStore(desk.films.parent / "store")
    sources = StoreSources(store, [key])
    with sources.open(0) as source:
        assert source.stop == 24
        store.furthest = 0
        assert len(list(source.pictures(Fraction(8), Fraction(12)))) == 100
        # To the end of the part and 34 pictures more, to look ahead; by pieces of a second where an index
        # states those.
        assert size * 12 / 24 < store.furthest < size * most / 24
        assert len(list(source.pictures(Fraction(14)))) == 250
    assert size > 24 << 20
    assert sources.bytes_read == pytest.approx(store.fetched, rel=0.05)


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real footage with its sound, ten minutes at about 2.5 Mbit/s, a key picture each two seconds."""
    folder = tmp_path_factory.mktemp("ten-minutes")
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "2400k", "-g", "60", "-threads", "1"]
    ffmpeg(["-i", str(DEMO_CLIP), *encoder, "-c:a", "copy", str(folder / "once.mp4")])
    ffmpeg(["-stream_loop", "14", "-i", str(folder / "once.mp4"), "-c", "copy", str(folder / "film.mp4")])
    return folder / "film.mp4"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "most"),
    [("+faststart", 1.04), (f"{FRAGMENTED}+skip_trailer", 1.04), ("+frag_keyframe+dash+global_sidx", 1.07)],
    ids=["plain", "fragmented", "indexed"],
)
def test_a_chunk_of_real_footage_reads_little_more_than_its_part(
    desk: Desk, ten_minutes: Path, flags: str, most: float
) -> None:
    """What a call reads to open a film and find its end, and then for a part, against the bytes from the
    part's first packet to its last: 20.5 MB, of which 3, 3 and 6 % more are read."""
    path = desk.films / "film.mp4"
    ffmpeg(["-i", str(ten_minutes), "-c", "copy", "-movflags", flags, str(path)])
    key, start, stop = desk.put(path), Fraction(225), Fraction(300)
    store = FarStore(desk.films.parent / "store")
    sources = StoreSources(store, [key])
    assert sources.facts(0).stop > 590
    opening, store.fetched = store.fetched, 0
    assert opening < 2_500_000
    with sources.open(0) as source:
        assert len(list(source.pictures(start, stop))) == 75 * 30
    assert sources.bytes_read == opening + store.fetched
    part = _bytes_of(path, start, stop)
    assert part > 20_000_000
    assert part < store.fetched < most * part


def test_a_source_that_is_opened_again_reads_its_beginning_no_second_time(
    far: tuple[Desk, FarStore, str, int],
) -> None:
    _, store, key, _ = far
    sources = StoreSources(store, [key])
    with sources.open(0) as source:
        first = next(source.pictures())
    fetched = store.fetched
    for _ in range(3):
        with sources.open(0) as source:
            assert np.array_equal(next(source.pictures()).frame.y, first.frame.y)
    assert store.fetched == fetched == sources.bytes_read


def test_what_is_kept_of_sources_has_a_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    films = [make_film(desk.films / f"{name}.mp4", frames=50) for name in ("one", "other")]
    store = FarStore(desk.films.parent / "store")
    keys = [desk.put(film) for film in films]
    monkeypatch.setattr("video_pipeline.clips.sources.KEPT_BYTES", films[1].stat().st_size + 1)
    sources = StoreSources(store, keys)
    spent = []
    for number in (0, 0, 1, 0):
        store.fetched = 0
        sources.facts(number)
        with sources.open(number):
            spent.append(store.fetched)
    assert spent[0] > 0
    assert spent[1] == 0
    assert spent[2] > 0
    assert spent[3] > 0


def _bytes_of(path: Path, start: Fraction, stop: Fraction) -> int:
    """From the first byte of the group of pictures that shows `start` to the last of a picture before
    `stop`."""
    begin, end = 0, 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.pts is None or packet.pos is None:
                continue
            seconds = packet.pts * Fraction(packet.time_base)
            if packet.is_keyframe and seconds <= start:
                begin = packet.pos
            if seconds < stop:
                end = max(end, packet.pos + packet.size)
    return end - begin
