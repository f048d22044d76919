"""Random stores with random pointers, recipes and calls: nothing that is referred to ever goes, everything
else that is old does. What should go is worked out here from the drawn world alone."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operations.retention_world import DAY_S, ELSEWHERE, HOUR_S, OLD_S, later, recipe
from video_pipeline.calls import CallRecord, WorkerIdentity
from video_pipeline.operations.retention import clean, survey
from video_pipeline.store.directory import DirectoryStore

YOUNG_S = 2 * DAY_S
OWNERS = [("videos", "street"), ("videos", "park"), ("clips", "goal"), ("clips", "save")]
KINDS = {"videos": ["frames", "chunks", "extents", "captions"], "clips": ["clip"]}

Id = tuple[str, str, str]
"""Owner, kind and number: names one recipe."""


@dataclass
class Drawn:
    state: Literal["finished", "unfinished", "marked"]
    old: bool
    names: list[Id] = field(default_factory=list)


@dataclass
class World:
    units: dict[Id, Drawn]
    pointers: dict[str, list[Id]]
    running: set[str]
    parts: dict[str, bool]
    calls: dict[str, str]


AREA = {name: area for area, name in OWNERS}
IDS: list[Id] = [(name, kind, n) for area, name in OWNERS for kind in KINDS[area] for n in "12"]


def may_name(one: Id, other: Id) -> bool:
    """A video's products name each other, and a clip may be made of any other clip."""
    return other[0] == one[0] if AREA[one[0]] == "videos" else AREA[other[0]] == "clips"


@st.composite
def worlds(draw: st.DrawFn) -> World:
    chosen = draw(st.lists(st.sampled_from(IDS), unique=True, min_size=1))
    units: dict[Id, Drawn] = {}
    for one in chosen:
        same = [
            other
            for other in chosen
            if other != one
            and (other[0] == one[0] if AREA[one[0]] == "videos" else AREA[other[0]] == "clips")
        ]
        units[one] = Drawn(
            draw(st.sampled_from(["finished", "finished", "unfinished", "marked"])),
            draw(st.sampled_from([True, True, False])),
            draw(st.lists(st.sampled_from(same), unique=True, max_size=2)) if same else [],
        )
    names = [name for _, name in OWNERS]
    pointers = {
        name: draw(st.lists(st.sampled_from(mine), unique=True, max_size=3))
        for name in names
        if (mine := [one for one in chosen if one[0] == name]) and draw(st.booleans())
    }
    running = draw(st.sets(st.sampled_from(names), max_size=1))
    clips = [name for area, name in OWNERS if area == "clips"]
    parts = {name: draw(st.booleans()) for name in draw(st.sets(st.sampled_from(clips)))}
    states = st.sampled_from(["old", "young", "lost", "running"])
    calls = {f"call {n}": draw(states) for n in range(draw(st.integers(0, 3)))}
    return World(units, pointers, running, parts, calls)


def prefix_of(one: Id) -> str:
    name, kind, _ = one
    place = {
        "frames": f"client/videos/{name}/frames",
        "chunks": f"client/videos/{name}/chunks",
        "captions": f"client/videos/{name}/captions",
        "extents": f"server/videos/{name}/extents",
        "clip": f"client/clips/{name}",
    }[kind]
    return f"demo/{place}/{hash_of(one)}/"


def hash_of(one: Id) -> str:
    return recipe(" ".join(one))


def parts_of(name: str) -> str:
    return f"demo/server/clips/{name}/parts/{recipe(name)}/"


def call_of(name: str) -> str:
    return recipe(name) * 2


def build(world: World, root: Path) -> None:
    def put(key: str, data: bytes, seconds: float) -> None:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        then = time.time() - seconds
        os.utime(path, (then, then))

    for one, unit in world.units.items():
        prefix, seconds = prefix_of(one), OLD_S if unit.old else YOUNG_S
        put(f"{prefix}a", f"{one}".encode(), OLD_S)
        put(f"{prefix}deep/b", b"b", seconds)
        manifest = json.dumps({"recipe": hash_of(one), "about": [named(one, other) for other in unit.names]})
        if unit.state == "finished":
            put(f"{prefix}manifest.json", manifest.encode(), seconds)
        if unit.state == "marked":
            mark = {"key": f"{prefix}manifest.json", "content": manifest, "sha256": sha256(manifest)}
            put(f"{prefix}removed.json", json.dumps(mark).encode(), 2 * HOUR_S)
    for name, wanted in world.pointers.items():
        document = {"artefacts": {" ".join(one): {"recipe": hash_of(one)} for one in wanted}}
        put(f"demo/client/{AREA[name]}/{name}/current.json", json.dumps(document).encode(), OLD_S)
    for name in world.running:
        field_name = "video_id" if AREA[name] == "videos" else "clip_id"
        record(put, call_of(f"on {name}"), "running", {"tenant_id": "demo", field_name: name})
    for name, old in world.parts.items():
        put(f"{parts_of(name)}00000000-00000030.part", b"part", OLD_S if old else YOUNG_S)
    for name, state in world.calls.items():
        record(put, call_of(name), state, {})
        put(
            f"demo/server/results/{call_of(name)}/report.html",
            b"report",
            YOUNG_S if state == "young" else OLD_S,
        )
    put("demo/client/videos/street/video.mp4", b"film", OLD_S)
    put("system/server/ledger/entries/2020-01-01/one.json", b"{}", OLD_S)


def named(one: Id, other: Id) -> str:
    """As manifests do: a recipe of the same video by its hash, a render of another clip by its key."""
    return hash_of(other) if one[0] == other[0] else f"{prefix_of(other)}a"


