"""What the ledger says of attempts on Modal: priced by what is reserved for them, entered even when lost."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.compute.conftest import ModalBackend
from tests.doubles.tasks import TASKS
from video_pipeline import keys
from video_pipeline.compute.base import CallOptions
from video_pipeline.compute.follow import CallFailed, run_call
from video_pipeline.costs.ledger import load


@pytest.mark.slow
def test_what_modal_reserves_is_what_its_attempts_are_priced_by(modal_backend: ModalBackend) -> None:
    backend = modal_backend
    for item in list(backend.store.list(keys.LEDGER)):
        backend.store.delete(item.key)
    compute = backend.open()
    run_call(compute, "double", {"do": "return"})
    with suppress(CallFailed):
        run_call(compute, "double", {"do": "die"}, CallOptions(max_attempts=1))
    rows = load(backend.store).to_dict("records")
    assert {row["backend"] for row in rows} == {"modal"}
    hardware = TASKS[0].hardware
    for row in rows:
        assert (row["cpu_cores"], row["memory_gib"]) == (hardware.cpu_cores, hardware.memory_mib / 1024)
        assert row["gpu_seconds"] == 0
    (ok,) = (row for row in rows if row["status"] == "ok")
    assert ok["usd"] > 0
    assert ok["usd_on_modal"] == ok["usd"]
    assert ok["startup_overhead_ms"] >= 0
    assert {row["error_kind"] for row in rows if row["status"] == "error"} == {"lost"}
    assert sum(row["status"] == "error" for row in rows) == backend.lives
