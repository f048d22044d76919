"""What a process keeps of networks: nothing, until it is told to; then each once, and ready on its device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from video_pipeline.models import kept
from video_pipeline.tasks import BUILT_IN, Task

WITH_A_NETWORK = {
    "crop_and_infer_caption_frame_extents",
    "run_inference",
    "process_framing_ai",
    "process_framing_ai_chunk",
    "process_multi_clip",
    "detect_players",
    "detect_players_batch",
}


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that keeps networks, with none so far."""
    monkeypatch.setattr(kept, "_keeping", False)
    monkeypatch.setattr(kept, "_shelf", {})
    kept.keep()


LOADERS: list[Callable[[], object]] = [
    kept.caption_model,
    lambda: kept.upscaler("cpu", half=False),
    lambda: kept.detector("cpu"),
]


@pytest.mark.parametrize("load", LOADERS)
def test_a_process_that_was_not_told_to_keep_loads_every_time(load: Callable[[], object]) -> None:
    assert load() is not load()


@pytest.mark.parametrize("load", LOADERS)
def test_a_process_that_keeps_loads_once(load: Callable[[], object], keeping: None) -> None:
    assert load() is load()


def test_a_load_that_failed_is_tried_again(keeping: None) -> None:
    def fails() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kept.kept("a network", fails)
    assert kept.kept("a network", lambda: 7) == 7


def test_the_tasks_that_load_a_network_say_so_in_the_table() -> None:
    assert {task.name for task in BUILT_IN if task.warm_path is not None} == WITH_A_NETWORK


@pytest.mark.parametrize("task", [task for task in BUILT_IN if task.warm_path], ids=lambda task: task.name)
def test_warming_a_task_leaves_its_network_ready(task: Task, keeping: None) -> None:
    task.warm()
    before = dict(kept._shelf)
    task.warm()
    assert kept._shelf == before
    assert before or task.name == "run_inference", "a classifier is in the cache of its own module"


def test_what_is_kept_gives_what_a_fresh_one_gives(keeping: None) -> None:
    from video_pipeline.models.upscaler import load_upscaler

    noise = np.random.default_rng(5).integers(0, 256, (1, 24, 32, 3), dtype=np.uint8)
    picture = torch.from_numpy(noise)
    kept.warm_upscaler()
    fresh = load_upscaler("cpu").upscale(picture)
    assert torch.equal(kept.upscaler("cpu", half=False).upscale(picture), fresh)
