"""Frame headers that are written bit by bit: every branch of the uncompressed header, and what breaks in it.

Field names and order are those of section 6.2 of the VP9 specification (version 0.6).
"""

from __future__ import annotations

from typing import Any

import pytest

from video_pipeline.media.vp9_bitstream import FrameHeader, NotVp9, read_headers, split_superframe


class Bits:
    """Writes f(n) fields, most significant bit first."""

    def __init__(self) -> None:
        self.text = ""

    def put(self, value: int, width: int) -> Bits:
        self.text += f"{value:0{width}b}"
        return self

    def frame(self) -> memoryview:
        """The header and some of what follows it, which nobody reads."""
        padded = self.text + "1" * (-len(self.text) % 8)
        return memoryview(int(padded, 2).to_bytes(len(padded) // 8, "big") + bytes(range(1, 12)))


def start(profile: int = 0, *, marker: int = 2) -> Bits:
    """frame_marker, profile_low_bit, profile_high_bit, and reserved_zero for profile 3."""
    bits = Bits().put(marker, 2).put(profile & 1, 1).put(profile >> 1, 1)
    return bits.put(0, 1) if profile == 3 else bits


def colours(bits: Bits, profile: int, space: int = 2) -> Bits:
    """color_config()."""
    if profile >= 2:
        bits.put(1, 1)  # ten_or_twelve_bit
    bits.put(space, 3)
    if space != 7:
        bits.put(0, 1)  # color_range
        if profile in (1, 3):
            bits.put(0b100, 3)  # subsampling_x, subsampling_y, reserved_zero
    elif profile in (1, 3):
        bits.put(0, 1)
    return bits


def size(bits: Bits, width: int, height: int) -> Bits:
    return bits.put(width - 1, 16).put(height - 1, 16)


def key(
    width: int = 576, height: int = 72, *, profile: int = 0, space: int = 2, sync: int = 0x498342
) -> memoryview:
    bits = start(profile).put(0, 1).put(0, 1).put(1, 1).put(0, 1).put(sync, 24)
    return size(colours(bits, profile, space), width, height).frame()


def intra_only(
    width: int, height: int, refresh: int, *, profile: int = 0, resilient: bool = False, sync: int = 0x498342
) -> memoryview:
    bits = start(profile).put(0, 1).put(1, 1).put(0, 1).put(resilient, 1).put(1, 1)
    if not resilient:
        bits.put(0, 2)  # reset_frame_context
    bits.put(sync, 24)
    if profile > 0:
        colours(bits, profile)
    return size(bits.put(refresh, 8), width, height).frame()


def inter(
    references: tuple[int, int, int] = (0, 0, 0),
    *,
    refresh: int = 0,
    found: int | None = 0,
    own: tuple[int, int] = (1, 1),
    shown: bool = True,
    resilient: bool = False,
) -> memoryview:
    """`found`: which reference's size it has; None: a size of its own."""
    bits = start().put(0, 1).put(1, 1).put(shown, 1).put(resilient, 1)
    if not shown:
        bits.put(0, 1)  # intra_only
    if not resilient:
        bits.put(0, 2)
    bits.put(refresh, 8)
    for reference in references:
        bits.put(reference, 3).put(1, 1)  # with its sign bias
    for place in range(3):
        if place == found:
            return bits.put(1, 1).frame()
        bits.put(0, 1)
    return size(bits, *own).frame()


def again(slot: int) -> memoryview:
    """show_existing_frame."""
    return start().put(1, 1).put(slot, 3).frame()


def told(*frames: memoryview) -> list[FrameHeader]:
    return [header for packet in read_headers(frames) for header in packet]


def sizes(*frames: memoryview) -> list[tuple[int, int]]:
    return [(header.width, header.height) for header in told(*frames)]


@pytest.mark.parametrize("profile", [0, 1, 2, 3])
@pytest.mark.parametrize("space", [2, 7])
def test_a_key_frame_says_its_profile_and_its_size(profile: int, space: int) -> None:
    if space == 7 and profile in (0, 2):
        with pytest.raises(NotVp9, match="RGB in a profile that has none"):
            told(key(profile=profile, space=space))
        return
    assert told(key(profile=profile, space=space)) == [
        FrameHeader(profile, key=True, shown=True, width=576, height=72)
    ]


def test_the_largest_and_the_smallest_size_are_read() -> None:
    assert sizes(key(65536, 1), key(1, 65536)) == [(65536, 1), (1, 65536)]


def test_an_inter_frame_has_the_size_of_the_reference_that_it_names() -> None:
    """Slots 0, 1 and 2 hold pictures of three sizes."""
    filled = (key(64, 32), intra_only(128, 64, 0b010), intra_only(256, 128, 0b100))
    assert sizes(*filled) == [(64, 32), (128, 64), (256, 128)]
    for found, expected in ((0, (64, 32)), (1, (128, 64)), (2, (256, 128))):
        assert sizes(*filled, inter((0, 1, 2), found=found))[-1] == expected
    assert sizes(*filled, inter((2, 1, 0), found=0))[-1] == (256, 128)
    assert sizes(*filled, inter((0, 1, 2), found=None, own=(48, 24)))[-1] == (48, 24)


def test_a_key_frame_fills_every_slot() -> None:
    for slot in range(8):
        assert sizes(key(64, 32), inter((slot, slot, slot)), again(slot)) == [(64, 32)] * 3


def test_a_frame_refreshes_the_slots_that_it_names_and_no_others() -> None:
    wide = inter(refresh=0b1000_0010, found=None, own=(128, 64))
    for slot in range(8):
        expected = (128, 64) if slot in (1, 7) else (64, 32)
        assert sizes(key(64, 32), wide, again(slot))[-1] == expected


@pytest.mark.parametrize("resilient", [False, True])
def test_fields_that_error_resilience_leaves_out_are_not_read(resilient: bool) -> None:
    one = inter(refresh=1, found=None, own=(48, 24), resilient=resilient)
    other = intra_only(96, 48, 1, resilient=resilient)
    assert sizes(key(64, 32), one, other, again(0)) == [(64, 32), (48, 24), (96, 48), (96, 48)]


@pytest.mark.parametrize("profile", [0, 1, 2, 3])
def test_an_intra_only_frame_is_hidden_no_key_and_of_its_own_size(profile: int) -> None:
    assert told(key(64, 32), intra_only(96, 48, 0, profile=profile))[-1] == FrameHeader(
        profile, key=False, shown=False, width=96, height=48
    )


def test_frames_are_shown_or_hidden_as_they_say() -> None:
    headers = told(key(), inter(shown=False), inter(shown=True), again(3))
    assert [(header.shown, header.key) for header in headers] == [
        (True, True),
        (False, False),
        (True, False),
        (True, False),
    ]


def test_a_picture_that_nobody_sent_cannot_be_shown_or_referred_to() -> None:
    for frame in (again(0), inter(), intra_only(64, 32, 0b1) and inter((0, 1, 0))):
        with pytest.raises(NotVp9, match="not there"):
            told(frame)
    with pytest.raises(NotVp9, match="not there"):
        told(intra_only(64, 32, 0b1), inter((0, 0, 1)))


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (start(marker=1).put(0, 20).frame(), "frame marker"),
        (start(marker=3).put(0, 20).frame(), "frame marker"),
        (Bits().put(2, 2).put(3, 2).put(1, 1).put(0, 20).frame(), "reserved profile"),
        (key(sync=0x498343), "no VP9 sync code"),
        (intra_only(64, 32, 1, sync=0x498341), "no VP9 sync code"),
        (memoryview(bytes(key())[:8]), "ends inside its header"),
        (memoryview(b""), "a packet is empty"),
    ],
    ids=["marker 1", "marker 3", "reserved bit", "key's sync", "intra's sync", "cut off", "empty"],
)
def test_what_is_no_frame_is_refused(frame: memoryview, says: str) -> None:
    with pytest.raises(NotVp9, match=says):
        told(frame)


