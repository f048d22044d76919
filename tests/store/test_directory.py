"""What only a directory store has to get right: the file system under it, and the user beside it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from video_pipeline.errors import BadInput, Transient
from video_pipeline.store.base import PreconditionFailed, UnfinishedUpload
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.store.files import ORPHAN_AGE_S

MIB = 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return DirectoryStore(root)


def _age(path: Path, seconds: float = 10.0) -> None:
    """Sets the time of change back, as if the file had been there for a while."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def _visible(root: Path) -> list[str]:
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and ".store" not in path.relative_to(root).parts
    )


def test_an_object_is_just_the_file_of_its_key(
    store: DirectoryStore, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("demo/client/videos/street/video.mp4", b"content")

    assert _visible(root) == ["demo/client/videos/street/video.mp4"]
    assert (root / "demo/client/videos/street/video.mp4").read_bytes() == b"content"
    assert [info.key for info in store.list("")] == ["demo/client/videos/street/video.mp4"]
    assert caplog.text == ""
    assert list((root / ".store/tmp").iterdir()) == []


def test_looking_into_a_directory_that_is_not_there_makes_nothing(store: DirectoryStore, root: Path) -> None:
    assert store.head("demo/a") is None
    assert list(store.list("demo/")) == []
    store.delete("demo/a")
    assert not root.exists()


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="VIDEO_PIPELINE_STORE"):
        DirectoryStore(tmp_path / "file")


def test_a_file_that_a_user_put_there_is_an_object(store: DirectoryStore, root: Path) -> None:
    (root / "demo").mkdir(parents=True)
    (root / "demo/video.mp4").write_bytes(b"dropped here")

    info = store.head("demo/video.mp4")

    assert info is not None
    assert info.version == f"sha256:{hashlib.sha256(b'dropped here').hexdigest()}"
    assert store.get("demo/video.mp4") == b"dropped here"


def test_the_version_is_of_the_content_and_not_of_its_date(store: DirectoryStore, root: Path) -> None:
    first = store.put("demo/a", b"x" * (2 * MIB))
    _age(root / "demo/a")
    again = store.head("demo/a")

    assert again is not None
    assert again.version == first.version


def test_a_large_file_is_hashed_once_for_all_processes(store: DirectoryStore, root: Path) -> None:
    (root / "demo").mkdir(parents=True)
    (root / "demo/big").write_bytes(os.urandom(2 * MIB))
    _age(root / "demo/big")
    info = store.head("demo/big")
    (record,) = (root / ".store/hashes").rglob("*.json")

    # What a second process answers shows that it believed the record and did not read the file.
    known = json.loads(record.read_text())
    assert info is not None
    assert info.version == f"sha256:{known['sha256']}"
    record.write_text(json.dumps({**known, "sha256": "0" * 64}))
    other = DirectoryStore(root).head("demo/big")
    assert other is not None
    assert other.version == f"sha256:{'0' * 64}"


def test_a_file_changed_a_moment_ago_is_not_remembered_yet(store: DirectoryStore, root: Path) -> None:
    """Within one tick of a coarse file system's clock, another change would look like none."""
    (root / "demo").mkdir(parents=True)
    (root / "demo/big").write_bytes(bytes(2 * MIB))

    store.head("demo/big")
    assert list((root / ".store").rglob("*.json")) == []
    _age(root / "demo/big")
    store.head("demo/big")
    assert len(list((root / ".store").rglob("*.json"))) == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"file": 3, "sha256": "x"}', '{"file": [1]}'])
def test_a_damaged_hash_record_is_not_believed(store: DirectoryStore, root: Path, damage: str) -> None:
    info = store.put("demo/big", bytes(2 * MIB))
    (record,) = (root / ".store/hashes").rglob("*.json")
    record.write_text(damage)

    again = DirectoryStore(root).head("demo/big")
    assert again is not None
    assert again.version == info.version


