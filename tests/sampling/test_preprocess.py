"""Preparing frames for a classifier, held to Pillow on the whole RGB picture and to H.273 by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from video_pipeline.errors import Internal
from video_pipeline.media.colour import frame_to_rgb
from video_pipeline.media.decode import open_decoder
from video_pipeline.media.frames import ColourTags, CroppedFrame, DeviceFrame
from video_pipeline.media.geometry import CropRegion
from video_pipeline.models.classifier_spec import Interpolation, PreprocessSpec
from video_pipeline.models.image_classifier import load_classifier
from video_pipeline.sampling import preprocess
from video_pipeline.sampling.preprocess import TOLERANCE, prepare

CLIP = Path(preprocess.__file__).parents[1] / "demo" / "street.mp4"
SPEC = PreprocessSpec()
Plane = np.ndarray
LIMITED_709 = ColourTags(1, 1, 1, 1)
FILTERS: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}


@pytest.fixture(scope="module")
def frames() -> list[CroppedFrame]:
    whole = CropRegion(left=0, top=0, width=1, height=1)
    decoder = open_decoder(CLIP, name=CLIP.name, crop_region=whole, rate=Fraction(1, 4), device="cpu")
    return [sample.frame.to_host() for sample in decoder.samples()]


def turned(frame: CroppedFrame) -> CroppedFrame:
    y, u, v = (np.rot90(plane).copy() for plane in (frame.y, frame.u, frame.v))
    return CroppedFrame(y, u, v, frame.tags)


def noise(width: int, height: int, seed: int = 0, tags: ColourTags = LIMITED_709) -> CroppedFrame:
    random = np.random.default_rng(seed)
    half = (-(-height // 2), -(-width // 2))
    y, u, v = (random.integers(0, 256, size, dtype=np.uint8) for size in ((height, width), half, half))
    return CroppedFrame(y, u, v, tags)


def flat(y: int, u: int, v: int, tags: ColourTags, *, width: int = 64) -> CroppedFrame:
    half = np.full((32, width // 2), 0, np.uint8)
    return CroppedFrame(np.full((64, width), y, np.uint8), half + np.uint8(u), half + np.uint8(v), tags)


def zeros(height: int, width: int, dtype: type = np.uint8) -> Plane:
    return np.zeros((height, width), dtype)


def by_pillow(frame: CroppedFrame, spec: PreprocessSpec) -> Tensor:
    """As a script with Pillow would do it: the whole picture in 8-bit RGB, then resized, then cropped."""
    picture = Image.fromarray(frame_to_rgb(frame))
    scale = spec.resize / min(picture.size)
    size = (int(picture.width * scale + 1e-9), int(picture.height * scale + 1e-9))
    small = picture.resize(size, FILTERS[spec.interpolation])
    left, top = round((size[0] - spec.input_size) / 2), round((size[1] - spec.input_size) / 2)
    cut = small.crop((left, top, left + spec.input_size, top + spec.input_size))
    return (torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() - 127) / 128


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("upright", [True, False])
def test_values_are_those_of_pillow_on_the_whole_rgb_picture(
    frames: list[CroppedFrame], interpolation: Interpolation, upright: bool
) -> None:
    spec = PreprocessSpec(interpolation=interpolation)
    taken = frames if upright else [turned(frame) for frame in frames]
    reference = torch.stack([by_pillow(frame, spec) for frame in taken])
    apart = (prepare(taken, spec, "cpu") - reference).abs() * 128
    # Pillow rounds to 8 bits twice, and the reference repeats chroma where ours interpolates it.
    assert apart.mean() < 0.5
    assert np.quantile(apart.numpy(), 0.99) < 2.5


def test_predictions_are_those_of_pillows_pictures(frames: list[CroppedFrame]) -> None:
    classifier = load_classifier()
    reference = torch.stack([by_pillow(frame, classifier.spec) for frame in frames])
    wanted = classifier.classify(reference)
    found = classifier.classify(prepare(frames, classifier.spec, classifier.device))
    clear = 0
    for expected, got in zip(wanted, found, strict=True):
        assert abs(expected.confidence - got.top[0].confidence) < 0.05
        margin = expected.top[0].confidence - expected.top[1].confidence
        clear += margin > 0.02
        # Nearer than that, the two first classes change places with the rounding to 8 bits alone.
        assert got.label == expected.label or margin <= 0.02
    assert clear >= len(frames) // 2


def test_planes_of_numpy_and_torch_and_nv12_give_the_same_bits(frames: list[CroppedFrame]) -> None:
    expected = prepare(frames, SPEC, "cpu")
    as_torch = []
    for frame in frames:
        y, u, v = (cast(Any, torch.from_numpy(plane)) for plane in (frame.y, frame.u, frame.v))
        as_torch.append(CroppedFrame(y, u, v, frame.tags))
    as_nv12 = [
        DeviceFrame(torch.from_numpy(frame.y), torch.from_numpy(np.dstack((frame.u, frame.v))), frame.tags)
        for frame in frames
    ]
    assert torch.equal(prepare(as_torch, SPEC, "cpu"), expected)
    assert torch.equal(prepare(as_nv12, SPEC, "cpu"), expected)


def test_a_frame_is_prepared_the_same_beside_frames_of_other_sizes() -> None:
    mixed = [noise(640, 360), noise(360, 640), noise(256, 256), noise(1280, 720), noise(200, 100)]
    together = prepare(mixed, SPEC, "cpu")
    assert together.shape == (5, 3, 224, 224)
    assert together.dtype == torch.float32
    for frame, values in zip(mixed, together, strict=True):
        assert torch.equal(prepare([frame], SPEC, "cpu")[0], values)
    assert not torch.equal(together[0], together[3])
    assert prepare([], SPEC, "cpu").shape == (0, 3, 224, 224)


def test_a_frame_object_that_occurs_again_is_resized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    resize = preprocess._resize
    monkeypatch.setattr(preprocess, "_resize", lambda *given: calls.append(1) or resize(*given))
    one, other = noise(320, 180, 1), noise(320, 180, 2)
    batch = prepare([one, other, one, one], SPEC, "cpu")
    assert len(calls) == 4  # luma and chroma of two frames
    assert torch.equal(batch[0], batch[2])
    assert torch.equal(batch[0], batch[3])
    assert not torch.equal(batch[0], batch[1])


@pytest.mark.parametrize(
    ("planes", "tags", "rgb"),
    [
        ((235, 128, 128), ColourTags(matrix=1, range=1), (255, 255, 255)),
        ((16, 128, 128), ColourTags(matrix=1, range=1), (0, 0, 0)),
        ((126, 128, 128), ColourTags(matrix=1, range=0), (128.08, 128.08, 128.08)),
        ((126, 128, 128), ColourTags(matrix=1, range=2), (126, 126, 126)),
        ((63, 102, 240), ColourTags(matrix=1, range=1), (255, 0.8, 0.0)),
        ((81, 90, 240), ColourTags(matrix=6, range=1), (254.4, 0, 0)),
        ((76, 85, 255), ColourTags(matrix=5, range=2), (254.05, 0.1, 0)),
        ((100, 90, 200), ColourTags(matrix=9, range=1), (218.67, 58.10, 16.42)),
    ],
)
def test_colours_follow_the_pictures_own_tags(
    planes: tuple[int, int, int], tags: ColourTags, rgb: tuple[float, float, float]
) -> None:
    values = prepare([flat(*planes, tags)], SPEC, "cpu")[0] * 128 + 127
    assert float(values.flatten(1).std(1).max()) < 1e-3
    assert values.mean((1, 2)).tolist() == pytest.approx(rgb, abs=0.6)


@pytest.mark.parametrize("matrix", [0, 2, 3, 77, 255])
def test_a_matrix_that_no_tag_of_ours_names_is_chosen_by_width(matrix: int) -> None:
    for width, known in ((64, 6), (1280, 1)):
        odd = prepare([flat(81, 90, 200, ColourTags(matrix=matrix), width=width)], SPEC, "cpu")
        right = prepare([flat(81, 90, 200, ColourTags(matrix=known), width=width)], SPEC, "cpu")
        assert torch.equal(odd, right)


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (2, 2), (3, 5), (15, 17), (255, 257), (641, 361), (2, 8192), (8191, 3), (16, 4096)],
)
def test_odd_tiny_and_very_long_pictures_are_prepared(width: int, height: int) -> None:
    (values,) = prepare([noise(width, height)], SPEC, "cpu")
    assert values.isfinite().all()
    assert float(values.min()) >= -127 / 128
    assert float(values.max()) <= 1
    middle = flat(126, 128, 128, LIMITED_709)
    chroma = np.full((-(-height // 2), -(-width // 2)), 128, np.uint8)
    grey = CroppedFrame(np.full((height, width), 126, np.uint8), chroma, chroma, LIMITED_709)
    assert torch.allclose(prepare([grey], SPEC, "cpu"), prepare([middle], SPEC, "cpu"), atol=1e-4)


def test_of_a_very_long_picture_the_middle_is_taken() -> None:
    strip = flat(16, 128, 128, LIMITED_709, width=64 * 20)
    strip.y[:, 64 * 9 : 64 * 11] = 235
    values = prepare([strip], SPEC, "cpu")
    assert float(values.min()) == pytest.approx(1, abs=1e-3)


def test_mean_and_std_may_be_counted_in_0_to_1(frames: list[CroppedFrame]) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    small = PreprocessSpec(mean=mean, std=std, pixel_range="0..1", input_size=64, resize=80)
    big = PreprocessSpec(
        mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), input_size=64, resize=80
    )
    one, other = prepare(frames[:2], small, "cpu"), prepare(frames[:2], big, "cpu")
    assert one.shape == (2, 3, 64, 64)
    assert torch.allclose(one, other, atol=1e-5)
    red = flat(63, 102, 240, LIMITED_709)
    assert prepare([red], small, "cpu")[0, 0].mean() == pytest.approx((1 - 0.485) / 0.229, abs=0.02)


@pytest.mark.parametrize(
    ("y", "u", "v"),
    [
        (zeros(8, 8), zeros(8, 8), zeros(8, 8)),
        (zeros(8, 8), zeros(4, 4), zeros(4, 3)),
        (zeros(8, 8, np.uint16), zeros(4, 4), zeros(4, 4)),
        (zeros(0, 8), zeros(0, 4), zeros(0, 4)),
    ],
    ids=["4:4:4", "chroma planes of two sizes", "16 bit", "no rows"],
)
def test_planes_that_are_no_8_bit_420_picture_are_refused(y: Plane, u: Plane, v: Plane) -> None:
    with pytest.raises(Internal, match="frame 1 of the batch"):
        prepare([noise(8, 8), CroppedFrame(y, u, v, LIMITED_709)], SPEC, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_a_gpu_prepares_and_predicts_as_a_cpu_does(frames: list[CroppedFrame]) -> None:
    on_cpu, on_gpu = prepare(frames, SPEC, "cpu"), prepare(frames, SPEC, "cuda")
    assert on_gpu.is_cuda
    assert float((on_gpu.cpu() - on_cpu).abs().max()) * 128 < TOLERANCE
    wanted = load_classifier().classify(on_cpu)
    found = load_classifier(device="cuda").classify(on_gpu)
    for expected, got in zip(wanted, found, strict=True):
        assert got.confidence == pytest.approx(expected.confidence, abs=1e-3)
