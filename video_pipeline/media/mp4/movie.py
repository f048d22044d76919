"""The movie box: its tracks, which of them is the video, how its time maps to what is shown.

Belongs here: `mvhd trak tkhd mdhd hdlr elst stsd mvex trex` (ISO/IEC 14496-12:2022, sections 8.2 to 8.6 and
8.8.3). Does not belong here: sample tables, fragments, finding the box in the file (`opening.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from video_pipeline.errors import BadInput
from video_pipeline.media.geometry import Orientation, orientation_from_matrix
from video_pipeline.media.mp4.boxes import Body, Malformed
from video_pipeline.media.mp4.sample_table import read_samples
from video_pipeline.media.mp4.track import Edit, SampleEntry, Samples, TrackInfo

CODECS = {
    "avc1": ("h264", "avcC"),
    "avc3": ("h264", "avcC"),
    "hvc1": ("hevc", "hvcC"),
    "hev1": ("hevc", "hvcC"),
    "vp09": ("vp9", "vpcC"),
    "av01": ("av1", "av1C"),
}
"""Sample entry -> libav's name of the codec, and the box with its parameters (ISO/IEC 14496-15 5.4.2 and
8.4.1; VP Codec ISO Media File Format Binding 1.0; AV1 Codec ISO Media File Format Binding 1.2, section 2)."""

CONVERT = "convert it to H.264 in MP4."


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `trex` says a fragment's samples have where it does not say otherwise."""

    entry: int = 1
    duration: int = 0
    size: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Movie:
    """The video track of a `moov` box. `samples` are those of its sample table, none in a purely fragmented
    file; `fragmented` tells that fragments may follow, with these `defaults`. `fragments_duration` is
    `mehd`'s, in ticks of the track, 0 if there is none."""

    track: TrackInfo
    samples: Samples
    fragmented: bool
    defaults: Mapping[int, Defaults]
    fragments_duration: int


def read_movie(moov: Body, name: str, file_size: int) -> Movie:
    """The video track. Raises BadInput that names the file if there is none, or one we cannot decode."""
    header = moov.only("mvhd")
    if header is None:
        if moov.only("cmov"):
            raise BadInput("its index is compressed (cmov)", input=name, what_to_do=CONVERT)
        raise Malformed("box 'moov' has no 'mvhd'")
    movie_scale, movie_matrix = _movie_header(header)
    traks = [box for box in moov.children() if box.kind == "trak"]
    trak = _video_trak(traks, name)
    media = trak.need("mdia")
    timescale, duration = _media_header(media.need("mdhd"))
    track_id, matrix = _track_header(trak.need("tkhd"))
    information = media.need("minf")
    table = information.need("stbl")
    _check_in_this_file(information, name)
    entries = _sample_entries(table.need("stsd"), name)
    extends = moov.only("mvex")
    samples = read_samples(table, len(entries), file_size)
    info = TrackInfo(
        track_id=track_id,
        timescale=timescale,
        entries=entries,
        edits=_edits(trak, movie_scale, timescale, name),
        orientation=_orientation(movie_matrix, matrix, name),
        duration=duration,
    )
    defaults: dict[int, Defaults] = {}
    fragments_duration = 0
    if extends is not None:
        defaults = _defaults_of_tracks(extends)
        stated = extends.only("mehd")
        if stated is not None:
            version, _ = stated.full()
            fragments_duration = stated.place(8 if version == 1 else 4) * timescale // movie_scale
    return Movie(info, samples, extends is not None, defaults, fragments_duration)


def shown_seconds(moov: Body, name: str) -> tuple[Fraction, Fraction]:
    """How long the video track is shown, and to what step that is stated, in seconds: by its edit list, in
    ticks of the movie (8.6.6), else by its media header. Of any codec. Errors as `read_movie`.

    The sum of the sample durations is another thing: it is time for decoding (8.6.1.2), and where pictures
    are unevenly spaced and reordered it is shorter or longer than what is seen.
    """
    movie_scale, _ = _movie_header(moov.need("mvhd"))
    trak = _video_trak([box for box in moov.children() if box.kind == "trak"], name)
    timescale, duration = _media_header(trak.need("mdia").need("mdhd"))
    # With one scale for both, an edit's length stays in ticks of the movie, unrounded.
    shown = [edit for edit in _edits(trak, timescale, timescale, name) if edit.media_stop is not None]
    if not shown:
        return Fraction(duration, timescale), Fraction(1, timescale)
    ticks = sum(edit.media_stop - edit.media_start for edit in shown if edit.media_stop is not None)
    return Fraction(ticks, movie_scale), Fraction(1, movie_scale)


def _movie_header(box: Body) -> tuple[int, tuple[int, ...]]:
    version, _ = box.full()
    box.take(16 if version == 1 else 8)
    scale = box.unsigned(4)
    box.take((8 if version == 1 else 4) + 16)
    if scale == 0:
        raise Malformed("mvhd has a timescale of 0")
    return scale, tuple(box.signed(4) for _ in range(9))


def _track_header(box: Body) -> tuple[int, tuple[int, ...]]:
    version, _ = box.full()
    box.take(16 if version == 1 else 8)
    track_id = box.unsigned(4)
    box.take((12 if version == 1 else 8) + 16)
    return track_id, tuple(box.signed(4) for _ in range(9))


def _media_header(box: Body) -> tuple[int, int]:
    """Timescale and duration (0 for the all-ones value that means unknown)."""
    version, _ = box.full()
    wide = 8 if version == 1 else 4
    box.take(2 * wide)
    scale, duration = box.unsigned(4), box.unsigned(wide)
    if scale == 0:
        raise Malformed("mdhd has a timescale of 0")
    return scale, 0 if duration == (1 << 8 * wide) - 1 else duration