def test_a_large_file_changed_by_its_user_is_a_new_version(store: DirectoryStore, root: Path) -> None:
    store.put("demo/big", bytes(2 * MIB))
    for number in range(1, 6):
        # Same size, same inode, and within one tick of the clock: only the content tells.
        with (root / "demo/big").open("r+b") as file:
            file.write(bytes([number]))
        info = store.head("demo/big")
        assert info is not None
        expected = hashlib.sha256((root / "demo/big").read_bytes()).hexdigest()
        assert info.version == f"sha256:{expected}"


def test_a_large_file_that_keeps_its_size_and_date_is_a_new_version_all_the_same(
    store: DirectoryStore, root: Path
) -> None:
    store.put("demo/big", bytes(2 * MIB))
    path = root / "demo/big"
    os.utime(path, (1_600_000_000, 1_600_000_000))  # long settled, so that its hash is remembered
    before = store.head("demo/big")
    with path.open("r+b") as file:
        file.write(b"x")
    # What copies files with their times does this; only the inode's own time of change tells.
    os.utime(path, (1_600_000_000, 1_600_000_000))
    after = store.head("demo/big")
    assert before is not None
    assert after is not None
    assert (before.size, before.modified) == (after.size, after.modified)
    assert after.version == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" != before.version


def test_a_file_that_is_still_growing_is_not_described(
    store: DirectoryStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "demo/big"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(8 * MIB))
    reads: list[int] = []

    def read_and_grow(descriptor: int, count: int, position: int) -> bytes:
        reads.append(position)
        with path.open("ab") as file:
            file.write(bytes(MIB))
        return read(descriptor, count, position)

    read = os.pread
    monkeypatch.setattr(os, "pread", read_and_grow)
    with pytest.raises(BadInput, match="changing"):
        store.head("demo/big")
    # Three times as far as the file went when that began: its end, which moves on as fast, is not chased.
    assert reads.count(0) == 3
    assert len(reads) < 3 * 40


def test_a_file_changed_in_place_during_a_read_is_an_error(store: DirectoryStore, root: Path) -> None:
    store.put("demo/a", bytes(100_000))
    _age(root / "demo/a")

    with store.open_reader("demo/a") as reader:
        reader.read(10)
        with (root / "demo/a").open("r+b") as file:
            file.write(b"changed")
        with pytest.raises(BadInput, match="in place"):
            reader.read(10)


