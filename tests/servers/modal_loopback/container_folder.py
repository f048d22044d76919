"""A container's folder, command and environment: the uploaded files, and nothing else of the project."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from modal_proto import api_pb2

from tests.servers.modal_loopback.deploy import layout
from tests.servers.modal_loopback.rpc import CONTAINER_HEADER
from tests.servers.modal_loopback.state import MAIN, Container, Function, State

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")
"""Of this machine's environment; everything else a function has comes from its image and its secrets."""

UPLOAD_ROOT = "/root"
"""Where Modal lays `add_local_python_source` in an image."""


def prepare(state: State, function: Function, container: Container) -> tuple[list[str], dict[str, str], Path]:
    """Writes the folder; returns the command, its environment and its working directory."""
    container.folder.mkdir(parents=True)
    files = container.folder / "files"
    for mount_id in function.definition.mount_ids:
        for file in state.mounts[mount_id]:
            path = files / file.filename.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            # Links: the weights alone are 20 MB, and a container starts in 0.3 s.
            os.link(state.files / file.sha256_hex, path)
    home = files / UPLOAD_ROOT.lstrip("/")
    home.mkdir(parents=True, exist_ok=True)

    app = state.app_of(function.id)
    arguments = container.folder / "arguments.bin"
    arguments.write_bytes(
        api_pb2.ContainerArguments(
            task_id=container.id,
            function_id=function.base or function.id,
            app_id=app.id,
            function_def=function.definition,
            serialized_params=function.parameters,
            environment_name=app.environment,
            app_layout=layout(state, app.id),
        ).SerializeToString()
    )
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= _image_environment(state, function.definition.image_id)
    for secret_id in function.definition.secret_ids:
        environment |= state.secret_values[secret_id]
    environment |= {
        "MODAL_IS_REMOTE": "1",
        "MODAL_SERVER_URL": state.url,
        "MODAL_TASK_ID": container.id,
        "MODAL_IMAGE_ID": function.definition.image_id,
        "MODAL_ENVIRONMENT": app.environment or MAIN,
        "MODAL_CONTAINER_ARGUMENTS_PATH": str(arguments),
        "MODAL_CONFIG_PATH": str(container.folder / "no-such-config"),
        "MODAL_OVERRIDE_HEADERS": f"{CONTAINER_HEADER}:{container.id}",
        # -S: no .pth file is read, so an editable install of the project cannot hide a file that was not
        # uploaded. The libraries are found where they lie; the working directory is not searched.
        "PYTHONPATH": os.pathsep.join([str(home), sysconfig.get_path("purelib")]),
        "PYTHONUNBUFFERED": "1",
    }
    return [state.python, "-S", "-m", "modal._container_entrypoint"], environment, home


def _image_environment(state: State, image_id: str) -> dict[str, str]:
    """The `ENV` lines of an image and of those it is built on, the latter first."""
    image = state.images[image_id]
    found: dict[str, str] = {}
    for base in image.base_images:
        found |= _image_environment(state, base.image_id)
    for line in image.dockerfile_commands:
        if line.startswith("ENV "):
            name, _, value = line.removeprefix("ENV ").partition("=")
            found[name.strip()] = value.strip().strip("'\"")
    return found
