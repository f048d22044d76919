"""A place of a test's own, with the experiments' tasks and the double that misbehaves on request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from experiments.place import Place, opened
from tests.conftest import ROOT

DOUBLES = "tests.doubles.tasks"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("VIDEO_PIPELINE_TASK_MODULES", DOUBLES)
    monkeypatch.syspath_prepend(str(ROOT))
    with opened("local") as found:
        yield found