def test_a_link_out_of_the_store_is_refused(store: DirectoryStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("secret")
    store.put("demo/inside", b"inside")
    (root / "demo/link").symlink_to(tmp_path / "secret/file")
    (root / "demo/folder").symlink_to(tmp_path / "secret")
    (root / "demo/own").symlink_to(root / ".store")

    for key in ("demo/link", "demo/folder/file", "demo/folder/new", "demo/own/locks/000"):
        for call in (
            store.head,
            store.get,
            store.delete,
            store.open_reader,
            lambda key: store.put(key, b"x"),
        ):
            with pytest.raises(BadInput, match="leads out of the store"):
                call(key)

    assert sorted(path.name for path in (tmp_path / "secret").iterdir()) == ["file"]
    assert (tmp_path / "secret/file").read_text() == "secret"


def test_a_listing_leaves_out_what_it_may_not_read_and_says_so(
    store: DirectoryStore, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "elsewhere").write_text("x")
    store.put("demo/b", b"inside")
    (root / "demo/a").symlink_to(tmp_path / "elsewhere")
    (root / "demo/c").symlink_to(root / "demo/b")
    (root / "demo/d").symlink_to(root / "demo/nothing")
    (root / "demo/new\nline").write_text("x")
    os.mkfifo(root / "demo/pipe")

    assert [info.key for info in store.list("demo/")] == ["demo/b", "demo/c"]
    assert "demo/a" in caplog.text
    assert "new" in caplog.text


def test_links_in_a_circle_are_an_error(store: DirectoryStore, root: Path) -> None:
    (root / "demo").mkdir(parents=True)
    (root / "demo/a").symlink_to(root / "demo/b")
    (root / "demo/b").symlink_to(root / "demo/a")

    with pytest.raises(BadInput, match="demo/a"):
        store.head("demo/a")


def test_a_key_cannot_be_the_folder_of_another(store: DirectoryStore, root: Path) -> None:
    store.put("demo/a/b", b"x")
    with pytest.raises(BadInput, match="the key is a folder"):
        store.put("demo/a", b"y")
    with pytest.raises(BadInput, match="the key is a folder"):
        store.put("demo/a", b"y", if_none_match=True)
    for under in ("demo/a/b/c", "demo/a/b/c/d"):
        with pytest.raises(BadInput, match="itself an object"):
            store.put(under, b"y")
        assert store.head(under) is None
        store.delete(under)

    assert store.head("demo/a") is None
    store.delete("demo/a")
    assert _visible(root) == ["demo/a/b"]
    store.delete("demo/a/b")
    store.put("demo/a", b"now it can be")
    assert store.get("demo/a") == b"now it can be"


def test_an_empty_folder_is_no_object_and_in_nobodys_way(store: DirectoryStore, root: Path) -> None:
    (root / "demo/a").mkdir(parents=True)

    assert store.head("demo/a") is None
    store.put("demo/a", b"x", if_none_match=True)
    assert store.get("demo/a") == b"x"


def test_deleting_the_last_object_removes_its_folders(store: DirectoryStore, root: Path) -> None:
    store.put("demo/a/b/c", b"x")
    store.put("demo/d", b"x")
    store.delete("demo/a/b/c")

    assert sorted(path.name for path in (root / "demo").iterdir()) == ["d"]
    store.delete("demo/d")
    assert sorted(path.name for path in root.iterdir()) == [".store"]


def test_writers_survive_folders_that_vanish(root: Path) -> None:
    errors: list[BaseException] = []

    def work(name: str) -> None:
        store = DirectoryStore(root)
        try:
            for _ in range(60):
                store.put(f"demo/a/b/{name}", b"x", if_none_match=True)
                store.delete(f"demo/a/b/{name}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert _visible(root) == []


def test_too_long_a_name_is_an_error(store: DirectoryStore) -> None:
    with pytest.raises(BadInput, match="file name"):
        store.put(f"demo/{'a' * 300}", b"x")


@contextlib.contextmanager
def _no_file_larger_than(count: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_leaves_the_old_content(store: DirectoryStore, root: Path) -> None:
    store.put("demo/a", b"old")

    with _no_file_larger_than(3 * MIB), pytest.raises(Transient, match="demo/a"):
        store.put("demo/a", bytes(4 * MIB))

    assert store.get("demo/a") == b"old"
    assert list((root / ".store/tmp").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_missing_permissions_are_named(store: DirectoryStore, root: Path) -> None:
    store.put("demo/a", b"x")
    (root / "demo/a").chmod(0)

    with pytest.raises(BadInput, match="permissions"):
        store.get("demo/a")


def test_presigning_gives_a_file_url(store: DirectoryStore, root: Path) -> None:
    assert store.presign("demo/a b") == f"file://{root}/demo/a%20b"


def test_what_a_killed_writer_left_is_swept_later(store: DirectoryStore, root: Path) -> None:
    folder = root / ".store/tmp"
    folder.mkdir(parents=True)
    for name in ("orphan", "fresh", "alive"):
        (folder / name).write_bytes(b"half")
    for name in ("orphan", "alive"):
        _age(folder / name, ORPHAN_AGE_S + 60)

    with (folder / "alive").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        store.put("demo/a", b"x")

    assert sorted(path.name for path in folder.iterdir()) == ["alive", "fresh"]


def _put_for_ever(root: Path, sources: list[Path]) -> None:
    store = DirectoryStore(root)
    for number in range(1_000_000):
        info = store.put("demo/big", sources[number % len(sources)])
        store.put("demo/big", sources[(number + 1) % len(sources)], if_match=info.etag)


def _kill_writers(root: Path, tmp_path: Path, kills: int) -> None:
    sources = [tmp_path / name for name in ("one", "two", "three")]
    for source in sources:
        source.write_bytes(os.urandom(random.randrange(5, 9) * MIB))
    whole = {hashlib.sha256(source.read_bytes()).hexdigest() for source in sources}
    context = multiprocessing.get_context("fork")
    for _ in range(kills):
        process = context.Process(target=_put_for_ever, args=(root, sources))
        process.start()
        time.sleep(random.uniform(0.02, 0.3))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()

        store = DirectoryStore(root)
        for info in store.list("demo/"):
            assert hashlib.sha256(store.get(info.key)).hexdigest() in whole
            assert info.version.removeprefix("sha256:") in whole
        # No lock stayed behind with the dead.
        store.put("demo/after", b"x")
        with pytest.raises(PreconditionFailed):
            store.put("demo/after", b"y", if_none_match=True)
        store.delete("demo/after")


def test_a_killed_writer_leaves_no_half_object(root: Path, tmp_path: Path) -> None:
    _kill_writers(root, tmp_path, kills=6)


@pytest.mark.slow
def test_a_hundred_killed_writers_leave_no_half_object(root: Path, tmp_path: Path) -> None:
    _kill_writers(root, tmp_path, kills=100)


def test_what_is_written_is_on_the_disk_before_it_has_its_name_and_then_the_name(
    store: DirectoryStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        told.append(f"sync {os.readlink(f'/proc/self/fd/{descriptor}').removeprefix(str(root))}")
        sync(descriptor)

    def replaced(old: Path, new: Path) -> None:
        told.append(f"name {str(new).removeprefix(str(root))}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    store.put("demo/a", b"1")
    content, name, folder = told
    assert content.startswith("sync /.store/tmp/")
    assert (name, folder) == ("name /demo/a", "sync /demo")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_without_hard_links_a_create_still_creates_and_replaces_nothing(
    store: DirectoryStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuses(old: Path, new: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuses)  # as exFAT and some network file systems do
    store.put("demo/a", b"first", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        store.put("demo/a", b"second", if_none_match=True)
    assert store.get("demo/a") == b"first"
    assert list((root / ".store/tmp").iterdir()) == []


def test_a_disk_that_fails_at_a_create_is_told(
    store: DirectoryStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(old: Path, new: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", fails)
    with pytest.raises(Transient, match="the disk did not do it"):
        store.put("demo/a", b"first", if_none_match=True)
    assert _visible(root) == []


def test_only_large_files_have_their_hashes_kept_beside_the_objects(
    store: DirectoryStore, root: Path
) -> None:
    # A video has 1,500 chunks below this size: a file beside each would double what lies there.
    store.put("demo/small", bytes(MIB - 1))
    os.utime(root / "demo/small", (1_600_000_000, 1_600_000_000))
    assert store.head("demo/small") is not None
    assert not (root / ".store/hashes").exists()
    store.put("demo/large", bytes(MIB))
    assert len([path for path in (root / ".store/hashes").rglob("*") if path.is_file()]) == 1
    store.delete("demo/large")
    assert not [path for path in (root / ".store/hashes").rglob("*") if path.is_file()]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc tells which files are open")
def test_no_operation_leaves_a_file_open(store: DirectoryStore, root: Path, tmp_path: Path) -> None:
    def everything() -> None:
        store.put("demo/a", b"123")
        with contextlib.suppress(PreconditionFailed):
            store.put("demo/a", b"4", if_none_match=True)
        assert [item.key for item in store.list("demo/")] == ["demo/a"]
        assert store.get("demo/a") == b"123"
        assert store.get_range("demo/a", 1, 2) == b"2"
        with store.open_reader("demo/a") as reader:
            assert reader.read(1) == b"1"
        left = root / ".store/tmp/left"
        left.write_bytes(b"half")
        for upload in store.unfinished_uploads(""):
            assert store.discard_upload(upload)
        assert store.head("demo") is None  # a folder: opened, and no object
        assert not store.discard_upload(UnfinishedUpload(None, "left", 4, datetime.now(UTC)))
        store.delete("demo/a")

    everything()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        everything()
    assert len(os.listdir("/proc/self/fd")) <= before
