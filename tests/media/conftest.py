"""The session's media: one directory of variants, shared by all xdist workers."""

from __future__ import annotations

import os

import pytest

from tests.fixtures.media_factory import MediaFactory


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> MediaFactory:
    """Makes each variant when first asked for."""
    root = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        root = root.parent
    return MediaFactory(root / "media")
