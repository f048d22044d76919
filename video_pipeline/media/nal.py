"""Reading just enough of H.264 and HEVC packets to know which pictures nothing refers to.

Belongs here: NAL unit framing (Annex B and length-prefixed), the two header fields that matter, and whether a
stream is coded in fields. Does not belong here: sampling, decoding, anything that needs a media library.

Sources: ITU-T H.264 (08/2021) 7.3.1 NAL unit, 7.3.2.1.1 sequence parameter set, 7.4.1 table 7-1; ITU-T H.265
(09/2023) 7.3.1.2, 7.3.2.3, table 7-1; ISO/IEC 14496-15 5.3.3.1 (avcC) and 8.3.3.1 (hvcC).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

H264_SLICES = frozenset((1, 2, 3, 4, 5))
H264_HARMLESS = frozenset((6, 9, 12))
"""SEI, access unit delimiter, filler: a packet may be dropped with these in it, not with parameter sets."""
H264_IDR = 5

HEVC_HARMLESS = frozenset((35, 38, 39, 40))
"""Access unit delimiter, filler, prefix and suffix SEI."""
HEVC_RASL = frozenset((8, 9))
HEVC_NON_REFERENCE = frozenset((0, 2, 4, 6, 8, 10, 12, 14))
"""TRAIL_N, TSA_N, STSA_N, RADL_N, RASL_N and the reserved *_N: no picture of the same sub-layer refers
to them (a picture of a higher sub-layer may)."""
HEVC_SPS = 33


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """What one packet (one access unit) says about itself.

    `droppable`: no other picture's decoding needs it, and it carries nothing but the picture.
    `skipped_leading`: HEVC RASL, undecodable when the stream starts at its key picture.
    `idr`: an H.264 IDR picture: nothing after it in decoding order comes before it in presentation order.
    """

    droppable: bool = False
    skipped_leading: bool = False
    idr: bool = False


class NalReader:
    """Classifies a stream's packets. `codec` is "h264" or "hevc"; `extradata` is the container's avcC or
    hvcC, Annex B parameter sets, or None."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        if codec not in ("h264", "hevc"):
            raise ValueError(f"{codec} has no NAL units that we read")
        self._codec = codec
        self._length_size: int | None = None
        self._highest_layer: int | None = None
        self._frames_only: bool | None = None
        self.set_extradata(extradata)

    def set_extradata(self, extradata: bytes | None) -> None:
        """New parameter sets from the container; keeps what they do not say."""
        if not extradata or len(extradata) < 7:
            return
        if extradata[:3] == b"\0\0\1" or extradata[:4] == b"\0\0\0\1":
            self._length_size = None
            units: Iterator[memoryview] = annex_b_units(extradata)
        elif self._codec == "h264":
            self._length_size = (extradata[4] & 3) + 1
            units = _avcc_units(extradata)
        else:
            self._length_size = (extradata[21] & 3) + 1 if len(extradata) > 21 else None
            units = _hvcc_units(extradata)
        for unit in units:
            self._see_parameters(unit)

    @property
    def fields_possible(self) -> bool:
        """True unless every sequence parameter set seen so far says frames only. With fields, two packets
        may make one picture, so packets cannot be counted as pictures."""
        if self._codec == "hevc":
            return False
        return self._frames_only is not True

    def facts(self, data: bytes | memoryview) -> PacketFacts:
        """Classify one packet. Anything that cannot be parsed is called not droppable."""
        if self._length_size:
            units = list(length_prefixed_units(data, self._length_size))
        else:
            units = list(annex_b_units(data))
        return self._h264_facts(units) if self._codec == "h264" else self._hevc_facts(units)

    def _h264_facts(self, units: list[memoryview]) -> PacketFacts:
        pictures = 0
        droppable = bool(units)
        idr = False
        for unit in units:
            kind = unit[0] & 31
            if kind in H264_SLICES:
                pictures += 1
                idr = idr or kind == H264_IDR
                droppable = droppable and not unit[0] & 0x60
            elif kind not in H264_HARMLESS:
                droppable = False
                self._see_parameters(unit)
        return PacketFacts(droppable=droppable and pictures > 0, idr=idr)

    def _hevc_facts(self, units: list[memoryview]) -> PacketFacts:
        pictures = 0
        droppable = bool(units)
        rasl = False
        for unit in units:
            if len(unit) < 2:
                droppable = False
                continue
            kind = unit[0] >> 1 & 63
            if kind < 32:
                pictures += 1
                rasl = rasl or kind in HEVC_RASL
                layer = (unit[1] & 7) - 1
                droppable = droppable and kind in HEVC_NON_REFERENCE and layer == self._highest_layer
            elif kind not in HEVC_HARMLESS:
                droppable = False
                self._see_parameters(unit)
        return PacketFacts(droppable=droppable and pictures > 0, skipped_leading=rasl)

    def _see_parameters(self, unit: memoryview) -> None:
        if self._codec == "h264" and unit[0] & 31 == 7:
            self._frames_only = self._frames_only is not False and h264_frames_only(bytes(unit))
        elif self._codec == "hevc" and len(unit) > 2 and unit[0] >> 1 & 63 == HEVC_SPS:
            # sps_max_sub_layers_minus1: pictures of a lower layer may be referred to from a higher one.
            highest = unit[2] >> 1 & 7
            self._highest_layer = max(highest, self._highest_layer or 0)


