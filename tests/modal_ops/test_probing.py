"""A deployment and its probes, with doubles in the place of Modal: refused, interrupted, away, recorded."""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from modal import exception as errors

from tests.compute.test_modal_account import CALL_S, CHEAPEST_GPU, ENV, LIMITS
from video_pipeline import compute
from video_pipeline.calls import ErrorRecord, ResultRecord, WorkerIdentity
from video_pipeline.compute.base import CallOptions, Event, Handle, Status
from video_pipeline.errors import BadInput, PipelineError, Transient, VersionMismatch
from video_pipeline.machine_probe import ProbeRequest
from video_pipeline.modal_ops import deploy as module
from video_pipeline.modal_ops.deploy import DeployedFunction, DeploymentRecord, latest_deployment
from video_pipeline.modal_ops.guard import check_cost
from video_pipeline.modal_ops.probing import Probed, check_probes, machines_of_the_table, probe_machines
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import find_task


class DoubleOfCompute:
    """In the place of Modal, which has no machine of the type: its call waits until it is cancelled. Whoever
    looks at it first presses Ctrl-C."""

    backend = "modal"
    unclaimed_limit_s = 3600.0

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.all_asked = threading.Barrier(2, timeout=120)

    def submit(self, task: str, request: Any, options: CallOptions | None = None) -> Handle:
        self.all_asked.wait()
        return Handle("system", f"{options.gpu if options else None}", task, self.backend)

    def events(self, handle: Handle) -> DoubleOfCompute:
        return self

    def read(self) -> list[Event]:
        return []

    def poll(self, handle: Handle) -> Status:
        if handle.key not in self.cancelled:
            os.kill(os.getpid(), signal.SIGINT)
            return Status("waiting")
        now = datetime.now(UTC)
        record = ResultRecord(
            key=handle.key,
            task=handle.task,
            version=1,
            status="error",
            error=ErrorRecord(kind="cancelled", message="cancelled: a person asked"),
            worker=WorkerIdentity(backend="modal"),
            started_at=now,
            finished_at=now,
        )
        return Status("done", result=record)

    def cancel(self, handle: Handle, reason: str) -> None:
        self.cancelled.append(handle.key)


class DoubleOfMachines:
    """In the place of Modal, which has every machine but one of the type `without`: each answers at once, and
    has all but what is not its own."""

    backend = "modal"
    unclaimed_limit_s = 3600.0

    def __init__(self, without: str | None = None) -> None:
        self.without = without
        self.asked: dict[str | None, set[str]] = {}

    def submit(self, task: str, request: ProbeRequest, options: CallOptions) -> Handle:
        if options.gpu == self.without:
            raise VersionMismatch("the app has no function probe_with_gpu", what_to_do="deploy")
        assert options.gpu not in self.asked, "the same machine is asked twice"
        self.asked[options.gpu] = set(request.needs)
        return Handle("system", f"{options.gpu}", task, self.backend)

    def events(self, handle: Handle) -> DoubleOfMachines:
        return self

    def read(self) -> list[Event]:
        return []

    def poll(self, handle: Handle) -> Status:
        now = datetime.now(UTC)
        record = ResultRecord(
            key=handle.key,
            task=handle.task,
            version=1,
            status="ok",
            result={"missing": [f"nothing of {handle.key}"]},
            report_keys={"probe.txt": f"reports/{handle.key}"},
            worker=WorkerIdentity(backend="modal", call_id=f"fc-{handle.key}"),
            started_at=now,
            finished_at=now,
        )
        return Status("done", result=record)


def test_a_machine_with_a_gpu_must_have_more_than_one_without_and_a_failure_of_one_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = DoubleOfMachines(without="B200")
    monkeypatch.setattr(compute, "open_compute", lambda *_: double)
    gpu, missing, cpu = probe_machines(["T4", "B200", "cpu"], settings, open_store(settings))
    assert double.asked == {
        "T4": {"gpu", "nvdec", "torch_cuda", "encoders", "fonts"},
        None: {"encoders", "fonts"},
    }
    assert gpu == Probed(gpu="T4", ok=True, call="fc-T4", missing=["nothing of T4"], report_key="reports/T4")
    assert (missing.gpu, missing.ok) == ("B200", False)
    assert "no function probe_with_gpu What to do: deploy" in (missing.error or "")
    assert (cpu.gpu, cpu.ok, cpu.error) == ("cpu", True, None)


