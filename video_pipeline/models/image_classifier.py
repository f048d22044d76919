"""Image classifiers: where one comes from, loading it once, and asking it.

Belongs here: sources of classifiers (shipped, the store, a path, an import path), the cache, top-k answers.
Does not belong here: reading weight files (`classifier_loading.py`), request models (`classifier_spec.py`),
how frames become input (`sampling/preprocess.py`). Imports torch only when a classifier is loaded.

There is no fallback: a classifier that cannot be loaded is an error, never another classifier.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from video_pipeline.errors import BadInput, Internal
from video_pipeline.models.classifier_spec import (
    ClassifierSpec,
    ClassScore,
    Prediction,
    PreprocessSpec,
    bad_classifier,
    parse_labels,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from video_pipeline.models.classifier_loading import LoadedNetwork
    from video_pipeline.store.base import ObjectStore

__all__ = [
    "Classifier",
    "ClassifierSource",
    "ClassifierSpec",
    "Prediction",
    "find_classifier",
    "load_classifier",
]

SHIPPED_WEIGHTS = Path(__file__).parent / "weights" / "efficientnet_lite0.safetensors"
SHIPPED_LABELS = Path(__file__).parent / "imagenet_classes.json"

MAX_WEIGHT_BYTES = 2 << 30
"""A larger file is no classifier of single frames, and is not read into memory."""
MAX_LABEL_BYTES = 64 << 20
CACHED_NETWORKS = 4
TOP_K = 5


@dataclass(frozen=True)
class ClassifierSource:
    """A classifier that can be loaded: what the request says of it, and where its bytes are.

    `identity` tells one version from another: path, size and modification time; store, key and version;
    import path. `read` fetches the file, and is None for an import path. `labels` is None if none are known.
    """

    spec: ClassifierSpec
    name: str
    identity: tuple[object, ...]
    read: Callable[[], bytes] | None = field(repr=False)
    labels: tuple[str, ...] | None = field(default=None, repr=False)


def find_classifier(spec: ClassifierSpec | None = None, store: ObjectStore | None = None) -> ClassifierSource:
    """The source that a request names, by default the shipped one. Of files, only that with labels is read.

    BadInput when a file or object is missing or too large, or a key is given and no `store`.
    """
    spec = spec or ClassifierSpec()
    labels = spec.labels
    if spec.labels_key is not None:
        name, _, read = _object(store, spec.labels_key, MAX_LABEL_BYTES)
        labels = parse_labels(read(), name=name)
    if spec.import_path is not None:
        return ClassifierSource(spec, spec.import_path, (spec.import_path,), None, labels)
    if spec.weights_key is not None:
        name, version, read = _object(store, spec.weights_key, MAX_WEIGHT_BYTES)
        return ClassifierSource(spec, name, (name, version), read, labels)
    if spec.path is None:
        labels = tuple(json.loads(SHIPPED_LABELS.read_text(encoding="utf-8")))
    path = Path(spec.path) if spec.path is not None else SHIPPED_WEIGHTS
    with _readable(path):
        stat = path.stat()
    _check_size(str(path), stat.st_size, MAX_WEIGHT_BYTES)

    def read_path() -> bytes:
        with _readable(path):
            return path.read_bytes()

    return ClassifierSource(spec, str(path), (str(path), stat.st_size, stat.st_mtime_ns), read_path, labels)


class Classifier:
    """A loaded classifier: `name`, `sha256`, `labels` (one a class), `spec` (its preprocessing), `device`.

    `notes` says what a reader of its answers must know, such as labels that are missing.
    Safe to use from several threads.
    """

    def __init__(
        self,
        source: ClassifierSource,
        loaded: LoadedNetwork,
        spec: PreprocessSpec,
        device: torch.device,
        *,
        classes: int,
    ) -> None:
        self.name = source.name
        self.sha256 = loaded.sha256
        self.architecture = loaded.architecture
        self.spec = spec
        self.device = device
        self.notes: tuple[str, ...] = ()
        self._loaded = loaded
        if source.labels is None:
            self.notes += (f"no labels were given: classes are called class_0 to class_{classes - 1}",)
            self.labels = tuple(f"class_{index}" for index in range(classes))
        elif len(source.labels) != classes:
            raise BadInput(
                f"The classifier has {classes} classes, but there are {len(source.labels)} labels.",
                input=source.name,
                what_to_do="give one label a class, in the order of the network's outputs",
            )
        else:
            self.labels = source.labels

    def classify(self, batch: Tensor, *, top_k: int = TOP_K) -> list[Prediction]:
        """The `top_k` likeliest classes of each picture (all, if there are fewer), best first.

        `batch` is `(B, 3, input_size, input_size)` float32 from `sampling.preprocess.prepare`. Equal
        confidences stand in order of class index. Answers are the same each time; on a CPU, whatever stands
        beside a picture. BadInput when the network answers no numbers.
        """
        import torch

        side = self.spec.input_size
        if batch.ndim != 4 or tuple(batch.shape[1:]) != (3, side, side):
            raise Internal(f"the classifier takes (B, 3, {side}, {side}), not {tuple(batch.shape)}")
        if top_k < 1:
            raise Internal(f"top_k is {top_k}")
        if not len(batch):
            return []
        logits = self._loaded.logits(batch.to(self.device))
        if not logits.isfinite().all():
            raise BadInput(
                "The classifier answers values that are not numbers.",
                input=self.name,
                what_to_do="check its weights, its preprocessing, and whether it stands half precision",
            )
        with torch.inference_mode():
            # A stable sort, for topk may order equal values by chance.
            confidences, indices = logits.softmax(1).sort(dim=1, descending=True, stable=True)
        rows = zip(confidences[:, :top_k].tolist(), indices[:, :top_k].tolist(), strict=True)
        return [
            Prediction(
                top=tuple(
                    ClassScore(label=self.labels[index], index=index, confidence=confidence)
                    for confidence, index in zip(*row, strict=True)
                )
            )
            for row in rows
        ]


def load_classifier(
    source: ClassifierSource | None = None, device: str | torch.device = "cpu", *, half: bool = False
) -> Classifier:
    """Load a classifier, by default the shipped one; its network once per process, version and device.

    `half` runs it in float16, on CUDA only. BadInput that names the file for everything that is wrong with
    it: unreadable, damaged, of another architecture, tensors missing or misshapen, input of another size,
    no logits `(B, classes)`, labels of another number.
    """
    import torch

    source = source or find_classifier()
    device = torch.device(device)
    if half and device.type != "cuda":
        raise BadInput(
            f"Half precision is for CUDA, and this classifier is to run on {device}.",
            input=source.name,
            what_to_do="leave half precision out, or run on a GPU",
        )
    key = (source.identity, source.spec.architecture, str(device), half)
    with _loading:
        loaded = _networks.pop(key, None) or _load(source, device, half)
        _networks[key] = loaded
        while len(_networks) > CACHED_NETWORKS:
            _networks.popitem(last=False)
    spec = _preprocessing(source, loaded)
    # One run now finds a network of another input or output before any video is fetched for it.
    classes = loaded.classes(spec.input_size, device)
    return Classifier(source, loaded, spec, device, classes=classes)


_networks: OrderedDict[tuple[object, ...], LoadedNetwork] = OrderedDict()
_loading = threading.Lock()


def _load(source: ClassifierSource, device: torch.device, half: bool) -> LoadedNetwork:
    from video_pipeline.models.classifier_loading import load_file, load_import

    if source.read is None:
        return load_import(source.name, device=device, half=half)
    return load_file(
        source.read(), name=source.name, architecture=source.spec.architecture, device=device, half=half
    )


def _preprocessing(source: ClassifierSource, loaded: LoadedNetwork) -> PreprocessSpec:
    """As the request says; an exported program that takes one size says that itself."""
    side = loaded.input_side
    if side is None or source.spec.input_size == side:
        return source.spec.preprocess()
    if source.spec.input_size is not None:
        raise BadInput(
            f"The classifier takes pictures of {side}x{side}, and input_size is {source.spec.input_size}.",
            input=source.name,
            what_to_do=f"set input_size to {side}, or leave it out",
        )
    return source.spec.model_copy(update={"input_size": side}).preprocess()


def _object(store: ObjectStore | None, key: str, limit: int) -> tuple[str, str, Callable[[], bytes]]:
    """Name, version and reader of an object; the reader refuses another version."""
    if store is None:
        raise BadInput(
            "A key was given, but no store is at hand to read it from.",
            input=key,
            what_to_do="configure the store, or give a path",
        )
    name = f"{store.uri}/{key}"
    info = store.head(key)
    if info is None:
        raise BadInput(
            "The classifier's file is not in the store.",
            input=name,
            what_to_do="upload it, or leave it out for the shipped classifier",
        )
    _check_size(name, info.size, limit)
    return name, info.version, lambda: store.get_range(key, 0, info.size, version=info.version)


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise bad_classifier(name, f"it is larger than {limit >> 20} MB")
    if not size:
        raise bad_classifier(name, "it is empty")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise bad_classifier(str(path), f"it cannot be read ({error.strerror or error})") from error
