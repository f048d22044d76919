"""Where an experiment works: settings, store and compute of its own, and the films it puts there.

Belongs here: opening and closing all that, and describing the machine. Does not belong here: films
(`films.py`), running (`harness.py`).

Without VIDEO_PIPELINE_STORE the store is a directory that is deleted afterwards, and so are the logs of the
workers; a store that the environment names keeps the records of the calls, under the tenant `experiments`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from experiments.schema import Environment
from video_pipeline import keys
from video_pipeline.compute import open_compute
from video_pipeline.compute.base import Compute
from video_pipeline.keys import VideoId
from video_pipeline.machine import usable_cores
from video_pipeline.machine_parts import Absent, gpus, processor
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

ROOT = Path(__file__).resolve().parent.parent
TENANT = "experiments"
TASKS = "experiments.tasks"
PACKAGES = ("av", "torch", "numpy", "scipy", "modal", "pydantic", "rapidocr", "onnxruntime")


@dataclass
class Place:
    """What an experiment has at hand."""

    settings: Settings
    store: ObjectStore
    compute: Compute
    folder: Path
    """For files of the experiment's own; deleted afterwards."""

    films: dict[str, str] = field(default_factory=dict)

    @property
    def on_this_machine(self) -> bool:
        return self.settings.compute == "local"

    def put(self, film: Path) -> str:
        """A film as an object of the store, once; its key."""
        name = keys.suggest_name(film.stem)
        if name not in self.films:
            key = keys.source_key(VideoId(TENANT, name), film.suffix[1:])
            self.store.put(key, film)
            self.films[name] = key
        return self.films[name]


@contextmanager
def opened(compute: str | None) -> Iterator[Place]:
    """A place on the named backend, or on the environment's. The experiments' own tasks are added to the
    table of tasks, here and in the workers, which inherit the environment."""
    with tempfile.TemporaryDirectory(prefix="experiments-") as folder, environment(_tasks_of_ours()):
        overrides: dict[str, object] = {"state_dir": folder + "/state"}
        if compute is not None:
            overrides["compute"] = compute
        if "VIDEO_PIPELINE_STORE" not in os.environ:
            overrides["store"] = folder + "/store"
        settings = load_settings(**overrides)
        store = open_store(settings)
        yield Place(settings, store, open_compute(settings, store), Path(folder))


def _tasks_of_ours() -> dict[str, str | None]:
    others = os.environ.get("VIDEO_PIPELINE_TASK_MODULES", "").replace(",", " ").split()
    return {"VIDEO_PIPELINE_TASK_MODULES": " ".join(dict.fromkeys([*others, TASKS]))}


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """These variables in this process's environment for a while; None takes one out."""
    before = {name: os.environ.get(name) for name in variables}

    def put(values: Mapping[str, str | None]) -> None:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    put(variables)
    try:
        yield
    finally:
        put(before)


def describe(place: Place, prices_as_of: str) -> Environment:
    """The machine and the code, as they are now."""
    found = gpus()
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return Environment(
        backend=place.settings.compute,
        processor=processor(),
        cores=usable_cores(),
        memory_mib=psutil.virtual_memory().total >> 20,
        gpus=() if isinstance(found, Absent) else tuple(gpu.name for gpu in found),
        system=platform.platform(),
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        threads=os.environ.get("OMP_NUM_THREADS"),
        commit=_git("rev-parse", "--short=12", "HEAD") or "unknown",
        changed_files=None if changed is None else len(changed.splitlines()),
        store="bucket" if place.settings.is_bucket else "directory",
        prices_as_of=prices_as_of,
        load_average_before=round(os.getloadavg()[0], 2),
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
