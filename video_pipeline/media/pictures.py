"""One pass over a video: packets in, the decoded pictures that some sample shows out. Shared by CPU and GPU.

Belongs here: which packets are sent, which pictures belong to the timeline, what counts as damage. Does not
belong here: how a packet is decoded (a `PictureBackend`), how a picture is cropped.

The timeline. Its first picture is the stream's first key picture, or a decodable picture before it in
presentation order. Not part of it, because nothing can decode them: packets before the first key picture, and
the leading pictures of an open GOP that the stream starts with (HEVC: RASL; other codecs: pictures that
follow a first key picture which is not an H.264 IDR, with a smaller PTS). Nor are pictures that the edit list
cuts away (libav flags their packets "discard"): they are decoded if others refer to them, and never shown.

Two ways of one rule. H.264 in frames and HEVC, where packets carry PTS: the timeline is known from packets
(`PacketSchedule`), and unneeded ones are never decoded. Everything else: the timeline is known from decoded
pictures, each held until its successor's PTS is known.

Damage. A packet or picture that libav flags as corrupt, an error from the decoder, a sent packet for which no
picture comes out, and a change of size are BadInput that names the moment. Damage that still parses cannot be
seen: of 24 zeroed bytes H.264 notices eight to nine in ten, AV1 nearly all, HEVC and VP9 hardly any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, TypeVar

import av
import av.error

from video_pipeline.errors import BadInput
from video_pipeline.media.container import COMPLETE, OpenedVideo, media_errors
from video_pipeline.media.nal import NalReader
from video_pipeline.media.schedule import Entry, PacketSchedule, Sampler
from video_pipeline.media.timeline import StreamingSampler

MAX_PENDING = 96
"""Pictures a decoder may hold back: 16 of reordering and one per decoding thread, generously."""

LONGEST_PICTURE_S = 6 * 3600
"""One picture shown for longer than this is a broken timestamp, not a slide show."""

ONE_PACKET_ONE_PICTURE = ("h264", "hevc", "av1", "libdav1d", "vp9")


@dataclass
class DecodeStats:
    """Counts of one pass: `packets` of the video stream, `packets_dropped` of them never decoded because
    nothing needed them, `pictures_decoded`, and `samples` given out."""

    packets: int = 0
    packets_dropped: int = 0
    pictures_decoded: int = 0
    samples: int = 0


class Picture(Protocol):
    """What a backend gives for one decoded picture, before cropping."""

    @property
    def pts(self) -> int | None: ...
    @property
    def duration(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def is_corrupt(self) -> bool: ...


PictureT = TypeVar("PictureT", bound=Picture)


class PictureBackend(Protocol[PictureT]):
    def decode(self, packet: av.Packet | None) -> list[PictureT]:
        """Pictures that come out after `packet` (None: after the last), in presentation order. Valid until
        the next call."""
        ...

    def hold(self, picture: PictureT) -> PictureT:
        """A picture that stays valid after further calls."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded picture's PTS and the samples that show it; none for one that was asked for besides."""

    pts: int
    samples: range


