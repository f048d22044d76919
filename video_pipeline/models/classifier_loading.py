"""From a classifier's file, or its import path, to a network that runs on a device.

Belongs here: state dicts, `torch.export` programs, imported modules, and what is wrong with each. Does not
belong here: what a request says (`classifier_spec.py`), the store, caching, answers (`image_classifier.py`).

What a file may do: `.safetensors` holds tensors only, and `.pt`/`.pth` are read with `weights_only=True`. A
`.pt2` is a program. torch would unpickle parts of it in full, which is switched off here (an archive that
needs it is refused), but it also evaluates expressions and calls operators by name: take one only from people
whose code you would run. An import path is code of the worker's own installation.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from video_pipeline.errors import PipelineError
from video_pipeline.models import efficientnet_lite
from video_pipeline.models.classifier_spec import bad_classifier

STATE_SUFFIXES = (".safetensors", ".pt", ".pth")
EXPORT_SUFFIX = ".pt2"

Builder = Callable[[Mapping[str, Tensor]], tuple[nn.Module, dict[str, Tensor]]]
ARCHITECTURES: dict[str, Builder] = {efficientnet_lite.ARCHITECTURE: efficientnet_lite.network_for}
"""Name -> a network for a state dict (of as many classes as that has), and the state dict in its layout.
Raises KeyError naming a missing tensor, ValueError saying what else is wrong."""

_FORCE_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_environment = threading.Lock()
_cudnn = threading.Lock()


@dataclass
class LoadedNetwork:
    """A network in evaluation mode on its device. `run` takes `(B, 3, H, W)` and gives logits.

    An exported program may take `smallest_batch` to `largest_batch` pictures only, often one number for both;
    `input_side` is set for one of a fixed square input.
    """

    run: Callable[[Tensor], Any]
    name: str
    sha256: str
    architecture: str
    dtype: torch.dtype = torch.float32
    smallest_batch: int = 1
    largest_batch: int | None = None
    input_side: int | None = None
    _classes: dict[int, int] = field(default_factory=dict)

    def classes(self, side: int, device: torch.device) -> int:
        """How many classes it answers for pictures of `side` pixels: one run, once. BadInput if it fails."""
        if side not in self._classes:
            self._classes[side] = self.logits(torch.zeros(1, 3, side, side, device=device)).shape[1]
        return self._classes[side]

    def logits(self, batch: Tensor) -> Tensor:
        """`(B, classes)` float32 for a batch `(B, 3, H, W)` on its device, B > 0. BadInput if it fails, or
        answers something else. On a CPU a picture's answer does not depend, to the bit, on those beside it,
        unless the network takes several at least.
        """
        parts = []
        with torch.inference_mode(), _repeatable(batch.device):
            for part in batch.to(self.dtype).split(self.pictures_a_run(batch.device, len(batch))):
                count = len(part)
                if count < self.smallest_batch:
                    part = torch.cat((part, part[-1:].expand(self.smallest_batch - count, -1, -1, -1)))
                parts.append(self._run(part)[:count].float())
            return torch.cat(parts)

    def pictures_a_run(self, device: torch.device, count: int) -> int:
        """Of a batch of `count`. On a CPU as few as can be: EfficientNet-Lite0 takes 13 ms of one core for a
        picture alone and 19 to 23 in batches of 2 to 32, since one picture's activations stay in the cache.
        """
        return self.smallest_batch if device.type == "cpu" else self.largest_batch or max(count, 1)

    def _run(self, part: Tensor) -> Tensor:
        try:
            out = self.run(part.contiguous(memory_format=torch.channels_last))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # A network of one's own may raise anything.
            shape = "x".join(str(side) for side in part.shape)
            raise bad_classifier(self.name, f"it fails on pictures of {shape} ({_reason(error)})") from error
        if not isinstance(out, Tensor):
            raise bad_classifier(self.name, f"it answers {type(out).__name__}, not a tensor of logits")
        if out.ndim != 2 or len(out) != len(part) or not out.shape[1]:
            found = f"a tensor {tuple(out.shape)} for {len(part)} pictures"
            raise bad_classifier(self.name, f"it answers {found}, not one row of logits each")
        return out


@contextlib.contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """On CUDA, cuDNN's deterministic algorithms in full float32: the same answers each time, and a CPU's."""
    if device.type != "cuda":
        yield
        return
    # The flags are the process's, and two threads would restore each other's.
    with (
        _cudnn,
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield


def load_file(
    data: bytes, *, name: str, architecture: str | None, device: torch.device, half: bool
) -> LoadedNetwork:
    """The network of a weight file; `name` ends in its suffix, which says what it is. BadInput if unusable.

    `architecture` left out is read from the metadata of a `.safetensors` file.
    """
    lower = name.lower()
    digest = hashlib.sha256(data).hexdigest()
    if lower.endswith(EXPORT_SUFFIX):
        if architecture is not None:
            raise bad_classifier(name, "an exported program has its architecture inside: leave it out")
        if half:
            raise bad_classifier(name, "an exported program runs as it was exported, not in half precision")
        return _exported(data, name, digest, device)
    if not lower.endswith(STATE_SUFFIXES):
        raise bad_classifier(name, f"its name ends in none of {', '.join((EXPORT_SUFFIX, *STATE_SUFFIXES))}")
    if lower.endswith(".safetensors"):
        state = _read_safetensors(data, name)
        architecture = architecture or _stated_architecture(data)
    else:
        state = _read_checkpoint(data, name)
    builder = ARCHITECTURES.get(architecture or "")
    if builder is None:
        known = ", ".join(sorted(ARCHITECTURES))
        said = (
            f"its architecture {architecture!r} is not known" if architecture else "it needs an architecture"
        )
        raise bad_classifier(name, f"{said} (known: {known}; for others export the network to a .pt2 file)")
    net = _filled(builder, state, name, str(architecture))
    return _placed(net, device, half, name=name, digest=digest, architecture=str(architecture))


def load_import(path: str, *, device: torch.device, half: bool) -> LoadedNetwork:
    """The `nn.Module` that `package.module:callable` returns. BadInput if there is none.

    Its SHA-256 covers the names, types and values of its parameters and buffers, not its code.
    """
    module_name, _, attribute = path.partition(":")
    try:
        make = getattr(importlib.import_module(module_name), attribute)
        net = make()
    except PipelineError:
        raise
    except (
        Exception
    ) as error:  # Anything may go wrong in foreign code, and it is their input, not our defect.
        raise bad_classifier(path, f"calling it failed with {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise bad_classifier(path, f"it returned {type(net).__name__}, not a torch.nn.Module")
    digest = hashlib.sha256()
    for key, tensor in sorted(net.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    net.requires_grad_(False).eval()
    return _placed(net, device, half, name=path, digest=digest.hexdigest(), architecture=path)


def _placed(
    net: nn.Module, device: torch.device, half: bool, *, name: str, digest: str, architecture: str
) -> LoadedNetwork:
    dtype = torch.float16 if half else torch.float32
    # channels_last halves the time of EfficientNet-Lite0 on a CPU: 12.5 instead of 22 ms a picture.
    placed = net.to(device=device, dtype=dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return LoadedNetwork(placed, name, digest, architecture, dtype)


def _filled(builder: Builder, state: Mapping[str, Tensor], name: str, architecture: str) -> nn.Module:
    """The network with these weights: every tensor there, none left over, shapes right, values finite."""
    try:
        net, tensors = builder(state)
    except KeyError as error:
        raise bad_classifier(name, f"it has no tensor {error.args[0]}: it is no {architecture}") from error
    except (ValueError, IndexError, RuntimeError) as error:
        raise bad_classifier(name, str(error)) from error
    expected = net.state_dict()
    if missing := sorted(set(expected) - set(tensors)):
        raise bad_classifier(name, f"tensors are missing: {', '.join(missing[:4])}")
    if extra := sorted(set(tensors) - set(expected)):
        raise bad_classifier(name, f"{architecture} has no tensors {', '.join(extra[:4])}")
    for key, wanted in expected.items():
        found = tensors[key]
        if found.shape != wanted.shape:
            raise bad_classifier(name, f"{key} is {tuple(found.shape)}, needed is {tuple(wanted.shape)}")
        if not found.isfinite().all():
            raise bad_classifier(name, f"{key} holds values that are not numbers")
    net.load_state_dict(tensors, assign=True)
    return net.requires_grad_(False).eval()


def _read_safetensors(data: bytes, name: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise bad_classifier(name, f"it is no safetensors file, or a damaged one ({error})") from error


def _stated_architecture(data: bytes) -> str | None:
    """`architecture` in the metadata of a file that `_read_safetensors` has taken."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__", {}).get("architecture")


