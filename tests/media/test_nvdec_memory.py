"""Runs decoded by pooled NVDEC sessions: by a double of PyNvVideoCodec, and on a GPU where there is one."""

from __future__ import annotations

import contextlib
import os
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.doubles import nvdec_memory as double
from tests.fixtures.media_factory import MediaFactory, usual_ones_fast
from video_pipeline.errors import BadInput
from video_pipeline.media import nvdec_memory
from video_pipeline.media.decode_memory import CodedPicture, CodedRun, SoftwareMemoryDecoder
from video_pipeline.media.decode_nvdec import NotForNvdec, unavailable
from video_pipeline.media.frames import DeviceFrame
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.nvdec_memory import NvdecMemoryDecoder
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource

ON_BOTH = [
    "h264_b", "h264_p", "h264_strict_pyramid", "h264_slices", "h264_full_range", "hevc", "hevc_open_gop",
    "hevc_layers", "vp9_mp4", "av1", "vfr", "rotated_90", "rotated_180", "rotated_270", "mirrored",
    "unaligned_size", "one_picture",
]  # fmt: skip


def run_of(path: Path, part: float = 0.4) -> CodedRun:
    """The run of a picture some way into the file."""
    traffic = Traffic()
    index = open_index(FileSource(path), traffic)
    duration = index.track.duration
    selection = index.select(int(duration * part), traffic)
    samples = selection.samples
    rows = zip(samples.offsets, samples.sizes, samples.pts, samples.dts, samples.key, strict=True)
    with path.open("rb") as file:
        pictures = [
            CodedPicture(os.pread(file.fileno(), int(size), int(at)), int(pts), int(dts), bool(key))
            for at, size, pts, dts, key in rows
        ]
    return CodedRun(selection.entry, index.track.time_base, index.track.orientation, pictures, path.name)


def wanted_of(run: CodedRun) -> list[int]:
    """All pictures that libav shows of a run."""
    shown = set()
    for picture in run.pictures:
        with contextlib.suppress(BadInput):
            shown |= {pts for pts, _ in SoftwareMemoryDecoder().decode(run, [picture.pts])}
    return sorted(shown)


def check(decoder: NvdecMemoryDecoder, run: CodedRun, wanted: list[int]) -> None:
    ours = list(decoder.decode(run, wanted))
    theirs = list(SoftwareMemoryDecoder().decode(run, wanted))
    assert [pts for pts, _ in ours] == [pts for pts, _ in theirs] == sorted(wanted)
    for (pts, a), (_, b) in zip(ours, theirs, strict=True):
        assert isinstance(a, DeviceFrame)
        a, b = a.to_host(), b.to_host()
        assert a.tags == b.tags
        for plane in ("y", "u", "v"):
            assert np.array_equal(getattr(a, plane), getattr(b, plane)), (pts, plane)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(nvdec_memory, "nvc_module", double.module)
    monkeypatch.setattr(nvdec_memory, "unavailable", lambda: None)
    monkeypatch.setattr(torch.cuda, "device", lambda gpu: contextlib.nullcontext())
    stream = types.SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: stream)
    return monkeypatch


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("variant", usual_ones_fast(ON_BOTH))
def test_pictures_equal_the_software_decoders(media: MediaFactory, variant: str) -> None:
    run = run_of(media.path(variant))
    with NvdecMemoryDecoder() as decoder:
        check(decoder, run, wanted_of(run))


@pytest.mark.usefixtures("played")
def test_one_session_serves_run_after_run_and_is_reconfigured_for_another_size(media: MediaFactory) -> None:
    runs = [run_of(media.path(name)) for name in ("h264_b", "unaligned_size", "h264_b", "h264_b")]
    with NvdecMemoryDecoder(pool_limit=1) as decoder:
        for run in runs:
            check(decoder, run, [run.pictures[-1].pts])
        stats = decoder.stats()
    assert (stats.created, stats.reconfigured, stats.reused) == (1, 2, 1)


