"""The app that is deployed: one function per task of the table, of the task's own name.

`modal deploy -m video_pipeline.modal_ops.app` deploys it (better: `video_pipeline.modal_ops.deploy`, which
also probes and records); `modal run -m video_pipeline.modal_ops.app --video-url URL --num-batches 2` samples
frames of videos. Always with `-m`: given the file, Modal's client would ship that one file.

Belongs here: turning specs into Modal's objects, and the local entrypoint. Does not belong here: decisions
(`specs`, `images`), work (`entry`, `run_sample`).

The functions are made in a loop over the table instead of being written out: the table stays the only list,
tasks of `VIDEO_PIPELINE_TASK_MODULES` are deployed like the others, and no function can differ from its
neighbours by a slip. Modal finds a function in the container by its module and name, so each is given its
task's name and placed in this module.
"""

from __future__ import annotations

from typing import Any

import modal

from video_pipeline.errors import BadInput
from video_pipeline.modal_ops import images, specs
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
    for task in all_tasks(settings).values():
        spec = specs.spec_for(task, settings)
        if spec.image not in built:
            built[spec.image] = images.build_image(spec.image, settings)
        if spec.name in namespace:
            raise BadInput(
                f"a task cannot be called {spec.name!r}: the module of the app has this name already",
                input="VIDEO_PIPELINE_TASK_MODULES",
                what_to_do="rename the task",
            )
        namespace[spec.name] = _function(app, spec, built[spec.image], environment)
    return app


def _function(
    app: modal.App, spec: FunctionSpec, image: modal.Image, environment: dict[str, str | None]
) -> Any:
    def run(call: dict[str, Any]) -> dict[str, Any]:
        from video_pipeline.modal_ops.entry import run_call_file

        return run_call_file(call)

    run.__name__ = run.__qualname__ = spec.name
    return app.function(
        image=image,
        env=environment,
        secrets=[
            modal.Secret.from_name(
                name, required_keys=list(specs.STORE_SECRET_KEYS) if name == specs.STORE_SECRET else []
            )
            for name in spec.secrets
        ],
        volumes={
            path: modal.Volume.from_name(name, create_if_missing=True) for path, name in spec.volumes.items()
        },
        gpu=spec.gpu,
        cpu=(spec.cpu_cores, spec.cpu_cores),
        memory=(spec.memory_mib, spec.memory_limit_mib),
        timeout=spec.timeout_s,
        startup_timeout=spec.startup_timeout_s,
        scaledown_window=spec.idle_s,
        max_containers=spec.max_containers,
        retries=spec.retries,
    )(run)


app = build_app(load_settings(), namespace=globals())
