"""Opening a video file by libav: which containers, which stream, whether the file is whole, which error.

Belongs here: everything between bytes and packets. Does not belong here: decoding, sampling.

Completeness. libav ends a file that was cut off as if it had ended there, so we read the container's own
sizes: top-level boxes of MP4 and MOV (ISO/IEC 14496-12, 4.2), the Segment's size in Matroska and WebM
(RFC 9559, 4.5), the RIFF size in AVI. Of a fragmented MP4 the boxes are followed while libav reads them, so
the file is not read twice. MPEG-TS and unfinished live WebM state no size.
"""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import av
import av.container
import av.error
import av.stream
import av.video

from video_pipeline.errors import BadInput

FORMATS = {
    "mov": "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska": "matroska,webm",
    "avi": "avi",
    "mpegts": "mpegts",
}
"""libav's name of each demuxer we let it choose from. The list is short on purpose: playlist and concat
demuxers would open other files and addresses that an uploaded file names."""

Source = Path | str | BinaryIO | io.RawIOBase | io.BufferedIOBase

REPLACE = "replace it by a video file (MP4, MOV, MKV, WebM or AVI) that plays to its end."
COMPLETE = "upload the file again, or repair it with ffmpeg -i INPUT -c copy OUTPUT."
WALK_AT_ONCE = 64
"""Top-level boxes looked at when a file is opened, each a small read; of a fragmented file only those up to
its first fragment, since libav reads the headers of the others anyway."""


@contextlib.contextmanager
def media_errors(name: str, doing: str, what_to_do: str = COMPLETE) -> Iterator[None]:
    """libav's errors become BadInput that names the input; errors of our own readers pass unchanged."""
    try:
        yield
    except av.error.FFmpegError as error:
        if error.errno in (errno.ENOENT, errno.EISDIR):
            raise BadInput("no such file", input=name, what_to_do="check the path or key.") from error
        detail = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{doing}: {detail}", input=name, what_to_do=what_to_do) from error


class SeenReader(io.RawIOBase):
    """Passes reads to `inner` and shows each to a BoxWalk. Does not close `inner`: its owner does.

    `forward_only` hides seeking: libav then reads a fragmented MP4 from front to back. Otherwise it begins by
    looking at every fragment's header, which over a network is a request each.
    """

    def __init__(self, inner: Source, walk: BoxWalk, *, forward_only: bool) -> None:
        self._inner = cast(BinaryIO, inner)
        self._walk = walk
        self._forward_only = forward_only
        self._position = 0
        self.bytes_read = 0
        self.byte_limit: int | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return not self._forward_only

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self._walk.see(self._position, data)
        self._position += len(data)
        self.bytes_read += len(data)
        if self.byte_limit is not None and self.bytes_read > self.byte_limit:
            raise ByteLimitReached
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = self._inner.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position


class ByteLimitReached(Exception):
    """A probe asked for no more than so many bytes."""


class BoxWalk:
    """Follows the top-level boxes of an MP4 from headers that pass by, and from reads of its own."""

    def __init__(self) -> None:
        self.next_header = 0
        self.kinds: list[str] = []
        self._partial = b""

    def see(self, offset: int, data: bytes) -> None:
        """`data` was read at `offset`: take in every header it holds. A header cut by the end of `data` is
        kept until the bytes after it pass by."""
        if self._partial and offset == self.next_header + len(self._partial):
            data = self._partial + data
            offset = self.next_header
        self._partial = b""
        while offset <= self.next_header < offset + len(data):
            at = self.next_header - offset
            header = data[at : at + 16]
            if not self._take(header):
                self._partial = bytes(header)
                return

    def _take(self, header: bytes) -> bool:
        if len(header) < 8:
            return False
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            if len(header) < 16:
                return False
            size = int.from_bytes(header[8:16], "big")
        kind = header[4:8]
        if not kind.isalnum() or (size < 8 and size != 0):
            # Padding or foreign bytes after the last box: nothing to conclude from.
            self.next_header = _NOWHERE
            return True
        self.kinds.append(kind.decode("latin-1"))
        self.next_header = _NOWHERE if size == 0 else self.next_header + size
        return True

    def go_on(self, reader: Source, size: int, limit: int | None = None) -> None:
        """Read headers from where the walk stands: to the end, or with a `limit` at most so many of them,
        and none after the first fragment's."""
        inner = cast(BinaryIO, reader)
        while self.next_header < size and (limit is None or (limit > 0 and "moof" not in self.kinds)):
            before = self.next_header
            inner.seek(before)
            self.see(before, inner.read(16))
            if self.next_header == before:
                return
            limit = None if limit is None else limit - 1

    def overrun(self, size: int) -> int:
        """By how many bytes the last box passes the end of a file of `size` bytes; 0 if it does not."""
        return 0 if self.next_header == _NOWHERE else max(0, self.next_header - size)


_NOWHERE = 1 << 62


