"""What a second of each machine of a chunked task costs, added up by hand from the price list."""

from __future__ import annotations

import pytest

from video_pipeline.costs.rates import framing_rates, rates_for
from video_pipeline.modal_ops.guard import prices
from video_pipeline.tasks import find_task


def a_second(task: str, gpu: str | None) -> float:
    hardware, listed = find_task(task).hardware, prices()
    machine = hardware.cpu_cores * listed.cpu_core_per_s
    machine += hardware.memory_mib / 1024 * listed.memory_gib_per_s
    return machine + (listed.gpu_per_s[gpu] if gpu else 0.0)


@pytest.mark.parametrize(("asked", "gpu"), [(None, "T4"), ("H100", "H100")])
def test_a_gpu_that_is_named_is_that_of_workers_and_without_one_that_of_the_task_table(
    asked: str | None, gpu: str
) -> None:
    found = framing_rates(asked)
    assert found.whole_usd_per_s == pytest.approx(a_second("process_framing_ai", gpu))
    assert found.chunk_usd_per_s == pytest.approx(a_second("process_framing_ai_chunk", gpu))
    assert found.orchestrator_usd_per_s == pytest.approx(a_second("process_framing_ai_parallel", None))
    assert (found.as_of, found.region_factor) == (prices().as_of, 1.0)


def test_a_task_of_one_call_pays_no_second_machine_and_a_region_multiplies_all() -> None:
    plain = rates_for(whole="extract_clip", chunk="extract_clip")
    assert plain.whole_usd_per_s == plain.chunk_usd_per_s == pytest.approx(a_second("extract_clip", None))
    assert plain.orchestrator_usd_per_s == 0
    dear, framing = framing_rates(region_factor=1.25), framing_rates()
    for name in ("whole_usd_per_s", "chunk_usd_per_s", "orchestrator_usd_per_s"):
        assert getattr(dear, name) == pytest.approx(1.25 * getattr(framing, name))
    assert dear.region_factor == 1.25
