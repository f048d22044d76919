"""Decoded sound of any rate, format and layout as 48 kHz stereo float32 on the output's grid of samples.

Belongs here: resampling, downmix, counting what comes out. Does not belong here: where frames lie and why
(`clip_audio_decode`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from video_pipeline.media.clip_audio import CHANNELS, SAMPLE_RATE, samples_at
from video_pipeline.media.container import media_errors


def converted(
    placed: Iterable[tuple[Fraction, bool, av.AudioFrame]], name: str
) -> Iterator[tuple[int, np.ndarray]]:
    """(sample of the 48 kHz grid, float32 (n, 2)) in order, from (seconds, whether it joins its predecessor,
    frame without PTS).

    Each unbroken run has a resampler of its own, so its samples are counted from where the run begins; at
    other rates than 48 kHz that is up to half a sample off. Raises BadInput, naming `name`, for sound that
    libswresample refuses.
    """
    run: _Run | None = None
    for at, joined, frame in placed:
        if run is None or not joined or not run.takes(frame):
            if run is not None:
                yield from run.push(None)
            run = _Run(frame, samples_at(at), name)
        yield from run.push(frame)
    if run is not None:
        yield from run.push(None)


class _Run:
    """Frames of one kind that follow each other, from output sample `position` on."""

    def __init__(self, first: av.AudioFrame, position: int, name: str) -> None:
        self._kind = _kind(first)
        self._resampler = _resampler(first)
        self._position = position
        self._name = name

    def takes(self, frame: av.AudioFrame) -> bool:
        return _kind(frame) == self._kind

    def push(self, frame: av.AudioFrame | None) -> Iterator[tuple[int, np.ndarray]]:
        """What comes out after `frame`; None: the rest."""
        with media_errors(self._name, "cannot convert the sound"):
            # Where there is nothing to convert, the resampler passes on the None that flushes it.
            ready = [_two_sides(out) for out in self._resampler.resample(frame) if out is not None]
        for data in ready:
            yield self._position, data
            self._position += len(data)


def _kind(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resampler(frame: av.AudioFrame) -> av.AudioResampler:
    """libswresample to 48 kHz float: mono stays mono, which it would make 3 dB quieter on two sides; the rest
    becomes stereo. Its downmix matrices may add up to more than 1 (5.1: 2.41), which in float is not scaled
    down by default; with rematrix_maxval=1 it is, so that nothing clips."""
    channels = frame.layout.nb_channels
    return av.AudioResampler(
        format="flt",
        layout="mono" if channels == 1 else "stereo",
        rate=SAMPLE_RATE,
        options={"rematrix_maxval": "1.0"} if channels > CHANNELS else None,
    )


def _two_sides(frame: av.AudioFrame) -> np.ndarray:
    """Float32 (n, 2) of packed floats; mono is heard on both sides."""
    channels = frame.layout.nb_channels
    return frame.to_ndarray().reshape(-1, channels).repeat(CHANNELS // channels, axis=1)
