"""The specs that are made from the task table, without Modal's client."""

from __future__ import annotations

import dataclasses

import pytest

from video_pipeline import __version__
from video_pipeline.compute.base import CallOptions
from video_pipeline.errors import BadInput
from video_pipeline.modal_ops import specs
from video_pipeline.modal_ops.guard import prices
from video_pipeline.settings import Settings, load_settings
from video_pipeline.tasks import BUILT_IN, Hardware, Task, find_task


@pytest.fixture
def settings() -> Settings:
    return load_settings(store="s3://bucket", compute="modal")


def with_hardware(**changes: object) -> Task:
    task = find_task("run_inference")
    return dataclasses.replace(task, hardware=dataclasses.replace(task.hardware, **changes))


@pytest.mark.parametrize("task", BUILT_IN, ids=lambda task: task.name)
def test_a_spec_asks_for_what_the_table_says(task: Task, settings: Settings) -> None:
    spec = specs.spec_for(task, settings)
    assert spec.name == task.name
    assert (spec.cpu_cores, spec.memory_mib) == (task.hardware.cpu_cores, task.hardware.memory_mib)
    assert spec.gpu == {"A10G": "A10"}.get(task.hardware.gpu or "", task.hardware.gpu)
    assert spec.timeout_s == task.hardware.timeout_s + specs.STOP_S
    assert spec.image == ("cpu" if task.hardware.gpu is None else "gpu")
    assert spec.secrets == ("wasabi", "wandb-secret")
    assert spec.retries == 0
    assert spec.min_containers == 0, "no container is paid for while there are no calls"
    assert spec.holds_model == (task.warm_path is not None)


@pytest.mark.parametrize("name", ["A10G", "a10g", "A10", "a10"])
def test_the_a10_is_known_by_both_of_its_names(name: str) -> None:
    assert specs.gpu_name(name, input="gpu") == "A10"
    assert specs.gpu_memory_gib(name) == 24


def test_an_a100_without_a_size_is_the_smaller_one() -> None:
    assert specs.gpu_name("A100", input="gpu") == "A100-40GB"


@pytest.mark.parametrize("name", ["A11", "", "T4:2", "GPU", "any", "RTX-PRO-6000"])
def test_an_unknown_gpu_is_refused_with_the_names_that_are_known(name: str, settings: Settings) -> None:
    with pytest.raises(BadInput, match=r"that this version knows \(list of 20\d\d-") as caught:
        specs.spec_for(with_hardware(gpu=name or " "), settings)
    assert caught.value.input == "gpu of run_inference"
    assert "B200" in str(caught.value.what_to_do)


def test_a_gpu_named_for_one_call_is_checked_in_the_same_way(settings: Settings) -> None:
    task = find_task("run_inference")
    assert specs.spec_for(task, settings, CallOptions(gpu="l4")).gpu == "L4"
    with pytest.raises(BadInput, match="no GPU type 'L5'"):
        specs.spec_for(task, settings, CallOptions(gpu="L5"))


def test_a_gpu_for_a_task_that_would_not_use_it_is_refused(settings: Settings) -> None:
    with pytest.raises(BadInput, match="would pay for the T4 and not use it"):
        specs.spec_for(find_task("extract_clip"), settings, CallOptions(gpu="T4"))


def test_the_probe_runs_in_the_image_of_tasks_without_a_gpu_and_in_that_of_tasks_with_one(
    settings: Settings,
) -> None:
    probe = find_task("probe")
    plain, with_gpu = specs.deployed_specs(probe, settings)
    assert (plain.name, plain.image, plain.gpu) == ("probe", "cpu", None)
    assert (with_gpu.name, with_gpu.image, with_gpu.gpu) == ("probe_with_gpu", "gpu", None)
    wanted = specs.spec_for(probe, settings, CallOptions(gpu="T4"))
    assert (wanted.name, wanted.image, wanted.gpu) == ("probe_with_gpu", "gpu", "T4")
    assert plain.task == with_gpu.task == wanted.task == "probe"
    assert not plain.volumes
    assert with_gpu.volumes == wanted.volumes == {"/models": "video-pipeline-models"}


@pytest.mark.parametrize("task", BUILT_IN, ids=lambda task: task.name)
def test_every_call_finds_a_function_that_is_deployed(task: Task, settings: Settings) -> None:
    deployed = {spec.name for spec in specs.deployed_specs(task, settings)}
    assert specs.spec_for(task, settings).name in deployed
    assert deployed == {task.name} | ({"probe_with_gpu"} if task.name == "probe" else set())