@pytest.fixture
def deployed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The store of deployments that Modal accepts all; what is shipped is nothing."""
    store = open_store(settings)
    monkeypatch.setattr(module, "open_store", lambda _: store)
    monkeypatch.setattr(module, "_deploy", lambda _: "ap-1")
    monkeypatch.setattr("video_pipeline.modal_ops.images.shipped_files", lambda _: iter(()))
    return store


@pytest.fixture
def on_modal() -> Settings:
    return load_settings(store="s3://bucket", compute="modal")


def test_a_deployment_is_recorded_before_its_machines_are_asked_each_once(
    deployed: ObjectStore, on_modal: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the probes, it is deployed."""
    double = DoubleOfMachines()
    recorded: list[DeploymentRecord | None] = []

    def opened(*_: object) -> DoubleOfMachines:
        recorded.append(latest_deployment(deployed, "video-pipeline"))
        return double

    monkeypatch.setattr(compute, "open_compute", opened)
    record = module.deploy(on_modal, probe=["T4", "cpu", "T4"])
    assert [probed.gpu for probed in record.probes] == ["T4", "cpu"]
    assert [(one.app_id, one.probes) for one in recorded if one is not None] == [("ap-1", [])] * 2
    assert latest_deployment(deployed, "video-pipeline") == record


