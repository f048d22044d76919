"""A finished clip read back: its boxes, the times of its packets, the pictures of a part.

Belongs here: reading, and the list of what is wrong with it. Does not belong here: what it should be
(`verify.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.mp4.boxes import HEADER, Malformed, parse_header, whole
from video_pipeline.media.mp4.movie import shown_seconds

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from video_pipeline.streaming.cancel import CancellationToken


@dataclass
class Differences:
    lines: list[str] = field(default_factory=list)

    def expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.lines.append(f"{what} is {found} instead of {wanted}")

    def add(self, line: str) -> None:
        self.lines.append(line)

    def error(self, name: str) -> Internal:
        return Internal(f"a finished clip is wrong: {'; '.join(self.lines)}", input=name)


@dataclass
class Track:
    """Times of a track's packets in file order, in its time base. No payloads: an hour takes a few MB."""

    pts: list[int] = field(default_factory=list)
    dts: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    """PTS of the key frames, hidden ones too."""
    begins_with_key: bool | None = None
    stop: int = 0
    damaged: int = 0

    def take(self, packet: Packet) -> None:
        if packet.pts is None or packet.dts is None or packet.is_corrupt:
            self.damaged += 1
            return
        if self.begins_with_key is None:
            self.begins_with_key = packet.is_keyframe
        if packet.is_keyframe:
            self.keys.append(packet.pts)
        if packet.is_discard:
            return  # hidden by the edit list
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        self.stop = max(self.stop, packet.pts + (packet.duration or 0))


def read_structure(path: Path, duration: Fraction, found: Differences) -> tuple[bool, Fraction]:
    """Follows the top-level boxes (ISO/IEC 14496-12, 4.2) to the end of the file. Whether moov lies in front,
    and for how many seconds the picture is shown."""
    kinds: list[str] = []
    size, at = path.stat().st_size, 0
    lasts = Fraction(0)
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            try:
                box = parse_header(file.read(HEADER), 0, at)
                stop = size if box.stop is None else box.stop
                if box.kind == "moov":
                    file.seek(box.body)
                    lasts, step = shown_seconds(
                        whole(file.read(stop - box.body), "moov", box.body), path.name
                    )
                    if abs(lasts - duration) > step:
                        found.add(
                            f"the picture lasts {float(lasts):.6f} s instead of {float(duration):.6f} s"
                        )
            except (Malformed, BadInput) as error:
                found.add(f"the structure breaks: {error}")
                return False, lasts
            kinds.append(box.kind)
            at = stop
    found.expect("the file's size by its boxes", at, size)
    front = "moov" in kinds and "mdat" in kinds and kinds.index("moov") < kinds.index("mdat")
    if not front:
        found.add(f"moov does not lie in front of mdat: the boxes are {', '.join(kinds)}")
    return front, lasts


def read_packets(container: InputContainer, cancel: CancellationToken | None) -> tuple[Track, Track]:
    picture, sound = Track(), Track()
    first = {container.streams.video[0].index: picture}
    if container.streams.audio:
        first[container.streams.audio[0].index] = sound
    for packet in container.demux():
        if cancel is not None:
            cancel.raise_if_cancelled()
        if packet.size and packet.stream_index in first:
            first[packet.stream_index].take(packet)
    return picture, sound


def decode(container: InputContainer, stream: VideoStream, start: int, stop: int) -> Iterator[VideoFrame]:
    """The pictures of start <= PTS < stop. libav may seek further back: it looks for a DTS before the PTS
    less the first picture's delay, which unevenly spaced pictures make large."""
    container.seek(start, stream=stream)
    for frame in container.decode(stream):
        if frame.pts is not None and frame.pts >= stop:
            return
        if frame.pts is None or frame.pts >= start:
            yield frame
