"""The inputs, made once from the bundled clip into `.cache/benchmarks`.

Belongs here: real footage with burned-in captions in the sizes and lengths that figures need. Does not belong
here: measuring.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.harness import ROOT
from video_pipeline.media.geometry import CropRegion

CACHE = ROOT / ".cache" / "benchmarks"
CLIP = ROOT / "video_pipeline" / "demo" / "street.mp4"
BAND = CropRegion(left=0.0, top=0.75, width=1.0, height=0.22)
"""The caption band of the clip: 1280x158 of a 720p picture."""


def ffmpeg_binary() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def _make(name: str, *arguments: str) -> Path:
    target = CACHE / name
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"part-{name}")
        command = [ffmpeg_binary(), "-v", "error", "-y", "-stream_loop", "40", "-i", str(CLIP), *arguments]
        subprocess.run([*command, str(part)], check=True)
        part.rename(target)
    return target


def video_720p(*, b_frames: bool, seconds: int = 90) -> Path:
    """1280x720, 30 fps, H.264 at CRF 23, with three B-frames or none."""
    return _make(
        f"720p_{'b3' if b_frames else 'b0'}{'' if seconds == 90 else f'_{seconds}_s'}.mp4",
        *("-t", str(seconds), "-vf", "scale=1280:720:flags=lanczos", "-c:v", "libx264", "-preset", "fast"),
        *("-crf", "23", "-bf", "3" if b_frames else "0", "-c:a", "copy"),
    )


def video_of_minutes(minutes: int) -> Path:
    """The bundled clip, 640x360, again and again, without encoding it anew."""
    return _make(f"{minutes}_minutes.mp4", "-t", str(60 * minutes), "-c", "copy")


LAYOUTS: dict[str, tuple[str, ...]] = {
    "faststart": ("-movflags", "+faststart"),
    "moov at the end": (),
    "sidx": ("-movflags", "+frag_keyframe+empty_moov+default_base_moof+global_sidx"),
    "mfra": ("-movflags", "+frag_keyframe+empty_moov+default_base_moof"),
    "no index": ("-movflags", "+frag_keyframe+empty_moov+default_base_moof+skip_trailer"),
}
"""How the same ten minutes are wrapped."""


def ten_minutes(layout: str) -> Path:
    """630 s of 720p at about 2.4 Mbit/s, a key frame each two seconds, three B-frames, AAC sound at 64
    kbit/s."""
    base = _make(
        "720p_gop60.mp4",
        *("-f", "lavfi", "-i", "anoisesrc=r=48000:a=0.2:seed=1", "-map", "0:v", "-map", "1:a", "-t", "90"),
        *("-vf", "scale=1280:720:flags=lanczos", "-c:v", "libx264", "-preset", "veryfast", "-b:v", "2400k"),
        *("-g", "60", "-bf", "3", "-c:a", "aac", "-b:a", "64k"),
    )
    target = CACHE / f"ten_minutes {layout}.mp4"
    if not target.exists():
        part = target.with_name(f"part-{target.name}")
        command = [ffmpeg_binary(), "-v", "error", "-y", "-stream_loop", "6", "-i", str(base), "-c", "copy"]
        subprocess.run([*command, *LAYOUTS[layout], str(part)], check=True)
        part.rename(target)
    return target
