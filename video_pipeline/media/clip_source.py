"""A video as the clip suite reads it: any part of it, picture by picture, in one colour space.

Belongs here: opening, what the whole video is (size, rate, first and last moment), and one pass over a part.
Does not belong here: where a part begins in the file (`picture_range`), conversion (`bt709`), sound.

Times are seconds of the container's timeline: PTS times the time base, edit lists applied by libav.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

import av

from video_pipeline.errors import BadInput
from video_pipeline.media.bt709 import Bt709Converter, conversion_notes
from video_pipeline.media.container import COMPLETE, OpenedVideo, Source, media_errors, open_video
from video_pipeline.media.decode_software import SoftwareBackend, no_pictures
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.part_reader import PartReader
from video_pipeline.media.picture_range import PictureRange, packets_from, slack
from video_pipeline.media.pictures import LONGEST_PICTURE_S, DecodeStats, PicturePass
from video_pipeline.media.planes import orientation_of
from video_pipeline.media.probe import VideoProbe, describe
from video_pipeline.media.schedule import LOOK_AHEAD
from video_pipeline.media.segment_ends import SegmentEnds

ROUNDED = Fraction(1, 1000)
"""A stop may lie this much (seconds) after the end: people and editors write times in milliseconds."""

_NEAR = Fraction(1, 1000)
_FAR_FROM_STEADY = Fraction(1, 10)
_ONE_A_SECOND = Fraction(1)


@dataclass(frozen=True, slots=True, eq=False)
class ClipPicture:
    """A picture shown from `pts` until `stop` (the PTS of the next; of the last one its PTS plus its
    duration), both in the source's time base. `frame` is the whole displayed picture, even size, BT.709 in
    limited range, as `Bt709Converter` gives it: valid as long as it is held, and to be read only."""

    pts: int
    stop: int
    frame: CroppedFrame


class ClipSource:
    """Reads parts of one video. For one thread at a time; `close()` may be called twice.

    `source` is a path or a seekable binary reader, which stays the caller's to close (a `PartReader` is told
    where each part ends); `name` names it in errors. `threads` decode (see `SoftwareBackend`). The
    constructor reads the header and decodes the first picture. Raises BadInput for what `open_video` and
    `describe` refuse, and for a video without pictures.
    """

    def __init__(self, source: Source, *, name: str, threads: int | Literal["auto"] = 1) -> None:
        self.name = name
        self.stats = DecodeStats()
        self._source = source
        self._threads: int | Literal["auto"] = threads
        self._turn = 0
        self._stop: Fraction | None = None
        self._open()
        try:
            self._describe()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._opened = open_video(self._source, name=self.name)
        self._backend = SoftwareBackend(self._opened, self._threads)

    def _describe(self) -> None:
        everything = PictureRange(None, None, 1)
        run = PicturePass(self._opened, _ONE_A_SECOND, self.stats, sampler=everything)
        self.time_base: Fraction = run.time_base
        first = next(run.run(self._backend), None)
        if first is None:
            raise no_pictures(self.name)
        shown, picture = first
        self.probe: VideoProbe = describe(self._opened, picture, first_pts=shown.pts)
        self.start: Fraction = shown.pts * self.time_base
        stream = self._opened.stream
        first_step = everything.stops[shown.pts] - shown.pts
        rate = _stated_rate(self._opened) or 1 / (first_step * self.time_base)
        self.frame_rate: Fraction = sane_rate(Fraction(rate))
        orientation = orientation_of(picture)
        assert orientation is not None
        self._converter = Bt709Converter(orientation, picture.width, picture.height)
        self.width, self.height = self._converter.width, self._converter.height
        self.notes: tuple[str, ...] = conversion_notes(picture, stream.sample_aspect_ratio)

    @property
    def stop(self) -> Fraction:
        """The end of the last picture, in seconds. Found when first asked for, from the packets of the last
        group of pictures: containers state durations of tracks, which are not the same to the tick. Ask
        before iterating."""
        if self._stop is None:
            self._turn += 1
            self._stop = self._find_stop() * self.time_base
        return self._stop

    def pictures(self, start: Fraction | None = None, stop: Fraction | None = None) -> Iterator[ClipPicture]:
        """The pictures of [start, stop) in seconds, in presentation order, each once.

        From the one shown at `start` (the largest PTS not after it; the first picture, if `start` lies
        between 0 and it) to the last whose PTS is before `stop`; both with `slack` to spare. None is the
        beginning and the end. Raises BadInput at once if the times lie outside the video, and while iterating
        for damage as `PicturePass` does. There is one decoder: an iterator raises RuntimeError when it is
        taken further after another call, after `stop` had to be found, or after `close`.
        """
        self._turn += 1
        self._check(start, stop)
        return self._run(start, stop, self._turn)

    def _check(self, start: Fraction | None, stop: Fraction | None) -> None:
        asked = f"{_seconds(self.start if start is None else start)} to " + (
            "the end" if stop is None else _seconds(stop)
        )
        if start is not None and stop is not None and stop <= start:
            raise BadInput(
                f"the part from {asked} is empty", input=self.name, what_to_do="let it end after it starts."
            )
        outside = (start is not None and start < min(self.start, 0)) or (
            stop is not None and stop - self.time_base / 2 <= self.start
        )
        if not outside:
            latest = max((t for t in (start, stop) if t is not None), default=None)
            outside = latest is not None and not self._reaches(latest, is_stop=stop is not None)
        if outside:
            raise BadInput(
                f"the part from {asked} is not in the video, which goes from {_seconds(self.start)} to "
                f"{_seconds(self.stop)}",
                input=self.name,
                what_to_do="choose times inside the video.",
            )

    def count(self, start: Fraction, stop: Fraction) -> int:
        """About how many pictures [start, stop) shows: exact but for a few at its ends where the container
        has an index, else by the average rate."""
        first, last = start / self.time_base, stop / self.time_base
        times = [entry.timestamp for entry in self._opened.stream.index_entries if not entry.is_discard]
        if self.probe.frame_count is None or len(times) < self.probe.frame_count:
            return max(1, round((stop - start) * self.frame_rate))
        # An entry's time is a DTS: all are as much too early as the first.
        delay = max(0, round(self.start / self.time_base) - times[0])
        return max(1, sum(first <= time + delay < last for time in times))

    @cached_property
    def _latest_indexed(self) -> int | None:
        index = self._opened.stream.index_entries
        return max((entry.timestamp for entry in index if not entry.is_discard), default=None)

    def _reaches(self, moment: Fraction, *, is_stop: bool) -> bool:
        # An index entry's time is a key picture's PTS or a packet's DTS, and a PTS is never before its DTS:
        # if one is late enough, the end need not be read.
        known = self._latest_indexed
        if known is not None and moment < known * self.time_base:
            return True
        return moment <= self.stop + ROUNDED if is_stop else moment < self.stop

    def _run(self, start: Fraction | None, stop: Fraction | None, turn: int) -> Iterator[ClipPicture]:
        self._check_turn(turn)
        chosen = PictureRange(
            None if start is None else start / self.time_base,
            None if stop is None else stop / self.time_base,
            self._usual_step(),
            slack(self.time_base),
        )
        if isinstance(self._source, PartReader):
            self._source.expect(None if stop is None else self._last_byte(stop, self._source.ends))
        packets = self._packets(start)
        run = PicturePass(self._opened, _ONE_A_SECOND, self.stats, sampler=chosen, packets=packets)
        for shown, picture in run.run(self._backend):
            until = chosen.stops.pop(shown.pts)
            if (until - shown.pts) * self.time_base > LONGEST_PICTURE_S:
                hours = float((until - shown.pts) * self.time_base) / 3600
                raise BadInput(
                    f"the video is damaged at {_seconds(shown.pts * self.time_base)}: the next picture's "
                    f"timestamp is {hours:.0f} hours later",
                    input=self.name,
                    what_to_do=COMPLETE,
                )
            self.stats.samples += 1
            yield ClipPicture(shown.pts, until, self._converter.convert(picture))
            self._check_turn(turn)
            if chosen.ended_by(until):
                return

    def _last_byte(self, stop: Fraction, ends: SegmentEnds | None) -> int | None:
        """The byte behind the packets that a part up to `stop` needs; None where the index does not reach so
        far. Of a file with `ends` libav knows the fragments that it has read, so they are asked."""
        if ends is not None:
            return ends.behind(stop + LOOK_AHEAD / self.frame_rate)
        index = self._opened.stream.index_entries
        # An entry's time is a DTS, which is not after its PTS.
        last = index.search_timestamp(int(stop / self.time_base), any_frame=True)
        if last < 0 or last + LOOK_AHEAD >= len(index):
            return None
        return max(entry.pos + entry.size for entry in index[last : last + LOOK_AHEAD + 1])

    def _packets(self, start: Fraction | None) -> Iterator[av.Packet]:
        """Packets from which the picture shown at `start` can be decoded; the decoder is ready for them."""
        begin = self.start if start is None else max(start, self.start)
        # An MP4's header says where its first picture lies; opening it again would take 35 ms at 1080p.
        if begin > self.start or self._opened.format == "mov":
            packets = packets_from(self._opened, begin / self.time_base + slack(self.time_base))
            if packets is not None:
                self._opened.stream.codec_context.flush_buffers()
                return packets
        self._opened.close()
        self._open()
        return self._opened.container.demux(self._opened.stream)

    def _find_stop(self) -> int:
        stream = self._opened.stream
        ends = [entry.timestamp for entry in stream.index_entries if not entry.is_discard]
        if self._opened.container.duration:
            begin = self._opened.container.start_time or 0
            ends.append(int(Fraction(begin + self._opened.container.duration, av.time_base) / self.time_base))
        packets = packets_from(self._opened, Fraction(max(ends))) if ends else None
        if packets is None:
            self._opened.close()
            self._open()
            packets = self._opened.container.demux(stream := self._opened.stream)
        spans: dict[int, int] = {}
        with media_errors(self.name, "the end of the video cannot be read"):
            for packet in packets:
                pts = packet.dts if packet.pts is None else packet.pts
                if packet.size and pts is not None and not packet.is_discard:
                    spans[pts] = packet.duration or 0
        end = PictureRange(None, None, self._usual_step())
        for pts in sorted(spans):
            end.push(pts)
        end.finish(spans[max(spans)])
        return end.stops[max(spans)]

    def _usual_step(self) -> int:
        return max(1, round(1 / (self.frame_rate * self.time_base)))

    def _check_turn(self, turn: int) -> None:
        if turn != self._turn:
            raise RuntimeError(f"{self.name}: the source was closed or asked for something else meanwhile")

    def close(self) -> None:
        """Free the decoder, the container and a file that we opened."""
        self._turn += 1
        self._opened.close()

    def __enter__(self) -> ClipSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stated_rate(opened: OpenedVideo) -> Fraction | None:
    """libav's average rate. Of a fragmented MP4 that is the average of the few pictures it has looked at, and
    a first picture that stands longer, where sound begins before it, made 24.43 of 25: there the rate of the
    common steps, unless the average is far from it, as where steps vary."""
    average, steady = opened.stream.average_rate, opened.stream.guessed_rate
    if average and steady and opened.format == "mov" and not opened.stream.frames:
        return steady if abs(average - steady) <= steady * _FAR_FROM_STEADY else average
    return average or steady


def sane_rate(rate: Fraction) -> Fraction:
    """`rate` as n or n / 1.001 pictures a second where one of them is within 0.1 %, the nearer of the two;
    else the nearest fraction with a denominator up to 1001."""
    whole = max(1, round(rate))
    ntsc = max(1, round(rate * Fraction(1001, 1000))) * Fraction(1000, 1001)
    nearest = min((Fraction(whole), ntsc), key=lambda candidate: abs(candidate - rate))
    return nearest if abs(nearest - rate) <= rate * _NEAR else rate.limit_denominator(1001)


def _seconds(moment: Fraction) -> str:
    return f"{float(moment):.3f} s"
