"""The sound of a video as 48 kHz stereo from any moment on, at its place on the movie timeline.

Belongs here: the audio stream, the seek, decoding, where each sample lies. Does not belong here: conversion
to one format (`clip_audio_convert`), speed (`clip_audio_speed`), spans, fades and sums (`clip_audio`).

Place. A frame's PTS says where it lies, but a frame that follows its predecessor within `JITTER` is joined to
it without a seam: recorders write PTS from clocks that jitter, and players play through that. Containers with
ticks longer than a sample (Matroska: 1 ms, 48 samples) cannot say it exactly after a seek, but codecs with
frames of one length lie on a grid that begins at the first packet; the PTS then only tells which place on the
grid. The grid begins `skip` samples before the first sound, the priming that Matroska's CodecDelay (RFC 9559,
5.1.4.1.25) and libav's packet side data state. AVI, MPEG-TS and fragments without an edit list state no
priming: their sound is as late as players play it (AAC 1024 samples, MP3 1105).

Damage. Opus and PCM decode from any bytes: there, and where a container skips what it cannot parse, damage is
noise or a gap and not found.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import av.audio
import av.error
import av.stream
import numpy as np

from video_pipeline.errors import BadInput
from video_pipeline.media.clip_audio import BLOCK, CHANNELS, samples_at
from video_pipeline.media.clip_audio_convert import converted
from video_pipeline.media.container import COMPLETE, Source, media_errors, open_video

JITTER = Fraction(1, 100)
"""A frame this near to the end of its predecessor follows it without a seam; farther off, the PTS counts.
10 ms of sound early or late is far below what is noticed against a picture (ITU-R BT.1359-1, 45 ms)."""

PREROLL = Fraction(1, 4)
"""Decoding begins so much before what is asked for. Needed: AAC and AC-3 one frame (their windows overlap),
MP3 511 bytes of bit reservoir (10 frames at 8 kb/s), Opus 80 ms (RFC 7845, 4.6)."""

LEAST_PREROLL = Fraction(1, 10)
BACK_OFF_S = (0, 1, 4, 16, 64)
"""A seek may end after the wanted moment (an index of video key frames only; a gap): it is tried again so
many seconds earlier, then from the beginning."""

STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""Damage is an error and not concealed."""


