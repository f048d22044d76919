"""Networks that a process keeps for its later calls, and loading them before the first.

Belongs here: the shelf, and one function for each kind of network that `Task.warm_path` names. Does not
belong here: how weights are read (`weights`, `upscaler`, `person_detector`), who warms them
(`modal_ops.entry`), or warming the caption model, which needs its domain (`captions.inference`).

A process that runs one call and ends, as a local worker does, keeps nothing: `kept` then only loads. A
container that serves one call after another calls `keep` once; from then on the networks that ship stay on
their device. Classifiers have a cache of their own (`image_classifier`), for theirs may be a user's.
Weights from the store are never kept here: each is one caller's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from video_pipeline.models.person_detector import Detector
    from video_pipeline.models.upscaler import Upscaler
    from video_pipeline.models.weights import LoadedModel

Network = TypeVar("Network")

_shelf: dict[Hashable, Any] = {}
_lock = threading.Lock()
_keeping = False


def keep() -> None:
    """From now on this process keeps what it loads."""
    global _keeping
    _keeping = True


def kept(key: Hashable, load: Callable[[], Network]) -> Network:
    """What is kept under `key`, else what `load` gives, which is kept if this process keeps networks."""
    if not _keeping:
        return load()
    with _lock:
        if key not in _shelf:
            _shelf[key] = load()
        return _shelf[key]


def caption_model() -> LoadedModel:
    """The caption model that ships; the caller moves it to its device, where it stays."""
    from video_pipeline.models import weights

    return kept("caption_pairs", weights.load_caption_model)


def upscaler(device: str, *, half: bool) -> Upscaler:
    """The upscaler that ships. Errors as `upscaler.load_upscaler`."""
    from video_pipeline.models import upscaler as module

    return kept(("upscaler", device, half), lambda: module.load_upscaler(device, half=half))


def detector(device: str) -> Detector:
    """The detector of people that ships. Errors as `person_detector.load_detector`."""
    from video_pipeline.models import person_detector

    return kept(("detector", device), lambda: person_detector.load_detector(device))


def warm_upscaler() -> None:
    """Keeps the upscaler on the GPU, if there is one, in the precision that requests have by default.

    It runs once, so that CUDA's libraries are up.
    """
    import torch

    device = default_device()
    network = upscaler(device, half=device != "cpu")
    network.upscale(torch.zeros(1, *_SMALL, 3, dtype=torch.uint8))


def warm_detector() -> None:
    """As `warm_upscaler`, for the detector of people."""
    import torch

    detector(default_device()).detect(torch.zeros(1, *_SMALL, 3, dtype=torch.uint8))


def warm_classifier() -> None:
    """As `warm_upscaler`, for the classifier that requests have by default."""
    from video_pipeline.models.image_classifier import load_classifier

    load_classifier(device=default_device())  # It runs the network once by itself.


_SMALL = (64, 128)
"""Height and width of the black picture that a network is tried on."""


def default_device() -> str:
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"