def _read_checkpoint(data: bytes, name: str) -> dict[str, Tensor]:
    """A pickled state dict, also one below `state_dict` in a training checkpoint, or of `DataParallel`."""
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what the damage happens to cause, from EOFError to KeyError.
        raise bad_classifier(name, f"torch does not read it ({_reason(error)})") from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise bad_classifier(name, "it holds no state dict (names and tensors)")
    return {str(key).removeprefix("module."): tensor for key, tensor in loaded.items()}


def _exported(data: bytes, name: str, digest: str, device: torch.device) -> LoadedNetwork:
    try:
        with _no_full_unpickling():
            program = torch.export.load(io.BytesIO(data))
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
    except Exception as error:  # As for a checkpoint: the kind of error says little.
        raise bad_classifier(name, f"torch.export does not load it ({_reason(error)})") from error
    inputs = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    shapes = {node.name: getattr(node.meta.get("val"), "shape", ()) for node in program.graph.nodes}
    if len(inputs) != 1 or len(shape := shapes.get(inputs[0], ())) != 4:
        raise bad_classifier(name, "the program takes something else than one batch of pictures (B, 3, H, W)")
    channels, height, width = (side if isinstance(side, int) else None for side in shape[1:])
    if channels not in (3, None):
        raise bad_classifier(name, f"the program takes pictures of {channels} channels, needed are 3")
    if height != width:
        raise bad_classifier(name, f"the program takes pictures of {width}x{height}, needed is a square")
    loaded = LoadedNetwork(program.module(), name, digest, "torch.export", input_side=height)
    if isinstance(shape[0], int):
        loaded.smallest_batch = loaded.largest_batch = shape[0]
    elif (bounds := program.range_constraints.get(shape[0].node.expr)) is not None:
        loaded.smallest_batch = max(1, int(bounds.lower))
        # Without a bound, torch writes infinity, or the largest 64-bit number.
        loaded.largest_batch = int(bounds.upper) if bounds.upper < 2**31 else None
    return loaded


@contextlib.contextmanager
def _no_full_unpickling() -> Iterator[None]:
    """Inside, `torch.load` never unpickles more than tensors, and torch's own reports are not logged: the
    error that is raised says the same once."""
    logger = logging.getLogger("torch.export")
    with _environment:
        before, disabled = os.environ.get(_FORCE_WEIGHTS_ONLY), logger.disabled
        os.environ[_FORCE_WEIGHTS_ONLY] = "1"
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = disabled
            if before is None:
                del os.environ[_FORCE_WEIGHTS_ONLY]
            else:
                os.environ[_FORCE_WEIGHTS_ONLY] = before


def _reason(error: Exception) -> str:
    """The first line of an error of torch's, without its advice to unpickle the file in full."""
    if "weights only" in str(error).lower():
        return "it holds pickled objects that are no tensors"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
