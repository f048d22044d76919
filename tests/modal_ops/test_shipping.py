"""What a deployment uploads: every file that a task needs, and nothing of Dagster.

The list comes from the code of Modal's client that uploads it, and the tasks are imported from a copy of
these files alone, where neither the project nor Dagster can be found.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from video_pipeline.modal_ops import images
from video_pipeline.settings import load_settings
from video_pipeline.tasks import BUILT_IN

PACKAGE = ROOT / "video_pipeline"
NEVER = {"assets", "resources", "definitions", "partitions", "jobs", "failures", "cli", "demo", "operations"}
"""Top-level modules of ours that no worker has any use for."""


@pytest.fixture(scope="module")
def shipped() -> dict[str, Path]:
    """Path below the package -> file here."""
    found: dict[str, Path] = {}
    for local, remote in images.shipped_files(load_settings()):
        assert remote.startswith("/root/video_pipeline/")
        found[remote.removeprefix("/root/video_pipeline/")] = local
    return found


@pytest.fixture(scope="module")
def container(shipped: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for `/root` of a container: the shipped files and nothing else."""
    root = tmp_path_factory.mktemp("root")
    for relative, local in shipped.items():
        target = root / "video_pipeline" / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(local, target)
    return root


def top_of(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def test_what_is_shipped_is_shipped_whole_but_for_byte_code_and_what_looks_at_costs(
    shipped: dict[str, Path],
) -> None:
    there = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    expected = {
        name
        for name in there
        if top_of(name) in images.SHIPPED
        and name not in images.AT_HOME
        and not any(part == "__pycache__" or part.startswith(".") for part in name.split("/"))
    }
    assert set(shipped) == expected
    assert {top_of(name) for name in shipped} == images.SHIPPED
    assert not NEVER & images.SHIPPED


def test_the_package_data_that_is_installed_is_shipped_too(shipped: dict[str, Path]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["video_pipeline"]
    data = {path.relative_to(PACKAGE).as_posix() for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert {Path(name).suffix for name in data} >= {".safetensors", ".json", ".html", ".js", ".css", ".ttf"}
    assert {name for name in data if top_of(name) not in NEVER} <= set(shipped)


@pytest.mark.parametrize(
    "name",
    [
        "models/weights/caption_pairs.safetensors",
        "models/weights/efficientnet_lite0.safetensors",
        "models/weights/nanodet_g.safetensors",
        "models/weights/realesr_animevideov3_x4.safetensors",
        "models/imagenet_classes.json",
        "clips/fonts/DejaVuSans.ttf",
        "telemetry/waterfall.html",
        "modal_ops/prices.json",
        "modal_ops/gpus.json",
    ],
)
def test_a_file_that_tasks_read_is_shipped(name: str, shipped: dict[str, Path]) -> None:
    assert shipped[name].stat().st_size > 100


def test_no_shipped_module_imports_dagster_or_a_module_that_stays_at_home(shipped: dict[str, Path]) -> None:
    tops = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")} - images.SHIPPED
    at_home = {f"video_pipeline.{top}" for top in tops}
    at_home |= {f"video_pipeline.{name.removesuffix('.py').replace('/', '.')}" for name in images.AT_HOME}
    wrong = [
        f"{name} imports {imported}"
        for name, local in shipped.items()
        for imported in imports_of(local)
        if imported.split(".")[0] == "dagster"
        or any(f"{imported}.".startswith(f"{home}.") for home in at_home)
    ]
    assert wrong == []


def test_every_module_that_imports_dagster_stays_at_home(shipped: dict[str, Path]) -> None:
    of_dagster = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == "dagster" for name in imports_of(path))
    }
    assert len(of_dagster) > 8
    assert not of_dagster & set(shipped)


def test_the_images_have_every_package_that_a_shipped_module_imports(shipped: dict[str, Path]) -> None:
    of_import = {**packages_distributions(), "PyNvVideoCodec": ["PyNvVideoCodec"], "pynvml": ["nvidia-ml-py"]}
    pinned = {name_of(line) for line in (*images.PACKAGES, *images.GPU_PACKAGES, images.TORCH)}
    brought = {"modal": "Modal's client, which Modal adds", "botocore": "boto3 requires it"}
    missing = {
        f"{imported.split('.')[0]} (in {name})"
        for name, local in shipped.items()
        for imported in imports_of(local)
        if (top := imported.split(".")[0]) not in sys.stdlib_module_names
        and top not in {"video_pipeline", *brought}
        and not {dist.lower() for dist in of_import.get(top, [top])} & pinned
    }
    assert missing == set()


def test_the_pinned_versions_are_within_the_bounds_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    bounds: dict[str, list[Requirement]] = {}
    for line in (*project["dependencies"], *extras["gpu"], *extras["ocr"]):
        bounds.setdefault(name_of(line), []).append(Requirement(line))
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert images.TORCH in constraints.splitlines()
    for line in (*images.PACKAGES, *images.GPU_PACKAGES, images.TORCH):
        name, _, version = line.partition("==")
        assert version, f"{line} is not pinned"
        for bound in bounds.get(name.lower(), []):
            assert bound.specifier.contains(version), f"{line} is outside {bound}"


@pytest.mark.slow
def test_every_task_is_imported_from_the_shipped_files_alone_and_without_dagster(container: Path) -> None:
    imported = in_container(
        container,
        """
        import importlib
        from video_pipeline.tasks import BUILT_IN
        for task in BUILT_IN:
            assert callable(task.load()), task.name
            task.request_model, task.result_model
        import video_pipeline.modal_ops.entry, video_pipeline.compute.modal
        import json
        print(json.dumps([task.name for task in BUILT_IN]))
        ours = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "video_pipeline"]
        assert len(ours) > 50
        assert all(path.startswith(root) for path in ours), ours
        """,
    )
    assert imported == [task.name for task in BUILT_IN]


def test_the_app_itself_is_imported_from_the_shipped_files_alone(container: Path) -> None:
    """The container imports the module of the app to find its function."""
    names = in_container(
        container,
        """
        import os, json
        os.environ["VIDEO_PIPELINE_STORE"] = "s3://bucket"
        from video_pipeline.modal_ops import app
        print(json.dumps([hasattr(app, name) for name in ("extract_clip", "run_inference", "probe")]))
        """,
    )
    assert names == [True, True, True]


def in_container(root: Path, code: str) -> list[object]:
    """Runs code where only the shipped files, the standard library and the installed packages are found.

    `-S` leaves out the `.pth` files of site-packages, and with them the editable install of the project."""
    import textwrap

    packages = next(path for path in sys.path if path.endswith("site-packages"))
    opening = f"""
import sys
root, packages = {str(root)!r}, {packages!r}
sys.path[:] = [path for path in sys.path if path and "site-packages" not in path]
sys.path[:0] = [root]
sys.path.append(packages)
class NoDagster:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].startswith("dagster"):
            raise ImportError(f"{{name}} is not in the image")
sys.meta_path.insert(0, NoDagster())
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", opening + textwrap.dedent(code)],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "HOME": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def imports_of(path: Path) -> Iterator[str]:
    """Every absolute import in a file, those inside functions included."""
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(requirement: str) -> str:
    return Requirement(requirement).name.lower()
