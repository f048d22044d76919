"""The stage that classifies: prepared frames into batches of the network.

Belongs here: when a batch is full, and what each frame is predicted to be. Does not belong here: the network
(`models`), the order of the stream (`stream`).
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from video_pipeline.sampling.frames import Delivered, Failed
from video_pipeline.sampling.request import SampleOptions
from video_pipeline.telemetry.timing import timed_operation

if TYPE_CHECKING:
    from video_pipeline.models.image_classifier import Classifier

CPU_BATCH, GPU_BATCH = 4, 32
"""Frames classified at a time. A CPU is no faster with more (14 ms a picture one by one, 19 to 23 ms in
batches), and what waits for a full batch does not overlap with decoding."""


class Batcher:
    """Collects prepared frames into batches of the network, in the order of the stream."""

    def __init__(self, options: SampleOptions, classifier: Future[Classifier]) -> None:
        self._options, self._classifier = options, classifier
        self._size = options.inference_batch_size
        self._waiting: list[Delivered | Failed] = []

    def push(self, item: Delivered | Failed) -> list[Delivered | Failed]:
        self._waiting.append(item)
        if self._size is None:
            on_cpu = self._classifier.result().device.type == "cpu"
            self._size = CPU_BATCH if on_cpu else GPU_BATCH
        ready = sum(isinstance(waiting, Delivered) for waiting in self._waiting)
        return self.finish() if ready >= self._size else []

    def finish(self) -> list[Delivered | Failed]:
        waiting, self._waiting = self._waiting, []
        ready = [item for item in waiting if isinstance(item, Delivered)]
        if not ready:
            # Even a run that delivers nothing tells that its classifier is wrong.
            self._classifier.result()
            return waiting
        import torch

        with timed_operation("inference", {"frames": len(ready)}):
            batch = torch.cat([item.pixels for item in ready])
            predictions = iter(self._classifier.result().classify(batch, top_k=self._options.top_k))
        return [
            replace(item, prediction=next(predictions), pixels=batch[:0])
            if isinstance(item, Delivered)
            else item
            for item in waiting
        ]
