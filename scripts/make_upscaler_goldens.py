"""Make the pictures that the upscaler is tested against, by the reference implementation of the network.

    python -m scripts.make_upscaler_goldens [--media .cache/training/clips] [--packages .cache/models]

Belongs here: which crops of which footage, and how PyPI's `ncnn` runs the original model on them on the CPU.
Does not belong here: anything that the product runs; the original files come from `convert_upscaler.py`.

Writes `tests/fixtures/clips/upscale_NAME.png`, a crop as it is in the footage, and `upscale_NAME_x4.png`,
what ncnn makes of it: clamped to 0..1, times 255, rounded. The footage is what `fetch_training_media.py`
collects. ncnn is put into a folder of its own, not into the environment. Memory it hands out is valid only as
long as the ncnn object that owns it, so both the input and the output are copied.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from scripts.convert_upscaler import model_files

ROOT = Path(__file__).resolve().parents[1]

FIXTURES = ROOT / "tests" / "fixtures" / "clips"

NCNN = "ncnn==1.0.20261020"

CROPS = {
    "street": ("opencv-doc__vtest.avi", 500, (600, 268, 72, 96)),
    "park": ("sports2d__Demo_demo.mp4", 60, (1386, 548, 96, 64)),
}
"""Name: file, index of the picture, (left, top, width, height). Fine edges, people, leaves, compression."""


def main() -> None:
    """Cut the crops and run the model on them."""
    parser = argparse.ArgumentParser(description="Make the upscaler's test pictures.")
    parser.add_argument("--media", type=Path, default=ROOT / ".cache" / "training" / "clips")
    parser.add_argument("--packages", type=Path, default=ROOT / ".cache" / "models")
    arguments = parser.parse_args()
    ncnn = import_ncnn(arguments.packages / "ncnn")
    files = model_files(arguments.packages)
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name, (clip, index, box) in CROPS.items():
        crop = cut(arguments.media / clip, index, box)
        enlarged = run(ncnn, files, arguments.packages, crop)
        Image.fromarray(crop).save(FIXTURES / f"upscale_{name}.png", optimize=True)
        Image.fromarray(enlarged).save(FIXTURES / f"upscale_{name}_x4.png", optimize=True)
        print(f"{name}: {crop.shape} -> {enlarged.shape}")


def import_ncnn(folder: Path) -> Any:
    """The module ncnn, installed into `folder` if it is not there."""
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, NCNN, "--target", str(folder)], check=True)
    sys.path.append(str(folder))
    import ncnn  # pyright: ignore[reportMissingImports]

    return ncnn


def cut(path: Path, index: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """A part of one picture of a video, (height, width, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        for at, frame in enumerate(container.decode(video=0)):
            if at == index:
                left, top, width, height = box
                return frame.to_ndarray(format="rgb24")[top : top + height, left : left + width].copy()
    raise SystemExit(f"{path} has no picture {index}.")


def run(ncnn: Any, files: dict[str, bytes], folder: Path, crop: np.ndarray) -> np.ndarray:
    """The model's output for a crop, (4 height, 4 width, 3) uint8 RGB."""
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 1
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    paths = {suffix: folder / f"animevideov3_x4{suffix}" for suffix in files}
    for suffix, path in paths.items():
        path.write_bytes(files[suffix])
    if net.load_param(str(paths[".param"])) or net.load_model(str(paths[".bin"])):
        raise SystemExit("ncnn could not load the model.")
    planes = np.ascontiguousarray(crop.transpose(2, 0, 1).astype(np.float32) / 255)
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(planes).clone())
    status, output = extractor.extract("output")
    if status:
        raise SystemExit("ncnn could not run the model.")
    enlarged = np.array(output).transpose(1, 2, 0)
    return np.rint(np.clip(enlarged, 0, 1) * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
