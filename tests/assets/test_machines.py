"""The asset `machines`: probes of a machine through the local backend, and what the check says of them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.compute.test_interrupted_in_dagster import DoubleOfCompute
from video_pipeline import compute
from video_pipeline.definitions import build_definitions
from video_pipeline.machine import usable_cores
from video_pipeline.modal_ops import probing
from video_pipeline.settings import load_settings


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))


def run() -> tuple[dg.AssetCheckEvaluation, dict[str, Any]]:
    """What the job's check says and what its asset shows."""
    result = build_definitions().resolve_job_def("probe_machines").execute_in_process(raise_on_error=True)
    (event,) = result.get_asset_materialization_events()
    (check,) = result.get_asset_check_evaluations()
    shown = event.step_materialization_data.materialization.metadata
    return check, {name: value.value for name, value in shown.items()}


def test_a_machine_that_has_what_tasks_need_is_shown_with_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "NEEDS", ("encoders",))
    check, shown = run()
    assert check.passed
    assert (shown["as_needed"], shown["backend"]) == (1, "local")
    assert shown["machines"].splitlines()[2].startswith("| cpu | yes |")
    assert "encoders: libvpx-vp9, libx264, aac" in shown["page_cpu"]
    assert f"{usable_cores()} usable cores" in shown["page_cpu"]


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_a_machine_that_lacks_something_fails_the_check_by_name_and_is_shown_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probing, "NEEDS", ("encoders", "gpu"))
    check, shown = run()
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert "cpu: this machine lacks what was needed: gpu: " in (check.description or "")
    assert shown["as_needed"] == 0
    assert "| cpu | no |" in shown["machines"]
    assert "GPU: none. " in shown["page_cpu"]


def test_on_modal_each_gpu_type_of_the_table_is_asked_and_a_cpu() -> None:
    settings = load_settings(store="s3://bucket", compute="modal")
    assert probing.machines_of_the_table(settings) == ["A10", "B200", "T4", "cpu"]
    costs = probing.check_probes(["T4", "cpu"], settings)
    assert [(cost.calls, cost.machine.partition(",")[0]) for cost in costs] == [(1, "T4"), (1, "2 cores")]


@pytest.mark.parametrize(
    ("by_a_person", "reasons"), [(True, ["cancelled by its caller"]), (False, [])], ids=["person", "host"]
)
def test_a_person_who_cancels_the_run_cancels_its_probes_and_a_host_that_ends_leaves_them(
    by_a_person: bool, reasons: list[str], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end() -> None:
        # In the UI's order: the run is marked, then its process is told.
        (run,) = instance.get_runs()
        if by_a_person and run.status is not dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceling(run)
        os.kill(os.getpid(), signal.SIGTERM)

    double = DoubleOfCompute([], end, [])
    monkeypatch.setattr(compute, "open_compute", lambda settings, store: double)
    job = build_definitions().resolve_job_def("probe_machines")
    with contextlib.suppress(dg.DagsterExecutionInterruptedError):
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not result.get_asset_materialization_events()
    assert double.cancelled == reasons
    (run,) = instance.get_runs()
    assert run.status is not dg.DagsterRunStatus.SUCCESS