def _video_trak(traks: list[Body], name: str) -> Body:
    """The enabled video track, else the first video track; tracks that are only pictures of others (a cover
    is not a track in MP4; thumbnails have `tref` type `thmb`) do not count."""
    videos = [trak for trak in traks if _is_video(trak)]
    if not videos:
        raise BadInput(
            "the file has no video track",
            input=name,
            what_to_do="name a file with a picture, not only sound.",
        )
    enabled = [trak for trak in videos if trak.need("tkhd").full()[1] & 1]
    return (enabled or videos)[0]


def _is_video(trak: Body) -> bool:
    handler = trak.need("mdia").only("hdlr")
    if handler is None:
        return False
    handler.take(8)
    return bytes(handler.take(4)) == b"vide"


def _check_in_this_file(information: Body, name: str) -> None:
    """Data references (8.7.2) must all point into this file: flag 1."""
    container = information.only("dinf")
    references = container.only("dref") if container is not None else None
    if references is None:
        return
    references.take(8)
    for reference in references.children():
        if not reference.full()[1] & 1:
            raise BadInput(
                "its pictures lie in another file (external data reference)",
                input=name,
                what_to_do="make one file of it, for example with ffmpeg -i INPUT -c copy OUTPUT.mp4",
            )


def _edits(trak: Body, movie_scale: int, timescale: int, name: str) -> tuple[Edit, ...]:
    """Edit lists (8.6.6) as a map of time. Without one, media time is movie time."""
    container = trak.only("edts")
    box = container.only("elst") if container is not None else None
    if box is None:
        return (Edit(0, 0, None),)
    version, _ = box.full()
    wide = 8 if version == 1 else 4
    edits: list[Edit] = []
    movie = 0  # in ticks of the movie
    for _ in range(box.unsigned(4)):
        duration, start, rate = box.place(wide), box.signed(wide), box.unsigned(4)
        at = round_half_up(movie * timescale, movie_scale)
        movie += duration
        if start == -1:
            continue
        if rate != 1 << 16:
            raise BadInput(
                "its edit list changes the speed of the picture",
                input=name,
                what_to_do="re-encode it: ffmpeg -i INPUT OUTPUT.mp4",
            )
        # A duration of 0 in a fragmented file means: to the end (8.6.6.1).
        stop = start + round_half_up(duration * timescale, movie_scale) if duration else None
        if start < -1 or max(at, start, stop or 0) >= 1 << 60:
            raise Malformed(f"box 'elst' at byte {box.position} states media time {start}")
        edits.append(Edit(at, start, stop))
    return tuple(edits) or (Edit(0, 0, None),)


def round_half_up(numerator: int, denominator: int) -> int:
    """Nearest integer, halves upwards, as libav rescales."""
    return (2 * numerator + denominator) // (2 * denominator)


def _orientation(movie: tuple[int, ...], track: tuple[int, ...], name: str) -> Orientation:
    """That of both display matrices: the track's first, then the movie's (6.2.2, 8.2.2)."""
    a, b, _, c, d = movie[:5]
    p, q, _, r, s = track[:5]
    product = (p * a + q * c, p * b + q * d, 0, r * a + s * c, r * b + s * d, 0, 0, 0, 0)
    orientation = orientation_from_matrix(product)
    if orientation is None:
        raise BadInput(
            "its display matrix turns the picture by an angle that is not a right one, or to nothing",
            input=name,
            what_to_do="re-encode it upright: ffmpeg -i INPUT OUTPUT.mp4",
        )
    return orientation


def _sample_entries(box: Body, name: str) -> tuple[SampleEntry, ...]:
    box.full()
    count = box.unsigned(4)
    entries = tuple(_sample_entry(child, name) for child in box.children())
    if len(entries) != count or not entries or count > 255:
        raise Malformed(f"stsd states {count} sample entries and has {len(entries)}")
    return entries


def _sample_entry(box: Body, name: str) -> SampleEntry:
    """VisualSampleEntry, section 12.1.3."""
    if box.kind in ("encv", "drmi"):
        raise BadInput("the video is encrypted", input=name, what_to_do="give a file without protection.")
    if box.kind not in CODECS:
        known = ", ".join(sorted({codec for codec, _ in CODECS.values()}))
        raise BadInput(f"its video codec {box.kind!r} is not one of {known}", input=name, what_to_do=CONVERT)
    codec, parameters = CODECS[box.kind]
    box.take(24)
    width, height = box.unsigned(2), box.unsigned(2)
    box.take(50)
    configuration = box.only(parameters)
    if configuration is None and codec in ("h264", "hevc") and box.kind in ("avc1", "hvc1"):
        raise Malformed(f"sample entry {box.kind!r} has no {parameters!r}")
    extradata = bytes(configuration.data) if configuration is not None else b""
    colours = [child for child in box.children() if child.kind == "colr"]
    return SampleEntry(box.kind, codec, extradata, width, height, _colour(colours))


def _colour(boxes: list[Body]) -> tuple[int, int, int, int] | None:
    """`nclx` (12.1.5), or QuickTime's `nclc`, which says nothing of the range (0)."""
    for box in boxes:
        kind = bytes(box.take(4))
        if kind in (b"nclx", b"nclc"):
            primaries, transfer, matrix = (box.unsigned(2) for _ in range(3))
            full = box.unsigned(1) >> 7 if kind == b"nclx" else 0
            return primaries, transfer, matrix, full
    return None


def _defaults_of_tracks(extends: Body) -> dict[int, Defaults]:
    """`trex` of each track, by its id."""
    found: dict[int, Defaults] = {}
    for box in extends.children():
        if box.kind == "trex":
            box.full()
            track_id = box.unsigned(4)
            found[track_id] = Defaults(*(box.unsigned(4) for _ in range(4)))
    return found
