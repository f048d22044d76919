"""A local worker that ends before it has claimed its call: its caller is told that, and no earlier attempt's
result, and nothing is written into the store in its name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.doubles.tasks import Behaviour
from video_pipeline import keys
from video_pipeline.calls import read_call, read_result
from video_pipeline.compute.base import CallOptions
from video_pipeline.compute.follow import CallFailed, follow, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore

ONCE = CallOptions(max_attempts=1)


def behaviour(tmp_path: Path) -> Behaviour:
    return Behaviour(do="transient", journal=str(tmp_path / "journal"))


@pytest.fixture
def failed_before(compute: LocalCompute, tmp_path: Path) -> str:
    """The key of the call, which an earlier attempt of has failed."""
    with pytest.raises(CallFailed) as caught:
        run_call(compute, "double", behaviour(tmp_path), ONCE)
    assert caught.value.error.kind == "transient"
    return caught.value.record.key


def test_a_worker_that_cannot_even_start_is_told_in_its_own_words_and_leaves_the_record_of_the_one_before(
    failed_before: str,
    task_settings: Settings,
    store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, call = (read(store, "acme", failed_before) for read in (read_result, read_call))
    ledger = [item.key for item in store.list(keys.LEDGER)]
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho cannot load the library; exit 127\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(CallFailed) as caught:
        run_call(LocalCompute(task_settings, store), "double", behaviour(tmp_path))
    assert caught.value.error.kind == "internal"
    assert "the worker did not claim the call: exit code 127" in caught.value.error.message
    assert "cannot load the library" in caught.value.error.message
    assert (read_result(store, "acme", failed_before), read_call(store, "acme", failed_before)) == (
        result,
        call,
    )
    assert [item.key for item in store.list(keys.LEDGER)] == ledger


@pytest.mark.parametrize("again", [False, True])
def test_a_cancel_before_a_worker_has_claimed_is_a_cancel(
    again: bool, request: pytest.FixtureRequest, task_settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:

    if again:
        request.getfixturevalue("failed_before")
    compute = LocalCompute(task_settings, store)
    handle = compute.submit("double", behaviour(tmp_path))
    compute.cancel(handle, "a person asked")
    ended = follow(compute, handle)
    assert ended.error is not None
    assert (ended.error.kind, ended.error.message) == ("cancelled", "cancelled: a person asked")
    left = read_result(store, "acme", handle.key)
    assert (left.error.kind if left is not None and left.error is not None else None) == (
        "transient" if again else None
    )
