"""The check of a finished clip: what is in the file against what was asked for, all differences at once.

Belongs here: reading a clip back and the facts that are reported of it. Does not belong here: making it
(`media.mp4_write`), checking other people's files (`media.probe`).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from video_pipeline.clips.read_back import Differences, Track, decode, read_packets, read_structure
from video_pipeline.errors import Internal
from video_pipeline.media.frames import ColourTags
from video_pipeline.media.h264 import BT709
from video_pipeline.media.mp4_write import AAC_FRAME, SAMPLE_RATE

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from video_pipeline.streaming.cancel import CancellationToken

_LISTED = 4
"""Differing PTS that an error spells out; the rest are counted."""


class ClipFacts(BaseModel):
    """What a finished clip is. Times in seconds; colour as ITU-T H.273 code points, range 1 is limited."""

    model_config = ConfigDict(frozen=True)

    frames: int
    width: int
    height: int
    duration_seconds: float
    frame_rate: float
    """Pictures per second on average: frames / duration."""
    video_start_seconds: float
    audio_start_seconds: float | None
    audio_seconds: float | None
    av_offset_ms: float | None
    """Start of the sound minus start of the picture; None without sound."""
    size_bytes: int
    codec: str
    colour_primaries: int
    colour_transfer: int
    colour_matrix: int
    colour_range: int
    faststart: bool
    """Whether moov lies in front of mdat, so that playing can begin before all is there."""


def verify_clip(
    path: Path,
    *,
    frames: int,
    width: int,
    height: int,
    duration: Fraction,
    pts: Sequence[int] | None,
    audio: bool,
    copied: bool = False,
    cancel: CancellationToken | None = None,
) -> ClipFacts:
    """Reads every packet, decodes the first and the last group of pictures, and compares.

    `duration` is in seconds, of the picture; `pts` are the pictures' times in the file's video time base (one
    over the denominator of the clip's), None where only their count is known. Checked: count, PTS, size,
    duration to one tick, first picture at 0, H.264 in 8-bit 4:2:0 with BT.709 limited tags in the container
    and in the decoded pictures, key frame first, DTS below PTS and rising, decoding without an error flag,
    AAC stereo at 48 kHz or no sound, its start and length to one AAC frame (1024 samples), moov in front.
    Of a `copied` clip, which keeps its source's codecs, colours and sound, only the rest is checked, and
    pictures that its edit list hides do not count. Raises `Internal` that lists every difference. Not
    checked: the pictures' content.
    """
    import av
    from av.error import FFmpegError

    found = Differences()
    faststart, lasts = read_structure(path, duration, found)
    try:
        with av.open(str(path), "r", format="mov,mp4,m4a,3gp,3g2,mj2") as container:
            if not container.streams.video:
                raise Internal("a finished clip is wrong: it has no video track", input=path.name)
            stream = container.streams.video[0]
            picture, sound = read_packets(container, cancel)
            _check_pictures(found, picture, frames, pts)
            if not copied:
                _check_kind(found, stream, width, height)
            heard = _check_sound(found, container, sound, audio, duration, copied)
            tags = _check_decoding(found, container, stream, picture, copied)
            facts = _facts(path, stream, picture, lasts, tags, faststart, heard)
    except FFmpegError as error:
        found.add(f"it cannot be read back: {error}")
        raise found.error(path.name) from error
    if found.lines:
        raise found.error(path.name)
    return facts


def _check_pictures(
    found: Differences,
    track: Track,
    frames: int,
    pts: Sequence[int] | None,
) -> None:
    found.expect("the count of pictures", len(track.pts), frames)
    found.expect("the count of damaged packets", track.damaged, 0)
    shown = sorted(track.pts)
    if len(set(shown)) != len(shown):
        found.add(f"{len(shown) - len(set(shown))} pictures share a PTS with another")
    if pts is not None:
        wrong = [j for j, (seen, asked) in enumerate(zip(shown, pts, strict=False)) if seen != asked]
        if wrong:
            some = ", ".join(f"{shown[j]} instead of {pts[j]} at {j}" for j in wrong[:_LISTED])
            found.add(f"{len(wrong)} pictures have another PTS: {some}")
        found.expect("the count of PTS", len(shown), len(pts))
    found.expect("the first picture's PTS", shown[0] if shown else None, 0)
    if track.dts != sorted(set(track.dts)) or any(d > p for d, p in zip(track.dts, track.pts, strict=True)):
        found.add("the DTS do not rise, or pass a PTS")
    if not track.begins_with_key:
        found.add("the first packet is no key frame")


def _check_kind(found: Differences, stream: VideoStream, width: int, height: int) -> None:
    codec = stream.codec_context
    found.expect("the codec", codec.name, "h264")
    found.expect("the pixel format", codec.pix_fmt, "yuv420p")
    found.expect("the size", f"{codec.width}x{codec.height}", f"{width}x{height}")


def _check_decoding(
    found: Differences, container: InputContainer, stream: VideoStream, track: Track, copied: bool
) -> ColourTags:
    """Decodes the first and the last group; returns the container's tags."""
    codec = stream.codec_context
    tags = ColourTags(codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range)
    if not copied:
        found.expect("the container's colour", tags, BT709)
    shown = sorted(track.pts)
    borders = [*sorted(track.keys), track.stop]
    groups = list(pairwise(borders))
    for start, stop in sorted({*groups[:1], *groups[-1:]}):
        wanted = [time for time in shown if start <= time < stop]
        seen, colours, errors = [], set(), 0
        for frame in decode(container, stream, start, stop):
            seen.append(frame.pts)
            colours.add(
                ColourTags(frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
            )
            errors += frame.is_corrupt
        if seen != wanted:
            found.add(f"the group at PTS {start} decodes to {len(seen)} pictures instead of {len(wanted)}")
        if errors:
            found.add(f"the group at PTS {start} decodes with errors in {errors} pictures")
        if colours - {BT709} and not copied:
            found.add(f"the group at PTS {start} is decoded to the colours {sorted(map(str, colours))}")
    return tags


def _check_sound(
    found: Differences,
    container: InputContainer,
    track: Track,
    wanted: bool,
    duration: Fraction,
    copied: bool,
) -> tuple[Fraction, Fraction] | None:
    """Start and length of the sound in seconds, as a player has them: without the encoder's priming."""
    if not copied:
        found.expect("the count of tracks", len(container.streams), 2 if wanted else 1)
    if not container.streams.audio:
        if wanted:
            found.add("there is no sound")
        return None
    stream = container.streams.audio[0]
    tick = Fraction(stream.time_base or 1)
    start = (stream.start_time or 0) * tick
    lasts = track.stop * tick - start
    found.expect("the count of damaged packets of sound", track.damaged, 0)
    if not copied:
        _check_encoded_sound(found, stream, track, start, lasts, duration)
    return start, lasts


def _check_encoded_sound(
    found: Differences,
    stream: AudioStream,
    track: Track,
    start: Fraction,
    lasts: Fraction,
    duration: Fraction,
) -> None:
    codec = stream.codec_context
    kind = f"{codec.name}, {codec.sample_rate} Hz, {codec.layout.name}"
    found.expect("the sound", kind, f"aac, {SAMPLE_RATE} Hz, stereo")
    gaps = sum(later - earlier != AAC_FRAME for earlier, later in pairwise(track.pts))
    if gaps:
        found.add(f"the sound has {gaps} gaps or overlaps")
    frame = Fraction(AAC_FRAME, SAMPLE_RATE)
    if abs(start) > frame:
        found.add(f"the sound begins at {float(start):.6f} s instead of 0")
    if abs(lasts - duration) > frame:
        found.add(f"the sound lasts {float(lasts):.6f} s, the picture should last {float(duration):.6f} s")


def _facts(
    path: Path,
    stream: VideoStream,
    track: Track,
    lasts: Fraction,
    tags: ColourTags,
    faststart: bool,
    sound: tuple[Fraction, Fraction] | None,
) -> ClipFacts:
    start = min(track.pts, default=0) * Fraction(stream.time_base or 1)
    return ClipFacts(
        frames=len(track.pts),
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        duration_seconds=float(lasts),
        frame_rate=float(len(track.pts) / lasts) if lasts else 0.0,
        video_start_seconds=float(start),
        audio_start_seconds=float(sound[0]) if sound else None,
        audio_seconds=float(sound[1]) if sound else None,
        av_offset_ms=float((sound[0] - start) * 1000) if sound else None,
        size_bytes=path.stat().st_size,
        codec=stream.codec_context.name,
        colour_primaries=tags.primaries,
        colour_transfer=tags.transfer,
        colour_matrix=tags.matrix,
        colour_range=tags.range,
        faststart=faststart,
    )
