"""The bound on what a call may cost, and the refusal above the limits."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from video_pipeline.compute.base import CallOptions
from video_pipeline.costs.estimate import read_prices
from video_pipeline.errors import BadInput, Internal
from video_pipeline.modal_ops import guard
from video_pipeline.settings import Settings, load_settings
from video_pipeline.tasks import BUILT_IN, Task, find_task

PRICES = Path(guard.__file__).with_name("prices.json")


@pytest.fixture
def settings() -> Settings:
    return load_settings(store="s3://bucket", compute="modal")


def test_the_bound_of_a_call_is_its_longest_time_on_its_whole_machine(settings: Settings) -> None:
    """By hand: B200 0.001736, 8 cores of 0.0000131, 32 GiB (twice what is asked for) of 0.00000222 a second;
    10 minutes to start, an hour and a minute to run, a minute idle."""
    cost = guard.cost_of(find_task("run_inference"), settings)
    assert cost.usd_per_s == pytest.approx(0.001736 + 8 * 0.0000131 + 32 * 0.00000222)
    assert cost.bound_s == 600 + 3660 + 60
    assert cost.bound_usd == pytest.approx(8.2590, abs=1e-3)
    assert cost.usd(100) == pytest.approx(100 * cost.usd_per_s)


def test_a_call_without_a_gpu_pays_for_none(settings: Settings) -> None:
    cost = guard.cost_of(find_task("extract_clip"), settings)
    assert cost.usd_per_s == pytest.approx(4 * 0.0000131 + 8 * 0.00000222)


@pytest.mark.parametrize("env", ["local", "staging", "prod"])
@pytest.mark.parametrize("task", BUILT_IN, ids=lambda task: task.name)
def test_every_task_as_it_stands_in_the_table_is_within_the_limits_of_what_is_for_work(
    task: Task, env: str
) -> None:
    guard.check_cost(task, None, load_settings(store="s3://bucket", compute="modal", env=env))


def test_a_call_above_the_limit_is_refused_with_the_figures() -> None:
    settings = load_settings(store="s3://bucket", max_usd_per_call=5.0)
    with pytest.raises(BadInput) as caught:
        guard.check_cost(find_task("run_inference"), CallOptions(), settings)
    text = str(caught.value)
    for part in ("run_inference on B200, 8 cores, 32 GiB", "4,320 s", "$8.26", "$5.00 per call"):
        assert part in text
    assert "prices of 2026-07-01" in text
    assert "VIDEO_PIPELINE_MAX_USD_PER_CALL" in str(caught.value.what_to_do)


def test_a_shorter_time_or_a_cheaper_gpu_brings_a_call_below_the_limit() -> None:
    settings = load_settings(store="s3://bucket", max_usd_per_call=5.0)
    task = find_task("run_inference")
    assert guard.check_cost(task, CallOptions(timeout_s=600), settings).bound_usd < 5
    assert guard.check_cost(task, CallOptions(gpu="A10G"), settings).bound_usd < 5
    with pytest.raises(BadInput):
        guard.check_cost(task, CallOptions(gpu="H200", timeout_s=7200), settings)


def test_calls_that_are_fanned_out_are_held_against_the_runs_limit_together(settings: Settings) -> None:
    task = find_task("process_framing_ai_chunk")
    one = guard.check_cost(task, None, settings).bound_usd
    most = int(settings.max_usd_per_run // one)
    assert guard.check_cost(task, None, settings, calls=most).total_bound_usd <= settings.max_usd_per_run
    with pytest.raises(BadInput, match=rf"for {most + 1} calls .* \$100.00 per run") as caught:
        guard.check_cost(task, None, settings, calls=most + 1)
    assert "VIDEO_PIPELINE_MAX_USD_PER_RUN" in str(caught.value.what_to_do)


def test_what_modal_would_refuse_is_refused_by_the_guard_already(settings: Settings) -> None:
    with pytest.raises(BadInput, match="no GPU type 'B300X'"):
        guard.check_cost(find_task("run_inference"), CallOptions(gpu="B300X"), settings)


def test_the_price_list_says_of_when_and_whence_it_is() -> None:
    prices = guard.prices()
    assert date.fromisoformat(prices.as_of) >= date(2026, 7, 1)
    assert "modal.com/pricing" in prices.source


def test_a_gpu_without_a_price_is_a_defect_that_names_it() -> None:
    with pytest.raises(Internal, match="no price for the GPU 'B300'"):
        guard.prices().per_s(gpu="B300", cpu_cores=1, memory_mib=1024)


@pytest.mark.parametrize("change", [{"cpu_core_per_s": 0}, {"gpu_per_s": {"T4": -1}}, {"as_of": "July"}])
def test_a_price_list_with_a_price_that_cannot_be_is_refused(
    change: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({**json.loads(PRICES.read_text(encoding="utf-8")), **change}))
    with pytest.raises(Internal, match=next(iter(change))):
        read_prices(path)
