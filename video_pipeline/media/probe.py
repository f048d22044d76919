"""What a video is, told from its header, its first picture and its last GOP.

Belongs here: the description of a video and the check that it is worth starting on. Does not belong here:
decoding for samples.
"""

from __future__ import annotations

import contextlib
import itertools
from fractions import Fraction

import av
from pydantic import BaseModel, ConfigDict

from video_pipeline.errors import BadInput
from video_pipeline.media.container import (
    REPLACE,
    WALK_AT_ONCE,
    ByteLimitReached,
    OpenedVideo,
    Source,
    media_errors,
    open_video,
    truncated,
)
from video_pipeline.media.planes import colour_tags, orientation_of

PROBE_BYTES = 32 << 20
PROBE_PACKETS = 600
"""How much a probe reads at most to check the end: a file without a seek index is not read through."""


class VideoProbe(BaseModel):
    """A video's description. Fractions are strings ("1/12800"); None means the container does not say.

    Sizes are pixels; display size is after rotation (degrees clockwise). `frame_count` is what the container
    states, less what its edit list cuts. Colour tags are ITU-T H.273 code points; `color_range`
    0 unspecified, 1 limited, 2 full. `end_checked`: the last GOP was decoded (not so without a seek index, in
    MPEG-TS, nor when a decoder describes what it opened).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    container: str
    codec: str
    profile: str | None
    coded_width: int
    coded_height: int
    display_width: int
    display_height: int
    rotation: int
    mirrored: bool
    time_base: str
    first_pts: int
    duration_seconds: str | None
    frame_count: int | None
    average_rate: str | None
    variable_frame_rate: bool | None
    pix_fmt: str
    bit_depth: int
    color_primaries: int
    color_transfer: int
    color_matrix: int
    color_range: int
    has_audio: bool
    audio_codec: str | None
    size_bytes: int
    end_checked: bool = False


def probe_video(source: Source, *, name: str) -> VideoProbe:
    """Describe `source` (a path or a seekable binary reader) and check that it can be decoded.

    Reads the header, decodes the first picture, seeks to the last GOP and decodes that; at most 32 MiB beyond
    the header. Raises BadInput for: no such file, not a video, no video stream, no pictures, cut off, a first
    picture or an end that does not decode, a rotation that is not a right angle.
    """
    opened = open_video(source, name=name)
    try:
        opened.reader.byte_limit = opened.reader.bytes_read + PROBE_BYTES
        opened.stream.codec_context.thread_count = 1
        check_index(opened)
        first = first_picture(opened)
        probe = describe(opened, first, first_pts=first.pts or 0)
        try:
            end_checked = _end_decodes(opened)
        except BadInput:
            # That a file is cut off is the likelier story of an end that does not decode.
            opened.check_complete(WALK_AT_ONCE)
            raise
        opened.check_complete(WALK_AT_ONCE)
        return probe.model_copy(update={"end_checked": end_checked})
    finally:
        opened.close()


def check_index(opened: OpenedVideo) -> None:
    """BadInput if an MP4's index names a picture beyond the end of the file. Its boxes may all be whole then:
    an mdat of size 0 runs to the end of the file, wherever that is (ISO/IEC 14496-12, section 4.2), and libav
    takes the first missing picture for the end of the video."""
    if opened.format == "mov":
        missing = sum(entry.pos + entry.size > opened.size for entry in opened.stream.index_entries)
        if missing:
            raise truncated(opened.name, f"{missing} of its pictures lie beyond its end")


def describe(opened: OpenedVideo, picture: av.VideoFrame, *, first_pts: int) -> VideoProbe:
    """The description of an open video whose first picture is `picture`."""
    stream = opened.stream
    context = stream.codec_context
    orientation = orientation_of(picture)
    if orientation is None:
        raise BadInput(
            "the video is to be shown at an angle that is not a multiple of 90 degrees",
            input=opened.name,
            what_to_do="re-encode it upright.",
        )
    width, height = orientation.display_size(picture.width, picture.height)
    tags = colour_tags(picture)
    index = stream.index_entries
    whole_index = opened.format == "mov" and 0 < stream.frames <= len(index)
    shown = sum(not entry.is_discard for entry in index) if whole_index else None
    audio = opened.container.streams.audio
    return VideoProbe(
        container=opened.format,
        codec=_codec_name(context.name),
        profile=context.profile,
        coded_width=picture.width,
        coded_height=picture.height,
        display_width=width,
        display_height=height,
        rotation=orientation.rotation,
        mirrored=orientation.mirrored,
        time_base=str(stream.time_base),
        first_pts=first_pts,
        duration_seconds=_duration(opened),
        frame_count=shown if whole_index else None if _sizes_guessed(opened) else stream.frames or None,
        average_rate=str(stream.average_rate) if stream.average_rate else None,
        variable_frame_rate=_uneven([entry.timestamp for entry in index]) if whole_index else None,
        pix_fmt=picture.format.name,
        bit_depth=max(component.bits for component in picture.format.components),
        color_primaries=tags.primaries,
        color_transfer=tags.transfer,
        color_matrix=tags.matrix,
        color_range=tags.range,
        has_audio=bool(audio),
        audio_codec=audio[0].codec_context.name if audio else None,
        size_bytes=opened.size,
    )


def _codec_name(decoder: str) -> str:
    return {"libdav1d": "av1", "libaom-av1": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}.get(
        decoder, decoder
    )


def _sizes_guessed(opened: OpenedVideo) -> bool:
    """Of an AVI that states no size libav counts a picture for every four bytes: 2,413 s for one of 2.4 s."""
    return opened.format == "avi" and opened.walk.open_ended


def _duration(opened: OpenedVideo) -> str | None:
    stream = opened.stream
    if _sizes_guessed(opened):
        return None
    if stream.duration and stream.time_base:
        return str(Fraction(stream.duration) * Fraction(stream.time_base))
    tag = stream.metadata.get("DURATION", "")
    if opened.format == "matroska" and tag.count(":") == 2:
        # Matroska states the file's duration; muxers add each track's as a tag, "00:00:02.400000000".
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = tag.split(":")
            return str(int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds))
    if opened.container.duration:
        return str(Fraction(opened.container.duration, av.time_base))
    return None


def _uneven(timestamps: list[int]) -> bool | None:
    """Whether steps between DTS differ by more than a tick (a rounded time base makes steps of n and n + 1).
    DTS steps are durations in decoding order, so uneven DTS is uneven PTS."""
    steps = [b - a for a, b in itertools.pairwise(timestamps)]
    return max(steps) - min(steps) > 1 if len(steps) > 1 else None


def first_picture(opened: OpenedVideo) -> av.VideoFrame:
    """Decode until a picture comes out. Raises BadInput if none does."""
    with media_errors(opened.name, "the first picture does not decode"):
        try:
            for packet in opened.container.demux(opened.stream):
                for picture in packet.decode():
                    return picture
        except ByteLimitReached:
            pass
    raise BadInput("the video has no pictures", input=opened.name, what_to_do=REPLACE)


def _end_decodes(opened: OpenedVideo) -> bool:
    """Decode from the last key picture to the end. False if that could not be reached within the limits."""
    stream, container = opened.stream, opened.container
    last = max((entry.timestamp for entry in stream.index_entries), default=None)
    if opened.format != "mov" and container.duration:
        offset: int | None = container.duration + (container.start_time or 0)
        target = None
    else:
        offset, target = last, stream
    if offset is None:
        return False
    try:
        with media_errors(opened.name, "the end of the video cannot be read"):
            container.seek(offset, stream=target, backward=True)
            stream.codec_context.flush_buffers()
            return _decode_on(opened)
    except ByteLimitReached:
        return False


def _decode_on(opened: OpenedVideo) -> bool:
    pictures = 0
    for packets, packet in enumerate(opened.container.demux(opened.stream)):
        if packets > PROBE_PACKETS:
            return False
        for picture in packet.decode():
            pictures += 1
            if picture.is_corrupt and pictures > 1:
                raise BadInput("the end of the video is damaged", input=opened.name, what_to_do=REPLACE)
    return pictures > 0
