"""The app that is deployed: one function or class per task of the table, of the task's own name.

`modal deploy -m video_pipeline.modal_ops.app` deploys it (better: `video_pipeline.modal_ops.deploy`, which
also probes and records); `modal run -m video_pipeline.modal_ops.app --video-url URL --num-batches 2` samples
frames of videos. Always with `-m`: given the file, Modal's client would ship that one file.

Belongs here: turning specs into Modal's objects, and the local entrypoint. Does not belong here: decisions
(`specs`, `images`), work (`entry`, `run_sample`).

A task that holds a network is a class with one method, `run`: its container loads the network when it starts
and keeps it for the calls that follow. The other tasks are functions.

Both are made in a loop over the table instead of being written out: the table stays the only list, tasks of
`VIDEO_PIPELINE_TASK_MODULES` are deployed like the others, and none can differ from its neighbours by a slip.
Modal finds a function or class in the container by its module and name, so each is given its task's name and
placed in this module.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modal

from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.modal_ops import images, run_sample, specs
from video_pipeline.modal_ops.specs import FunctionSpec, ImageName
from video_pipeline.settings import Settings, load_settings
from video_pipeline.tasks import all_tasks


def build_app(settings: Settings, *, namespace: dict[str, Any]) -> modal.App:
    """The app with its functions, which are placed in `namespace`. Describes; nothing is sent anywhere.

    `BadInput` for a store that is no bucket, an unknown GPU type, a time limit beyond Modal's, or a task
    whose name is taken in `namespace`.
    """
    app = modal.App(specs.app_name(settings), tags=specs.app_tags(settings), include_source=False)
    environment: dict[str, str | None] = {**specs.worker_environment(settings)}
    built: dict[ImageName, modal.Image] = {}
    every = [specs.deployed_specs(task, settings) for task in all_tasks(settings).values()]
    for spec in itertools.chain.from_iterable(every):
        if spec.image not in built:
            built[spec.image] = images.build_image(spec.image, settings)
        if spec.name in namespace:
            raise BadInput(
                f"a task cannot be called {spec.name!r}: the module of the app has this name already",
                input="VIDEO_PIPELINE_TASK_MODULES",
                what_to_do="rename the task",
            )
        options = _options(spec, built[spec.image], environment)
        made = (
            app.cls(**options)(_holder(spec)) if spec.holds_model else app.function(**options)(_runner(spec))
        )
        namespace[spec.name] = made
    return app


def _runner(spec: FunctionSpec) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function of a task."""

    def run(call: dict[str, Any]) -> dict[str, Any]:
        from video_pipeline.modal_ops.entry import run_call_file

        return run_call_file(call)

    run.__name__ = run.__qualname__ = spec.name
    return run


def _holder(spec: FunctionSpec) -> type:
    """The class of a task that holds a network."""

    class Holder:
        @modal.enter()
        def warm(self) -> None:
            from video_pipeline.modal_ops.entry import warm_up

            warm_up(spec.task)

        @modal.method()
        def run(self, call: dict[str, Any]) -> dict[str, Any]:
            from video_pipeline.modal_ops.entry import run_call_file

            return run_call_file(call)

    Holder.__name__ = Holder.__qualname__ = spec.name
    return Holder


def _options(spec: FunctionSpec, image: modal.Image, environment: dict[str, str | None]) -> dict[str, Any]:
    """What is asked of Modal for it, in the words of `app.function` and `app.cls`, which share them."""
    return {
        "image": image,
        "env": environment,
        "secrets": [
            modal.Secret.from_name(
                name, required_keys=list(specs.STORE_SECRET_KEYS) if name == specs.STORE_SECRET else []
            )
            for name in spec.secrets
        ],
        "volumes": {
            path: modal.Volume.from_name(name, create_if_missing=True) for path, name in spec.volumes.items()
        },
        "gpu": spec.gpu,
        "cpu": (spec.cpu_cores, spec.cpu_cores),
        "memory": (spec.memory_mib, spec.memory_limit_mib),
        "timeout": spec.timeout_s,
        "startup_timeout": spec.startup_timeout_s,
        "scaledown_window": spec.idle_s,
        "min_containers": spec.min_containers,
        "max_containers": spec.max_containers,
        "retries": spec.retries,
    }


app = build_app(load_settings(), namespace=globals())


@app.local_entrypoint()
def main(
    video_url: str,
    num_batches: int = 1,
    frames_per_sample: int = 1,
    frame_stride_seconds: float = 0.16,
    random_seed: int = 42,
    offset_max_seconds: float = 10.0,
    tenant: str = "demo",
    sample: str = "modal-run",
    output: str = ".",
) -> None:
    """Sample frames of videos on Modal. Several addresses: one argument, separated by spaces. An
    offset-max-seconds below 0 means the whole video."""
    try:
        request = run_sample.sample_request(
            video_url,
            num_batches=num_batches,
            frames_per_sample=frames_per_sample,
            frame_stride_seconds=frame_stride_seconds,
            random_seed=random_seed,
            offset_max_seconds=offset_max_seconds,
            tenant=tenant,
            sample=sample,
        )
        code = run_sample.run_sample(globals()[run_sample.TASK]().run, request, load_settings(), Path(output))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2 if error.kind == "bad_input" else 1
    sys.exit(code)