def test_who_wants_no_probes_gets_none_and_who_names_none_gets_those_of_the_table(
    deployed: ObjectStore, on_modal: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = DoubleOfMachines()
    monkeypatch.setattr(compute, "open_compute", lambda *_: double)
    assert module.deploy(on_modal, probe=[]).probes == []
    assert double.asked == {}
    asked = module.deploy(on_modal).probes
    assert [probed.gpu for probed in asked] == machines_of_the_table(on_modal)


def test_the_record_tells_each_function_as_modal_was_asked_for_it(
    deployed: ObjectStore, on_modal: Settings
) -> None:
    functions = module.deploy(on_modal, probe=[]).functions
    assert functions["run_inference"] == DeployedFunction(
        version=find_task("run_inference").version,
        gpu="B200",
        cpu_cores=8,
        memory_mib=16 * 1024,
        timeout_s=3660,
        image="gpu",
    )
    assert (functions["probe"].image, functions["probe_with_gpu"].image) == ("cpu", "gpu")


def test_settings_of_another_backend_deploy_nothing(settings: Settings, deployed: ObjectStore) -> None:
    with pytest.raises(BadInput, match="run tasks on local, which needs no deployment"):
        module.deploy(settings)
    assert list(deployed.list("")) == []


@pytest.mark.parametrize(("error", "code"), [(Transient("Modal is away"), 1), (BadInput("no bucket"), 2)])
def test_the_exit_code_tells_what_may_pass_from_what_is_wrong(
    error: PipelineError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(settings: Settings, *, probe: object) -> None:
        raise error

    monkeypatch.setattr(module, "deploy", refuse)
    # The command sets it for the process; it is given back with this.
    monkeypatch.setenv("VIDEO_PIPELINE_COMPUTE", "local")
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", "s3://bucket")
    assert module.main([]) == code
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files are what is shipped."""
    monkeypatch.setattr(
        "video_pipeline.modal_ops.images.shipped_files",
        lambda _: ((path, f"/root/{path.name}") for path in tmp_path.iterdir()),
    )
    return tmp_path


def test_the_hash_of_a_deployment_is_of_names_and_contents_alike(files: Path, settings: Settings) -> None:
    def deployed() -> tuple[str, int, int]:
        record = module._record(settings, "ap-1", open_store(settings))
        return record.source_sha256, record.shipped_files, record.shipped_bytes

    (files / "a.py").write_text("one")
    (files / "b.py").write_text("two!")
    first = deployed()
    assert first[1:] == (2, 7)
    assert deployed() == first
    (files / "b.py").write_text("two?")
    second = deployed()
    (files / "b.py").rename(files / "c.py")
    third = deployed()
    (files / "a.py").write_text("onet")
    (files / "c.py").write_text("wo?")
    assert len({first[0], second[0], third[0], deployed()[0]}) == 4


def test_the_hash_of_a_deployment_is_the_same_in_whatever_order_its_files_are_found(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = [(tmp_path / name, f"/root/{name}") for name in ("a.py", "b.py")]
    for path, name in shipped:
        path.write_text(name)
    hashes = set()
    for order in (shipped, shipped[::-1]):
        monkeypatch.setattr("video_pipeline.modal_ops.images.shipped_files", lambda _, order=order: order)
        hashes.add(module._record(settings, "ap-1", open_store(settings)).source_sha256)
    assert len(hashes) == 1


def test_machines_are_asked_at_once_and_an_interrupt_cancels_those_that_wait_and_keeps_what_was_deployed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, double = open_store(settings), DoubleOfCompute()
    monkeypatch.setattr(module, "open_store", lambda _: store)
    monkeypatch.setattr(module, "_deploy", lambda _: "ap-1")
    monkeypatch.setattr(compute, "open_compute", lambda *_: double)
    record = module.deploy(load_settings(store="s3://bucket", compute="modal"), probe=["B200", "T4"])
    assert sorted(double.cancelled) == ["B200", "T4"]
    assert [(probed.gpu, probed.ok, probed.error) for probed in record.probes] == [
        ("B200", False, "cancelled: a person asked"),
        ("T4", False, "cancelled: a person asked"),
    ]
    assert latest_deployment(store, "video-pipeline") == record


def test_probes_are_held_against_the_limit_of_a_run_by_their_sum() -> None:
    def settings(limit: float) -> Settings:
        return load_settings(store="s3://bucket", compute="modal", max_usd_per_run=limit)

    wanted = machines_of_the_table(settings(100))
    together = sum(cost.bound_usd for cost in check_probes(wanted, settings(100)))
    assert len(check_probes(wanted, settings(together + 0.01))) == len(wanted)
    with pytest.raises(BadInput, match=rf"probe on B200.*\${together:.2f} together") as caught:
        check_probes(wanted, settings(together - 0.01))
    assert "--probe" in str(caught.value.what_to_do)


def test_what_the_suite_for_an_account_asks_for_is_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in has no GPU: there the suite would not find out."""
    for name, value in LIMITS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(store="s3://bucket", compute="modal", env=ENV)
    assert check_probes(machines_of_the_table(settings), settings)
    for task, gpu in (("crop_and_infer_caption_frame_extents", None), ("run_inference", CHEAPEST_GPU)):
        assert check_cost(find_task(task), CallOptions(timeout_s=CALL_S, gpu=gpu), settings)


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        (errors.ConnectionError("no route"), "transient"),
        (errors.ServiceError("busy"), "transient"),
        (errors.InternalError("theirs"), "transient"),
        (errors.MountUploadTimeoutError("a file did not arrive"), "transient"),
        (errors.AuthError("wrong"), "bad_input"),
        (errors.NotFoundError("no secret wasabi"), "bad_input"),
        (errors.RemoteError("the image could not be built"), "bad_input"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_a_deployment_that_may_succeed_later_is_told_from_one_that_is_wrong(
    says: Exception, kind: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise says

    app = SimpleNamespace(name="video-pipeline", deploy=refuse)
    described = SimpleNamespace(build_app=lambda settings, namespace: app)
    monkeypatch.setitem(sys.modules, "video_pipeline.modal_ops.app", described)  # pyright: ignore[reportArgumentType]
    with pytest.raises(PipelineError, match=str(says)) as caught:
        module._deploy(settings)
    assert caught.value.kind == kind
    about_secrets = "create the secrets" in (caught.value.what_to_do or "")
    assert about_secrets == isinstance(says, errors.NotFoundError)