def superframe(*frames: bytes, magnitude: int = 1, **changes: Any) -> memoryview:
    """Annex B: the frames, then the marker, their sizes and the marker again."""
    marker = bytes([0b110 << 5 | (magnitude - 1) << 3 | (len(frames) - 1)])
    stated = [size.to_bytes(magnitude, "little") for size in changes.get("sizes", map(len, frames))]
    return memoryview(b"".join(frames) + changes.get("opening", marker) + b"".join(stated) + marker)


@pytest.mark.parametrize("magnitude", [1, 2, 3, 4])
def test_a_superframe_is_taken_apart_by_sizes_of_any_width(magnitude: int) -> None:
    frames = [b"first", b"the second", b"3"]
    assert [bytes(part) for part in split_superframe(superframe(*frames, magnitude=magnitude))] == frames
    eight = [bytes([number]) * (number + 1) for number in range(8)]
    assert [bytes(part) for part in split_superframe(superframe(*eight, magnitude=magnitude))] == eight


def test_a_packet_that_only_ends_like_a_superframe_is_one_frame() -> None:
    for packet in (b"abc\xc1", bytes(superframe(b"ab", b"cd", opening=b"\x00")), b"\xc9"):
        assert split_superframe(memoryview(packet)) == [memoryview(packet)]


@pytest.mark.parametrize("stated", [(0, 4), (5, 4), (4, 5), (200, 1)])
def test_sizes_that_do_not_fit_are_refused(stated: tuple[int, int]) -> None:
    with pytest.raises(NotVp9, match="does not fit its packet"):
        split_superframe(superframe(b"abcd", b"efgh", sizes=stated))
