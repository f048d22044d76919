"""What an image classifier's sources, labels and requests refuse, each by name."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.models.test_image_classifier import exported
from video_pipeline.errors import BadInput
from video_pipeline.models.classifier_spec import parse_labels
from video_pipeline.models.efficientnet_lite import EfficientNetLite0
from video_pipeline.models.image_classifier import ClassifierSpec, find_classifier, load_classifier


class OneSize(nn.Module):
    """A network that takes pictures of 32x32 only."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layer(pictures.flatten(1))


class Pair(nn.Module):
    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        return pictures, pictures


class Map(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        return pictures


class NoNumbers(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean((2, 3)).log()


class ThreeClasses(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean((2, 3))


def not_a_module() -> str:
    return "nothing"


def raises() -> nn.Module:
    raise ValueError("no weights here")


def load(**fields: object) -> object:
    return load_classifier(find_classifier(ClassifierSpec.model_validate(fields)))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{__name__}:not_a_module", "returned str, not a torch.nn.Module"),
        (f"{__name__}:raises", "ValueError: no weights here"),
        (f"{__name__}:missing", "AttributeError"),
        ("no_such_package.models:net", "ModuleNotFoundError"),
        (f"{__name__}:Pair", "answers tuple, not a tensor of logits"),
        (f"{__name__}:Map", r"a tensor \(1, 3, 224, 224\) for 1 pictures, not one row"),
        (f"{__name__}:OneSize", "fails on pictures of 1x3x224x224"),
    ],
)
def test_an_import_path_that_gives_no_classifier_is_named(path: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as raised:
        load(import_path=path)
    assert raised.value.input == path


def test_a_network_of_its_own_size_works_when_the_size_is_given() -> None:
    spec = ClassifierSpec(import_path=f"{__name__}:OneSize", input_size=32)
    assert len(load_classifier(find_classifier(spec)).classify(torch.zeros(3, 3, 32, 32))) == 3


def test_answers_that_are_not_numbers_are_an_error() -> None:
    classifier = load_classifier(find_classifier(ClassifierSpec(import_path=f"{__name__}:NoNumbers")))
    with pytest.raises(BadInput, match="not numbers"):
        classifier.classify(torch.full((1, 3, 224, 224), -1.0))


def damaged(kind: str) -> dict[str, Tensor]:
    state = dict(EfficientNetLite0(2).state_dict())
    if kind == "missing":
        del state["blocks.3.project.weight"]
    elif kind == "extra":
        state["attention.weight"] = torch.zeros(3)
    elif kind == "shape":
        state["stem.weight"] = torch.zeros(16, 3, 3, 3)
    elif kind == "nan":
        state["head.bias"] = torch.full((1280,), float("nan"))
    elif kind == "foreign":
        state = {"conv1.weight": torch.zeros(64, 3, 7, 7)}
    elif kind == "unfolded":
        state = {"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}
    return state


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"tensors are missing: blocks\.3\.project\.weight"),
        ("extra", r"has no tensors attention\.weight"),
        ("shape", r"stem\.weight is \(16, 3, 3, 3\), needed is \(32, 3, 3, 3\)"),
        ("nan", r"head\.bias holds values that are not numbers"),
        ("foreign", r"has no tensor classifier\.weight: it is no efficientnet_lite0"),
        ("unfolded", r"has no tensor _bn0\.weight"),
    ],
)
def test_a_state_dict_of_another_network_is_named(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "own.safetensors"
    save_file(damaged(kind), path)
    with pytest.raises(BadInput, match=message) as raised:
        load(path=str(path), architecture="efficientnet_lite0")
    assert raised.value.input == str(path)


@pytest.mark.parametrize(
    ("name", "content", "architecture", "message"),
    [
        ("a.safetensors", b"\x08\0\0\0\0\0\0\0garbage!", "efficientnet_lite0", "no safetensors file"),
        ("a.pth", b"garbage", "efficientnet_lite0", "torch does not read it"),
        ("a.pt2", b"garbage", None, "torch.export does not load it"),
        ("a.pt2", b"garbage", "efficientnet_lite0", "leave it out"),
        ("a.onnx", b"garbage", None, "ends in none of"),
        ("a.pth", b"", None, "it is empty"),
    ],
)
def test_a_file_that_is_no_classifier_is_named(
    tmp_path: Path, name: str, content: bytes, architecture: str | None, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=message) as raised:
        load(path=str(tmp_path / name), architecture=architecture)
    assert raised.value.input == str(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot be read \(No such file") as raised:
        load(path=str(tmp_path / "none.pt2"))
    assert raised.value.input == str(tmp_path / "none.pt2")


def test_a_state_dict_needs_an_architecture_that_is_known(tmp_path: Path) -> None:
    path = str(tmp_path / "own.safetensors")
    save_file(EfficientNetLite0(2).state_dict(), path)
    with pytest.raises(BadInput, match=r"needs an architecture \(known: efficientnet_lite0"):
        load(path=path)
    with pytest.raises(BadInput, match="'vgg' is not known"):
        load(path=path, architecture="vgg")
    save_file(EfficientNetLite0(2).state_dict(), path, {"architecture": "efficientnet_lite0"})
    assert load_classifier(find_classifier(ClassifierSpec(path=path))).architecture == "efficientnet_lite0"


class Touch:
    """Makes a folder when it is unpickled in full."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["own.pth", "own.pt2"])
def test_nothing_in_a_file_is_unpickled_but_tensors(tmp_path: Path, name: str) -> None:
    made = tmp_path / "made"
    pickled = io.BytesIO()
    torch.save({"weights": Touch(made)}, pickled)
    path = tmp_path / name
    if name.endswith(".pth"):
        path.write_bytes(pickled.getvalue())
    else:
        original = exported(tmp_path / "good.pt2")
        with zipfile.ZipFile(original) as good, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bad:
            for member in good.namelist():
                replaced = "sample_inputs" in member
                bad.writestr(member, pickled.getvalue() if replaced else good.read(member))
    with pytest.raises(BadInput, match="pickled objects that are no tensors"):
        load(path=str(path), architecture="efficientnet_lite0" if name == "own.pth" else None)
    assert not made.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_an_exported_program_of_one_size_refuses_another(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="takes pictures of 32x32, and input_size is 224"):
        load(path=str(exported(tmp_path / "c.pt2")), input_size=224)


def test_labels_of_another_number_are_refused() -> None:
    with pytest.raises(BadInput, match="has 3 classes, but there are 2 labels"):
        load(import_path=f"{__name__}:ThreeClasses", labels=["red", "green"])


def test_half_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(BadInput, match="Half precision is for CUDA"):
        load_classifier(half=True)


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"cat\ndog \n", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\r\ndog\r\n", ("cat", "dog")),
        (b'["cat", "dog"]', ("cat", "dog")),
        (b'{"1": "dog", "0": "cat"}', ("cat", "dog")),
    ],
)
def test_label_files_are_text_or_json(content: bytes, labels: tuple[str, ...]) -> None:
    assert parse_labels(content, name="labels") == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no names"),
        (b"[]", "no names"),
        (b"cat\n\ndog", "empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b'["cat", 3]', "neither a list of names"),
        (b'{"0": "cat", "2": "dog"}', "indices are not 0 to 1"),
        (b'{"cat": "0"}', "keys are not class indices"),
        (b"[1, ", "not a usable label file"),
        (b"[" * 100_000, "not a usable label file"),
    ],
)
def test_a_bad_label_file_is_named(content: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message) as raised:
        parse_labels(content, name="bucket/labels.json")
    assert raised.value.input == "bucket/labels.json"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_key": "a.pt2"}, "Extra inputs"),
        ({"weights_key": "a.pt2", "path": "b.pt2"}, "exclude each other"),
        ({"path": "b.pt2", "labels": ["a"], "labels_key": "c"}, "exclude each other"),
        ({"architecture": "efficientnet_lite0"}, "classify at random"),
        ({"labels": ["a"]}, "has its own labels"),
        ({"mean": [0, 0, 0]}, "takes its own input: leave out mean"),
        ({"path": "b.pt2", "mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]}, r"pixel_range '0\.\.1'"),
        ({"path": "b.pt2", "pixel_range": "0..1"}, r"pixel_range '0\.\.255'"),
        ({"path": "b.pt2", "std": [0, 1, 1]}, "must be positive"),
        ({"path": "b.pt2", "mean": ["nan", 1, 1]}, "finite"),
        ({"path": "b.pt2", "input_size": 224, "resize": 100}, "smaller than input_size"),
        ({"import_path": "os.system"}, "import_path"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClassifierSpec.model_validate(fields)


def test_a_spec_survives_json() -> None:
    spec = ClassifierSpec(weights_key="m/own.pt2", labels=("a", "b"), input_size=112, mean=(1, 2, 3))
    assert ClassifierSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.preprocess().resize == 128
