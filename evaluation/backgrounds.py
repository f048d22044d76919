"""What moves behind the captions: shots of clips and photographs, as an ffmpeg filter graph.

Belongs here: choosing shots, and the graph that makes exactly so many frames of them. Does not belong here:
captions, encoding.

The test split has two clips, ten pictures and 46 plates (diagrams and screenshots full of lettering), the
stills in grey. A shot takes a window of one at a scale, place and speed of its own, often moving, perhaps
mirrored, tinted, darker or brighter; shots are joined by hard cuts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from evaluation.programmes import Programme
from video_pipeline.captions.train.media import Media


@dataclass(frozen=True)
class Shot:
    """`arguments` open the input, `chain` turns it into `frames` pictures of the programme's size."""

    arguments: tuple[str, ...]
    chain: str
    frames: int


@dataclass(frozen=True)
class Clip:
    path: Path
    width: int
    height: int
    seconds: float


def choose_shots(programme: Programme, media: Media, frames: int, chance: random.Random) -> list[Shot]:
    """Shots of 2 to 12 seconds, `frames` in all."""
    clips = [_clip(path) for path in media.clips]
    shots, left = [], frames
    while left > 0:
        length = min(left, round(chance.uniform(2, 12) * programme.rate))
        if left - length < programme.rate:
            length = left
        kind = _kind(programme, chance)
        if kind in ("street", "bikes"):
            fitting = [clip for clip in clips if ("vtest" in clip.path.name) == (kind == "street")]
            # The other splits have no such street: any of their clips will do.
            wanted = fitting[0] if fitting and media.split == "test" else chance.choice(clips)
            shots.append(_clip_shot(programme, wanted, length, chance))
        else:
            stills = media.plates if kind == "plates" else media.photos
            shots.append(_still_shot(programme, media, chance.choice(stills), length, chance))
        left -= length
    return shots


def graph(programme: Programme, shots: list[Shot], last: str) -> tuple[list[str], str]:
    """Input arguments and a filter graph whose output `[out]` is the joined shots through `last`."""
    arguments = [part for shot in shots for part in shot.arguments]
    chains = [f"[{number}:v]{shot.chain}[s{number}]" for number, shot in enumerate(shots)]
    joined = "".join(f"[s{number}]" for number in range(len(shots)))
    timing = f"settb=1/({programme.rate}),setpts=N"
    return arguments, ";".join([*chains, f"{joined}concat=n={len(shots)}:v=1:a=0,{timing},{last}[out]"])


def _kind(programme: Programme, chance: random.Random) -> str:
    scenery = programme.scenery
    if scenery == "clips":
        return chance.choice(("street", "street", "bikes"))
    if scenery == "photos":
        return chance.choice(("photos", "photos", "photos", "street"))
    if scenery == "plates":
        return chance.choice(("plates", "plates", "plates", "plates", "street"))
    if scenery == "all":
        return chance.choice(("street", "street", "street", "bikes", "bikes", "photos", "photos", "plates"))
    return scenery


def _clip(path: Path) -> Clip:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        seconds = float(stream.frames / (stream.average_rate or 25))
        return Clip(path, context.width, context.height, seconds)


def _clip_shot(programme: Programme, clip: Clip, frames: int, chance: random.Random) -> Shot:
    slow = chance.choice((1.0, 1.0, 1.5, 2.5))
    seconds = float(frames / programme.rate) / slow
    start = chance.uniform(0, max(0.0, clip.seconds - seconds - 0.5))
    width, height = _window(programme, clip.width, clip.height, chance.uniform(0.45, 1.0))
    chain = [
        f"setpts=(PTS-STARTPTS)*{slow}",
        f"fps={programme.rate}",
        _moving_crop(clip.width, clip.height, width, height, frames, chance),
        f"scale={programme.width}:{programme.height}:flags=bicubic",
    ]
    return Shot(
        ("-ss", f"{start:.2f}", "-t", f"{seconds + 0.5:.2f}", "-i", str(clip.path)),
        ",".join([*chain, *_changes(chance), *_exactly(frames)]),
        frames,
    )


def _still_shot(programme: Programme, media: Media, path: Path, frames: int, chance: random.Random) -> Shot:
    with Image.open(path) as picture:
        width, height = picture.size
    # Enlarged to about twice the output first: a move by whole pixels is then one by half pixels.
    factor = 2 * programme.width / width
    if height * factor < 1.3 * programme.height:
        factor = 1.3 * programme.height / height
    width, height = round(width * factor / 2) * 2, round(height * factor / 2) * 2
    size = _window(programme, width, height, chance.uniform(0.5, 0.95))
    red, green, blue = (round(chance.uniform(0.75, 1.0), 2) for _ in range(3))
    chain = [
        f"scale={width}:{height}:flags=bicubic",
        f"colorchannelmixer=rr={red}:gg={green}:bb={blue}",
        "format=yuv420p",
        "loop=loop=-1:size=1",
        f"setpts=N/({programme.rate})/TB",
        f"fps={programme.rate}",
        _moving_crop(width, height, *size, frames, chance),
        f"scale={programme.width}:{programme.height}:flags=bilinear",
    ]
    # Plates keep their lettering readable: that is what may be taken for a caption.
    changes = _changes(chance, mirror=path not in media.plates)
    return Shot(("-i", str(path)), ",".join([*chain, *changes, *_exactly(frames)]), frames)


def _window(programme: Programme, width: int, height: int, share: float) -> tuple[int, int]:
    """The largest window of the programme's shape, times `share`; even."""
    shape = programme.width / programme.height
    widest = min(width, height * shape)
    return int(widest * share / 2) * 2, int(widest * share / shape / 2) * 2


def _moving_crop(
    width: int, height: int, inner_width: int, inner_height: int, frames: int, chance: random.Random
) -> str:
    """Two in three windows move, in a straight line; n is the number of the picture."""
    spare = (width - inner_width, height - inner_height)
    start = [chance.uniform(0, room) for room in spare]
    if chance.random() < 0.33:
        stop = start
    else:
        # Up to a twentieth of the window a second, to either side.
        reach = [chance.uniform(-0.05, 0.05) * inner_width * frames / 25 for _ in spare]
        stop = [min(max(a + b, 0), room) for a, b, room in zip(start, reach, spare, strict=True)]
    x, y = (f"{a:.1f}+({b - a:.1f})*n/{frames}" for a, b in zip(start, stop, strict=True))
    return f"crop={inner_width}:{inner_height}:'{x}':'{y}':exact=0"


def _changes(chance: random.Random, *, mirror: bool = True) -> list[str]:
    light, contrast = chance.uniform(-0.15, 0.15), chance.uniform(0.75, 1.15)
    changes = [f"eq=brightness={light:.2f}:contrast={contrast:.2f}"]
    return [*changes, "hflip"] if mirror and chance.random() < 0.5 else changes


def _exactly(frames: int) -> list[str]:
    """The last picture stands still if a clip ends early; sound timestamps for `concat`."""
    return [
        "tpad=stop=-1:stop_mode=clone",
        f"trim=end_frame={frames}",
        "setpts=PTS-STARTPTS",
        "setsar=1",
        "format=yuv420p",
    ]
