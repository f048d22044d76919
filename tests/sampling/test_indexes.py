"""Indexes are opened once however many want them, kept as they are read, and never trusted blindly."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.media_factory import MediaFactory
from tests.servers.ranges import Fault, RangeServer
from video_pipeline.errors import BadInput, Cancelled, PipelineError, Transient
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.sampling.indexes import Indexes, stored_name
from video_pipeline.sampling.keeping import FolderKeeper, StoreKeeper
from video_pipeline.sampling.runner import run_inference_impl
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.cancel import CancellationToken


class Away:
    """A double of a store that cannot be reached."""

    def get(self, key: str) -> bytes:
        raise Transient("the store is away", input=key)

    def put(self, key: str, data: bytes, **_: Any) -> None:
        raise Transient("the store is away", input=key)


def kept_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_many_threads_open_an_index_once_and_get_the_same_one(server: RangeServer) -> None:
    server.latency_s = 0.02
    source, indexes, traffic = HttpSource(server.url("h264_b.mp4")), Indexes(), Traffic()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: indexes.get(source, traffic), range(8)))
    assert len({id(index) for index, _ in found}) == 1
    assert sorted(at_hand for _, at_hand in found) == [False, *[True] * 7]
    assert len(server.log) == len(traffic.requests) == len({logged.range for logged in server.log})


def test_a_video_without_an_index_is_asked_once_in_a_run(server: RangeServer) -> None:
    source, indexes = HttpSource(server.url("gone.mp4")), Indexes()
    said = []
    for _ in range(3):
        with pytest.raises(BadInput) as caught:
            indexes.get(source, Traffic())
        said.append(str(caught.value))
    assert len(set(said)) == 1
    assert len(server.log) == 1


def test_an_index_is_kept_under_its_own_address_and_found_by_the_next_run(
    server: RangeServer, tmp_path: Path
) -> None:
    folder = tmp_path / "indexes"
    for name in ("h264_b.mp4", "h264_faststart.mp4"):
        source, indexes = HttpSource(server.url(name)), Indexes(FolderKeeper(folder))
        index, at_hand = indexes.get(source, Traffic())
        assert not at_hand
        indexes.save()
        assert stored_name(source.cache_key) in kept_in(folder)
        server.log.clear()
        again, at_hand = Indexes(FolderKeeper(folder)).get(HttpSource(server.url(name)), Traffic())
        assert at_hand
        assert server.log == []
        assert again.identity == index.identity
        assert again.movie.samples.offsets.tolist() == index.movie.samples.offsets.tolist()
    assert len(kept_in(folder)) == 2, "and nothing else is left there"


def test_an_index_is_written_again_only_when_more_of_it_was_read(server: RangeServer, tmp_path: Path) -> None:
    keeper = FolderKeeper(tmp_path / "indexes")
    source, indexes = HttpSource(server.url("h264_fragmented_mfra.mp4")), Indexes(keeper)
    name = stored_name(source.cache_key)

    def written() -> bytes | None:
        """What is stored by the next save; None if nothing is."""
        (keeper.folder / name).unlink(missing_ok=True)
        indexes.save()
        return keeper.get(name)

    index, _ = indexes.get(source, Traffic())
    index.select(0, Traffic())
    first = written()
    assert first is not None
    assert written() is None
    index.select(index.end(Traffic()) - 1, Traffic())
    more = written()
    assert more is not None
    assert len(more) > len(first)
    # The next run writes it again only if it reads more.
    keeper.put(name, more)
    indexes = Indexes(keeper)
    index, _ = indexes.get(HttpSource(server.url("h264_fragmented_mfra.mp4")), Traffic())
    assert written() is None
    index.all_samples(Traffic())
    assert written() is not None


def test_a_file_whose_server_gives_no_tag_is_not_kept(server: RangeServer, tmp_path: Path) -> None:
    server.faults = [Fault("etag", etag="")]
    indexes = Indexes(FolderKeeper(tmp_path / "indexes"))
    indexes.get(HttpSource(server.url("h264_b.mp4")), Traffic())
    (why,) = indexes.save()
    assert "no strong ETag" in why
    assert kept_in(tmp_path / "indexes") == []


@pytest.mark.parametrize("damage", [b"", b"VPINDEX1", b"flipped"])
def test_a_damaged_index_is_read_again_and_replaced(
    server: RangeServer, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keeper = FolderKeeper(tmp_path / "indexes")
    url = server.url("h264_b.mp4")
    cold = run_inference_impl(video_url=url, index_directory=keeper.folder)
    (name,) = kept_in(keeper.folder)
    whole = keeper.get(name)
    assert whole is not None
    keeper.put(name, whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:] if damage == b"flipped" else damage)
    again = run_inference_impl(video_url=url, index_directory=keeper.folder)
    assert again["index_bytes"] == cold["index_bytes"]
    assert "its index is read again" in caplog.text
    assert run_inference_impl(video_url=url, index_directory=keeper.folder)["index_bytes"] == 0


def test_what_a_cancelled_run_has_read_of_indexes_is_kept(server: RangeServer, tmp_path: Path) -> None:
    folder, cancel = tmp_path / "indexes", CancellationToken()
    server.faults = [Fault("stall", "h264_faststart.mp4")]
    urls = [server.url("h264_b.mp4"), server.url("h264_faststart.mp4")]

    def stop(_snapshot: object) -> None:
        if kept_in(folder):
            cancel.cancel("enough")

    with pytest.raises(Cancelled):
        run_inference_impl(video_urls=urls, index_directory=folder, cancel=cancel, on_progress=stop)
    server.faults = []
    result = run_inference_impl(video_urls=urls, index_directory=folder)
    assert [video["index_was_at_hand"] for video in result["videos"]] == [True, False]
    assert result["videos"][0]["index_bytes"] == 0


def test_a_place_that_cannot_be_used_costs_the_index_and_nothing_else(
    server: RangeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "indexes"
    in_the_way.write_text("a file, not a folder")
    result = run_inference_impl(video_url=server.url("h264_b.mp4"), index_directory=in_the_way)
    assert result["delivered"] == 1
    assert "a stored index cannot be read" in caplog.text
    assert "an index cannot be stored" in caplog.text


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = FolderKeeper(tmp_path)
    keeper.put("a", b"before")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", no_space)
    keeper.put("a", b"after")
    assert kept_in(tmp_path) == ["a"]
    assert keeper.get("a") == b"before"
    assert "No space left" in caplog.text


def test_the_stores_place_is_the_prefix_and_its_failures_are_said_and_passed_over(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    store: ObjectStore = open_store(settings)
    keeper = StoreKeeper(store, "acme/server/indexes/")
    assert keeper.get("a.vpindex") is None
    keeper.put("a.vpindex", b"index")
    assert store.get("acme/server/indexes/a.vpindex") == keeper.get("a.vpindex") == b"index"
    assert caplog.text == ""
    away: Any = Away()
    assert StoreKeeper(away, "acme/").get("a") is None
    StoreKeeper(away, "acme/").put("a", b"index")
    assert caplog.text.count("the store is away") == 2


def test_a_defect_while_indexes_are_kept_ends_the_run(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> bytes:
        raise PipelineError("a defect")

    monkeypatch.setattr("video_pipeline.sampling.indexes.dump_index", broken)
    with pytest.raises(PipelineError, match="a defect"):
        run_inference_impl(video_url=server.url("h264_b.mp4"), index_directory=tmp_path)


@pytest.mark.slow
def test_the_demo_film_of_many_fragments_is_kept_whole(
    server: RangeServer, media: MediaFactory, tmp_path: Path
) -> None:
    """Looked up side by side, by many threads: what is stored can be read, and answers like the first."""
    options: dict[str, Any] = {"num_batches": 24, "offset_max_seconds": None, "index_directory": tmp_path}
    url = server.url("demo_fragmented.mp4")
    cold = run_inference_impl(video_url=url, **options)
    warm = run_inference_impl(video_url=url, **options)
    assert warm["index_bytes"] == 0
    assert [row["pts"] for row in warm["frames"]] == [row["pts"] for row in cold["frames"]]
    assert len(kept_in(tmp_path)) == 1
