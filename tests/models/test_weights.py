from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from video_pipeline.errors import BadInput
from video_pipeline.models.caption_pairs import ARCHITECTURE, CaptionPairNet
from video_pipeline.models.weights import (
    SHIPPED_CAPTION_WEIGHTS,
    load_caption_model,
    save_caption_weights,
    weights_metadata,
    weights_sha256,
)

SHIPPED = SHIPPED_CAPTION_WEIGHTS.read_bytes()


def with_tensors(change) -> bytes:
    """The shipped file with its tensors changed."""
    tensors = load(SHIPPED)
    change(tensors)
    return save(tensors, weights_metadata())


def test_the_shipped_weights_load_and_say_how_they_were_made() -> None:
    model = load_caption_model()
    assert model.metadata["architecture"] == ARCHITECTURE
    assert "video_pipeline.captions.train" in model.metadata["command"]
    assert int(model.metadata["training_scenes"]) >= 10_000
    assert not any(parameter.requires_grad for parameter in model.net.parameters())
    assert not model.net.training


def test_the_shipped_weights_are_small_and_have_a_card_that_names_them() -> None:
    assert len(SHIPPED) < 2_000_000
    card = SHIPPED_CAPTION_WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")
    assert weights_sha256() in card


def test_the_hash_is_the_files_and_the_same_for_path_bytes_and_default(tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(SHIPPED)
    expected = hashlib.sha256(SHIPPED).hexdigest()
    assert weights_sha256() == weights_sha256(copy) == expected
    assert load_caption_model().sha256 == load_caption_model(copy).sha256 == expected
    assert load_caption_model(SHIPPED).sha256 == expected


def test_hash_and_metadata_need_no_torch() -> None:
    code = (
        "import sys; from video_pipeline.models.weights import weights_sha256, weights_metadata;"
        "weights_sha256(); weights_metadata(); assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_file_is_bad_input_that_names_it(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.safetensors"
    for attempt in (load_caption_model, weights_sha256, weights_metadata):
        with pytest.raises(BadInput) as caught:
            attempt(missing)
        assert caught.value.input == str(missing)
        assert caught.value.what_to_do


def test_a_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load_caption_model(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 8, 9, 100, 2000, len(SHIPPED) // 2, len(SHIPPED) - 1])
def test_a_truncated_file_is_bad_input_wherever_it_ends(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(SHIPPED[:kept])
    with pytest.raises(BadInput) as caught:
        load_caption_model(path)
    assert caught.value.input == str(path)


@pytest.mark.parametrize(
    "data",
    [
        b"not weights at all, just words",
        b"\xff" * 64,
        b"\x02" + b"\0" * 7 + b"[]",
        b"\0" * 100,
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_something_else_is_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        load_caption_model(data, name="tenant/models/holiday.jpg")
    assert caught.value.input == "tenant/models/holiday.jpg"


def test_another_architecture_is_refused_by_name() -> None:
    other = save({"layer.weight": torch.zeros(3, 3)}, {"architecture": "resnet18/1"})
    with pytest.raises(BadInput, match=r"resnet18/1.*caption_pairs/2"):
        load_caption_model(other)


def test_weights_that_do_not_state_their_architecture_are_refused() -> None:
    with pytest.raises(BadInput, match="not stated"):
        load_caption_model(save(load(SHIPPED)))


def test_a_missing_tensor_is_refused() -> None:
    with pytest.raises(BadInput, match=r"missing: as_side\.weight"):
        load_caption_model(with_tensors(lambda tensors: tensors.pop("as_side.weight")))


def test_a_left_over_tensor_is_refused() -> None:
    with pytest.raises(BadInput, match=r"does not have: extra"):
        load_caption_model(with_tensors(lambda tensors: tensors.update(extra=torch.zeros(1))))


def test_a_misshapen_tensor_is_refused() -> None:
    with pytest.raises(BadInput, match="shape"):
        load_caption_model(with_tensors(lambda tensors: tensors.update({"as_side.bias": torch.zeros(5)})))


def test_weights_that_are_not_numbers_are_refused() -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["as_side.bias"][3] = float("nan")

    with pytest.raises(BadInput, match="not numbers"):
        load_caption_model(with_tensors(spoil))


def test_a_file_far_too_large_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInput, match="larger than"):
        load_caption_model(path)


def test_saving_and_loading_gives_the_same_network_and_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = CaptionPairNet()
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_caption_weights(net, first, {"seed": "0"})
    loaded = load_caption_model(first)
    save_caption_weights(loaded.net, second, {"seed": "0"})
    assert first.read_bytes() == second.read_bytes()
    for ours, theirs in zip(net.parameters(), loaded.net.parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-3, atol=1e-6)