def test_every_gpu_of_the_list_has_a_price_and_none_other_has(settings: Settings) -> None:
    priced = set(prices().gpu_per_s)
    assert {specs.gpu_name(name, input="gpu") for name in priced} == priced
    assert all(specs.gpu_memory_gib(name) >= 16 for name in priced)
    assert priced == set(specs._gpus()["memory_gib"])


def test_a_time_limit_of_24_hours_less_the_time_to_stop_is_the_longest(settings: Settings) -> None:
    longest = 24 * 3600 - specs.STOP_S
    assert specs.spec_for(with_hardware(timeout_s=longest), settings).timeout_s == 24 * 3600
    with pytest.raises(BadInput, match="at most 86340 s"):
        specs.spec_for(with_hardware(timeout_s=longest + 1), settings)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), 86_341])
def test_a_time_limit_of_one_call_is_checked_in_the_same_way(timeout_s: float, settings: Settings) -> None:
    with pytest.raises(BadInput, match="is not possible on Modal") as caught:
        specs.spec_for(find_task("run_inference"), settings, CallOptions(timeout_s=timeout_s))
    assert caught.value.input == "timeout_s of run_inference"


def test_a_part_of_a_second_is_not_taken_from_the_worker(settings: Settings) -> None:
    spec = specs.spec_for(find_task("run_inference"), settings, CallOptions(timeout_s=1.5))
    assert spec.timeout_s == 2 + specs.STOP_S


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ("local", "video-pipeline"),
        ("ci", "video-pipeline-ci"),
        ("staging", "video-pipeline-staging"),
        ("prod", "video-pipeline-prod"),
    ],
)
def test_every_environment_has_an_app_of_its_own(env: str, name: str) -> None:
    settings = load_settings(env=env, store="s3://bucket")
    assert specs.app_name(settings) == name
    assert specs.app_tags(settings) == {
        "project": "video-pipeline",
        "environment": env,
        "version": __version__,
    }


def test_a_worker_gets_the_settings_and_no_secret() -> None:
    settings = load_settings(
        store="s3://bucket",
        env="staging",
        wasabi_access_key="an-access-key",
        wasabi_secret_key="a-secret-key",
        wasabi_endpoint_url="https://s3.example.com",
        max_usd_per_call=0.5,
    )
    environment = specs.worker_environment(settings)
    assert not any("a-secret-key" in value or "an-access-key" in value for value in environment.values())
    assert environment["VIDEO_PIPELINE_STORE"] == "s3://bucket"
    assert environment["WASABI_ENDPOINT_URL"] == "https://s3.example.com"
    assert all(environment.values()), "Modal refuses an empty value"


def test_a_workers_settings_are_those_of_who_deployed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        store="s3://bucket",
        compute="modal",
        env="prod",
        logger_level="WARNING",
        max_usd_per_call=0.123456789,
        max_usd_per_run=1234567.5,
        modal_max_containers=7,
        task_modules="films.tasks",
        wasabi_endpoint_url="https://s3.example.com",
        wasabi_region="eu-central-1",
        wandb_project="films",
        wandb_mode="offline",
    )
    for name, value in specs.worker_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings(state_dir=settings.state_dir) == settings


def test_a_directory_is_no_store_for_a_worker_on_modal() -> None:
    with pytest.raises(BadInput, match="cannot see the directory") as caught:
        specs.worker_environment(load_settings(store="./data"))
    assert caught.value.input == "VIDEO_PIPELINE_STORE"


def test_only_functions_with_cuda_have_the_volume_for_models(settings: Settings) -> None:
    for task in BUILT_IN:
        spec = specs.spec_for(task, settings)
        assert dict(spec.volumes) == ({"/models": "video-pipeline-models"} if spec.image == "gpu" else {})


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_who_does_not_log_to_wandb_needs_no_secret_for_it(mode: str) -> None:
    settings = load_settings(store="s3://bucket", wandb_mode=mode)
    assert specs.spec_for(find_task("run_inference"), settings).secrets == ("wasabi",)


def test_hardware_without_a_gpu_is_left_without_one(settings: Settings) -> None:
    task = dataclasses.replace(
        find_task("extract_clip"), hardware=Hardware(gpu=None, cpu_cores=1, memory_mib=512, timeout_s=60)
    )
    assert specs.spec_for(task, settings).gpu is None
