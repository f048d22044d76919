"""Work for racing processes, and a way to run them at the same moment."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable
from typing import Any

from video_pipeline.store.base import ObjectStore, PreconditionFailed

Meet = Callable[[], Any]
"""Waits until all racing processes have come this far."""


def race(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Runs `work(index, meet, *arguments)` in `count` processes; their results by index."""
    # fork: eight fresh interpreters would need seconds to import boto3 on two cores
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(count), context.SimpleQueue()

    def run(index: int) -> None:
        try:
            results.put((index, work(index, lambda: barrier.wait(60), *arguments)))
        except BaseException as error:
            barrier.abort()
            results.put((index, error))

    processes = [context.Process(target=run, args=(index,)) for index in range(count)]
    for process in processes:
        process.start()
    found = dict(results.get() for _ in processes)
    for process in processes:
        process.join(30)
    for result in found.values():
        if isinstance(result, BaseException):
            raise result
    return [found[index] for index in range(count)]


def create_each(index: int, meet: Meet, open_again: Callable[[], ObjectStore], keys: list[str]) -> set[str]:
    """The keys that this process created; all processes try each at the same moment."""
    store, created = open_again(), set()
    for key in keys:
        meet()
        with contextlib.suppress(PreconditionFailed):
            store.put(key, f"written by {index}".encode(), if_none_match=True)
            created.add(key)
    return created


def count_up(index: int, meet: Meet, open_again: Callable[[], ObjectStore], key: str, times: int) -> None:
    """Adds 1 to the number at `key`, `times` times, by compare-and-swap."""
    del index
    store, done = open_again(), 0
    meet()
    while done < times:
        before = store.head(key)
        assert before is not None
        number = int(store.get(key))
        after = store.head(key)
        if after is None or after.etag != before.etag:
            continue
        with contextlib.suppress(PreconditionFailed):
            store.put(key, str(number + 1).encode(), if_match=before.etag)
            done += 1
