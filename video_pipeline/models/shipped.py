"""The weights that ship with the clip suite, by file and hash.

Belongs here: where they lie, without torch: a call's key needs their hash before anything is loaded. Does not
belong here: loading them.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

_WEIGHTS = Path(__file__).parent / "weights"
UPSCALER_WEIGHTS = _WEIGHTS / "realesr_animevideov3_x4.safetensors"
DETECTOR_WEIGHTS = _WEIGHTS / "nanodet_g.safetensors"


@functools.cache
def shipped_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