class PicturePass:
    """Runs one pass over `opened` and yields `(Shown, picture)` in presentation order: the pictures that some
    sample shows, and those of the timeline for whose PTS `also` is true.

    Without a `sampler` samples are taken at `rate`. Without `packets` those of the video stream are read from
    where the container stands, which must be its beginning or a key packet. Give the packets of another part
    with an iterator that begins with a key packet.
    """

    def __init__(
        self,
        opened: OpenedVideo,
        rate: Fraction,
        stats: DecodeStats,
        also: Callable[[int], bool] = lambda _pts: False,
        *,
        sampler: Sampler | None = None,
        packets: Iterator[av.Packet] | None = None,
    ) -> None:
        self._opened = opened
        self._also = also
        self._name = opened.name
        self._stats = stats
        time_base = opened.stream.time_base
        if not time_base:
            raise BadInput("the video stream has no time base", input=opened.name, what_to_do=COMPLETE)
        self.time_base: Fraction = Fraction(time_base)
        self._rate = rate
        self._sampler: Sampler = sampler or StreamingSampler(self.time_base, rate)
        self._demuxer = packets
        self._codec = opened.stream.codec_context.name
        self._size: tuple[int, int] | None = None
        self._first_key_pts: int | None = None
        self._first_key_is_idr = False
        self._last_pts = -(1 << 63)

    def run(self, backend: PictureBackend[PictureT]) -> Iterator[tuple[Shown, PictureT]]:
        packets = self._packets()
        head: list[av.Packet] = []
        for packet in packets:
            head.append(packet)
            if len(head) == 8:
                break
        nal = self._nal_reader(head)
        ordered = _chain(head, packets)
        if nal is None:
            yield from self._run_by_pictures(ordered, backend)
        else:
            yield from self._run_by_packets(ordered, backend, nal)
        self._opened.check_complete()

    # Packets

    def _packets(self) -> Iterator[av.Packet]:
        """The stream's packets from the first key packet on. Where one cannot be read, a file that is cut off
        is told as such: it is the likelier story, and says better what to do."""
        demuxer = self._demuxer or self._opened.container.demux(self._opened.stream)
        while True:
            try:
                with media_errors(self._name, f"cannot read the video {self._after()}"):
                    packet = next(demuxer, None)
            except BadInput:
                self._opened.check_complete()
                raise
            if packet is None:
                return
            if packet.size == 0:
                continue
            self._stats.packets += 1
            if self._first_key_pts is None:
                if not packet.is_keyframe:
                    continue
                self._first_key_pts = packet.pts if packet.pts is not None else packet.dts or 0
            if packet.is_corrupt:
                self._opened.check_complete()
                raise self._damaged(packet.pts, "the data of a picture is incomplete")
            yield packet

    def _nal_reader(self, head: list[av.Packet]) -> NalReader | None:
        """A reader if this stream's timeline can be known from its packets, else None."""
        if self._codec not in ("h264", "hevc") or any(packet.pts is None for packet in head):
            return None
        nal = NalReader(self._codec, self._opened.stream.codec_context.extradata)
        for packet in head:
            facts = nal.facts(memoryview(packet))
            if packet is head[0]:
                self._first_key_is_idr = facts.idr
        return None if nal.fields_possible else nal

    # H.264 and HEVC: the timeline from packets

    def _run_by_packets(
        self, packets: Iterator[av.Packet], backend: PictureBackend[PictureT], nal: NalReader
    ) -> Iterator[tuple[Shown, PictureT]]:
        schedule: PacketSchedule[av.Packet] = PacketSchedule(
            self.time_base, self._rate, also=self._also, sampler=self._sampler
        )
        for packet in packets:
            entry = self._entry(packet, nal)
            if entry is None:
                continue
            for needed in self._in_order(schedule, entry):
                yield from self._decode_scheduled(schedule, backend, needed)
        for needed in self._in_order(schedule, None):
            yield from self._decode_scheduled(schedule, backend, needed)
        yield from self._decode_scheduled(schedule, backend, None)
        if schedule.expected():
            raise self._damaged(schedule.first_expected(), "no picture came out of the decoder")

    def _entry(self, packet: av.Packet, nal: NalReader) -> Entry[av.Packet] | None:
        """The schedule's view of a packet; None for one that is never sent."""
        if packet.has_sidedata("new_extradata"):
            nal.set_extradata(bytes(packet.get_sidedata("new_extradata")))
        facts = nal.facts(memoryview(packet))
        if nal.fields_possible:
            raise self._damaged(packet.pts, "the coding changes from frames to fields")
        if packet.pts is None:
            raise self._damaged(None, "a packet has no timestamp")
        assert self._first_key_pts is not None
        leading = packet.pts < self._first_key_pts
        if leading and (facts.skipped_leading or (self._codec == "h264" and not self._first_key_is_idr)):
            return None
        return Entry(
            packet=packet,
            pts=packet.pts,
            duration=packet.duration or 0,
            shown=not packet.is_discard,
            droppable=facts.droppable,
        )

    def _in_order(
        self, schedule: PacketSchedule[av.Packet], entry: Entry[av.Packet] | None
    ) -> Iterator[av.Packet]:
        released = schedule.finish() if entry is None else schedule.push(entry)
        try:
            yield from released
        except ValueError as error:
            raise self._damaged(entry.pts if entry else None, "timestamps run backwards") from error
        finally:
            self._stats.packets_dropped = schedule.dropped

    def _decode_scheduled(
        self,
        schedule: PacketSchedule[av.Packet],
        backend: PictureBackend[PictureT],
        packet: av.Packet | None,
    ) -> Iterator[tuple[Shown, PictureT]]:
        for picture in self._decode(backend, packet):
            samples = None if picture.pts is None else schedule.samples_of(picture.pts)
            if picture.pts is None or samples is None:
                continue
            if picture.pts < self._last_pts:
                raise self._damaged(picture.pts, "timestamps contradict the order of the pictures")
            self._last_pts = picture.pts
            if samples or self._also(picture.pts):
                yield self._shown(picture.pts, samples), picture
        if schedule.expected() > MAX_PENDING:
            raise self._damaged(schedule.first_expected(), "no picture came out of the decoder")

    # Other codecs: the timeline from decoded pictures

    def _run_by_pictures(
        self, packets: Iterator[av.Packet], backend: PictureBackend[PictureT]
    ) -> Iterator[tuple[Shown, PictureT]]:
        sampler = self._sampler
        pending: set[int] = set()
        stamps = _Stamps(self._opened)
        held: tuple[int, PictureT] | None = None
        for packet in _then_none(packets):
            if packet is not None and packet.pts is not None and not packet.is_discard:
                pending.add(packet.pts)
            for picture in self._decode(backend, packet):
                pending.discard(picture.pts if picture.pts is not None else -1)
                pts = stamps.stamp(picture)
                if self._first_key_pts is not None and pts < self._first_key_pts:
                    continue
                try:
                    samples = sampler.push(pts)
                except ValueError as error:
                    raise self._damaged(pts, "timestamps run backwards") from error
                if held is not None and (samples or self._also(held[0])):
                    yield self._shown(held[0], samples), held[1]
                held = (pts, backend.hold(picture))
            if len(pending) > MAX_PENDING and self._codec in ONE_PACKET_ONE_PICTURE:
                break
        lost = [pts for pts in pending if self._first_key_pts is None or pts >= self._first_key_pts]
        if lost and self._codec in ONE_PACKET_ONE_PICTURE and self._codec != "h264":
            raise self._damaged(min(lost), "no picture came out of the decoder")
        if held is not None:
            samples = sampler.finish(held[1].duration)
            if samples or self._also(held[0]):
                yield self._shown(held[0], samples), held[1]

    # Common

    def _decode(self, backend: PictureBackend[PictureT], packet: av.Packet | None) -> list[PictureT]:
        try:
            pictures = backend.decode(packet)
        except av.error.FFmpegError:
            pts = None if packet is None else packet.pts
            with media_errors(self._name, f"the video is damaged {self._moment(pts)}"):
                raise
        for picture in pictures:
            self._stats.pictures_decoded += 1
            if picture.is_corrupt:
                raise self._damaged(picture.pts, "a picture does not decode cleanly")
            size = (picture.width, picture.height)
            if self._size is None:
                self._size = size
            elif size != self._size:
                raise BadInput(
                    f"the picture size changes from {self._size[0]}x{self._size[1]} to {size[0]}x{size[1]} "
                    f"{self._moment(picture.pts)}",
                    input=self._name,
                    what_to_do="split the video where its size changes, or re-encode it at one size.",
                )
        return pictures

    def _shown(self, pts: int, samples: range) -> Shown:
        if len(samples) / self._rate > LONGEST_PICTURE_S:
            raise self._damaged(
                pts,
                f"the next picture's timestamp is {float(len(samples) / self._rate) / 3600:.0f} hours later",
            )
        return Shown(pts, samples)

    def _after(self) -> str:
        return f"after {self._stats.packets} packets"

    def _moment(self, pts: int | None) -> str:
        if pts is None:
            return self._after()
        return f"at {float(pts * self.time_base):.3f} s"

    def _damaged(self, pts: int | None, how: str) -> BadInput:
        return BadInput(
            f"the video is damaged {self._moment(pts)}: {how}", input=self._name, what_to_do=COMPLETE
        )


class _Stamps:
    """PTS for pictures of containers that may store none: the picture's own, else its packet's DTS (equal
    up to a constant where there is no reordering), else one step after the last."""

    def __init__(self, opened: OpenedVideo) -> None:
        stream = opened.stream
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self._step = max(1, round(1 / (Fraction(rate) * Fraction(stream.time_base or 1))))
        self._last: int | None = None

    def stamp(self, picture: Picture) -> int:
        pts = picture.pts
        if pts is None:
            pts = getattr(picture, "dts", None)
        if pts is None:
            pts = 0 if self._last is None else self._last + self._step
        self._last = pts
        return pts


def _chain(head: list[av.Packet], rest: Iterator[av.Packet]) -> Iterator[av.Packet]:
    while head:
        yield head.pop(0)
    yield from rest


def _then_none(packets: Iterator[av.Packet]) -> Iterator[av.Packet | None]:
    yield from packets
    yield None
