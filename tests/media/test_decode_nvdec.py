"""The GPU path: on a GPU where there is one; its own logic everywhere, against a double of PyNvVideoCodec."""

from __future__ import annotations

import contextlib
import io
import types
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.doubles import nvdec
from tests.fixtures.media_factory import MediaFactory, usual_ones_fast
from video_pipeline.errors import BadInput
from video_pipeline.media import decode_nvdec
from video_pipeline.media.decode import open_decoder
from video_pipeline.media.decode_nvdec import NotForNvdec, NvdecDecoder, unavailable
from video_pipeline.media.decode_software import SoftwareDecoder
from video_pipeline.media.frames import DeviceFrame, Sample
from video_pipeline.media.geometry import CropRegion

BAND = CropRegion(left=0.06, top=0.68, width=0.87, height=0.28)
TEN = Fraction(10)
ON_BOTH = [
    "h264_b", "h264_p", "h264_strict_pyramid", "h264_open_gop", "h264_fragmented", "h264_mkv", "h264_ts",
    "hevc", "hevc_open_gop", "hevc_ts", "vp9", "vp9_alt_ref", "vp8", "av1", "mpeg2_ts", "vfr", "slow",
    "edit_trim", "edit_empty", "tuned_in", "tuned_in_hevc", "rotated_90", "rotated_180", "mirrored",
    "one_picture", "two_pictures",
]  # fmt: skip


def software(media: MediaFactory, variant: str) -> list[Sample]:
    return list(SoftwareDecoder(media.path(variant), name="v", crop_region=BAND, rate=TEN).samples())


def equal(device: list[Sample], cpu: list[Sample]) -> None:
    assert [(s.index, s.pts) for s in device] == [(s.index, s.pts) for s in cpu]
    for a, b in zip(device, cpu, strict=True):
        assert isinstance(a.frame, DeviceFrame)
        ours, theirs = a.frame.to_host(), b.frame.to_host()
        assert ours.tags == theirs.tags
        for plane in ("y", "u", "v"):
            assert np.array_equal(getattr(ours, plane), getattr(theirs, plane)), (a.index, plane)
            assert getattr(ours, plane).flags.c_contiguous


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyNvVideoCodec played by libav, and torch's CUDA calls that need a device made empty."""
    monkeypatch.setattr(decode_nvdec, "_nvc", nvdec.module)
    monkeypatch.setattr(torch.cuda, "device", lambda gpu: contextlib.nullcontext())
    stream = types.SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: stream)


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("variant", usual_ones_fast(ON_BOTH))
def test_samples_equal_the_software_decoders(media: MediaFactory, variant: str) -> None:
    decoder = NvdecDecoder(media.path(variant), name="v", crop_region=BAND, rate=TEN)
    equal(list(decoder.samples()), software(media, variant))


@pytest.mark.usefixtures("played")
def test_unneeded_packets_do_not_reach_the_gpu_either(media: MediaFactory) -> None:
    decoder = NvdecDecoder(media.path("h264_b"), name="v", crop_region=BAND, rate=TEN)
    assert len(list(decoder.samples())) == 24
    assert decoder.stats.packets_dropped == 18
    assert decoder.stats.pictures_decoded == 42


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(
    ("variant", "why"),
    [("ten_bit", "yuv420p10le"), ("yuv444", "yuv444p"), ("odd_size", "odd"), ("msmpeg4_avi", "no msmpeg4")],
)
def test_streams_for_the_cpu_are_handed_back(media: MediaFactory, variant: str, why: str) -> None:
    with pytest.raises(NotForNvdec, match=why):
        NvdecDecoder(media.path(variant), name="v", crop_region=BAND, rate=TEN)


@pytest.mark.usefixtures("played")
def test_a_gpus_limits_are_asked_for(media: MediaFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_nvdec, "_nvc", lambda: nvdec.module(engines=0))
    with pytest.raises(NotForNvdec, match="does not decode h264"):
        NvdecDecoder(media.path("h264_b"), name="v", crop_region=BAND, rate=TEN)
    monkeypatch.setattr(decode_nvdec, "_nvc", lambda: nvdec.module(width_max=256))
    with pytest.raises(NotForNvdec, match=r"width of 320 pixels is outside this GPU's 48\.\.256"):
        NvdecDecoder(media.path("h264_b"), name="v", crop_region=BAND, rate=TEN)


@pytest.mark.usefixtures("played")
def test_auto_takes_the_gpu_where_it_can_and_the_cpu_where_it_must(
    media: MediaFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_nvdec, "unavailable", lambda: None)
    on_gpu = open_decoder(media.path("h264_b"), name="v", crop_region=BAND, rate=TEN)
    assert on_gpu.device == "cuda"
    on_gpu.close()
    reader = io.BytesIO(media.path("ten_bit").read_bytes())
    on_cpu = open_decoder(reader, name="v", crop_region=BAND, rate=TEN)
    assert on_cpu.device == "cpu"
    assert len(list(on_cpu.samples())) == 24
    with pytest.raises(BadInput, match="cannot decode on the GPU: yuv420p10le"):
        open_decoder(media.path("ten_bit"), name="v", crop_region=BAND, rate=TEN, device="cuda")


@pytest.mark.usefixtures("played")
def test_bad_media_is_refused_on_the_gpu_path_too(media: MediaFactory) -> None:
    for variant in ("text", "truncated_mkv", "audio_only", "no_pictures", "two_sizes"):
        with pytest.raises(BadInput) as caught:
            list(NvdecDecoder(media.path(variant), name="v", crop_region=BAND, rate=TEN).samples())
        assert caught.value.input == "v"


@pytest.mark.skipif(unavailable() is None, reason="this machine has a GPU")
def test_without_a_gpu_cuda_is_refused_with_the_reason_and_auto_is_the_cpu(media: MediaFactory) -> None:
    with pytest.raises(BadInput, match="cannot decode on the GPU: torch finds no CUDA device"):
        open_decoder(media.path("h264_b"), name="v", crop_region=BAND, rate=TEN, device="cuda")
    decoder = open_decoder(media.path("h264_b"), name="v", crop_region=BAND, rate=TEN)
    assert decoder.device == "cpu"
    decoder.close()


def test_a_rate_that_is_not_positive_is_refused(media: MediaFactory) -> None:
    with pytest.raises(BadInput, match="not positive"):
        open_decoder(media.path("h264_b"), name="v", crop_region=BAND, rate=Fraction(0))


@pytest.mark.gpu
@pytest.mark.parametrize("variant", usual_ones_fast(ON_BOTH))
def test_nvdec_equals_the_software_decoder_bit_for_bit(media: MediaFactory, variant: str) -> None:
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    try:
        decoder = NvdecDecoder(media.path(variant), name="v", crop_region=BAND, rate=TEN)
    except NotForNvdec as refusal:
        pytest.skip(str(refusal))
    samples = list(decoder.samples())
    assert all(isinstance(s.frame, DeviceFrame) and s.frame.y.is_cuda for s in samples)
    equal(samples, software(media, variant))
