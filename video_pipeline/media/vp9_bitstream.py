"""What a VP9 packet says about itself without being decoded: frames, shown or hidden, key or not, and size.

Belongs here: the superframe index and the fixed-width start of a frame's header. Does not belong here: the
arithmetic-coded part (a decoder's), containers (`webm`).

Sections are those of "VP9 Bitstream & Decoding Process Specification", version 0.6 (31 March 2016, Google
and Argon Design): Annex B is the superframe, section 6.2 the uncompressed header, 6.2.2 the colour
configuration, 6.2.3 to 6.2.5 the frame size, section 7.2 their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_SYNC_CODE = 0x498342
_SUPERFRAME_MARKER = 0b110
_REFERENCE_SLOTS = 8


class NotVp9(ValueError):
    """The bytes are not a VP9 packet that follows on the ones before it."""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One coded frame. `shown`: it puts a picture on the screen. Sizes in pixels."""

    profile: int
    key: bool
    shown: bool
    width: int
    height: int


class _Bits:
    """Reads the header's fixed-width fields, most significant bit first (the descriptor f(n))."""

    def __init__(self, data: memoryview) -> None:
        head = bytes(data[:32])  # the fields read here end before byte 20
        self._value = int.from_bytes(head, "big")
        self._left = 8 * len(head)

    def __call__(self, width: int) -> int:
        self._left -= width
        if self._left < 0:
            raise NotVp9("a frame ends inside its header")
        return self._value >> self._left & ((1 << width) - 1)


def split_superframe(packet: memoryview) -> list[memoryview]:
    """The coded frames of a packet: one, or those of a superframe (Annex B).

    A hidden frame travels in one packet with the next shown one, so packets are not pictures.
    """
    if not len(packet):
        raise NotVp9("a packet is empty")
    marker = packet[-1]
    if marker >> 5 != _SUPERFRAME_MARKER:
        return [packet]
    count, magnitude = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index_size = 2 + magnitude * count
    if len(packet) < index_size or packet[-index_size] != marker:
        return [packet]
    frames, position = [], 0
    for number in range(count):
        at = len(packet) - index_size + 1 + number * magnitude
        size = int.from_bytes(packet[at : at + magnitude], "little")
        if size == 0 or position + size > len(packet) - index_size:
            raise NotVp9("a superframe's index does not fit its packet")
        frames.append(packet[position : position + size])
        position += size
    return frames


def read_headers(packets: Iterable[memoryview]) -> list[list[FrameHeader]]:
    """The headers of all frames of a stream, one list a packet, from its first packet on.

    Follows the eight reference slots, because an inter frame's size may be told only by reference
    (section 6.2.5). Raises `NotVp9` for a frame that is not VP9 or refers to a slot nothing has filled.
    """
    slots: list[tuple[int, int] | None] = [None] * _REFERENCE_SLOTS
    return [[_read_header(frame, slots) for frame in split_superframe(packet)] for packet in packets]


def _read_header(frame: memoryview, slots: list[tuple[int, int] | None]) -> FrameHeader:
    """uncompressed_header() of section 6.2, up to the frame size; updates `slots` as section 8.10 says."""
    bits = _Bits(frame)
    if bits(2) != 2:
        raise NotVp9("a frame does not begin with VP9's frame marker")
    profile = bits(1) + 2 * bits(1)
    if profile == 3 and bits(1):
        raise NotVp9("a frame has a reserved profile")
    if bits(1):  # show_existing_frame
        width, height = _slot(slots, bits(3))
        return FrameHeader(profile, key=False, shown=True, width=width, height=height)
    key, shown, error_resilient = bits(1) == 0, bool(bits(1)), bits(1)
    if key:
        _check_sync_code(bits)
        _skip_colour_configuration(bits, profile)
        width, height = _frame_size(bits)
        refreshed = 0xFF
    elif not shown and bits(1):  # intra_only
        if not error_resilient:
            bits(2)  # reset_frame_context
        _check_sync_code(bits)
        if profile > 0:
            _skip_colour_configuration(bits, profile)
        refreshed = bits(8)
        width, height = _frame_size(bits)
    else:
        if not error_resilient:
            bits(2)  # reset_frame_context
        refreshed = bits(8)
        references = [(bits(3), bits(1))[0] for _ in range(3)]
        width, height = _frame_size_with_references(bits, references, slots)
    for number in range(_REFERENCE_SLOTS):
        if refreshed >> number & 1:
            slots[number] = (width, height)
    return FrameHeader(profile, key=key, shown=shown, width=width, height=height)


def _check_sync_code(bits: _Bits) -> None:
    if bits(24) != _SYNC_CODE:
        raise NotVp9("an intra frame has no VP9 sync code")


def _skip_colour_configuration(bits: _Bits, profile: int) -> None:
    """color_config() of section 6.2.2."""
    if profile >= 2:
        bits(1)  # ten_or_twelve_bit
    colour_space = bits(3)
    if colour_space != 7:  # not CS_RGB
        bits(1)  # color_range
        if profile in (1, 3):
            bits(3)  # subsampling_x, subsampling_y, reserved_zero
    elif profile in (1, 3):
        bits(1)  # reserved_zero
    else:
        raise NotVp9("RGB in a profile that has none")


def _frame_size(bits: _Bits) -> tuple[int, int]:
    return bits(16) + 1, bits(16) + 1


def _frame_size_with_references(
    bits: _Bits, references: list[int], slots: list[tuple[int, int] | None]
) -> tuple[int, int]:
    """frame_size_with_refs() of section 6.2.5; all three references must hold a picture."""
    sizes = [_slot(slots, number) for number in references]
    for size in sizes:
        if bits(1):  # found_ref
            return size
    return _frame_size(bits)


def _slot(slots: list[tuple[int, int] | None], number: int) -> tuple[int, int]:
    size = slots[number]
    if size is None:
        raise NotVp9("a frame refers to a picture that is not there")
    return size