def sha256(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def record(put: Any, key: str, state: str, request: dict[str, object]) -> None:
    silent = {"old": OLD_S, "young": YOUNG_S, "lost": OLD_S, "running": 0.0}[state]
    now = time.time()
    made = CallRecord(
        key=key,
        task="t",
        version=1,
        tenant="demo",
        request=request,
        worker=WorkerIdentity.of_this_process() if state == "running" else ELSEWHERE,
        state="running" if state in ("running", "lost") else "finished",
        claimed_at=now - silent,
        heartbeat_at=now - silent,
    )
    # Its file may be old all the same: whether a call runs is not told by a file's age.
    put(
        f"demo/server/calls/{key}.json",
        made.model_dump_json().encode(),
        OLD_S if state != "young" else silent,
    )


def kept_of(world: World) -> set[Id]:
    """Recipes that must stay: named by a pointer, of a running call's owner, young, or named by such."""
    kept = {one for wanted in world.pointers.values() for one in wanted}
    kept |= {one for one in world.units if one[0] in world.running}
    kept |= {one for one, unit in world.units.items() if not unit.old and unit.state != "marked"}
    roots = {one for one in kept if world.units[one].state != "unfinished"}
    while roots:
        named_now = {other for one in roots for other in world.units[one].names} - kept
        kept |= named_now
        roots = {one for one in named_now if world.units[one].state != "unfinished"}
    return kept


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] != ".store"
    }


def under(found: dict[str, bytes], prefix: str) -> dict[str, bytes]:
    return {key: data for key, data in found.items() if key.startswith(prefix)}


@contextmanager
def built(world: World) -> Iterator[tuple[Path, dict[str, bytes]]]:
    # In memory where there is such a place: each write of a store waits for the disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        root = Path(folder).resolve()
        build(world, root)
        yield root, files(root)


def check_kept(
    world: World, before: dict[str, bytes], now: dict[str, bytes], *, settled: bool = True
) -> None:
    for one in kept_of(world):
        mine, prefix = under(before, prefix_of(one)), prefix_of(one)
        if world.units[one].state == "marked":
            # It was being removed when something began to refer to it: it is put back as it was.
            mark = mine.pop(f"{prefix}removed.json")
            if settled or f"{prefix}removed.json" not in now:
                mine[f"{prefix}manifest.json"] = json.loads(mark)["content"].encode()
        there = {key: now.get(key) for key in mine}
        assert there == mine, one
    for name, old in world.parts.items():
        if not old or name in world.running:
            assert under(now, parts_of(name)), name
    for name, state in world.calls.items():
        if state in ("young", "running"):
            assert f"demo/server/calls/{call_of(name)}.json" in now, (name, state)
    for key in before:
        if key.endswith(("current.json", "video.mp4")) or "/ledger/" in key:
            assert now[key] == before[key], key


def check_gone(world: World, now: dict[str, bytes], *, calls: bool = True) -> None:
    kept = kept_of(world)
    for one in world.units:
        if one not in kept:
            assert under(now, prefix_of(one)) == {}, one
    for name, old in world.parts.items():
        if old and name not in world.running:
            assert under(now, parts_of(name)) == {}, name
    for name, state in world.calls.items():
        if calls and state in ("old", "lost"):
            assert [key for key in now if call_of(name) in key and "/ledger/" not in key] == [], (name, state)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(worlds())
def test_what_is_referred_to_stays_and_the_rest_that_is_old_goes(world: World) -> None:
    with built(world) as (root, before):
        store = DirectoryStore(root)

        survey(store)
        assert files(root) == before

        first = clean(store)
        assert first.failed == ()
        check_kept(world, before, files(root))

        clean(store, now=later(1.5 * HOUR_S))
        check_kept(world, before, files(root))
        check_gone(world, files(root))


class Killed(BaseException):
    """What a kill looks like from inside."""


class KilledStore(DirectoryStore):
    """Ends after so many changes."""

    def __init__(self, root: Path, changes: int) -> None:
        super().__init__(root)
        self.left = changes

    def put(self, *arguments: Any, **named_arguments: Any) -> Any:
        self._count()
        return super().put(*arguments, **named_arguments)

    def delete(self, key: str) -> None:
        self._count()
        super().delete(key)

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(worlds(), st.integers(1, 30), st.sampled_from([0.0, 1.5 * HOUR_S]))
def test_a_clean_up_that_is_killed_anywhere_loses_nothing_and_is_finished_by_the_next(
    world: World, changes: int, into: float
) -> None:
    with built(world) as (root, before):
        if into:
            clean(DirectoryStore(root))
        with suppress(Killed):
            clean(KilledStore(root, changes), now=later(into))
        check_kept(world, before, files(root), settled=False)

        store = DirectoryStore(root)
        clean(store, now=later(into))
        clean(store, now=later(into + 1.5 * HOUR_S))
        check_kept(world, before, files(root))
        # A call whose removal was killed has a claim that is young.
        check_gone(world, files(root), calls=False)


def test_the_check_of_this_file_finds_what_is_missing() -> None:
    one: Id = ("street", "frames", "1")
    world = World({one: Drawn("finished", True)}, {"street": [one]}, set(), {}, {})
    with built(world) as (_, before):
        now = dict(before)
        del now[f"{prefix_of(one)}a"]
        with pytest.raises(AssertionError):
            check_kept(world, before, now)
    with pytest.raises(AssertionError):
        check_gone(World(world.units, {}, set(), {}, {}), before)