def test_looks_at_streams_are_kept_up_to_a_number(media: MediaFactory, played: pytest.MonkeyPatch) -> None:
    played.setattr(nvdec_memory, "LOOKS_KEPT", 1)
    looked: list[str] = []
    look = NvdecMemoryDecoder._first_look
    played.setattr(
        NvdecMemoryDecoder, "_first_look", lambda self, run: looked.append(run.name) or look(self, run)
    )
    runs = {name: run_of(media.path(name)) for name in ("h264_b", "unaligned_size")}
    with NvdecMemoryDecoder() as decoder:
        for name in ("h264_b", "h264_b", "unaligned_size", "unaligned_size", "h264_b"):
            check(decoder, runs[name], [runs[name].pictures[-1].pts])
    assert looked == ["h264_b.mp4", "unaligned_size.mp4", "h264_b.mp4"]


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(
    ("variant", "why"),
    [
        ("ten_bit", "yuv420p10le"), ("yuv422", "yuv422p"), ("yuv444", "yuv444p"),
        ("odd_size_rotated", "odd"), ("h264_interlaced", "deinterlace"),
        ("h264_intra_refresh", "refers to pictures before it"),
    ],
)  # fmt: skip
def test_runs_for_the_cpu_are_handed_back_with_the_reason(
    media: MediaFactory, variant: str, why: str
) -> None:
    run = run_of(media.path(variant), 0.9)
    with NvdecMemoryDecoder() as decoder:
        for _ in range(2):
            with pytest.raises(NotForNvdec, match=why):
                list(decoder.decode(run, [run.pictures[-1].pts]))


def test_a_failing_session_is_replaced_and_the_run_handed_back(
    media: MediaFactory, played: pytest.MonkeyPatch
) -> None:
    failing = [True]
    played.setattr(nvdec_memory, "nvc_module", lambda: double.module(fails=lambda: failing[0]))
    run = run_of(media.path("h264_b"))
    with NvdecMemoryDecoder(pool_limit=1) as decoder:
        with pytest.raises(NotForNvdec, match="error 999"):
            list(decoder.decode(run, [run.pictures[-1].pts]))
        failing[0] = False
        check(decoder, run, [run.pictures[-1].pts])
        assert (decoder.stats().created, decoder.stats().recovered) == (2, 1)


@pytest.mark.usefixtures("played")
def test_bytes_that_do_not_add_up_are_bad_input(media: MediaFactory) -> None:
    run = run_of(media.path("h264_b"))
    last = run.pictures[-1]
    cut = CodedPicture(last.data[:-3], last.pts, last.dts, last.key)
    broken = CodedRun(run.entry, run.time_base, run.orientation, [*run.pictures[:-1], cut], run.name)
    with NvdecMemoryDecoder() as decoder, pytest.raises(BadInput, match="do not fill it") as caught:
        list(decoder.decode(broken, [last.pts]))
    assert caught.value.input == run.name


@pytest.mark.usefixtures("played")
def test_threads_share_the_sessions_and_each_gets_its_own_pictures(media: MediaFactory) -> None:
    runs = [run_of(media.path(name)) for name in ("h264_b", "hevc", "unaligned_size", "rotated_90")]
    with NvdecMemoryDecoder(pool_limit=2) as decoder, ThreadPoolExecutor(4) as threads:
        tasks = [threads.submit(check, decoder, run, [run.pictures[-1].pts]) for run in runs * 3]
        for task in tasks:
            task.result(60)
        assert decoder.stats().most_in_use <= 2
        assert decoder.stats().leases == 12


@pytest.mark.skipif(unavailable() is None, reason="this machine has a GPU")
def test_without_a_gpu_it_is_refused_with_the_reason() -> None:
    with pytest.raises(BadInput, match="torch finds no CUDA device"):
        NvdecMemoryDecoder()


@pytest.mark.gpu
@pytest.mark.parametrize("variant", usual_ones_fast(ON_BOTH))
def test_on_a_gpu_pictures_equal_the_software_decoders(media: MediaFactory, variant: str) -> None:
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    run = run_of(media.path(variant))
    with NvdecMemoryDecoder() as decoder:
        try:
            check(decoder, run, wanted_of(run))
        except NotForNvdec as refusal:
            pytest.skip(str(refusal))
