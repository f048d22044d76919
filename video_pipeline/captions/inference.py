"""Classifying the neighbouring frames of a video, as they come out of the decoder.

Belongs here: batching by index, encoding each frame once, both directions of each pair. Does not belong
here: the network (`models/caption_pairs.py`), the database, captions from pairs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from video_pipeline.captions.labels import LABELS, Label
from video_pipeline.errors import BadInput, Internal
from video_pipeline.models.caption_pairs import Features, prepare, stack_planes

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from video_pipeline.models.weights import LoadedModel


class HasLuma(Protocol):
    """A frame of the decoder: `y` is (H, W) uint8, on the host (numpy) or on a device (torch)."""

    @property
    def y(self) -> np.ndarray | Tensor: ...


@dataclass(frozen=True)
class Direction:
    """One direction of a pair: the likeliest label, its probability, and all five in the order of LABELS."""

    label: Label
    confidence: float
    probs: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class PairResult:
    """Two neighbouring frames. `forward` is the label of (frame 1, frame 2), `backward` that of (2, 1).

    `processing_time_ms` is the batch's time (prepare, encode, classify) shared out over its pairs.
    """

    frame1_index: int
    frame2_index: int
    forward: Direction
    backward: Direction
    processing_time_ms: float


CPU_PIECE = 16
"""Frames the CPU works on at once. Maps of 32 frames pass the size from which glibc asks the kernel for
fresh pages at every use: 1.54 ms a frame in place of 1.38."""


class PairClassifier:
    """Takes frames 0, 1, 2 … in order and returns each neighbouring pair once: N frames give N - 1 pairs.

    Every `batch_size` frames are worked on together, counted by index and never by arrival, so results do
    not depend on timing. A frame object that comes again straight after itself (a sample rate above the
    video's) reuses its features. Not thread-safe: one classifier belongs to one stage worker. It holds at
    most `batch_size` frames and the features of one. torch's thread count is the caller's to set.
    """

    def __init__(self, model: LoadedModel, *, batch_size: int = 32, device: str = "cpu") -> None:
        if batch_size < 1:
            raise BadInput(
                f"A batch holds at least one frame, not {batch_size}.", input="inference_batch_size"
            )
        self._device = torch.device(device)
        self._net = model.net.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._batch_size = batch_size
        self._piece = CPU_PIECE if self._device.type == "cpu" else batch_size
        self._waiting: list[HasLuma] = []
        self._next_index = 0
        self._next_pair = 0
        self._last: tuple[HasLuma, Features] | None = None
        self._shape: tuple[int, ...] | None = None

    def push(self, index: int, frame: HasLuma) -> list[PairResult]:
        """Take the next frame; returns the pairs of a batch when this frame fills it, otherwise nothing.

        Internal when frames come out of order or change size: neither can happen to a correct decoder.
        """
        if index != self._next_index:
            raise Internal(f"Frame {index} came where frame {self._next_index} was due.")
        shape = tuple(frame.y.shape)
        if self._shape is None:
            self._shape = shape
        if shape != self._shape:
            raise Internal(f"Frame {index} is {shape}, the frames before it were {self._shape}.")
        self._waiting.append(frame)
        self._next_index += 1
        return self._work() if len(self._waiting) == self._batch_size else []

    def finish(self) -> list[PairResult]:
        """The pairs of the last, partly filled batch."""
        return self._work() if self._waiting else []

    def _work(self) -> list[PairResult]:
        """All pairs that end in a waiting frame."""
        waiting, self._waiting = self._waiting, []
        results: list[PairResult] = []
        for at in range(0, len(waiting), self._piece):
            results += self._classify(waiting[at : at + self._piece])
        return results

    def _classify(self, frames: list[HasLuma]) -> list[PairResult]:
        """Encode the next frames and classify every pair that ends in one of them."""
        began = time.perf_counter()
        with torch.inference_mode():
            features = self._encode(frames)
            pairs = len(features.maps) - 1
            results: list[list[list[float]]] = [[], []]
            if pairs:
                left, right = features.select(slice(0, -1)), features.select(slice(1, None))
                results = [logits.softmax(1).cpu().tolist() for logits in self._net.classify(left, right)]
            self._last = (frames[-1], features.select(slice(-1, None)).copy())
        each = (time.perf_counter() - began) * 1000 / max(1, pairs)
        first = self._next_pair
        self._next_pair += pairs
        return [
            PairResult(first + at, first + at + 1, _direction(forward), _direction(backward), each)
            for at, (forward, backward) in enumerate(zip(*results, strict=True))
        ]

    def _encode(self, frames: list[HasLuma]) -> Features:
        """Features of the last frame of the batch before, if any, and of `frames`, each object once."""
        fresh: list[HasLuma] = []
        slots: list[int] = []
        held = self._last
        previous = held[0] if held else None
        for frame in frames:
            if frame is not previous:
                fresh.append(frame)
            slots.append(len(fresh) - 1 + (held is not None))
            previous = frame
        slots = [0, *slots] if held else slots
        if not fresh:
            assert held is not None
            return held[1].select(slots)
        encoded = self._net.encode(prepare(stack_planes([frame.y for frame in fresh], self._device)))
        known = held[1].join(encoded) if held else encoded
        return known if len(known.maps) == len(slots) else known.select(slots)


def classify_all(model: LoadedModel, frames: Iterator[HasLuma], **options) -> Iterator[PairResult]:
    """All pairs of a finite run of frames, with `PairClassifier`'s options."""
    classifier = PairClassifier(model, **options)
    for index, frame in enumerate(frames):
        yield from classifier.push(index, frame)
    yield from classifier.finish()


def _direction(probabilities: list[float]) -> Direction:
    best = max(range(len(LABELS)), key=probabilities.__getitem__)
    same, different, empty_empty, empty_valid, valid_empty = probabilities
    return Direction(
        LABELS[best], probabilities[best], (same, different, empty_empty, empty_valid, valid_empty)
    )


def warm_caption_model() -> None:
    """Keeps the caption model on the GPU, if there is one; runs it once, so that CUDA's libraries are up."""
    from video_pipeline.models import kept

    classifier = PairClassifier(kept.caption_model(), batch_size=2, device=kept.default_device())
    for index in range(2):
        classifier.push(index, _Black(torch.zeros(64, 128, dtype=torch.uint8)))


@dataclass(frozen=True)
class _Black:
    y: Tensor
