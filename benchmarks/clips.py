"""The clip suite: how fast clips are made, and whether they are right."""

from __future__ import annotations

from benchmarks import clip_speed, clip_truth
from benchmarks.harness import Figure


def measure() -> list[Figure]:
    return [*clip_truth.measure(), *clip_speed.measure()]
