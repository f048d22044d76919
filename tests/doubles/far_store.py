"""A store whose files are not on this machine, and the readers that were opened instead."""

from __future__ import annotations

from typing import Any

import pytest

from video_pipeline.store.base import ObjectStore


def put_far_away(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """From now on the store gives no local path. The list gets every reader that it opens."""
    opened: list[Any] = []
    open_reader = type(store).open_reader

    def noting(self: Any, key: str) -> Any:
        opened.append(open_reader(self, key))
        return opened[-1]

    monkeypatch.setattr(type(store), "open_reader", noting)
    monkeypatch.setattr(type(store), "local_path", lambda self, key: None)
    return opened
