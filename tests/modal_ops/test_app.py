"""What Modal's own client makes of the app, offline: nothing here asks any server."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import modal
import pytest

from video_pipeline.errors import BadInput, PipelineError, Transient
from video_pipeline.modal_ops.specs import app_tags, spec_for
from video_pipeline.settings import Settings, load_settings
from video_pipeline.tasks import BUILT_IN, Hardware, Task, find_task


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(store="s3://bucket", compute="modal")


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    return described(store="s3://bucket", compute="modal")[1]


def described(namespace: dict[str, Any] | None = None, **settings: str) -> tuple[modal.App, dict[str, Any]]:
    """The app for these settings and its functions. The module describes the app of its environment when it
    is imported, as `modal deploy -m` does, so it is imported with a bucket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEO_PIPELINE_STORE", "s3://bucket")
        from video_pipeline.modal_ops.app import build_app
    namespace = {} if namespace is None else namespace
    return build_app(load_settings(**settings), namespace=namespace), namespace


def callable_of(made: Any) -> Any:
    """What a caller calls: the function, or the method of the class."""
    return made().run if isinstance(made, modal.Cls) else made


def test_there_is_one_function_or_class_for_every_task_and_two_for_the_probe(
    functions: dict[str, Any],
) -> None:
    assert sorted(functions) == sorted([*(task.name for task in BUILT_IN), "probe_with_gpu"])


@pytest.mark.parametrize("task", BUILT_IN, ids=lambda task: task.name)
def test_modals_client_states_a_function_as_the_table_does(
    task: Task, functions: dict[str, Any], settings: Settings
) -> None:
    info = callable_of(functions[task.name]).info()
    spec = spec_for(task, settings)
    assert isinstance(functions[task.name], modal.Cls) == spec.holds_model
    assert info.method_names == (["run"] if spec.holds_model else None)
    assert info.gpus == ([(spec.gpu, 1)] if spec.gpu else [])
    assert bool(info.gpus) == (task.hardware.gpu is not None)
    assert info.cpu == (task.hardware.cpu_cores, task.hardware.cpu_cores)
    assert info.memory_mib == (task.hardware.memory_mib, spec.memory_limit_mib)
    assert info.timeout == task.hardware.timeout_s + 60
    assert info.startup_timeout == spec.startup_timeout_s
    assert info.max_retries == 0
    assert info.regions in (None, [])
    assert not info.nonpreemptible
    assert {path: volume.name for path, volume in info.volumes.items()} == dict(spec.volumes)
    assert info.secrets[:2] == ["modal.Secret.from_name('wasabi')", "modal.Secret.from_name('wandb-secret')"]


def test_containers_wait_no_longer_and_are_no_more_and_no_fewer_than_the_spec_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Modal's client does not tell these three of a function, so they are taken where it is given them."""
    given: list[dict[str, Any]] = []

    def listening(genuine: Any) -> Any:
        def listen(app: modal.App, **arguments: Any) -> Any:
            given.append(arguments)
            return genuine(app, **arguments)

        return listen

    for name in ("function", "cls"):
        monkeypatch.setattr(modal.App, name, listening(getattr(modal.App, name)))
    described(store="s3://bucket", modal_max_containers="7")
    assert len(given) == len(BUILT_IN) + 1
    assert {arguments["max_containers"] for arguments in given} == {7}
    assert {arguments["min_containers"] for arguments in given} == {0}
    assert {arguments["scaledown_window"] for arguments in given} == {60}


def test_the_environment_of_a_function_holds_the_store_and_no_credential(
    functions: dict[str, Any],
) -> None:
    secrets = callable_of(functions["run_inference"]).info().secrets
    assert "VIDEO_PIPELINE_STORE" in secrets[2]
    assert "READWRITE" not in str(secrets)


def test_a_function_is_found_in_the_container_by_module_and_name(functions: dict[str, Any]) -> None:
    """Modal imports the module there and takes the attribute of the function's name."""
    source = functions["extract_clip"]._source_info_
    assert (source.module_name, source.function_name) == ("video_pipeline.modal_ops.app", "extract_clip")
    assert not source.is_serialized()


def test_a_class_is_found_in_the_container_by_module_and_name(functions: dict[str, Any]) -> None:
    source = functions["detect_players"]._get_class_service_function()._source_info_
    assert (source.module_name, source.function_name) == ("video_pipeline.modal_ops.app", "detect_players.*")
    assert not source.is_serialized()


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """What the entry is asked to do, in order; nothing of it is done."""
    asked: list[tuple[str, object]] = []

    def run_call_file(call: dict[str, Any]) -> dict[str, int]:
        asked.append(("run", call))
        return {"exit_code": 3}

    monkeypatch.setattr("video_pipeline.modal_ops.entry.run_call_file", run_call_file)
    monkeypatch.setattr(
        "video_pipeline.modal_ops.entry.warm_up", lambda name: asked.append(("warm up", name))
    )
    return asked


