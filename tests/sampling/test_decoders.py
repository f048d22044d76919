"""A decoder that refuses a stream gives it to the CPU and says so, or fails if it was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.media.decode_nvdec import NotForNvdec
from video_pipeline.media.decoder_choice import Choice, Facts
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource
from video_pipeline.sampling import decoders
from video_pipeline.sampling.runner import run_inference_impl


class RefusingDouble:
    """A double of the NVIDIA decoder that takes no stream."""

    backend = "nvdec"

    def decode(self, run: Any, wanted: Any) -> Iterator[Any]:
        raise NotForNvdec("4:2:2 is for the CPU")
        yield

    def stats(self) -> str:
        return "none made"

    def close(self) -> None: ...


@pytest.fixture
def _a_gpu_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "no_nvdec", lambda: None)
    monkeypatch.setattr("video_pipeline.media.nvdec_memory.NvdecMemoryDecoder", RefusingDouble)
    monkeypatch.setattr("video_pipeline.media.decoder_choice.NVDEC_START_MS", 0.0)


@pytest.mark.usefixtures("_a_gpu_that_refuses")
def test_a_refused_stream_is_decoded_on_the_cpu_and_the_result_says_so(media: MediaFactory) -> None:
    result = run_inference_impl(video_url=str(media.path("h264_b")))
    assert result["delivered"] == 1
    assert result["frames"][0]["decoder"] == "pyav"
    assert any("4:2:2 is for the CPU" in note for note in result["notes"])


@pytest.mark.usefixtures("_a_gpu_that_refuses")
def test_a_refused_stream_fails_where_the_decoder_was_asked_for(media: MediaFactory) -> None:
    result = run_inference_impl(video_url=str(media.path("h264_b")), decoder="nvdec")
    assert result["delivered"] == 0
    assert "4:2:2 is for the CPU" in result["frames"][0]["error"]["message"]


@pytest.mark.usefixtures("_a_gpu_that_refuses")
def test_the_videos_of_a_run_share_one_decoder_of_the_gpu_which_is_closed(
    media: MediaFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Watched(RefusingDouble):
        def __init__(self) -> None:
            seen.append("made")

        def close(self) -> None:
            seen.append("closed")

    monkeypatch.setattr("video_pipeline.media.nvdec_memory.NvdecMemoryDecoder", Watched)
    result = run_inference_impl(video_urls=[str(media.path("h264_b")), str(media.path("h264_faststart"))])
    assert result["delivered"] == 2
    assert seen == ["made", "closed"]
    assert result["notes"][-1] == "NVDEC sessions: none made"


def test_the_longest_run_of_pictures_decides(media: MediaFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Facts] = []
    choose = decoders.choose_decoder

    def watched(facts: Facts, *, name: str) -> Choice:
        told.append(facts)
        return choose(facts, name=name)

    monkeypatch.setattr(decoders, "choose_decoder", watched)
    index = open_index(FileSource(media.path("h264_b")), Traffic())
    selections = [index.select(512 * number, Traffic()) for number in (0, 40, 1)]
    with decoders.DecoderChooser("auto") as chooser:
        chooser.choose(index, selections)
    assert told[0].pictures == len(selections[1].samples) > len(selections[2].samples)
    assert told[0].megapixels == pytest.approx(0.0576)


def test_asking_for_a_gpu_that_is_not_there_fails_every_frame_with_what_to_do(media: MediaFactory) -> None:
    if decoders.no_nvdec() is None:
        pytest.skip("this machine has NVDEC")
    result = run_inference_impl(video_url=str(media.path("h264_b")), decoder="nvdec")
    assert "pyav" in result["frames"][0]["error"]["what_to_do"]
