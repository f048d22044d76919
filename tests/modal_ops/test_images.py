"""What Modal's client would have its service build: the Dockerfile lines of both images, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from video_pipeline.modal_ops import images
from video_pipeline.modal_ops.specs import ImageName
from video_pipeline.settings import Settings, load_settings

BUILDER_VERSION = "2025.06"


@pytest.fixture
def dockerfile(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The lines of an image's layers, written by the client's own code, without a server."""
    from modal._image import _Image

    layers: list[list[str]] = []
    genuine = _Image._from_args

    def listening(**arguments: Any) -> Any:
        layers.append(arguments["dockerfile_function"](BUILDER_VERSION).commands)
        return genuine(**arguments)

    monkeypatch.setattr(_Image, "_from_args", staticmethod(listening))

    def lines_of(name: ImageName) -> list[str]:
        layers.clear()
        images.build_image(name, load_settings())
        return [line for layer in layers for line in layer]

    return lines_of


def line_with(lines: list[str], word: str) -> str:
    (found,) = [line for line in lines if word in line]
    return found


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_both_images_have_the_fonts_and_the_layout_of_right_to_left_text(
    name: ImageName, dockerfile: Any
) -> None:
    line = line_with(dockerfile(name), "fonts-noto-core")
    assert line.startswith("RUN apt-get install")
    for package in ("libfribidi0", "fonts-noto-core", "fonts-noto-cjk", "fontconfig"):
        assert package in line.split()


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_both_images_install_every_package_in_its_pinned_version(name: ImageName, dockerfile: Any) -> None:
    words = line_with(dockerfile(name), "pydantic").split()
    assert set(images.PACKAGES) <= set(words)
    assert all("==" in word for word in words if word[0].isalpha() and word not in BUILD_WORDS)


BUILD_WORDS = ("python", "pip", "install", "RUN")


def test_the_cpu_image_takes_the_build_of_torch_without_cuda(dockerfile: Any) -> None:
    lines = dockerfile("cpu")
    assert "--index-url https://download.pytorch.org/whl/cpu" in line_with(lines, "torch==")
    assert not any("NvVideo" in line or "nvidia" in line.lower() for line in lines)


def test_the_gpu_image_has_cuda_nvdec_and_nvml_and_lets_the_container_see_the_video_driver(
    dockerfile: Any,
) -> None:
    lines = dockerfile("gpu")
    assert "index-url" not in line_with(lines, "torch==")
    assert "PyNvVideoCodec==2.2.4" in line_with(lines, "PyNvVideoCodec")
    assert "nvidia-ml-py==" in line_with(lines, "nvidia-ml-py")
    capabilities = line_with(lines, "NVIDIA_DRIVER_CAPABILITIES").partition("=")[2]
    assert capabilities.strip("'\"") == "compute,utility,video"


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_torchs_threads_leave_the_cores_to_others_while_they_wait(dockerfile: Any, name: str) -> None:
    assert "PASSIVE" in line_with(dockerfile(name), "OMP_WAIT_POLICY")


def test_what_a_users_model_downloads_goes_into_the_volume(dockerfile: Any) -> None:
    lines = dockerfile("gpu")
    assert "/models/torch" in line_with(lines, "TORCH_HOME")
    assert "/models/huggingface" in line_with(lines, "HF_HOME")


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("films/grade.py", False),
        ("films/looks.json", False),
        ("films/grade.pyc", True),
        ("films/__pycache__/grade.txt", True),
        ("films/.git/config", True),
        (".env", True),
    ],
)
def test_of_a_users_package_all_goes_along_but_byte_code_and_what_is_hidden(
    name: str, left_out: bool
) -> None:
    assert images.is_byte_code_or_hidden(Path(name)) is left_out


def test_both_images_have_the_python_that_is_pinned_and_not_that_of_who_deploys(
    dockerfile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert line_with(dockerfile("cpu"), "FROM python:").startswith("FROM python:3.11")
    monkeypatch.setattr(images, "PYTHON", "3.12")
    for name in ("cpu", "gpu"):
        assert line_with(dockerfile(name), "FROM python:").startswith("FROM python:3.12")


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with tasks of a user's own in two modules of one package, and one of ours among them."""
    folder = tmp_path / "films"
    (folder / "__pycache__").mkdir(parents=True)
    for file in ("__init__.py", "grade.py", "looks.json", "__pycache__/grade.cpython-311.pyc"):
        (folder / file).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return load_settings(task_modules="video_pipeline.demo,films.grade,films.cut")


def test_a_users_package_goes_on_top_of_ours_once_and_each_with_its_own_filter(films: Settings) -> None:
    class DoubleOfAnImage:
        added: list[tuple[str, object]] = []  # noqa: RUF012  one list for the test's one image

        def add_local_python_source(self, package: str, *, ignore: object) -> DoubleOfAnImage:
            self.added.append((package, ignore))
            return self

    image = DoubleOfAnImage()
    images.with_source(image, films)  # pyright: ignore[reportArgumentType]
    assert image.added == [
        ("video_pipeline", images.is_left_out),
        ("films", images.is_byte_code_or_hidden),
    ]


def test_the_files_of_a_users_package_are_among_those_that_are_shipped(films: Settings) -> None:
    """The record of a deployment hashes these."""
    remote = {name for _, name in images.shipped_files(films)}
    assert {name for name in remote if "films" in name} == {
        f"/root/films/{name}" for name in ("__init__.py", "grade.py", "looks.json")
    }
    assert "/root/video_pipeline/modal_ops/entry.py" in remote


@pytest.mark.parametrize("name", ["clips/.notes.py", "clips/__pycache__/cut.py", "clips/cut.pyc", "demo.py"])
def test_of_our_package_byte_code_hidden_files_and_what_no_worker_needs_stay_at_home(name: str) -> None:
    assert images.is_left_out(Path(name))
    assert not images.is_left_out(Path("clips/cut.py"))


def test_a_change_of_code_builds_no_image(dockerfile: Any) -> None:
    """The source is mounted when a container starts; copied into a layer, it would be a COPY line."""
    for name in ("cpu", "gpu"):
        assert not any(line.startswith("COPY") and "video_pipeline" in line for line in dockerfile(name))