def test_a_function_takes_the_call_and_gives_what_the_entry_gives(
    functions: dict[str, Any], entered: list[tuple[str, object]]
) -> None:
    assert functions["extract_clip"].local({"key": "k"}) == {"exit_code": 3}
    assert entered == [("run", {"key": "k"})]


def test_a_class_warms_its_own_task_once_and_then_takes_calls(entered: list[tuple[str, object]]) -> None:
    holder = described(store="s3://bucket")[1]["detect_players"]()
    assert holder.run.local({"key": "k"}) == holder.run.local({"key": "l"}) == {"exit_code": 3}
    assert entered == [("warm up", "detect_players"), ("run", {"key": "k"}), ("run", {"key": "l"})]


def test_the_app_is_named_and_tagged_by_its_environment() -> None:
    app, _ = described(store="s3://bucket", env="staging")
    assert isinstance(app, modal.App)
    assert app.name == "video-pipeline-staging"
    assert app._local_state.tags == app_tags(load_settings(store="s3://bucket", env="staging"))


@pytest.mark.parametrize(
    ("ends", "code"),
    [(0, 0), (1, 1), (BadInput("no such video", input="a.mp4"), 2), (Transient("the store is away"), 1)],
)
def test_modal_run_asks_for_what_the_earlier_runner_did_and_tells_wrong_input_by_its_exit_code(
    ends: int | PipelineError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    described(store="s3://bucket")
    from video_pipeline.modal_ops import app as module

    asked: list[Any] = []

    def run_sample(function: Any, request: Any, settings: Settings, folder: Path) -> int:
        asked.append((request, folder))
        if isinstance(ends, PipelineError):
            raise ends
        return ends

    monkeypatch.setattr(module.run_sample, "run_sample", run_sample)
    with pytest.raises(SystemExit) as caught:
        module.main("https://example.org/a.mp4")
    assert caught.value.code == code
    ((request, folder),) = asked
    assert (request.batches, request.frames_per_sample, request.random_seed) == (1, 1, 42)
    assert (request.frame_stride_seconds, request.offset_max_seconds) == (0.16, 10)
    assert (request.tenant_id, request.sample_id, folder) == ("demo", "modal-run", Path("."))
    assert capsys.readouterr().err == (f"error: {ends}\n" if isinstance(ends, PipelineError) else "")


def test_modal_run_passes_on_every_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    described(store="s3://bucket")
    from video_pipeline.modal_ops import app as module

    asked: list[Any] = []

    def run_sample(function: Any, request: Any, settings: Settings, folder: Path) -> int:
        asked.append((request, folder))
        return 0

    monkeypatch.setattr(module.run_sample, "run_sample", run_sample)
    with pytest.raises(SystemExit):
        module.main(
            "https://example.org/a.mp4 https://example.org/b.mp4",
            num_batches=3,
            frames_per_sample=4,
            frame_stride_seconds=0.5,
            random_seed=7,
            offset_max_seconds=-1,
            tenant="acme",
            sample="look",
            output="out",
        )
    ((request, folder),) = asked
    assert request.video_urls == ("https://example.org/a.mp4", "https://example.org/b.mp4")
    assert (request.batches, request.frames_per_sample, request.random_seed) == (3, 4, 7)
    assert (request.frame_stride_seconds, request.offset_max_seconds) == (0.5, None)
    assert (request.tenant_id, request.sample_id, folder) == ("acme", "look", Path("out"))


def test_a_directory_store_is_refused_before_anything_is_described() -> None:
    namespace: dict[str, Any] = {}
    with pytest.raises(BadInput, match="cannot see the directory"):
        described(namespace, store="./data")
    assert namespace == {}


@pytest.fixture
def own_tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of a user with one task."""
    module = ModuleType("films_tasks")
    task = find_task("extract_clip")
    module.__dict__["TASKS"] = (
        Task(
            name="grade_film",
            version=1,
            run_path=task.run_path,
            request_path=task.request_path,
            result_path=task.result_path,
            hardware=Hardware(gpu="L4", cpu_cores=1, memory_mib=1024, timeout_s=60),
            summary="",
        ),
    )
    monkeypatch.setitem(sys.modules, "films_tasks", module)
    monkeypatch.setattr(
        "video_pipeline.modal_ops.images.find_spec", lambda name: name == "films_tasks" or None
    )
    return module


def test_a_task_of_a_users_own_is_a_function_too(own_tasks: ModuleType) -> None:
    _, functions = described(store="s3://bucket", task_modules="films_tasks")
    assert functions["grade_film"].info().gpus == [("L4", 1)]


def test_a_task_that_would_hide_a_name_of_the_apps_module_is_refused(own_tasks: ModuleType) -> None:
    with pytest.raises(BadInput, match="cannot be called 'grade_film'"):
        described({"grade_film": None}, store="s3://bucket", task_modules="films_tasks")


def test_a_package_that_is_not_there_cannot_be_shipped(own_tasks: ModuleType) -> None:
    from video_pipeline.modal_ops.images import task_packages

    with pytest.raises(BadInput, match="no package 'no_such_films'"):
        task_packages(load_settings(task_modules="films_tasks no_such_films.tasks"))
