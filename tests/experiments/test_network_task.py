"""The upscaling network with switches: what a device cannot do is refused, and figures are what they say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from experiments import network_task
from experiments.films import SPORT
from experiments.network_task import NetworkRequest
from video_pipeline.errors import BadInput
from video_pipeline.telemetry.usage import Usage


def request(**fields: Any) -> NetworkRequest:
    told = {"tenant_id": "t", "name": "n", "source_key": "k", "width": 24, "height": 16, "pictures": 8}
    return NetworkRequest(**{**told, **fields})


def test_fewer_than_two_batches_are_refused_for_the_first_is_told_apart() -> None:
    network_task._check(request(batch=4), False)
    with pytest.raises(BadInput, match="8 pictures are fewer than two batches of 5"):
        network_task._check(request(batch=5), False)


@pytest.mark.parametrize(
    ("switch", "named"),
    [
        ({"cudnn_benchmark": True}, "cudnn_benchmark"),
        ({"tf32": True}, "tf32"),
        ({"precision": "float16"}, "float16"),
        ({"precision": "float16", "cudnn_benchmark": True}, "cudnn_benchmark, float16"),
    ],
)
def test_a_switch_of_gpus_is_refused_without_one(switch: dict[str, Any], named: str) -> None:
    network_task._check(request(**switch), True)
    with pytest.raises(BadInput, match=f"^{named} need a GPU"):
        network_task._check(request(**switch), False)
    network_task._check(request(cudnn_benchmark=False, tf32=False, precision="bfloat16"), False)


@pytest.mark.slow
def test_its_figures_are_of_the_pictures_it_was_asked_for(tmp_path: Path) -> None:
    """On a CPU: batches and layout change nothing that can be seen, fewer digits a little."""

    def ran(**fields: Any) -> tuple[network_task.NetworkResult, Usage]:
        usage = Usage()
        store = SimpleNamespace(get=lambda key: SPORT.read_bytes())
        context = SimpleNamespace(scratch=tmp_path, store=store, usage=usage)
        return network_task.run(request(**fields), cast("Any", context)), usage

    plain, usage = ran()
    assert (plain.device, plain.frames, usage.frames) == ("cpu", 8, 8)
    assert (plain.largest_step, plain.differing_share) == (0, 0.0)
    assert plain.steady_ms_least <= plain.steady_ms <= plain.steady_ms_most
    batches, _ = ran(batch=2)
    assert batches.largest_step <= 1
    coarse, _ = ran(precision="bfloat16")
    assert coarse.output_sha256 != plain.output_sha256
    assert coarse.largest_step >= 1
    assert 0 < coarse.differing_share < 1
