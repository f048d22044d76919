"""What ffmpeg's own decode of a whole file says of every picture: PTS and MD5, by its framemd5 muxer.

Belongs here: running it and reading its table, and the same MD5 of a picture we decoded. Does not belong
here: what is compared.
"""

from __future__ import annotations

import hashlib
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np


def whole_decode(path: Path) -> list[tuple[Fraction, str]]:
    """Time in seconds and MD5 of each picture in the order shown, unturned, by the ffmpeg binary."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-noautorotate", "-i", str(path), "-map", "0:v:0",
        "-fps_mode", "passthrough", "-copyts", "-enc_time_base", "demux", "-f", "framemd5", "-",
    ]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    base = next(Fraction(line.split(":")[1].strip()) for line in lines if line.startswith("#tb"))
    rows = [[field.strip() for field in line.split(",")] for line in lines if not line.startswith("#")]
    return [(int(row[2]) * base, row[5]) for row in rows if len(row) == 6]


def md5_of(picture: av.VideoFrame) -> str:
    """MD5 of the planes without padding, as framemd5 has it."""
    digest = hashlib.md5()
    for number, plane in enumerate(picture.planes):
        rows = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
        deep = (picture.format.components[number].bits + 7) // 8
        digest.update(np.ascontiguousarray(rows[:, : plane.width * deep]).tobytes())
    return digest.hexdigest()