class SoundTrack:
    """The default (else first) audio track of `source`, a video file or seekable reader; silence if none.

    Raises BadInput as `open_video` does, and for a codec without a decoder or that has no sample rate. Reads
    the header only; other streams' packets are skipped, not read, where the container allows it.
    """

    def __init__(self, source: Source, *, name: str) -> None:
        self._name = name
        self._opened = open_video(source, name=name)
        try:
            self._stream = self._choose()
            if self._stream is not None:
                self._prepare(self._stream)
        except BaseException:
            self._opened.close()
            raise

    @property
    def silent(self) -> bool:
        """Whether the video has no audio track."""
        return self._stream is None

    def _choose(self) -> av.audio.AudioStream | None:
        streams = list(self._opened.container.streams.audio)
        preferred = [s for s in streams if s.disposition & av.stream.Disposition.default]
        return (preferred or streams or [None])[0]

    def _prepare(self, stream: av.audio.AudioStream) -> None:
        context = stream.codec_context
        if context is None or not context.sample_rate or not stream.time_base:
            raise BadInput(
                "no decoder for the video's sound",
                input=self._name,
                what_to_do="convert the sound: ffmpeg -i INPUT -c:v copy -c:a aac OUTPUT.mp4.",
            )
        context.options = dict(STRICT)
        for other in self._opened.container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        self._time_base = Fraction(stream.time_base)
        with media_errors(self._name, "cannot read the sound"):
            self._first = next(self._packets(stream), None)
        if self._first is not None:
            # A fresh decoder drops the priming from whatever comes first, also after a seek. Damage here is
            # told when the packet is wanted.
            with contextlib.suppress(av.error.FFmpegError):
                context.decode(self._first)
            context.flush_buffers()
        self._at_beginning = True

    def blocks(self, start: Fraction) -> Iterator[np.ndarray]:
        """The sound from `samples_at(start)` on, float32 (n, 2), 0 < n <= BLOCK, without a hole: silence
        before the track begins and where PTS leave a gap. Ends with the track. One at a time: a second call
        takes over the reader.

        Raises BadInput for damage and for a file that ends too early.
        """
        due = samples_at(start)
        for position, data in converted(self._placed(start), self._name):
            while due < position:
                hole = min(position - due, BLOCK)
                yield np.zeros((hole, CHANNELS), np.float32)
                due += hole
            new = data[max(0, due - position) :]
            for first in range(0, len(new), BLOCK):
                yield new[first : first + BLOCK]
            due += len(new)

    # Placing

    def _placed(self, start: Fraction) -> Iterator[tuple[Fraction, bool, av.AudioFrame]]:
        """(seconds, whether it joins its predecessor, frame)."""
        expected: Fraction | None = None
        for frame in self._frames(start):
            stated = None if frame.pts is None else frame.pts * self._time_base
            joined = expected is not None and (stated is None or abs(stated - expected) <= JITTER)
            if joined:
                at = cast(Fraction, expected)
            elif stated is None:
                raise BadInput("the sound has no timestamps", input=self._name, what_to_do=COMPLETE)
            else:
                at = self._on_grid(stated, frame)
            expected = at + Fraction(frame.samples, frame.sample_rate)
            frame.pts = None
            yield at, joined, frame

    def _on_grid(self, stated: Fraction, frame: av.AudioFrame) -> Fraction:
        """`stated` made exact where ticks are longer than samples: the nearest place on the grid of frames
        if that is within one tick of it."""
        if self._time_base * frame.sample_rate <= 1 or self._first is None or self._first.pts is None:
            return stated
        skip = Fraction(_skipped_at_start(self._first), frame.sample_rate)
        # libav took `skip` off the container's whole ticks, itself rounded to ticks (half up).
        ticks = math.floor(skip / self._time_base + Fraction(1, 2))
        first_sound = (self._first.pts + ticks) * self._time_base
        if stated == first_sound:
            return stated
        grid = first_sound - skip
        size = max(frame.samples, self._stream.codec_context.frame_size if self._stream else 0)
        step = Fraction(size, frame.sample_rate)
        place = grid + round((stated - grid) / step) * step
        return place if abs(place - stated) <= self._time_base else stated

    # Packets and frames

    def _frames(self, start: Fraction) -> Iterator[av.AudioFrame]:
        """Frames from PREROLL before `start` on. Two failures are no damage: one before `start`, where a
        decoder that begins there may lack what came before (MP3's reservoir); and one of the track's first
        packet, the rest of a frame where a file was cut from a longer one (AC-3 in AVI, MPEG-TS)."""
        stream = self._stream
        if stream is None:
            return
        for packet in self._from(stream, start - PREROLL):
            try:
                if packet.is_corrupt:
                    raise self._damaged(packet, "data is incomplete")
                frames = self._decoded(stream, packet)
            except BadInput:
                if self._end_of(packet) <= start or self._is_first(packet):
                    continue
                self._opened.check_complete()
                raise
            yield from frames
        with media_errors(self._name, "cannot decode the end of the sound"):
            last = stream.codec_context.decode(None)
        yield from last
        self._opened.check_complete()

    def _decoded(self, stream: av.audio.AudioStream, packet: av.Packet) -> list[av.AudioFrame]:
        try:
            return stream.codec_context.decode(packet)
        except av.error.FFmpegError as error:
            raise self._damaged(packet, error.strerror or str(error)) from error

    def _is_first(self, packet: av.Packet) -> bool:
        return self._first is not None and (packet.pts, packet.dts) == (self._first.pts, self._first.dts)

    def _end_of(self, packet: av.Packet) -> Fraction:
        return ((packet.pts or 0) + (packet.duration or 0)) * self._time_base

    def _damaged(self, packet: av.Packet, how: str) -> BadInput:
        where = "" if packet.pts is None else f" at {float(packet.pts * self._time_base):.3f} s"
        return BadInput(f"the sound is damaged{where}: {how}", input=self._name, what_to_do=COMPLETE)

    def _packets(self, stream: av.audio.AudioStream) -> Iterator[av.Packet]:
        for packet in self._opened.container.demux(stream):
            if packet.size:
                yield packet

    def _from(self, stream: av.audio.AudioStream, wanted: Fraction) -> Iterator[av.Packet]:
        """Packets from one that lies at or before `wanted` + PREROLL - LEAST_PREROLL (or the first) on."""
        first = self._first
        if first is None:
            return
        packets = None
        if first.pts is not None and wanted > first.pts * self._time_base:
            packets = self._sought(stream, wanted)
        if packets is None:
            packets = self._rewound(stream, first)
        with media_errors(self._name, "cannot read the sound"):
            yield from packets

    def _sought(self, stream: av.audio.AudioStream, wanted: Fraction) -> Iterator[av.Packet] | None:
        self._at_beginning = False
        # Matroska's index names video key frames; libav refuses to seek a track that is not in it.
        by = self._opened.stream if self._opened.format == "matroska" else stream
        tick = Fraction(by.time_base or self._time_base)
        latest = wanted + PREROLL - LEAST_PREROLL
        assert self._first is not None
        beginning = (self._first.pts or 0) * self._time_base
        for back in BACK_OFF_S:
            if wanted - back <= beginning:
                return None
            try:
                self._opened.container.seek(math.floor((wanted - back) / tick), stream=by)
                packets = self._packets(stream)
                packet = next(packets, None)
            except av.error.FFmpegError:
                continue
            if packet is not None and packet.pts is not None and packet.pts * self._time_base <= latest:
                return _chain(packet, packets)
        return None

    def _rewound(self, stream: av.audio.AudioStream, first: av.Packet) -> Iterator[av.Packet]:
        if self._at_beginning:
            self._at_beginning = False
            return _chain(first, self._packets(stream))
        with media_errors(self._name, "cannot go back to the beginning"):
            by = self._opened.stream
            self._opened.container.seek(min(0, by.start_time or 0), stream=by)
        return self._packets(stream)

    def close(self) -> None:
        """Free decoder and container. The caller's reader stays open. Idempotent."""
        self._first = None
        self._opened.close()

    def __enter__(self) -> SoundTrack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _chain(first: av.Packet, rest: Iterator[av.Packet]) -> Iterator[av.Packet]:
    yield first
    yield from rest


def _skipped_at_start(packet: av.Packet) -> int:
    """Samples to drop from the packet's beginning: AV_PKT_DATA_SKIP_SAMPLES, u32le first."""
    with contextlib.suppress(ValueError, KeyError):
        if packet.has_sidedata("skip_samples"):
            return struct.unpack_from("<I", bytes(packet.get_sidedata("skip_samples")))[0]
    return 0
