"""VP9 in WebM, in process: a list of cropped frames becomes one small seekable file, and a check proves it.

Belongs here: the encoder's settings, the muxing, the timestamps and the check of one chunk. Does not belong
here: which frames make a chunk (`captions.chunks`), storing it, reading other people's VP9.

The same frames, rate and preset give the same bytes, in any thread and at any time, for one build of
libvpx and libavformat; `ENCODER_VERSION` is counted up by hand whenever settings or layout change.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.stream import VideoStream

from video_pipeline.errors import Internal
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.planes import frame_of_planes
from video_pipeline.media.vp9_bitstream import NotVp9, read_headers
from video_pipeline.media.webm import NotOurWebm, WebmVideo, parse_webm

Preset = Literal["fast", "small"]

ENCODER_VERSION = 1
"""Part of the chunks recipe: bump it when a setting below, the muxing or the timestamps change."""

CRF = 32
MAX_RATE = 500
"""Above it two neighbouring pictures could share a millisecond, which is WebM's time base here."""

_MATRIX_RGB = 0
_MILLISECOND = Fraction(1, 1000)

_COMMON = {
    "crf": str(CRF),
    "lag-in-frames": "0",  # one pass never uses the look-ahead: the same bytes with a third less memory
    "auto-alt-ref": "0",
    "frame-parallel": "0",  # backward adaptation of probabilities: 1.4 % fewer bits, same time
    "tile-columns": "0",  # libvpx would cut a 1280 wide strip into four tiles: 0.9 % more bits
    "row-mt": "0",
}
_PRESETS: dict[Preset, dict[str, str]] = {
    # sharpness: VMAF +0.1 to +0.4 and PSNR +0.3 dB for 5 % more bits, which brings `fast` level with
    # `good` 2 at the same CRF; cpu-used 8 gains less VMAF, no PSNR and 4 to 8 % more bits for 20 % less CPU.
    "fast": {"deadline": "realtime", "cpu-used": "7", "sharpness": "1", **_COMMON},
    "small": {"deadline": "good", "cpu-used": "4", **_COMMON},
}


