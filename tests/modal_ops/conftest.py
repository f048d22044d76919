"""A server of Modal's control plane to deploy to, and the bucket that its workers use: both stand-ins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.modal_loopback.launch import ModalLoopback
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.seaweedfs import seaweedfs as seaweedfs


@pytest.fixture(scope="session")
def modal_server(
    seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ModalLoopback, dict[str, str]]]:
    """The stand-in, with nothing deployed, and the environment of its callers."""
    credentials = {
        name: value for name, value in seaweedfs.environment.items() if name.endswith("_READWRITE")
    }
    folder = tmp_path_factory.mktemp("modal_ops")
    with ModalLoopback(folder, {"wasabi": credentials, "wandb-secret": {}}) as server:
        yield server, {**seaweedfs.environment, **server.environment, "WANDB_MODE": "disabled"}
