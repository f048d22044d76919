"""The films that experiments are made on: the bundled ones, longer and shorter, and awkward ones.

Belongs here: making them. Does not belong here: what is measured on them.

All come from the two bundled clips by the ffmpeg that imageio-ffmpeg carries, so that every machine has the
same footage; the encoder's version is in the file.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from experiments.place import ROOT

BUNDLE = ROOT / "video_pipeline" / "demo"
SPORT = BUNDLE / "sport.mp4"
"""4 s, 884x496, 30 fps, 120 pictures, H.264 and AAC: somebody somersaults."""
SPORT_RATE, SPORT_SECONDS = 30, 4.0
STREET = BUNDLE / "street.mp4"
"""42 s, 640x360, 30 fps, 1260 pictures: a street with captions burned in."""

RATE, PICTURES = 25, 60
BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
X264 = ("-an", *BT709, *("-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-g", "25", "-threads", "1"))
WITH_B = (*X264, "-bf", "3", "-x264-params", "b-pyramid=normal:b-adapt=0:scenecut=0")
OPEN_GOP = "open-gop=1:keyint=27:b-pyramid=normal:b-adapt=0:scenecut=0"
# Every third picture: the camera behind the clip made 10 a second, each shown three times.
BASE = f"select='not(mod(n,3))',scale=320:180,setpts=N/{RATE}/TB"
# Uneven steps of 1 to 3 pictures and one long hold, as from a phone that drops pictures in the dark.
UNEVEN = "select='not(eq(mod(n,7),3))*not(eq(mod(n,11),5))*not(between(n,30,36))'"


def caption_region() -> dict[str, float]:
    """Where the captions of `STREET` stand."""
    return json.loads((BUNDLE / "street.cues.json").read_text())["crop_region"]


def sport_of(folder: Path, seconds: float) -> Path:
    """The sports film, `seconds` long: as it is, again and again, or its beginning."""
    if seconds == SPORT_SECONDS:
        return SPORT
    target = folder / f"sport-{seconds:g}-s.mp4"
    if not target.exists():
        _again("-c:a", "copy", *WITH_B[1:], film=SPORT, seconds=seconds, target=target)
    return target


def small_sport_of(folder: Path, seconds: float) -> Path:
    """As `sport_of` in 320x180, for lengths that two cores cannot do in full size within minutes."""
    target = folder / f"sport-small-{seconds:g}-s.mp4"
    if not target.exists():
        small = ("-vf", "scale=320:180", "-c:a", "copy", *WITH_B[1:])
        _again(*small, film=SPORT, seconds=seconds, target=target)
    return target


def _again(*arguments: str, film: Path, seconds: float, target: Path) -> None:
    """Encoded, never cut by packets: a cut among B-frames leaves out pictures before its end."""
    loops = str(int(seconds // SPORT_SECONDS))
    ffmpeg("-stream_loop", loops, "-i", str(film), "-t", f"{seconds:g}", *arguments, str(target))


def street_of(folder: Path, seconds: float) -> Path:
    """The beginning of the street film, `seconds` long."""
    target = folder / f"street-{seconds:g}-s.mp4"
    if not target.exists():
        ffmpeg("-i", str(STREET), "-t", f"{seconds:g}", *WITH_B, str(target))
    return target


def awkward(folder: Path) -> dict[str, Path]:
    """What it is -> 320x180 film of about 60 pictures whose neighbours differ. The timestamps of `vfr` are
    uneven in the file itself."""
    made = {
        "cfr": ("-r", str(RATE), *X264, "-bf", "0"),
        "b-frames": ("-r", str(RATE), *WITH_B),
        "open-gop": ("-r", str(RATE), *X264, "-bf", "3", "-x264-params", OPEN_GOP),
        "vfr": ("-fps_mode", "passthrough", *WITH_B),
    }
    films: dict[str, Path] = {}
    for name, arguments in made.items():
        graph = f"{BASE},{UNEVEN}" if name == "vfr" else BASE
        films[name] = folder / f"{name}.mp4"
        ffmpeg(
            "-ss",
            "9",
            "-i",
            str(STREET),
            "-vf",
            graph,
            "-frames:v",
            str(PICTURES),
            *arguments,
            str(films[name]),
        )
    for name, before in (("rotated", ("-display_rotation:v", "-90")), ("edit-list", ("-ss", "1.4"))):
        films[name] = folder / f"{name}.mp4"
        ffmpeg(*before, "-i", str(films["b-frames"]), "-an", "-c", "copy", str(films[name]))
    return films


def ffmpeg(*arguments: str) -> None:
    """Runs ffmpeg; its last words as an error."""
    import imageio_ffmpeg

    command: Sequence[str] = (
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-hide_banner",
        "-nostdin",
        "-v",
        "error",
        "-y",
    )
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ffmpeg {' '.join(arguments)}\n{done.stderr[-2000:]}")