def annex_b_units(data: bytes | memoryview) -> Iterator[memoryview]:
    """NAL units between start codes 00 00 01; nothing if there is no start code."""
    whole = bytes(data)
    view = memoryview(whole)
    start = whole.find(b"\0\0\1")
    while start >= 0:
        start += 3
        following = whole.find(b"\0\0\1", start)
        stop = len(whole) if following < 0 else following
        while stop > start and whole[stop - 1] == 0:
            stop -= 1
        if stop > start:
            yield view[start:stop]
        start = following


def length_prefixed_units(data: bytes | memoryview, length_size: int) -> Iterator[memoryview]:
    """NAL units each behind a big-endian length. A length of zero or past the packet's end yields a unit of
    type 0 (unspecified) and ends: what cannot be read must never count as droppable."""
    view = memoryview(data)
    position = 0
    while position + length_size <= len(view):
        length = int.from_bytes(view[position : position + length_size], "big")
        position += length_size
        if length == 0 or position + length > len(view):
            yield memoryview(b"\0\0")
            return
        yield view[position : position + length]
        position += length


def _avcc_units(avcc: bytes) -> Iterator[memoryview]:
    view = memoryview(avcc)
    position = 6
    for _ in range(view[5] & 31):
        if position + 2 > len(view):
            return
        length = int.from_bytes(view[position : position + 2], "big")
        if length and position + 2 + length <= len(view):
            yield view[position + 2 : position + 2 + length]
        position += 2 + length


def _hvcc_units(hvcc: bytes) -> Iterator[memoryview]:
    view = memoryview(hvcc)
    if len(view) < 23:
        return
    position = 23
    for _ in range(view[22]):
        if position + 3 > len(view):
            return
        count = int.from_bytes(view[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            length = int.from_bytes(view[position : position + 2], "big")
            if length and position + 2 + length <= len(view):
                yield view[position + 2 : position + 2 + length]
            position += 2 + length


HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))


def h264_frames_only(sps: bytes) -> bool:
    """frame_mbs_only_flag of a sequence parameter set NAL unit; False if it cannot be read."""
    try:
        bits = _Bits(sps[1:].replace(b"\0\0\3", b"\0\0"))
        profile = bits.take(8)
        bits.take(16)
        bits.exp_golomb()
        if profile in HIGH_PROFILES:
            if bits.exp_golomb() == 3:
                bits.take(1)
            bits.exp_golomb()
            bits.exp_golomb()
            bits.take(1)
            if bits.take(1):
                # Scaling matrices: present only in exotic streams. Not read; such a stream is decoded whole.
                return False
        bits.exp_golomb()
        order_type = bits.exp_golomb()
        if order_type == 0:
            bits.exp_golomb()
        elif order_type == 1:
            bits.take(1)
            bits.exp_golomb()
            bits.exp_golomb()
            for _ in range(bits.exp_golomb()):
                bits.exp_golomb()
        bits.exp_golomb()
        bits.take(1)
        bits.exp_golomb()
        bits.exp_golomb()
        return bool(bits.take(1))
    except EOFError:
        return False


class _Bits:
    """Most significant bit first, with the unsigned Exp-Golomb code of H.264 9.1."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise EOFError
        return (1 << zeros) - 1 + (self.take(zeros) if zeros else 0)
