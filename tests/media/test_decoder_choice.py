"""Which decoder is chosen, and that the reason says it."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.errors import BadInput
from video_pipeline.media import decode_videotoolbox
from video_pipeline.media.decode_memory import CodedPicture, CodedRun
from video_pipeline.media.decoder_choice import Facts, choose_decoder
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource

BARE = Facts("auto", 30, 0.92, 2, "no GPU", "no Mac")


def test_a_machine_without_hardware_decodes_on_the_cpu() -> None:
    assert choose_decoder(BARE, name="a.mp4").backend == "pyav"


def test_few_small_pictures_stay_on_the_cpu_and_many_large_ones_go_to_the_gpu() -> None:
    gpu = replace(BARE, no_nvdec=None)
    few, many = (
        choose_decoder(gpu, name="a"),
        choose_decoder(replace(gpu, pictures=250, megapixels=8.3), name="a"),
    )
    assert (few.backend, many.backend) == ("pyav", "nvdec")
    assert "33 ms" in few.reason
    assert "2490 ms" in many.reason
    # The same work on many cores.
    assert choose_decoder(replace(gpu, pictures=250, megapixels=8.3, cores=64), name="a").backend == "pyav"


@pytest.mark.parametrize("asked", ["nvdec", "videotoolbox"])
def test_what_is_asked_for_and_not_there_is_an_error_that_says_why(asked: str) -> None:
    with pytest.raises(BadInput, match=r"no GPU|no Mac") as caught:
        choose_decoder(replace(BARE, asked=asked), name="a.mp4")
    assert caught.value.input == "a.mp4"


def test_what_is_asked_for_and_there_is_taken_however_small_the_work() -> None:
    facts = Facts("nvdec", 1, 0.01, 64, None, None)
    assert choose_decoder(facts, name="a").backend == "nvdec"
    assert choose_decoder(replace(facts, asked="videotoolbox"), name="a").backend == "videotoolbox"
    assert choose_decoder(replace(facts, asked="pyav", pictures=10**6), name="a").backend == "pyav"


@pytest.mark.skipif(sys.platform == "darwin", reason="what happens where there is no VideoToolbox")
def test_videotoolbox_says_that_it_is_not_there_instead_of_decoding_in_software(media: MediaFactory) -> None:
    assert decode_videotoolbox.unavailable() is not None
    with pytest.raises(decode_videotoolbox.NotForHardware):
        list(decode_videotoolbox.VideoToolboxMemoryDecoder().decode(a_run(media), {0}))


@pytest.mark.skipif(sys.platform != "darwin", reason="VideoToolbox is a part of macOS")
def test_videotoolbox_decodes_the_picture_that_the_cpu_decodes(media: MediaFactory) -> None:
    ((pts, frame),) = decode_videotoolbox.VideoToolboxMemoryDecoder().decode(a_run(media), {0})
    assert (pts, frame.width, frame.height) == (0, 320, 180)


def a_run(media: MediaFactory) -> CodedRun:
    path = media.path("h264_p")
    index = open_index(FileSource(path), Traffic())
    samples = index.select(0, Traffic()).samples
    data = path.read_bytes()[int(samples.offsets[0]) : int(samples.offsets[0] + samples.sizes[0])]
    picture = CodedPicture(data, int(samples.pts[0]), int(samples.dts[0]), True)
    entry, turned = index.track.entries[0], index.track.orientation
    return CodedRun(entry, Fraction(1, index.track.timescale), turned, [picture], path.name)