@dataclass
class OpenedVideo:
    """An open container and its video stream. `close()` frees both; an owned file is closed too."""

    name: str
    container: av.container.InputContainer
    stream: av.video.VideoStream
    format: str
    size: int
    reader: SeenReader
    walk: BoxWalk
    _raw: BinaryIO
    _owned: bool
    closed: bool = False

    def check_complete(self) -> None:
        """After the last packet: BadInput if the file ends inside a box. No read of media data."""
        if self.format == "mov":
            self.walk.go_on(self._raw, self.size)
            self._check_overrun()

    def _check_overrun(self) -> None:
        missing = self.walk.overrun(self.size)
        if missing:
            raise truncated(self.name, f"its {self.walk.kinds[-1]} box lacks {missing} bytes at the end")

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.container.close()
            if self._owned:
                self._raw.close()


def truncated(name: str, how: str) -> BadInput:
    return BadInput(f"the video is cut off: {how}", input=name, what_to_do=COMPLETE)


def open_video(source: Source, *, name: str, one_pass: bool = False) -> OpenedVideo:
    """Open `source` (a path, or a seekable binary reader, which stays the caller's to close).

    `one_pass`: nobody will seek, so a fragmented MP4 is read front to back (its duration may stay unknown).
    Raises BadInput, naming `name`, if it is empty, not a video file of the kinds in `FORMATS`, has no video
    stream, or ends before its container says.
    """
    owned = isinstance(source, str | Path)
    raw = _open_file(Path(source), name) if isinstance(source, str | Path) else cast(BinaryIO, source)
    try:
        return _open_reader(raw, owned, name, one_pass)
    except BaseException:
        if owned:
            raw.close()
        raise


def _open_file(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise BadInput("no such file", input=name, what_to_do="check the path or key.") from error


def _open_reader(raw: BinaryIO, owned: bool, name: str, one_pass: bool) -> OpenedVideo:
    size = raw.seek(0, io.SEEK_END)
    if size == 0:
        raise BadInput("the file is empty", input=name, what_to_do=REPLACE)
    raw.seek(0)
    head = raw.read(4096)
    walk = BoxWalk()
    if _looks_like_mp4(head):
        walk.go_on(raw, size, WALK_AT_ONCE)
        if "moov" not in walk.kinds and not walk.kinds.count("moof") and walk.next_header >= size:
            raise truncated(name, "it has no index (moov box), as when a recording or an upload broke off")
    raw.seek(0)
    reader = SeenReader(raw, walk, forward_only=one_pass and "moof" in walk.kinds)
    with media_errors(name, "not a video file that can be opened", REPLACE):
        container = av.open(
            reader,
            mode="r",
            options={"format_whitelist": ",".join(FORMATS.values())},
            metadata_errors="replace",
        )
    opened: OpenedVideo | None = None
    try:
        kind = next(key for key, names in FORMATS.items() if container.format.name == names)
        stream = _video_stream(container, name)
        opened = OpenedVideo(name, container, stream, kind, size, reader, walk, raw, owned)
        if kind == "mov":
            opened._check_overrun()
        stated = _stated_size(kind, head)
        if stated is not None and stated > size:
            raise truncated(name, f"the container states {stated} bytes, the file has {size}")
        return opened
    except BaseException:
        container.close()
        raise


def _video_stream(container: av.container.InputContainer, name: str) -> av.video.VideoStream:
    attached = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & attached]
    if not streams:
        raise BadInput("the file has no video stream", input=name, what_to_do=REPLACE)
    preferred = [s for s in streams if s.disposition & av.stream.Disposition.default]
    stream = (preferred or streams)[0]
    try:
        known = stream.codec_context is not None and stream.codec_context.name != "unknown"
    except av.error.FFmpegError:
        known = False
    if not known:
        raise BadInput(
            "no decoder for the file's video codec", input=name, what_to_do="convert it to H.264 in MP4."
        )
    return stream


def _looks_like_mp4(head: bytes) -> bool:
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot")


def _stated_size(kind: str, head: bytes) -> int | None:
    """The file size that a Matroska Segment or a RIFF header states, None if it states none."""
    if kind == "avi" and head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    if kind == "matroska":
        return _matroska_size(head)
    return None


def _matroska_size(head: bytes) -> int | None:
    position = 0
    for _ in range(4):
        # EBML header, perhaps Void, then the Segment: each an ID and a size, RFC 8794 sections 5 and 6.
        if position + 12 > len(head) or head[position] == 0:
            return None
        id_length = 9 - head[position].bit_length()
        element = head[position : position + id_length]
        position += id_length
        if head[position] == 0:
            return None
        size_length = 9 - head[position].bit_length()
        value = int.from_bytes(head[position : position + size_length], "big") - (1 << 7 * size_length)
        unknown = value == (1 << 7 * size_length) - 1
        position += size_length
        if element == b"\x18\x53\x80\x67":
            return None if unknown else position + value
        position += value
    return None
