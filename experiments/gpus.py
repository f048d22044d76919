"""Which GPUs an experiment can reach, in words that go into its result.

Belongs here: telling a GPU that is not there. Does not belong here: GPU types and their prices (`modal_ops`).
"""

from __future__ import annotations

from experiments.place import Place

TYPES = ("T4", "L4", "A10", "L40S", "A100-40GB", "H100", "H200", "B200")
"""Of Modal's list, one of each generation and size that a small network could use."""

NO_GPU: dict[str, str | None] = {"CUDA_VISIBLE_DEVICES": ""}
"""Hides a machine's GPUs from a worker."""


def absent(place: Place) -> str | None:
    """Why there is no GPU for the calls of this place, or None if there is one."""
    if not place.on_this_machine:
        return None
    import torch

    return None if torch.cuda.is_available() else "torch sees no GPU on this machine"


def types_not_reached(place: Place) -> str:
    """Why GPU types cannot be chosen here; empty where they can."""
    return "GPU types are chosen on Modal only (--compute modal)" if place.on_this_machine else ""
