"""The sound of a clip: spans of sources, each at its place, speed and fade, added up.

Belongs here: spans, fades, adding up, which sources are open. Does not belong here: where a source's samples
lie (`clip_audio_decode`), how they are converted (`clip_audio_convert`), speed (`clip_audio_speed`), encoding
(`mp4_write`).

Everything is 48 kHz stereo float32, 1.0 is full scale. Sums are not limited: a linear crossfade never
exceeds the louder side, one of equal power of two like signals can by 3 dB.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from video_pipeline.media.clip_audio_speed import FASTEST, SLOWEST, at_speed

if TYPE_CHECKING:
    from video_pipeline.media.clip_audio_decode import SoundTrack
    from video_pipeline.media.container import Source
    from video_pipeline.streaming.cancel import CancellationToken

SAMPLE_RATE = 48000
CHANNELS = 2
BLOCK = SAMPLE_RATE
"""Most samples in one block: 1 s, 384 KB."""

Curve = Literal["linear", "equal_power"]


def samples_at(t: Fraction) -> int:
    """The sample of the 48 kHz grid that `t` (seconds) falls on: half up, also below zero. Borders are
    computed by this from absolute times, so that lengths add up and nothing drifts."""
    return math.floor(t * SAMPLE_RATE + Fraction(1, 2))


@dataclass(frozen=True, slots=True)
class AudioSpan:
    """Source seconds [start, stop) at `speed` times their speed, heard from output sample `offset` on for
    exactly `samples` samples; silence where the source has no sound and after `stop`. `source` None is
    silence.

    Sound from `stop` on is heard at speed 1 only where rounding needs it (less than a sample); at other
    speeds a window (43 ms of source) at either border also holds sound from beyond it.
    Fades are in samples, over the span's own first and last; a fade of a clip that goes over several of its
    spans says how much of it lies before this one's beginning (`fade_in_before`) or behind its end
    (`fade_out_after`). `equal_power`: sine of a quarter turn, for crossfades of unlike sounds; "linear" for
    like ones.
    """

    source: int | None
    start: Fraction
    stop: Fraction
    speed: Fraction
    offset: int
    samples: int
    fade_in: int = 0
    fade_out: int = 0
    curve: Curve = "linear"
    fade_in_before: int = 0
    fade_out_after: int = 0

    def __post_init__(self) -> None:
        if self.stop < self.start or not SLOWEST <= self.speed <= FASTEST:
            raise ValueError(f"seconds {self.start} to {self.stop} at speed {self.speed} cannot be played")
        if self.offset < 0 or self.samples < 0:
            raise ValueError(f"{self.samples} samples at {self.offset} are no place in the output")
        if min(self.fade_in, self.fade_out, self.fade_in_before, self.fade_out_after) < 0:
            raise ValueError(f"fades of {self.fade_in} and {self.fade_out} samples cannot be heard")

    @property
    def end(self) -> int:
        return self.offset + self.samples

    @property
    def sounding(self) -> int:
        """How many of its samples come from before `stop`."""
        return min(self.samples, math.ceil((self.stop - self.start) / self.speed * SAMPLE_RATE))

    def gain(self, first: int, stop: int) -> np.ndarray | None:
        """float32 (stop - first, 1): what its samples [first, stop) are multiplied by; None for 1."""
        before, after = self.fade_in_before, self.samples + self.fade_out_after
        if first + before >= self.fade_in and stop <= after - self.fade_out:
            return None
        at = np.arange(first, stop, dtype=np.float64)[:, None] + 0.5
        gain = np.ones_like(at)
        for distance, length in ((at + before, self.fade_in), (after - at, self.fade_out)):
            if length:
                share = np.minimum(distance / length, 1.0)
                gain *= share if self.curve == "linear" else np.sin(share * (math.pi / 2))
        return gain.astype(np.float32)


def render_audio(
    spans: Sequence[AudioSpan],
    total_samples: int,
    open_source: Callable[[int], AbstractContextManager[Source]],
    *,
    name: Callable[[int], str],
    cancel: CancellationToken | None = None,
) -> Generator[np.ndarray, None, None]:
    """Float32 (n, 2) blocks, 0 < n <= 48000, in all exactly `total_samples`; overlapping spans are added.

    `open_source(i)` gives source i as a path or seekable reader; `name(i)` is what errors call it. A source
    is opened when its span begins and closed when it ends, or goes on to a span that begins just then.
    Closing the iterator closes everything. Raises BadInput for a source that cannot be opened or whose sound
    is damaged, `Cancelled` between blocks.
    """
    waiting = deque(
        sorted((s for s in spans if s.samples and s.offset < total_samples), key=lambda s: s.offset)
    )
    borders = sorted({border for span in waiting for border in (span.offset, span.end)})
    sounding: list[_Voice] = []
    try:
        for first in range(0, total_samples, BLOCK):
            if cancel is not None:
                cancel.raise_if_cancelled()
            last = min(first + BLOCK, total_samples)
            block = np.zeros((last - first, CHANNELS), np.float32)
            cuts = [first, *(b for b in borders if first < b < last), last]
            for start, stop in itertools.pairwise(cuts):
                _change(sounding, waiting, start, open_source, name)
                for voice in sounding:
                    voice.add_to(block[start - first : stop - first], start)
            yield block
    finally:
        with contextlib.ExitStack() as stack:
            for voice in sounding:
                stack.callback(voice.close)


def _change(
    sounding: list[_Voice],
    waiting: deque[AudioSpan],
    at: int,
    open_source: Callable[[int], AbstractContextManager[Source]],
    name: Callable[[int], str],
) -> None:
    """At output sample `at`: spans that end let go of their sources, spans that begin take them."""
    ended = [voice for voice in sounding if voice.span.end <= at]
    while waiting and waiting[0].offset <= at:
        span = waiting.popleft()
        if span.source is None:
            continue
        voice = _Voice(span)
        sounding.append(voice)
        heir = next((old for old in ended if old.span.source == span.source), None)
        if heir is None:
            voice.open(open_source(span.source), name(span.source))
        else:
            ended.remove(heir)
            sounding.remove(heir)
            voice.take_over(heir)
    for voice in ended:
        sounding.remove(voice)
        voice.close()


class _Voice:
    """A span that sounds: its open source and how far it has been played."""

    def __init__(self, span: AudioSpan) -> None:
        self.span = span
        self._stack = contextlib.ExitStack()
        self._track: SoundTrack | None = None
        self._blocks: Iterator[np.ndarray] = iter(())
        self._left = np.zeros((0, CHANNELS), np.float32)

    def open(self, source: AbstractContextManager[Source], name: str) -> None:
        from video_pipeline.media.clip_audio_decode import SoundTrack

        self._play(self._stack.enter_context(SoundTrack(self._stack.enter_context(source), name=name)))

    def take_over(self, other: _Voice) -> None:
        """Go on with the open source of a span that has ended."""
        track, other._track = other._track, None
        assert track is not None
        self._stack = other._stack.pop_all()
        self._play(track)

    def _play(self, track: SoundTrack) -> None:
        self._track = track
        self._blocks = at_speed(track.blocks, self.span.start, self.span.speed, SAMPLE_RATE)

    def add_to(self, out: np.ndarray, at: int) -> None:
        """Add the samples that follow to `out`, float32 (n, 2), which lies at output sample `at`."""
        first = at - self.span.offset
        count = min(len(out), self.span.sounding - first)
        done = 0
        while done < count:
            if not len(self._left):
                self._left = next(self._blocks)
            data, self._left = np.split(self._left, [count - done])
            gain = self.span.gain(first + done, first + done + len(data))
            out[done : done + len(data)] += data if gain is None else data * gain
            done += len(data)

    def close(self) -> None:
        self._stack.close()
