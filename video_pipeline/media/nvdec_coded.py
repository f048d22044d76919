"""A few coded pictures in the form that NVDEC's parser takes, and what NVDEC would decode differently.

Belongs here: bytes, of H.264, HEVC, VP9 and AV1 in MP4. Does not belong here: decoding them
(`nvdec_memory.py`). Pure.

Refused (`NotForNvdec`) is what NVDEC would do differently from libav without saying so and that shows in the
bytes: streams that may hold fields, which it deinterlaces; runs that begin at a picture which refers to what
lies before; parameter sets that change within a run.
"""

from __future__ import annotations

from collections.abc import Sequence

from video_pipeline.errors import BadInput
from video_pipeline.media.decode_memory import CodedPicture, CodedRun
from video_pipeline.media.decode_nvdec import NotForNvdec
from video_pipeline.media.mp4.track import SampleEntry
from video_pipeline.media.nal import NalReader, length_prefixed_units

START_CODE = b"\0\0\0\1"
PARAMETER_SETS = {"h264": frozenset((7, 8, 13)), "hevc": frozenset((32, 33, 34))}
"""NAL unit types: sequence and picture parameter sets (and H.264's extension, HEVC's VPS). ITU-T H.264 table
7-1, H.265 table 7-1."""
DELIMITER = {"h264": 9, "hevc": 35}
HEVC_IRAP = range(16, 24)


def coded_for_nvdec(run: CodedRun) -> list[bytes]:
    """The run's pictures as NVDEC's parser takes them: H.264 and HEVC as Annex B (ITU-T H.264 annex B) with
    the sample entry's parameter sets in front of the first; AV1 with the sequence header of av1C in front.

    Raises NotForNvdec for a run that NVDEC would decode differently, BadInput where a picture's bytes do not
    add up.
    """
    codec, entry = run.entry.codec, run.entry
    if codec not in PARAMETER_SETS:
        front = entry.extradata[4:] if codec == "av1" and entry.extradata[:1] == b"\x81" else b""
        return [front + bytes(run.pictures[0].data), *(bytes(picture.data) for picture in run.pictures[1:])]
    if len(entry.extradata) < 7:
        raise NotForNvdec(f"the sample entry has no parameters of its {codec}")
    reader = NalReader(codec, entry.extradata)
    packets = []
    first_header = stream_header(run, run.pictures[0])
    for picture in run.pictures:
        reader.facts(picture.data)
        units = _units(run, picture)
        header = b"".join(unit for unit in units if _kind(codec, unit) in PARAMETER_SETS[codec])
        if picture is not run.pictures[0] and header and header != first_header:
            raise NotForNvdec("parameter sets change within the run")
        packets.append(b"".join(START_CODE + bytes(u) for u in units if _kind(codec, u) != DELIMITER[codec]))
    if reader.fields_possible:
        raise NotForNvdec("the stream may hold fields, and NVDEC would deinterlace them")
    kinds = {_kind(codec, unit) for unit in _units(run, run.pictures[0])}
    begins = 5 in kinds if codec == "h264" else not kinds.isdisjoint(HEVC_IRAP)
    if not begins:
        raise NotForNvdec("the run begins at a picture that refers to pictures before it")
    sets = b"".join(START_CODE + unit for unit in parameter_sets(entry))
    return [sets + packets[0], *packets[1:]]


def parameter_sets(entry: SampleEntry) -> list[bytes]:
    """NAL units of avcC or hvcC in their order (ISO/IEC 14496-15 5.3.3.1.2, 8.3.3.1.2). Raises NotForNvdec
    where the box is cut short."""
    data = entry.extradata
    units: list[bytes] = []
    position = 0

    def take(count: int, bits: int = 0xFF) -> None:
        nonlocal position
        for _ in range(count & bits):
            length = int.from_bytes(data[position : position + 2], "big")
            position += 2 + length
            if not length or position > len(data):
                raise NotForNvdec("the sample entry's parameter sets are cut short")
            units.append(data[position - length : position])

    if entry.codec == "h264":
        position = 6
        take(data[5], 0x1F)
        if position >= len(data):
            raise NotForNvdec("the sample entry has no picture parameter sets")
        position += 1
        take(data[position - 1])
        return units
    if len(data) < 23:
        raise NotForNvdec("the sample entry's parameter sets are cut short")
    position = 23
    for _ in range(data[22]):
        count = int.from_bytes(data[position + 1 : position + 3], "big")
        position += 3
        take(count, 0xFFFF)
    return units


def _units(run: CodedRun, picture: CodedPicture) -> Sequence[memoryview]:
    at = 4 if run.entry.codec == "h264" else 21
    size = (run.entry.extradata[at] & 3) + 1 if len(run.entry.extradata) > at else 4
    units = list(length_prefixed_units(picture.data, size))
    if sum(size + len(unit) for unit in units) != len(picture.data):
        raise BadInput(
            f"the picture at media time {float(picture.pts * run.time_base):.3f} s cannot be decoded: its "
            "NAL units do not fill it",
            input=run.name,
            what_to_do="choose another picture, or upload the file again.",
        )
    return units


def _kind(codec: str, unit: memoryview) -> int:
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def stream_header(run: CodedRun, picture: CodedPicture) -> bytes:
    """What within the stream may change size and format: parameter sets; of VP9 and AV1 the first bytes,
    which hold the key frame's size (VP9 6.2) or the sequence header (AV1 5.5)."""
    codec = run.entry.codec
    if codec not in PARAMETER_SETS:
        return bytes(picture.data[: 9 if codec == "vp9" else 16])
    return b"".join(unit for unit in _units(run, picture) if _kind(codec, unit) in PARAMETER_SETS[codec])
