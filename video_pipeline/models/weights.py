"""Weight files of the caption model: where the shipped one is, how one is checked and loaded.

Belongs here: reading and writing `.safetensors` weight files and naming what is wrong with one. Does not
belong here: the network itself (`caption_pairs.py`), object stores (callers pass a path or the bytes).

A file that is missing, damaged or of another architecture is an error. There is no fallback of any kind:
untrained weights give confident nonsense, and nobody would notice.

Format: safetensors (8 bytes little-endian header length, JSON header, raw tensors), whose `__metadata__`
holds `architecture` and, for the model card, how the weights were made. Tensors may be float16 or float32.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from video_pipeline.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from video_pipeline.models.caption_pairs import CaptionPairNet

SHIPPED_CAPTION_WEIGHTS = Path(__file__).parent / "weights" / "caption_pairs.safetensors"

MAX_HEADER_BYTES = 1 << 20

MAX_FILE_BYTES = 64 << 20
"""The network's weights take 0.6 MB; a file beyond this is something else, and is not read into memory."""


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode on the CPU, the SHA-256 of its file (hex), and the file's metadata."""

    net: CaptionPairNet
    sha256: str
    metadata: dict[str, str]


def weights_sha256(path: Path | None = None) -> str:
    """SHA-256 (hex) of a weight file, by default the shipped one; needs no torch. BadInput if missing."""
    return hashlib.sha256(_read(path or SHIPPED_CAPTION_WEIGHTS)).hexdigest()


def weights_metadata(path: Path | None = None) -> dict[str, str]:
    """What a weight file says about itself; needs no torch. BadInput if it is missing or no weight file."""
    chosen = path or SHIPPED_CAPTION_WEIGHTS
    return _metadata(_read(chosen), str(chosen))


def load_caption_model(source: Path | bytes | None = None, *, name: str | None = None) -> LoadedModel:
    """Load caption weights: a path, the bytes of a file, or None for those that ship.

    `name` is what errors call the bytes (the object key, say). BadInput when the file is missing, truncated,
    not safetensors, of another architecture, with tensors missing, left over, misshapen or not finite.
    """
    if isinstance(source, bytes):
        data, called = source, name or "weights given as bytes"
    else:
        path = source or SHIPPED_CAPTION_WEIGHTS
        data, called = _read(path), name or str(path)
    from video_pipeline.models.caption_pairs import ARCHITECTURE, CaptionPairNet

    metadata = _metadata(data, called)
    architecture = metadata.get("architecture")
    if architecture != ARCHITECTURE:
        raise _bad(called, f"its architecture is {architecture or 'not stated'}, needed is {ARCHITECTURE}")
    net = CaptionPairNet()
    tensors = _tensors(data, called)
    expected = net.state_dict()
    if missing := sorted(set(expected) - set(tensors)):
        raise _bad(called, f"tensors are missing: {', '.join(missing[:4])}")
    if extra := sorted(set(tensors) - set(expected)):
        raise _bad(called, f"it holds tensors the network does not have: {', '.join(extra[:4])}")
    for key, wanted in expected.items():
        found = tensors[key]
        if found.shape != wanted.shape:
            raise _bad(called, f"{key} has shape {tuple(found.shape)}, needed is {tuple(wanted.shape)}")
        if not found.isfinite().all():
            raise _bad(called, f"{key} holds values that are not numbers")
    net.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    net.requires_grad_(False).eval()
    return LoadedModel(net, hashlib.sha256(data).hexdigest(), metadata)


def save_caption_weights(net: CaptionPairNet, path: Path, metadata: dict[str, str]) -> None:
    """Write a network's weights as float16, `architecture` added to the metadata; bit for bit repeatable."""
    import torch
    from safetensors.torch import save

    from video_pipeline.models.caption_pairs import ARCHITECTURE

    tensors = {key: value.detach().to(torch.float16).contiguous() for key, value in net.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(with_metadata(save(tensors), {"architecture": ARCHITECTURE, **metadata}))


def with_metadata(data: bytes, metadata: dict[str, str]) -> bytes:
    """The file with this metadata in sorted order; the library's own order differs from run to run."""
    length = int.from_bytes(data[:8], "little")
    tensors = json.loads(data[8 : 8 + length])
    described = {"__metadata__": dict(sorted(metadata.items())), **dict(sorted(tensors.items()))}
    header = json.dumps(described, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _bad(str(path), f"it is larger than {MAX_FILE_BYTES >> 20} MB")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"The caption model's weights cannot be read: {error.strerror or error}.",
            input=str(path),
            what_to_do="give the path or key of a weight file, or leave it out to use the shipped weights",
        ) from error


def _metadata(data: bytes, called: str) -> dict[str, str]:
    """The `__metadata__` of a safetensors file (format as in the safetensors README)."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise _bad(called, "it is truncated or not a safetensors file")
    try:
        header = json.loads(data[8 : 8 + length])
        return {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise _bad(called, "it is not a safetensors file") from error


def _tensors(data: bytes, called: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise _bad(called, f"it is damaged ({error})") from error


def _bad(called: str, reason: str) -> BadInput:
    return BadInput(
        f"These are not usable caption model weights: {reason}.",
        input=called,
        what_to_do="give a file written by `python -m video_pipeline.captions.train`, or leave it out",
    )
