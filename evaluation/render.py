"""From a plan to a video file: libass and x264 in imageio-ffmpeg's static ffmpeg.

Belongs here: running ffmpeg, measuring where captions stand, and refusing a font that libass replaced.
Does not belong here: what is drawn (`ass`, `backgrounds`) and when (`schedule`).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.ass import ass_script, bare
from evaluation.backgrounds import Shot, graph
from evaluation.programmes import Programme
from evaluation.schedule import Schedule
from evaluation.texts import Face
from video_pipeline.errors import Internal

GREY = 128


@dataclass(frozen=True)
class Plan:
    """Everything that decides a programme's video."""

    programme: Programme
    face: Face
    schedule: Schedule
    shots: tuple[Shot, ...]
    ticker: str

    def script(self, *, captions: bool = True) -> str:
        cues = self.schedule.cues if captions else ()
        return ass_script(self.programme, self.face, cues, frames=self.schedule.frames, ticker=self.ticker)


def ffmpeg_binary() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def encode_arguments(plan: Plan) -> list[str]:
    """Everything of the command behind the graph but the output. One thread: bytes must not depend on it."""
    settings = f"-c:v libx264 -preset veryfast -crf {plan.programme.crf} -threads 1 -pix_fmt yuv420p"
    return [*settings.split(), "-movflags", "+faststart", "-fflags", "+bitexact", "-flags:v", "+bitexact"]


def encode(plan: Plan, output: Path) -> None:
    """Render the programme into an MP4 file; it appears whole or not at all."""
    part = output.with_name(f"part-{output.name}")
    with _scratch(plan.face, plan.script()) as folder:
        _ffmpeg(plan, folder, [*encode_arguments(plan), str(part.resolve())])
    part.rename(output)


def raw_luma(plan: Plan, *, captions: bool) -> np.ndarray:
    """(T, H, W) uint8: the luma of all frames before encoding, with captions or without."""
    with _scratch(plan.face, plan.script(captions=captions)) as folder:
        data = _ffmpeg(plan, folder, ["-f", "rawvideo", "-pix_fmt", "gray", "-"])
    return np.frombuffer(data, np.uint8).reshape(-1, plan.programme.height, plan.programme.width)


def caption_boxes(plan: Plan) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom in pixels (half-open) of what each caption covers, drawn alone on grey.

    Raises Internal if libass drew nothing, went to the picture's edge, or took another font for a glyph.
    """
    programme, cues = plan.programme, plan.schedule.cues
    script = ass_script(programme, plan.face, bare(cues), frames=len(cues))
    # The sheet shows captions only: its programme has no logo, and a ticker would end with its frames.
    script = "\n".join(line for line in script.split("\n") if not line.startswith("Dialogue: 0,"))
    grey = f"color=c=0x808080:s={programme.width}x{programme.height}:r=25"
    with _scratch(plan.face, script) as folder:
        command = [
            *(ffmpeg_binary(), "-nostdin", "-hide_banner", "-v", "verbose", "-f", "lavfi", "-i", grey),
            *("-vf", f"format=gray,{_ass_filter()}", "-frames:v", str(len(cues)), "-threads", "1"),
            *("-f", "rawvideo", "-pix_fmt", "gray", "-"),
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    _refuse_other_fonts(done.stderr.decode(errors="replace"), plan)
    sheet = np.frombuffer(done.stdout, np.uint8).reshape(-1, programme.height, programme.width)
    return [_box(picture, cue.text) for picture, cue in zip(sheet, cues, strict=True)]


def _box(picture: np.ndarray, text: str) -> tuple[int, int, int, int]:
    drawn = np.abs(picture.astype(np.int16) - int(picture[0, 0])) > 6
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not len(rows):
        raise Internal(f"libass drew nothing for {text!r}")
    left, right, top, bottom = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    height, width = picture.shape
    if left < 2 or top < 2 or right > width - 2 or bottom > height - 2:
        raise Internal(f"the caption {text!r} leaves the picture")
    return left, top, right, bottom


def _refuse_other_fonts(log: str, plan: Plan) -> None:
    """libass names each font it takes, with its path where that is not from the folder it was given."""
    taken = set(re.findall(r"fontselect: \(.*?\) -> (.*)", log))
    missing = set(re.findall(r"Glyph 0x[0-9A-Fa-f]+ not found", log))
    if missing or len(taken) != 1 or any("/" in font for font in taken):
        raise Internal(
            f"libass did not draw {plan.programme.name} with {plan.face.path.name} alone",
            input=", ".join(sorted(taken | missing)),
        )


@contextmanager
def _scratch(face: Face, script: str) -> Iterator[Path]:
    """A folder with the script and one font: a family of the same name elsewhere must not be taken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "captions.ass").write_text(script, encoding="utf-8")
        (folder / "fonts").mkdir()
        (folder / "fonts" / face.path.name).symlink_to(face.path.resolve())
        yield folder


def _ass_filter() -> str:
    return "ass=captions.ass:fontsdir=fonts"


def _ffmpeg(plan: Plan, folder: Path, output: list[str]) -> bytes:
    inputs, filters = graph(plan.programme, list(plan.shots), _ass_filter())
    command = [
        *(ffmpeg_binary(), "-nostdin", "-v", "error", "-y", "-filter_complex_threads", "1", "-threads", "1"),
        *inputs,
        *("-filter_complex", filters, "-map", "[out]", "-fps_mode", "passthrough"),
        *output,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, preexec_fn=lambda: os.nice(10))
    if done.returncode:
        raise Internal(
            f"ffmpeg ended with {done.returncode} on {plan.programme.name}",
            input=done.stderr.decode(errors="replace")[-2000:],
        )
    return done.stdout
