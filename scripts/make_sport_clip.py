"""Make the bundled sports clip of the clip demo: a flip off a roof, and someone walking past below.

    python scripts/make_sport_clip.py [--downloads DIR]

Belongs here: everything that decides `video_pipeline/demo/sport.mp4`. Does not belong here: what the demo
asks of it (`video_pipeline/demo/*.request.json`).

Footage: Demo/demo.mp4 of PyPI's sports2d 0.8.34 (1768x994, 30 fps, BSD 3-Clause), four seconds of it at half
its size. Its own sound track is digital silence, so the clip has wind, which is filtered noise made by
ffmpeg, and a tone of 440 Hz from the jump to the landing: at half speed both must keep their pitch.

Needs the package from PyPI (downloaded with pip, never installed) and imageio-ffmpeg's static ffmpeg.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import imageio_ffmpeg

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "video_pipeline" / "demo" / "sport.mp4"
PACKAGE = "sports2d==0.8.34"
MEMBER = "Sports2D/Demo/demo.mp4"

START, SECONDS, RATE = 3.2, 4, 30
WIDTH, HEIGHT = 884, 496
JUMP, LANDING = 2.4, 3.2
"""Seconds of the clip."""

SOUND = (
    f"anoisesrc=color=brown:seed=7:amplitude=0.4:sample_rate=48000:duration={SECONDS},lowpass=f=500[wind];"
    f"sine=frequency=440:sample_rate=48000:duration={SECONDS},volume=0.25,"
    f"afade=t=in:st={JUMP}:d=0.1,afade=t=out:st={LANDING}:d=0.1[tone];"
    "[wind][tone]amix=inputs=2:normalize=0[sound]"
)
PICTURE = (
    f"scale={WIDTH}:{HEIGHT}:flags=lanczos,setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709"
    ":range=tv"
)
ENCODE = (
    "-c:v libx264 -preset veryslow -crf 24 -profile:v high -g 60 -threads 1 -pix_fmt yuv420p"
    " -c:a aac -b:a 64k -ac 2 -ar 48000 -movflags +faststart"
    " -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -map_metadata -1"
)


def main() -> None:
    """Download, cut, encode, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--downloads", type=Path, default=ROOT / ".cache" / "demo", help="where packages are kept"
    )
    footage = fetch(parser.parse_args().downloads)
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"),
        *("-ss", str(START), "-t", str(SECONDS), "-i", str(footage)),
        *("-filter_complex", f"{SOUND};[0:v]{PICTURE}[picture]", "-map", "[picture]", "-map", "[sound]"),
        *(*ENCODE.split(), "-r", str(RATE), str(OUTPUT)),
    ]
    subprocess.run(command, check=True)
    verify(OUTPUT)


def fetch(downloads: Path) -> Path:
    """Take the footage out of its package; what is there already is kept."""
    footage = downloads / "sports2d" / MEMBER
    if not footage.exists():
        packages = downloads / "packages" / "sports2d"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(packages)]
        subprocess.run([*pip, PACKAGE], check=True)
        (wheel,) = packages.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(MEMBER, downloads / "sports2d")
    return footage


def verify(clip: Path) -> None:
    """Raise unless the clip has the frames, the size and the sound the demo counts on."""
    with av.open(str(clip)) as container:
        pictures = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert pictures == [(WIDTH, HEIGHT)] * (SECONDS * RATE), f"{len(pictures)} pictures, first {pictures[:1]}"
    with av.open(str(clip)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert abs(samples - SECONDS * 48000) < 2048, f"{samples} samples"
    size = clip.stat().st_size
    assert size < 900_000, f"{size} bytes"
    print(f"{clip}: {size} bytes, {len(pictures)} pictures of {WIDTH}x{HEIGHT}")


if __name__ == "__main__":
    main()
