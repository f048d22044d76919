"""Opening a video file by libav: which containers, which stream, whether the file is whole, which error.

Belongs here: everything between bytes and packets. Does not belong here: decoding, sampling.

Completeness. libav ends a file that was cut off as if it had ended there, so the sizes in its headers are
followed (`header_walk`) while libav reads them: the file is not read twice. MPEG-TS states no size.
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
from video_pipeline.media.header_walk import HeaderWalk, Source, walk_of
from video_pipeline.media.mp4 import late_shift

FORMATS = {
    "mov": "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska": "matroska,webm",
    "avi": "avi",
    "mpegts": "mpegts",
}
"""libav's name of each demuxer we let it choose from. The list is short on purpose: playlist and concat
demuxers would open other files and addresses that an uploaded file names."""

REPLACE = "replace it by a video file (MP4, MOV, MKV, WebM or AVI) that plays to its end."
COMPLETE = "upload the file again, or repair it with ffmpeg -i INPUT -c copy OUTPUT."
WALK_AT_ONCE = 64
"""Headers looked at when a file is opened or probed, each a small read; of a fragmented file only those up to
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
    """Passes reads to `inner` and shows each to a HeaderWalk. Does not close `inner`: its owner does.

    `forward_only` hides seeking: libav then reads a fragmented MP4 from front to back. Otherwise it begins by
    looking at every fragment's header, which over a network is a request each.
    """

    def __init__(self, inner: Source, walk: HeaderWalk, *, forward_only: bool) -> None:
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


@dataclass
class OpenedVideo:
    """An open container and its video stream. `close()` frees both; an owned file is closed too."""

    name: str
    container: av.container.InputContainer
    stream: av.video.VideoStream
    format: str
    size: int
    reader: SeenReader
    walk: HeaderWalk
    _raw: BinaryIO
    _owned: bool
    closed: bool = False

    def check_complete(self, headers: int | None = None) -> None:
        """After the last packet: BadInput if the file is seen to end early. No read of media data: the
        headers of an MP4's boxes that nobody has read yet, or of any container at most `headers`."""
        if headers is not None or self.format == "mov":
            self.walk.go_on(self._raw, self.size, headers)
        self._check_lacks()

    def _check_lacks(self) -> None:
        lacks = self.walk.lacks(self.size) if self.format == self.walk.format else None
        if lacks:
            raise truncated(self.name, lacks)

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

    `one_pass`: nobody will seek, so a fragmented MP4 is read front to back (its duration may stay unknown),
    but for one whose times need a look at all fragments' headers first (`late_shift`).
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
    walk = walk_of(head)
    if _looks_like_mp4(head):
        walk.go_on(raw, size, WALK_AT_ONCE)
        if "moov" not in walk.kinds and not walk.kinds.count("moof") and walk.next_header >= size:
            raise truncated(name, "it has no index (moov box), as when a recording or an upload broke off")
    forward_only = one_pass and "moof" in walk.kinds and not late_shift.comes_late(raw, size)
    raw.seek(0)
    reader = SeenReader(raw, walk, forward_only=forward_only)
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
        opened._check_lacks()
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
