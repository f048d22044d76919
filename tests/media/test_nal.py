"""NAL units: framing, and which packets nothing refers to."""

from __future__ import annotations

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.media.nal import NalReader, annex_b_units, h264_frames_only, length_prefixed_units

SPS_PROGRESSIVE = bytes.fromhex("6742c00ad901e0089f961000000300100000030320f1226480")


def framed(*units: bytes, size: int = 4) -> bytes:
    return b"".join(len(unit).to_bytes(size, "big") + unit for unit in units)


def reader(codec: str = "h264", *, length_size: int = 4, layers: int = 0) -> NalReader:
    if codec == "h264":
        sps = SPS_PROGRESSIVE
        head = bytes([1, 0x42, 0xC0, 0x0A, 0xFC | (length_size - 1), 0xE1]) + len(sps).to_bytes(2, "big")
        return NalReader("h264", head + sps + b"\0")
    sps = bytes([33 << 1, 1, layers << 1, 0])
    head = bytearray(23)
    head[0], head[21], head[22] = 1, 0xFC | (length_size - 1), 1
    return NalReader("hevc", bytes(head) + b"\xa1\0\1" + len(sps).to_bytes(2, "big") + sps)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_length_prefixes_of_any_size_are_read(size: int) -> None:
    units = [bytes([9, 16]), bytes([1, 2, 3])]
    assert [bytes(u) for u in length_prefixed_units(framed(*units, size=size), size)] == units


def test_start_codes_of_three_and_four_bytes_are_read() -> None:
    data = b"\0\0\0\1\x09\x10\0\0\1\x41\xaa\xbb\0\0\0\1\x06\x05"
    assert [bytes(u) for u in annex_b_units(data)] == [b"\x09\x10", b"\x41\xaa\xbb", b"\x06\x05"]
    assert list(annex_b_units(b"no start code")) == []


@pytest.mark.parametrize(
    ("units", "droppable"),
    [
        ([b"\x01\x9a"], True),  # slice, nal_ref_idc 0
        ([b"\x41\x9a"], False),  # slice, nal_ref_idc 2
        ([b"\x65\x88"], False),  # IDR
        ([b"\x09\x10", b"\x06\x05", b"\x01\x9a"], True),  # delimiter and SEI are harmless
        ([b"\x01\x9a", b"\x01\x9b"], True),  # two slices of one picture
        ([b"\x01\x9a", b"\x21\x9b"], False),
        ([b"\x68\xce", b"\x01\x9a"], False),  # a parameter set travels with it
        ([b"\x06\x05"], False),  # no picture at all
    ],
)
def test_an_h264_packet_is_droppable_by_its_reference_flag_and_company(
    units: list[bytes], droppable: bool
) -> None:
    assert reader().facts(framed(*units)).droppable is droppable


def test_only_an_idr_is_called_one() -> None:
    assert reader().facts(framed(b"\x65\x88")).idr
    assert not reader().facts(framed(b"\x41\x88")).idr


@pytest.mark.parametrize(
    ("kind", "layer", "layers", "droppable"),
    [
        (0, 0, 0, True),
        (1, 0, 0, False),
        (0, 0, 1, False),
        (0, 1, 1, True),
        (8, 0, 0, True),
        (19, 0, 0, False),
    ],
)
def test_an_hevc_picture_of_a_lower_layer_may_be_referred_to(
    kind: int, layer: int, layers: int, droppable: bool
) -> None:
    unit = bytes([kind << 1, layer + 1, 0x80])
    assert reader("hevc", layers=layers).facts(framed(unit)).droppable is droppable


@given(st.binary(max_size=60))
def test_no_bytes_upset_it(data: bytes) -> None:
    for codec in ("h264", "hevc"):
        reader(codec).facts(data)
        NalReader(codec, data).facts(data)


def test_a_broken_length_is_never_droppable() -> None:
    assert not reader().facts(framed(b"\x01\x9a") + b"\0\0\1\0\x01").droppable


def test_frames_only_is_read_from_the_sequence_parameter_set() -> None:
    assert h264_frames_only(SPS_PROGRESSIVE)
    assert not h264_frames_only(SPS_PROGRESSIVE[:5])


@pytest.mark.parametrize(
    ("variant", "fields"), [("h264_b", False), ("h264_ts", False), ("h264_interlaced", True), ("hevc", False)]
)
def test_real_streams_say_whether_fields_are_possible(
    media: MediaFactory, variant: str, fields: bool
) -> None:
    with av.open(str(media.path(variant))) as container:
        context = container.streams.video[0].codec_context
        assert NalReader(context.name, context.extradata).fields_possible is fields
