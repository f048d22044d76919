"""Opening a decoder: what is asked for reaches the decoder that is chosen, and the choice is said."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from video_pipeline.errors import BadInput
from video_pipeline.media import decode_nvdec, decode_software
from video_pipeline.media.decode import open_decoder
from video_pipeline.media.decode_nvdec import NotForNvdec
from video_pipeline.media.geometry import CropRegion

BAND = CropRegion(left=0.06, top=0.68, width=0.87, height=0.28)


class Doubles:
    """Test doubles of both decoders, which keep what they were opened with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, gpu: str | None, refuses: bool = False) -> None:
        """`gpu`: why there is none, None where there is one; `refuses`: it does not decode this stream."""
        self.asked: list[tuple[str, Any, dict[str, Any]]] = []

        def software(source: Any, **options: Any) -> str:
            self.asked.append(("cpu", source, options))
            return "the CPU's"

        def nvdec(source: Any, **options: Any) -> str:
            self.asked.append(("cuda", source, options))
            if refuses:
                if not isinstance(source, Path):
                    source.read(7)
                raise NotForNvdec("not this stream")
            return "the GPU's"

        monkeypatch.setattr(decode_software, "SoftwareDecoder", software)
        monkeypatch.setattr(decode_nvdec, "NvdecDecoder", nvdec)
        monkeypatch.setattr(decode_nvdec, "unavailable", lambda: gpu)

    @property
    def devices(self) -> list[str]:
        return [device for device, _, _ in self.asked]


def opened(source: Any = Path("video.mp4"), **asked: Any) -> Any:
    options: dict[str, Any] = {"name": "the video", "crop_region": BAND, "rate": Fraction(10)}
    return open_decoder(source, **(options | asked))


def test_everything_that_is_asked_for_reaches_the_cpus_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    doubles = Doubles(monkeypatch, gpu="there is none")

    def also(pts: int) -> bool:
        return pts == 5

    assert opened(also=also, decoder_threads=3, rate=Fraction(25, 3)) == "the CPU's"
    (asked,) = doubles.asked
    expected = {"name": "the video", "crop_region": BAND, "rate": Fraction(25, 3), "threads": 3, "also": also}
    assert asked == ("cpu", Path("video.mp4"), expected)


def test_everything_that_is_asked_for_reaches_the_gpus_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    doubles = Doubles(monkeypatch, gpu=None)

    def also(pts: int) -> bool:
        return pts == 5

    assert opened(also=also, decoder_threads=3) == "the GPU's"
    (asked,) = doubles.asked
    expected = {"name": "the video", "crop_region": BAND, "rate": Fraction(10), "also": also}
    assert asked == ("cuda", Path("video.mp4"), expected)


def test_the_cpu_is_taken_where_it_is_asked_for_and_no_gpu_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doubles = Doubles(monkeypatch, gpu=None)
    assert opened(device="cpu") == "the CPU's"
    assert doubles.devices == ["cpu"]


def test_a_stream_that_the_gpu_does_not_decode_goes_to_the_cpu_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doubles = Doubles(monkeypatch, gpu=None, refuses=True)
    reader = io.BytesIO(b"a video of some bytes")
    assert opened(reader) == "the CPU's"
    assert doubles.devices == ["cuda", "cpu"]
    assert reader.tell() == 0
    assert opened() == "the CPU's"


@pytest.mark.parametrize(
    ("gpu", "refuses", "why"), [("no driver", False, "no driver"), (None, True, "not this stream")]
)
def test_who_insists_on_the_gpu_hears_why_it_cannot_be(
    monkeypatch: pytest.MonkeyPatch, gpu: str | None, refuses: bool, why: str
) -> None:
    doubles = Doubles(monkeypatch, gpu=gpu, refuses=refuses)
    with pytest.raises(BadInput, match=f"cannot decode on the GPU: {why}") as caught:
        opened(device="cuda")
    assert caught.value.input == "the video"
    assert "cpu" not in doubles.devices


@pytest.mark.parametrize("rate", [0, -1, Fraction(-1, 10)])
def test_a_rate_that_is_not_positive_opens_nothing(monkeypatch: pytest.MonkeyPatch, rate: Any) -> None:
    doubles = Doubles(monkeypatch, gpu="there is none")
    with pytest.raises(BadInput, match="not positive"):
        opened(rate=rate)
    assert doubles.asked == []


def test_a_rate_that_is_a_whole_number_is_taken_as_a_fraction(monkeypatch: pytest.MonkeyPatch) -> None:
    doubles = Doubles(monkeypatch, gpu="there is none")
    opened(rate=10)
    rate = doubles.asked[0][2]["rate"]
    assert (rate, type(rate)) == (10, Fraction)
