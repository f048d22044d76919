"""Many calls on Modal at once: fanned out, and under a seeded storm of faults. Run with -s for the figures.

The limits are six times the targets: caller, stand-in, containers and store share this machine's cores with
other tests, and the machine may be a slow one.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.compute.conftest import ModalBackend, starts
from tests.doubles.tasks import Behaviour
from video_pipeline.calls import read_result
from video_pipeline.compute.base import CallOptions, Handle
from video_pipeline.compute.fan_out import fan_out
from video_pipeline.compute.follow import CallFailed, run_call
from video_pipeline.errors import Transient
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.worker import TaskContext

pytestmark = [pytest.mark.slow, pytest.mark.timeout(560)]

GATHER_S = 30.0
"""Target for 200 calls beyond their own work, which is nothing here."""
WARM_S = 0.5
"""Target for one call in a container that is there, beyond its own work."""


def test_two_hundred_calls_are_fanned_out_and_gathered(modal_backend: ModalBackend, tmp_path: Path) -> None:
    context = TaskContext(
        store=modal_backend.store,
        settings=modal_backend.settings,
        scratch=tmp_path,
        cancel=CancellationToken(),
        recorder=Recorder(),
        emit=lambda event: None,
    )
    requests = [Behaviour(number=number) for number in range(200)]
    before = len(modal_backend.loopback.state()["calls"])
    began = time.monotonic()
    records = fan_out(context, "double", requests)
    took_s = time.monotonic() - began
    assert [record.status for record in records] == ["ok"] * 200
    assert len({record.key for record in records}) == 200
    assert len(modal_backend.loopback.state()["calls"]) - before == 200
    assert took_s < 6 * GATHER_S
    print(f"200 calls in {took_s:.1f} s")


def test_a_warm_call_costs_little_more_than_its_work(modal_backend: ModalBackend) -> None:
    compute = modal_backend.open()
    run_call(compute, "double", {"do": "return"})
    taken = []
    for number in range(1, 8):
        began = time.monotonic()
        run_call(compute, "double", {"do": "return", "number": number})
        taken.append(time.monotonic() - began)
    print("warm calls took", [round(seconds, 2) for seconds in taken])
    assert sorted(taken)[len(taken) // 2] < 6 * WARM_S


JOBS = 50
FAULTS = 100
KINDS = ("kill", "preempt", "time_out", "outage")


def test_a_storm_of_faults_leaves_every_job_right_or_rightly_failed(
    modal_backend: ModalBackend, tmp_path: Path
) -> None:
    """Each job ends with its result, or with a time limit that it was really given; none is run again when
    its result exists; nothing is left running."""
    chance = random.Random(20)
    loopback = modal_backend.loopback
    requests = [
        Behaviour(number=n, do="sleep", seconds=chance.uniform(0.2, 2.0), journal=str(tmp_path / f"job-{n}"))
        for n in range(JOBS)
    ]
    ended: dict[int, str] = {}
    handles: dict[int, Handle] = {}
    stormy = threading.Event()
    stormy.set()

    def run(number: int) -> None:
        for _ in range(20):
            try:
                handles[number], _ = run_call(
                    modal_backend.open(), "double", requests[number], CallOptions(max_attempts=20)
                )
                ended[number] = "ok"
                return
            except Transient:
                time.sleep(0.5)
            except CallFailed as failed:
                ended[number] = failed.error.kind
                return

    def storm() -> Counter[str]:
        played: Counter[str] = Counter()
        while sum(played.values()) < FAULTS and stormy.is_set():
            kind = chance.choices(KINDS, weights=(40, 30, 5, 25))[0]
            options = {"seconds": 0.5} if kind == "outage" else {"grace_s": 0.5, "most": 1}
            if loopback.fault(kind, **options) or kind == "outage":
                played[kind] += 1
            time.sleep(chance.uniform(0.1, 0.6))
        return played

    with ThreadPoolExecutor(JOBS + 1) as pool:
        weather = pool.submit(storm)
        list(pool.map(run, range(JOBS)))
        stormy.clear()
        played = weather.result()
    loopback.fault("outage", seconds=0)
    print(f"faults: {dict(played)}; ends: {dict(Counter(ended.values()))}")
    assert len(ended) == JOBS
    assert set(ended.values()) <= {"ok", "timeout"}
    assert Counter(ended.values())["timeout"] <= played["time_out"]
    assert modal_backend.is_at_rest(within_s=120)
    known = {name for name, container in loopback.state()["containers"].items() if not container["gone"]}
    folder = loopback.folder / "containers"
    alive = {Path(one.cwd()).relative_to(folder).parts[0] for one in loopback.container_processes()}
    assert alive <= known, "a process outlived its container"

    begun = [starts(Path(request.journal or "")) for request in requests]
    spawned = len(loopback.state()["calls"])
    for number in [number for number, end in ended.items() if end == "ok"]:
        handle, record = run_call(modal_backend.open(), "double", requests[number])
        assert handle.attached
        assert record.status == "ok"
        assert record == read_result(modal_backend.store, handle.tenant, handle.key)
    assert [starts(Path(request.journal or "")) for request in requests] == begun
    assert len(loopback.state()["calls"]) == spawned