def picture_times_ms(count: int, rate: Fraction) -> list[int]:
    """When picture j of a chunk begins, in ms: 1000 j / rate rounded half up, in exact integers.

    Has `count + 1` entries: the last is the end of the last picture and so the file's duration.
    """
    doubled = 2000 * rate.denominator
    return [(doubled * j + rate.numerator) // (2 * rate.numerator) for j in range(count + 1)]


def encode_chunk(frames: Sequence[CroppedFrame], *, rate: Fraction, preset: Preset = "fast") -> bytes:
    """Encodes `frames` as one WebM file: VP9 profile 0, one key frame (the first), one thread.

    Picture j stands at `round(1000 j / rate)` ms and the last one lasts its full time, so a player that seeks
    to (j + 1/2) / rate shows picture j. `rate` is in Hz, 0 < rate <= 500. The frames' colour tags go into the
    bitstream and the container; their values are encoded as they are. All frames must have one size (even,
    H x W in y, half of it in u and v, uint8) and one set of tags, else `Internal`: that is a defect of the
    caller. An encoder that fails or drops a picture is `Internal` too. The file is closed in every case.

    The interpreter lock is released while libvpx works: two threads encode 1.9 times as fast as one.
    """
    width, height, tags = _check_frames(frames)
    if not 0 < rate <= MAX_RATE:
        raise Internal(f"a chunk's frame rate is in 0 < rate <= {MAX_RATE} Hz, not {rate}")
    times = picture_times_ms(len(frames), rate)
    buffer = io.BytesIO()
    starts: list[int | None] = []

    def mux(packets: Sequence[av.Packet]) -> None:
        for packet in packets:
            place = min(len(starts), len(frames) - 1)
            starts.append(packet.pts)
            packet.duration = times[place + 1] - times[place]
            container.mux(packet)

    try:
        # +bitexact: no library versions, no random identifiers and no dates in the file.
        with av.open(buffer, "w", format="webm", container_options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream("libvpx-vp9", rate=rate, options=dict(_PRESETS[preset]))
            _configure(stream, width, height, tags)
            for place, frame in enumerate(frames):
                picture = frame_of_planes(frame)
                picture.pts, picture.duration = times[place], times[place + 1] - times[place]
                picture.time_base = _MILLISECOND
                mux(stream.encode(picture))
            mux(stream.encode(None))
    except FFmpegError as error:
        raise Internal(
            f"libvpx failed on a chunk of {len(frames)} frames of {width}x{height}: {error}"
        ) from error
    if starts != times[:-1]:
        raise Internal(f"libvpx took {len(frames)} frames and gave pictures at {starts} ms")
    return buffer.getvalue()


def verify_chunk(data: bytes, *, frames: int, width: int, height: int, rate: Fraction) -> None:
    """Proves that `data` is one whole chunk of `frames` pictures; raises `Internal` naming what is wrong.

    Checked: the container's structure to the last byte, codec and size in the container, duration and every
    timestamp to the millisecond, one shown picture a packet (hidden frames of a superframe do not count),
    profile 0, the size in every frame's own header, exactly one key frame and that the first, in container
    and bitstream alike. Not checked, because only decoding could: the pixels, and so two inter pictures that
    changed places but kept their times. Costs about 0.5 % of the `fast` encoding.
    """
    try:
        video = parse_webm(data)
        headers = read_headers(block.payload for block in video.blocks)
    except (NotOurWebm, NotVp9) as error:
        raise Internal(f"a chunk of {len(data)} bytes is damaged: {error}") from error
    problem = _container_problem(video, frames, width, height, rate)
    shown = [[header for header in packet if header.shown] for packet in headers]
    coded = [header for packet in headers for header in packet]
    if problem:
        raise Internal(f"a chunk is wrong: {problem}")
    if any(len(packet) != 1 for packet in shown):
        place = next(place for place, packet in enumerate(shown) if len(packet) != 1)
        raise Internal(f"a chunk is wrong: packet {place} shows {len(shown[place])} pictures instead of one")
    for header in coded:
        if header.profile != 0:
            raise Internal(f"a chunk is wrong: VP9 profile {header.profile} instead of 0")
        if (header.width, header.height) != (width, height):
            raise Internal(
                f"a chunk is wrong: a coded frame is {header.width}x{header.height}, not {width}x{height}"
            )
    keys = [place for place, header in enumerate(coded) if header.key]
    if keys != [0]:
        raise Internal(
            f"a chunk is wrong: the coded frames {keys} are key frames, instead of the first alone"
        )


def _container_problem(video: WebmVideo, frames: int, width: int, height: int, rate: Fraction) -> str | None:
    """The first thing in the container that differs from what was asked, or None."""
    times = picture_times_ms(frames, rate)
    stand = [block.timestamp_ms for block in video.blocks]
    flags = [place for place, block in enumerate(video.blocks) if block.keyframe]
    if video.codec_id != "V_VP9":
        return f"the codec is {video.codec_id}, not V_VP9"
    if len(stand) != frames:
        return f"{len(stand)} pictures instead of {frames}"
    if (video.width, video.height) != (width, height):
        return f"the size is {video.width}x{video.height} instead of {width}x{height}"
    if stand != times[:-1]:
        place = next(j for j in range(frames) if stand[j] != times[j])
        return f"picture {place} stands at {stand[place]} ms instead of {times[place]} ms"
    if video.duration_ms != times[-1]:
        return f"it lasts {video.duration_ms} ms instead of {times[-1]} ms"
    if flags != [0]:
        return f"the packets {flags} are marked as key frames, instead of the first alone"
    return None


def _check_frames(frames: Sequence[CroppedFrame]) -> tuple[int, int, ColourTags]:
    """The one size and the one set of tags of all frames, or `Internal`."""
    if not frames:
        raise Internal("a chunk has at least one frame")
    width, height, tags = frames[0].width, frames[0].height, frames[0].tags
    if width % 2 or height % 2 or not width or not height:
        raise Internal(f"a chunk's frames have even sizes, not {width}x{height}")
    if tags.matrix == _MATRIX_RGB:
        raise Internal("a chunk's frames are YUV, but their tags say that they are RGB")
    shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    for place, frame in enumerate(frames):
        planes = (frame.y, frame.u, frame.v)
        if any(plane.dtype != np.uint8 for plane in planes):
            raise Internal(f"frame {place} of a chunk is not of 8-bit samples")
        if tuple(plane.shape for plane in planes) != shapes:
            raise Internal(
                f"frame {place} of a chunk has planes of {[plane.shape for plane in planes]}, "
                f"not of {list(shapes)} (height, width)"
            )
        if frame.tags != tags:
            raise Internal(f"frame {place} of a chunk has the colour tags {frame.tags}, the first has {tags}")
    return width, height, tags


def _configure(stream: VideoStream, width: int, height: int, tags: ColourTags) -> None:
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = _MILLISECOND
    codec = stream.codec_context
    codec.time_base = _MILLISECOND
    codec.flags |= Flags.bitexact
    codec.thread_count = 1
    codec.bit_rate = 0  # with a CRF: constant quality, whatever the rate
    codec.gop_size = 1_000_000  # one key frame; one-pass libvpx adds none at scene cuts
    codec.color_primaries = tags.primaries
    codec.color_trc = tags.transfer
    codec.colorspace = tags.matrix
    codec.color_range = tags.range
