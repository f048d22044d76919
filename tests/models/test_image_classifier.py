"""The image classifier: agreement with the original network, every source, and what each refuses."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from video_pipeline.errors import BadInput
from video_pipeline.models import image_classifier
from video_pipeline.models.efficientnet_lite import EfficientNetLite0, fold_batch_norms
from video_pipeline.models.image_classifier import (
    SHIPPED_WEIGHTS,
    ClassifierSpec,
    find_classifier,
    load_classifier,
)
from video_pipeline.store.directory import DirectoryStore

PICTURES = Path(__file__).parents[1] / "fixtures" / "pictures"
NAMES = ("chelsea", "coffee", "rocket")
EXPECTED = ("tiger cat", "espresso", "missile")


@pytest.fixture(scope="module")
def batch() -> Tensor:
    pictures = np.stack([np.asarray(Image.open(PICTURES / f"{name}.png")) for name in NAMES])
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128


class Colours(nn.Module):
    """A classifier of three classes that can be checked by eye: which channel is brightest on average."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(4.0))

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean((2, 3)) * self.gain


def exported(path: Path, *, size: int = 32, batch: int = 1, dynamic: object = None) -> Path:
    """`Colours` as a program that takes `batch` pictures, or any number that `dynamic` allows."""
    shapes = None if dynamic is None else ({0: dynamic},)
    program = torch.export.export(Colours(), (torch.randn(batch, 3, size, size),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def test_the_logits_are_those_of_the_original_network_with_its_float32_weights(batch: Tensor) -> None:
    golden = np.load(PICTURES / "golden_logits.npy")
    classifier = load_classifier()
    found = classifier._loaded.logits(batch).numpy()
    # Folded weights are rounded to float16, which moves a logit by 0.011 to 0.030 here; they span about 20.
    assert np.abs(found - golden).max() < 0.04
    assert (found.argmax(1) == golden.argmax(1)).all()


def test_real_pictures_get_their_names_in_imagenets_order(batch: Tensor) -> None:
    classifier = load_classifier()
    predictions = classifier.classify(batch)
    assert tuple(prediction.label for prediction in predictions) == EXPECTED
    assert [prediction.index for prediction in predictions] == [282, 967, 657]
    assert {"tabby", "Egyptian cat"} <= {score.label for score in predictions[0].top}
    assert classifier.labels[0] == "tench"
    assert classifier.labels[999] == "toilet tissue"
    assert len(set(classifier.labels)) == 1000
    assert classifier.notes == ()


def test_confidences_fall_and_are_a_softmax(batch: Tensor) -> None:
    classifier = load_classifier()
    for prediction in classifier.classify(batch, top_k=5000):
        confidences = [score.confidence for score in prediction.top]
        assert confidences == sorted(confidences, reverse=True)
        assert len(confidences) == 1000
        assert sum(confidences) == pytest.approx(1, abs=1e-4)
    assert [len(prediction.top) for prediction in classifier.classify(batch)] == [5, 5, 5]
    assert classifier.classify(batch[:0]) == []


def test_a_picture_gets_the_same_answer_alone_and_in_company(batch: Tensor) -> None:
    classifier = load_classifier()
    together = classifier.classify(batch)
    assert classifier.classify(batch) == together
    assert [classifier.classify(picture[None])[0] for picture in batch] == together


def test_a_network_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_classifier()

    def read_again() -> None:
        raise AssertionError("the file is read a second time")

    monkeypatch.setattr(image_classifier, "_load", lambda *_: read_again())
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(load_classifier()._loaded)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [loaded is first._loaded for loaded in found] == [True] * 4


def test_a_changed_file_is_loaded_anew(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    spec = ClassifierSpec(path=str(path), architecture="efficientnet_lite0")
    digests = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        save_file(EfficientNetLite0(3).state_dict(), path)
        os.utime(path, ns=(seed, seed))
        digests.append(load_classifier(find_classifier(spec)).sha256)
    assert digests[0] != digests[1]


def test_ones_own_state_dict_of_any_number_of_classes_loads_from_each_kind_of_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = EfficientNetLite0(7).eval()
    state = net.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "a.pt")
    pictures = torch.randn(2, 3, 64, 64)
    expected = net(pictures).softmax(1).argmax(1).tolist()
    for name in ("a.safetensors", "a.pth", "a.pt"):
        spec = ClassifierSpec(path=str(tmp_path / name), architecture="efficientnet_lite0", input_size=64)
        classifier = load_classifier(find_classifier(spec))
        predictions = classifier.classify(pictures)
        assert [prediction.index for prediction in predictions] == expected
        assert predictions[0].label == f"class_{expected[0]}"
        assert "no labels" in classifier.notes[0]
        assert len(classifier.labels) == 7
        assert classifier.spec.resize == 73


def test_folding_batch_norms_changes_nothing_that_can_be_seen() -> None:
    torch.manual_seed(4)
    convolution, norm = nn.Conv2d(3, 32, 3, stride=2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
    for parameter in (norm.weight, norm.bias):
        nn.init.uniform_(parameter, 0.5, 2)
    norm.running_mean, norm.running_var = torch.randn(32), torch.rand(32) + 0.1
    shipped = load_file(SHIPPED_WEIGHTS)
    state = unfolded(shipped)
    state |= {"_conv_stem.weight": convolution.weight.detach()}
    state |= {f"_bn0.{name}": value.detach() for name, value in norm.state_dict().items()}
    folded = fold_batch_norms(state)
    picture = torch.randn(1, 3, 33, 33)
    plain = nn.functional.conv2d(picture, folded["stem.weight"], folded["stem.bias"], stride=2)
    assert torch.allclose(plain, norm.eval()(convolution(picture)), atol=1e-5)
    assert torch.allclose(folded["head.weight"], shipped["head.weight"].float(), rtol=1e-5)


def unfolded(shipped: dict[str, Tensor]) -> dict[str, Tensor]:
    """The shipped weights in the layout of `efficientnet_pytorch`, with batch norms that do little."""
    from video_pipeline.models.efficientnet_lite import BATCH_NORM_EPSILON, _layout

    state: dict[str, Tensor] = {}
    for ours, convolution, norm in _layout():
        weight, bias = shipped[f"{ours}.weight"].float(), shipped[f"{ours}.bias"].float()
        state[f"{convolution}.weight"] = weight
        state[f"{norm}.weight"] = torch.ones_like(bias)
        state[f"{norm}.bias"] = bias
        state[f"{norm}.running_mean"] = torch.zeros_like(bias)
        state[f"{norm}.running_var"] = torch.full_like(bias, 1 - BATCH_NORM_EPSILON)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    state["_fc.weight"], state["_fc.bias"] = shipped["classifier.weight"], shipped["classifier.bias"]
    return state


def test_a_checkpoint_in_the_original_layout_loads(tmp_path: Path, batch: Tensor) -> None:
    torch.save(unfolded(load_file(SHIPPED_WEIGHTS)), tmp_path / "original.pth")
    spec = ClassifierSpec(path=str(tmp_path / "original.pth"), architecture="efficientnet_lite0")
    own = load_classifier(find_classifier(spec)).classify(batch)
    shipped = load_classifier().classify(batch)
    assert [prediction.index for prediction in own] == [prediction.index for prediction in shipped]
    assert own[1].confidence == pytest.approx(shipped[1].confidence, abs=1e-4)


@pytest.mark.parametrize(
    ("batch", "dynamic", "pictures_a_run"),
    [
        (1, None, 1),
        (4, None, 4),
        (2, torch.export.Dim("pictures", min=1, max=8), 8),
        (3, torch.export.Dim("pictures", min=3), 10),
        (2, torch.export.Dim.AUTO, 10),
    ],
    ids=["one", "four", "up to eight", "three or more", "any"],
)
def test_an_exported_program_takes_batches_of_any_size(
    tmp_path: Path, batch: int, dynamic: object, pictures_a_run: int
) -> None:
    path = exported(tmp_path / "c.pt2", batch=batch, dynamic=dynamic)
    spec = ClassifierSpec(path=str(path), labels=("red", "green", "blue"))
    classifier = load_classifier(find_classifier(spec))
    assert classifier.spec.input_size == 32
    assert classifier._loaded.pictures_a_run(torch.device("cuda"), 10) == pictures_a_run
    order = [0, 2, 1, 1, 0, 2, 2, 0, 1, 0]
    pictures = torch.zeros(len(order), 3, 32, 32)
    for picture, channel in zip(pictures, order, strict=True):
        picture[channel] = 1
    predictions = classifier.classify(pictures)
    assert [prediction.label for prediction in predictions] == [
        ("red", "green", "blue")[channel] for channel in order
    ]


def test_an_import_path_gives_a_module(batch: Tensor) -> None:
    spec = ClassifierSpec(import_path=f"{__name__}:Colours", labels=("red", "green", "blue"))
    classifier = load_classifier(find_classifier(spec))
    assert classifier.classify(batch)[0].label == "red"
    assert classifier.name == f"{__name__}:Colours"
    assert len(classifier.sha256) == 64


def test_weights_and_labels_come_from_the_store(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put("models/own.pt2", exported(tmp_path / "own.pt2").read_bytes())
    store.put("models/own.json", json.dumps({"0": "red", "1": "green", "2": "blue"}).encode())
    spec = ClassifierSpec(weights_key="models/own.pt2", labels_key="models/own.json")
    classifier = load_classifier(find_classifier(spec, store))
    assert classifier.labels == ("red", "green", "blue")
    assert classifier.name.endswith("/models/own.pt2")
    with pytest.raises(BadInput, match=r"not in the store.*models/none\.pt2"):
        find_classifier(ClassifierSpec(weights_key="models/none.pt2"), store)
    with pytest.raises(BadInput, match="no store"):
        find_classifier(spec)
