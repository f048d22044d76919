"""Waiting in the stand-in for Modal: nothing that a client does to its stream may hold up the others."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.servers.modal_loopback import state as module
from tests.servers.modal_loopback.state import State


def test_waiters_whose_clients_go_away_hold_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAKE_S", 0.0005)
    chance = random.Random(3)

    async def run() -> bool:
        state = State(tmp_path, {})

        async def goes_away() -> None:
            waiter = asyncio.ensure_future(state.wait_for(lambda: False, 60))
            await asyncio.sleep(chance.uniform(0, 0.02))
            waiter.cancel()
            # Once more, as when a stream is reset and its deadline passes.
            await asyncio.sleep(0)
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)

        for _ in range(20):
            await asyncio.gather(*(goes_away() for _ in range(50)), state.changed())
        await asyncio.wait_for(state.changed(), 5)
        return await asyncio.wait_for(state.wait_for(lambda: True, 1), 5)

    assert asyncio.run(asyncio.wait_for(run(), 60))


def test_a_change_wakes_whoever_waits_for_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAKE_S", 60.0)

    async def run() -> list[bool]:
        state, ready = State(tmp_path, {}), []
        waiters = [asyncio.ensure_future(state.wait_for(lambda: ready, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        ready.append(1)
        await state.changed()
        return list(await asyncio.wait_for(asyncio.gather(*waiters), 5))

    assert asyncio.run(run()) == [True, True, True]


def test_waiting_ends_when_its_time_is_over(tmp_path: Path) -> None:
    assert asyncio.run(State(tmp_path, {}).wait_for(lambda: False, 0.05)) is False
