from __future__ import annotations

from pathlib import Path

import pytest

from tests.clips.films import Desk
from tests.fixtures.media_factory import MediaFactory
from video_pipeline.settings import Settings
from video_pipeline.store.directory import DirectoryStore


@pytest.fixture
def desk(settings: Settings, tmp_path: Path) -> Desk:
    """A store of the test's own, and the clip tasks run in this process."""
    films = tmp_path / "films"
    films.mkdir()
    return Desk(DirectoryStore(tmp_path / "store"), settings, films)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> MediaFactory:
    """Variants of real footage, made when first asked for and shared by pytest-xdist's workers."""
    shared = tmp_path_factory.getbasetemp()
    if shared.name.startswith("popen-"):
        shared = shared.parent
    return MediaFactory(shared / "clip-media")
