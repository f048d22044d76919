"""The store in a directory: the object at key K is the file DIR/K, nothing beside it.

Belongs here: atomic and conditional writes to a file system, listing, and the descriptions of files.
Does not belong here: the cache of their hashes (`content_hash`), what errors mean (`directory_errors`), and
anything remote.

Everything of the store's own lies in DIR/.store: `tmp/` (files being written), `locks/` and `hashes/`.
Users may put files into the directory, replace and remove them as they like.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import uuid
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from video_pipeline.errors import BadInput, PipelineError, Transient
from video_pipeline.store.base import (
    HIDDEN_FOLDER,
    ObjectInfo,
    PreconditionFailed,
    UnfinishedUpload,
    check_object_key,
    check_prefix,
    check_range,
    missing,
    replaced,
    wrong_sha256,
)
from video_pipeline.store.content_hash import HashCache, StillChanging
from video_pipeline.store.directory_errors import translate
from video_pipeline.store.files import (
    is_regular,
    place_new,
    remove_if_empty,
    remove_unlocked,
    sweep,
    sync_directory,
    write_synced,
)
from video_pipeline.store.reader import FileReader

log = logging.getLogger(__name__)

LOCKS = 256
"""Lock files, shared by the keys: their number stays bounded, and 8 writers collide by chance in 1 of 9."""


class DirectoryStore:
    """An `ObjectStore` over a directory of one local (or properly locking network) file system.

    A write goes to a temporary file in the same file system, is synced, and is then renamed under a lock
    that all writers of the key take, so no process ever sees half an object and no conditional write is
    lost, whenever anybody is killed.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).expanduser().resolve()
        if self._root.exists() and not self._root.is_dir():
            raise BadInput(
                "the store's directory is a file",
                input=str(self._root),
                what_to_do="set VIDEO_PIPELINE_STORE to a directory",
            )
        self._hidden = self._root / HIDDEN_FOLDER
        self._hashes = HashCache(self._hidden / "hashes")
        self._swept = False

    @property
    def uri(self) -> str:
        return str(self._root)

    def head(self, key: str) -> ObjectInfo | None:
        with self._errors(key):
            descriptor = self._open(key)
            if descriptor is None:
                return None
            try:
                return self._describe(key, descriptor)
            finally:
                os.close(descriptor)

    def get(self, key: str) -> bytes:
        with self._errors(key):
            descriptor = self._open(key)
            if descriptor is None:
                raise missing(self.uri, key)
            with FileReader(descriptor, name=self._name(key), version="") as reader:
                return _read_exactly(reader, 0, reader.size)

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        with self._errors(key):
            descriptor = self._open(key)
            if descriptor is None:
                raise missing(self.uri, key)
            with FileReader(descriptor, name=self._name(key), version="") as reader:
                # Objects are replaced by renaming, so an open file stays the version it was.
                return _read_exactly(reader, 0, reader.size), self._describe(key, descriptor).etag

    def get_range(self, key: str, start: int, stop: int, *, version: str | None = None) -> bytes:
        check_range(start, stop)
        with self._errors(key):
            descriptor = self._open(key)
            if descriptor is None:
                raise missing(self.uri, key) if version is None else replaced(self.uri, key)
            with FileReader(descriptor, name=self._name(key), version=version or "") as reader:
                if version is not None and self._describe(key, descriptor).version != version:
                    raise replaced(self.uri, key)
                return _read_exactly(reader, start, min(stop, reader.size))

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        del content_type  # a plain file has no place for it
        with self._errors(key):
            path = self._path(key)
            with self._temporary() as (temporary, descriptor):
                digest = write_synced(descriptor, data)
                if sha256 is not None and digest != sha256.lower():
                    raise wrong_sha256(self.uri, key, sha256, digest)
                with self._lock(key):
                    if if_match is not None:
                        self._require(key, if_match)
                    self._place(key, temporary, path, create_only=if_none_match)
                    info = self._info(key, os.fstat(descriptor), digest)
                    self._hashes.remember(key, os.fstat(descriptor), digest)
            sync_directory(path.parent)
            return info

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder, _, start = check_prefix(prefix).rpartition("/")
        with self._errors(prefix):
            top = self._path(folder) if folder else self._root
            for key in self._walk(top, f"{folder}/" if folder else "", start):
                try:
                    info = self.head(key)
                except BadInput as error:
                    log.warning("left out of the listing of %r: %s", prefix, error)
                    continue
                if info is not None:
                    yield info

    def delete(self, key: str) -> None:
        with self._errors(key):
            path = self._path(key)
            if path.is_dir() or not os.path.lexists(path):
                return
            with self._lock(key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
                self._hashes.forget(key)
                for parent in path.parents:
                    if parent == self._root or not remove_if_empty(parent):
                        break

    def presign(self, key: str, expires_s: int = 3600) -> str:
        del expires_s  # a file has no expiry
        return self._path(key).as_uri()

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def open_reader(self, key: str) -> FileReader:
        with self._errors(key):
            descriptor = self._open(key)
            if descriptor is None:
                raise missing(self.uri, key)
            try:
                version = self._describe(key, descriptor).version
            except BaseException:
                os.close(descriptor)
                raise
            return FileReader(descriptor, name=self._name(key), version=version)

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """The temporary files. Their names tell no key, so a prefix has none."""
        if prefix:
            return
        with self._errors("tmp"):
            for path in sorted((self._hidden / "tmp").glob("*")):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    since = datetime.fromtimestamp(stat.st_mtime, UTC)
                    yield UnfinishedUpload(None, path.name, stat.st_size, since)

    def discard_upload(self, upload: UnfinishedUpload) -> bool:
        with self._errors("tmp"):
            return remove_unlocked(self._hidden / "tmp" / Path(upload.id).name)

    def keeps_versions(self) -> bool:
        return False

    def conditional_writes(self) -> bool:
        return True

    def _name(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def _path(self, key: str) -> Path:
        """The file of a clean key. Refuses a symbolic link that leads out of the store, or into `.store`."""
        path = self._root / check_object_key(key)
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self._root) or real.is_relative_to(self._hidden):
            raise BadInput(
                f"a symbolic link leads out of the store, to {real}",
                input=self._name(key),
                what_to_do="copy or hard-link the file into the store's directory",
            )
        return path

    def _open(self, key: str) -> int | None:
        """A descriptor of the object's file, or None where there is none."""
        path = self._path(key)
        try:
            # O_NONBLOCK: a named pipe in the directory must not block; it means nothing to a regular file.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not is_regular(descriptor):
            os.close(descriptor)
            return None
        return descriptor

    def _describe(self, key: str, descriptor: int) -> ObjectInfo:
        try:
            digest, stat = self._hashes.digest(key, descriptor)
        except StillChanging:
            raise BadInput(
                "the file keeps changing while it is being read",
                input=self._name(key),
                what_to_do="wait until it is copied; better, copy under another name, then rename",
            ) from None
        return self._info(key, stat, digest)

    def _info(self, key: str, stat: os.stat_result, digest: str) -> ObjectInfo:
        return ObjectInfo(
            key=key,
            size=stat.st_size,
            version=f"sha256:{digest}",
            etag=f'"{digest}"',
            modified=datetime.fromtimestamp(stat.st_mtime, UTC),
        )

    def _require(self, key: str, etag: str) -> None:
        info = self.head(key)
        if info is None or info.etag.strip('"') != etag.strip('"'):
            raise PreconditionFailed(
                "the object was changed by somebody else" if info else "the object is not there any more",
                input=self._name(key),
            )

    def _place(self, key: str, temporary: Path, path: Path, *, create_only: bool) -> None:
        """Gives the temporary file its name, in one step. Empty folders may vanish meanwhile: try again."""
        for _ in range(100):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir() and not remove_if_empty(path):
                    raise BadInput(
                        "the key is a folder: other objects' keys begin with it",
                        input=self._name(key),
                        what_to_do="in a directory, no key may be another one's folder: choose another key",
                    )
                if create_only:
                    place_new(temporary, path)
                else:
                    temporary.replace(path)
                return
            except FileNotFoundError:
                if not temporary.exists():
                    raise
            except FileExistsError as error:
                if create_only and (path.is_symlink() or path.is_file()):
                    raise PreconditionFailed("the object exists already", input=self._name(key)) from error
                if self._is_under_a_file(path):
                    raise self._under_a_file(key) from error
            except NotADirectoryError as error:
                raise self._under_a_file(key) from error
        raise Transient("the folder is being made and removed by too many at once", input=self._name(key))

    def _is_under_a_file(self, path: Path) -> bool:
        return any(parent.is_file() for parent in path.parents if parent != self._root)

    def _under_a_file(self, key: str) -> BadInput:
        return BadInput(
            "a part of the key is itself an object, so nothing can lie under it",
            input=self._name(key),
            what_to_do="in a directory, no key may be another one's folder: choose another key",
        )

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[Path, int]]:
        """A locked, new file in tmp/, removed at the end if it still has that name."""
        folder = self._hidden / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._swept = True
            sweep(folder)
        path = folder / uuid.uuid4().hex
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # the sign of life that `sweep` looks for
            yield path, descriptor
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Keeps every other writer of the key out, in any thread or process; a killed holder lets go."""
        folder = self._hidden / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{zlib.crc32(key.encode()) % LOCKS:03d}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _walk(self, folder: Path, prefix: str, start: str = "") -> Iterator[str]:
        """Keys of the files under `folder`, in the order of the whole keys' bytes ('a-b' before 'a/b')."""
        try:
            with os.scandir(folder) as scan:
                entries = [(entry, entry.is_dir(follow_symlinks=False)) for entry in scan]
        except (FileNotFoundError, NotADirectoryError):
            return
        entries.sort(key=lambda item: os.fsencode(item[0].name) + (b"/" if item[1] else b""))
        for entry, is_folder in entries:
            if not entry.name.startswith(start) or (not prefix and entry.name == HIDDEN_FOLDER):
                continue
            if is_folder:
                yield from self._walk(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}"

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turns the file system's errors into ours, naming the object."""
        try:
            yield
        except PipelineError:
            raise
        except OSError as error:
            raise translate(error, self._name(key)) from error


def _read_exactly(reader: FileReader, start: int, stop: int) -> bytes:
    reader.seek(start)
    parts: list[bytes] = []
    while reader.tell() < stop:
        part = reader.read(stop - reader.tell())
        if not part:
            raise BadInput(
                "the file became shorter while it was being read",
                input=reader.name,
                what_to_do="run it again once nobody is writing to that file",
            )
        parts.append(part)
    return b"".join(parts)
