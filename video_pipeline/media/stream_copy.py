"""A part of a video copied packet by packet into an MP4: no picture or sound is encoded again.

Belongs here: which packets make a part that plays, and how they are put on a timeline that starts at 0. Does
not belong here: cuts at an exact picture (those decode and encode again).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import av.stream

from video_pipeline.errors import BadInput
from video_pipeline.media.clip_source import ROUNDED
from video_pipeline.media.container import COMPLETE, Source, media_errors, open_video
from video_pipeline.media.copy_order import CopyOrder, Timed
from video_pipeline.media.copy_sound import CopiedSound
from video_pipeline.media.picture_range import packets_from, slack
from video_pipeline.media.schedule import LOOK_AHEAD
from video_pipeline.streaming.cancel import CancellationToken

ACCURATE = "use mode accurate, which decodes and encodes again."

_SOUND_LEAD_S = 2
"""Sound lies in the file at most so far before the pictures of the same time. FFmpeg's muxers put both in the
order of time; of an MP4 its demuxer does."""


@dataclass(frozen=True, slots=True)
class CopiedRange:
    """What was kept: `frames` pictures shown from `start` to `stop`, in seconds of the source."""

    start: Fraction
    stop: Fraction
    frames: int


def copy_range(
    source: Source,
    start: Fraction,
    stop: Fraction,
    path: Path,
    *,
    name: str,
    cancel: CancellationToken | None = None,
) -> CopiedRange:
    """Copy at least [start, stop) of `source` (path or seekable reader) to an MP4 at `path`.

    The part begins with the key picture at or before `start` (without the pictures of an open GOP that come
    before it), and ends at the first moment at or after `stop` that no reordered picture crosses. Pictures
    that the source's edit list hides stay hidden. All sound tracks are copied for the same time, with one
    packet before it for the decoder, which the edit list hides. The file has its index in front and its first
    picture at 0. Memory does not grow with the length.

    Raises BadInput, and leaves no file, for times outside the video, for codecs that MP4 cannot hold, for
    pictures without timestamps, and for damage that shows without decoding.
    """
    if stop <= start:
        raise BadInput(
            f"the part {_span(start, stop)} is empty", input=name, what_to_do="let it end after it starts."
        )
    copy = _Copy(source, start, stop, name)
    try:
        return copy.write(path, cancel)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        copy.close()


class _Copy:
    """One copy, with two looks at the source: where the part begins, then all packets from a little before
    it, because sound of the same time may lie there."""

    def __init__(self, source: Source, start: Fraction, stop: Fraction, name: str) -> None:
        self._source, self._name = source, name
        self._start, self._stop = start, stop
        self._opened = open_video(source, name=name)
        try:
            self._tick = Fraction(self._opened.stream.time_base or 1)
            self._key_pts, self._origin = self._find_beginning()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._opened.close()

    def write(self, path: Path, cancel: CancellationToken | None) -> CopiedRange:
        frames = 0
        packets = self._packets()
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as target:
            video, sounds = self._add_streams(target)
            sound = CopiedSound(sounds, self._origin * self._tick, target, self._name)
            order = CopyOrder(self._pictures(packets, sound))
            latest = self._origin
            try:
                for timed in order.until(self._stop / self._tick, slack(self._tick)):
                    if cancel is not None:
                        cancel.raise_if_cancelled()
                    latest = max(latest, timed.pts)
                    frames += timed.pts >= self._origin
                    packet = timed.packet
                    packet.pts, packet.dts = timed.pts - self._origin, timed.dts - self._origin
                    packet.duration = timed.duration
                    packet.stream = video
                    target.mux(packet)
                    sound.write_until(latest * self._tick)
            except av.error.FFmpegError as error:
                if not isinstance(error, ValueError):
                    raise
                raise self._refuse(f"MP4 does not take its packets as they are ({error})") from error
            except ValueError as error:
                raise self._refuse(f"the timestamps contradict the order of the pictures: {error}") from error
            end = order.end * self._tick
            self._check_end(end, whole=order.whole)
            sound.write_rest(end, packets, self._opened.stream.index)
        return CopiedRange(self._origin * self._tick, end, frames)

    # Where the part begins

    def _find_beginning(self) -> tuple[int, int]:
        """The PTS of the key picture to begin with, and of the first picture that is shown: another only
        where an edit list hides the key picture."""
        video = packets_from(self._opened, self._start / self._tick + slack(self._tick))
        if video is None:
            self._rewind()
            video = self._opened.container.demux(self._opened.stream)
        key: int | None = None
        shown: list[int] = []
        with media_errors(self._name, "cannot read the video"):
            for packet in video:
                if packet.size == 0 or (key is None and not packet.is_keyframe):
                    continue
                pts = self._pts(packet)
                key = pts if key is None else key
                if pts >= key and not packet.is_discard:
                    shown.append(pts)
                if key in shown or len(shown) > LOOK_AHEAD:
                    break
        if key is None or not shown:
            raise self._refuse("there is no picture to begin with")
        return key, min(shown)

    def _pts(self, packet: av.Packet) -> int:
        if packet.pts is None:
            raise self._refuse("the container stores no presentation times")
        return packet.pts

    # Packets

    def _packets(self) -> Iterator[av.Packet]:
        """Packets of the pictures and of all sound, from a little before the key picture."""
        target = self._key_pts - int(_SOUND_LEAD_S / self._tick)
        for rewind in (False, True):
            if rewind:
                self._rewind()
            else:
                with contextlib.suppress(av.error.FFmpegError):
                    self._opened.container.seek(target, stream=self._opened.stream, backward=True)
            streams = self._opened.container.streams
            packets = self._opened.container.demux(self._opened.stream, *streams.audio)
            head = self._head(packets)
            if head is not None:
                yield from head
                with media_errors(self._name, "cannot read the video"):
                    yield from packets
                return
        raise self._refuse("the key picture is not found again")

    def _head(self, packets: Iterator[av.Packet]) -> list[av.Packet] | None:
        """The packets up to the key picture, those of earlier pictures left out; None if it does not come."""
        head: list[av.Packet] = []
        with media_errors(self._name, "cannot read the video"):
            for packet in packets:
                if packet.size == 0:
                    continue
                if packet.stream.index != self._opened.stream.index:
                    head.append(packet)
                elif packet.is_keyframe and self._pts(packet) >= self._key_pts:
                    head.append(packet)
                    return head if packet.pts == self._key_pts else None
        return None

    def _rewind(self) -> None:
        self._opened.close()
        self._opened = open_video(self._source, name=self._name)

    def _pictures(self, packets: Iterator[av.Packet], sound: CopiedSound) -> Iterator[Timed[av.Packet]]:
        """The video's packets without the leading pictures of the first; sound goes where it belongs."""
        for packet in packets:
            if packet.size == 0:
                continue
            if packet.is_corrupt:
                self._opened.check_complete()
                raise self._refuse("a packet is incomplete", COMPLETE)
            if packet.stream.index != self._opened.stream.index:
                sound.take(packet)
                continue
            if packet.has_sidedata("new_extradata"):
                raise self._refuse("the coding parameters change inside the part")
            pts = self._pts(packet)
            if pts >= self._key_pts:
                yield Timed(packet, pts, packet.duration or 0)
        self._opened.check_complete()

    # The new file

    def _add_streams(
        self, target: av.container.OutputContainer
    ) -> tuple[av.stream.Stream, dict[int, av.stream.Stream]]:
        """Streams of the same coding; by the source's index for sound."""
        made: dict[int, av.stream.Stream] = {}
        source = self._opened.container.streams
        for stream in (self._opened.stream, *source.audio):
            codec = stream.codec_context.name
            try:
                copy = target.add_stream_from_template(stream, opaque=True)
            except ValueError as error:
                raise self._refuse(f"MP4 cannot hold {codec}") from error
            copy.time_base = stream.time_base
            if codec == "hevc":
                # Apple's players take HEVC under this name only.
                copy.codec_context.codec_tag = "hvc1"
            if "language" in stream.metadata:
                copy.metadata["language"] = stream.metadata["language"]
            made[stream.index] = copy
        try:
            target.start_encoding()
        except (ValueError, av.error.FFmpegError) as error:
            raise self._refuse(f"MP4 cannot hold its streams as they are ({error})") from error
        return made.pop(self._opened.stream.index), made

    def _check_end(self, end: Fraction, *, whole: bool) -> None:
        if end <= self._start or (whole and end + ROUNDED < self._stop):
            raise BadInput(
                f"the part {_span(self._start, self._stop)} is not in the video, which ends at "
                f"{float(end):.3f} s",
                input=self._name,
                what_to_do="choose times inside the video.",
            )

    def _refuse(self, why: str, what_to_do: str = ACCURATE) -> BadInput:
        return BadInput(f"the part cannot be copied: {why}", input=self._name, what_to_do=what_to_do)


def _span(start: Fraction, stop: Fraction) -> str:
    return f"from {float(start):.3f} s to {float(stop):.3f} s"
