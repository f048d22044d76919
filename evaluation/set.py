"""Make the evaluation set: `python -m evaluation.set`.

Belongs here: planning each programme from one seed and the test split, and writing video and truth. Does not
belong here: measuring the product (`run`).

Per programme there are NAME.mp4 and NAME.cues.json in `.cache/evaluation`. The truth's frames are source
frames, half-open; `crop_region` is normalised as in a caption request. What stands still in every frame
(logo), scrolls (ticker, credits) or belongs to the scene (plates) is no caption. A programme is made again
only when its recipe changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from evaluation.ass import font_size, logo_place
from evaluation.backgrounds import choose_shots, graph
from evaluation.programmes import PROGRAMMES, Programme
from evaluation.render import Plan, caption_boxes, encode, encode_arguments
from evaluation.schedule import make_schedule
from evaluation.texts import LANGUAGES, CaptionTexts, face_of, family_in, lines_of, width_by
from video_pipeline.captions.train.media import Media, Split, load_media
from video_pipeline.errors import BadInput

ROOT = Path(__file__).resolve().parents[1]
MEDIA = ROOT / ".cache" / "training"
SET = ROOT / ".cache" / "evaluation"
DEVELOPMENT_SET = ROOT / ".cache" / "development"
SEED = 20
DESCRIPTION = (
    "Captions of the video. Frame ranges are half-open and count source frames; start and end are seconds "
    "after the first frame as exact fractions. A caption that fades counts from its first frame at half "
    "opacity or more to its last one."
)


def make_plan(programme: Programme, media: Media, root: Path = MEDIA, seed: int = SEED) -> Plan:
    """All of a programme's choices, from its name and the seed alone."""
    chance = random.Random(f"{seed}:{programme.name}")
    language = LANGUAGES[programme.language]
    path = next((path for path in media.fonts[language.script] if path.name == programme.look.font), None)
    if path is None:
        raise BadInput(f"the font {programme.look.font} is not in the {media.split} split", input=str(root))
    face = face_of(path, family_in(path, language))
    room = 0.88 - (0.14 if programme.logo else 0) - (0.4 if programme.position in ("left", "right") else 0)
    texts = CaptionTexts(
        lines_of(root, media, programme.language),
        face=face,
        width=width_by(face, font_size(programme)),
        room=room * programme.width,
        spaced=language.spaced,
        two_lines=programme.two_lines,
        chance=chance,
    )
    schedule = make_schedule(programme, texts if programme.captions else None, chance)
    beside = texts.ticker() if programme.ticker or programme.credits else ""
    shots = tuple(choose_shots(programme, media, schedule.frames, chance))
    return Plan(programme, face, schedule, shots, beside)


def recipe_of(plan: Plan) -> str:
    """Hash of the script and of ffmpeg's arguments, without this machine's folders."""
    inputs, filters = graph(plan.programme, list(plan.shots), "ass")
    names = [Path(part).name if part.startswith("/") else part for part in inputs]
    decides = [plan.script(), *names, filters, *encode_arguments(plan), plan.programme.crop]
    return hashlib.sha256("\n".join(decides).encode()).hexdigest()[:16]


def crop_region(plan: Plan) -> dict[str, float]:
    """Around all captions with some room, or a band of the whole width; even thousandths of the picture."""
    programme = plan.programme
    width, height = programme.width, programme.height
    boxes = caption_boxes(plan) if plan.schedule.cues else []
    left, top = width * 0.5, height * 0.8
    right, bottom = width * 0.5, height * 0.95
    if boxes:
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    size = font_size(programme)
    above = size * (0.3 if programme.crop == "close" else 0.7)
    side = 0.02 * width if programme.crop == "close" else width
    if programme.ticker:
        bottom = height
    if programme.logo:
        top = min(top, logo_place(programme)[1])
    edges = (
        max(0.0, (left - side) / width),
        max(0.0, (top - above) / height),
        min(1.0, (right + side) / width),
        min(1.0, (bottom + above * 0.7) / height),
    )
    first_x, first_y, last_x, last_y = (round(edge, 3) for edge in edges)
    return {
        "left": first_x,
        "top": first_y,
        "width": round(last_x - first_x, 3),
        "height": round(last_y - first_y, 3),
    }


def truth_of(plan: Plan) -> dict[str, Any]:
    """The document of NAME.cues.json."""
    programme, rate = plan.programme, plan.programme.rate
    return {
        "description": DESCRIPTION,
        "recipe": recipe_of(plan),
        "video": f"{programme.name}.mp4",
        "frame_rate": str(rate),
        "frames": plan.schedule.frames,
        "width": programme.width,
        "height": programme.height,
        "crop_region": crop_region(plan),
        "language": programme.language,
        "font": programme.look.font,
        "crf": programme.crf,
        "traits": programme.traits,
        "cues": [
            {
                "start_frame": cue.start_frame,
                "end_frame": cue.end_frame,
                "start": str(Fraction(cue.start_frame) / rate),
                "end": str(Fraction(cue.end_frame) / rate),
                "text": cue.text,
                "language": programme.language,
                "effect": cue.effect,
            }
            for cue in plan.schedule.cues
        ],
    }


def make_set(
    programmes: Sequence[Programme] = PROGRAMMES,
    *,
    root: Path = MEDIA,
    output: Path = SET,
    split: Split = "test",
    seed: int = SEED,
) -> None:
    """Make what is missing or of another recipe. BadInput if the media were not fetched."""
    media = load_media(root, split)
    output.mkdir(parents=True, exist_ok=True)
    for number, programme in enumerate(programmes, 1):
        plan = make_plan(programme, media, root, seed)
        truth_path = output / f"{programme.name}.cues.json"
        if truth_path.exists() and json.loads(truth_path.read_text())["recipe"] == recipe_of(plan):
            continue
        started = time.monotonic()
        truth_path.unlink(missing_ok=True)
        truth = truth_of(plan)
        encode(plan, output / f"{programme.name}.mp4")
        truth_path.write_text(json.dumps(truth, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        seconds = float(plan.schedule.frames / programme.rate)
        print(
            f"{number}/{len(programmes)} {programme.name}: {len(truth['cues'])} captions, {seconds:.0f} s, "
            f"made in {time.monotonic() - started:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def choose(names: str | None, programmes: Sequence[Programme] = PROGRAMMES) -> list[Programme]:
    """Programmes by comma-separated names; all without."""
    if names is None:
        return list(programmes)
    known = {programme.name: programme for programme in programmes}
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise BadInput(
            f"no programme is called {', '.join(unknown)}",
            input=names,
            what_to_do=f"choose from {', '.join(known)}",
        )
    return [known[name] for name in names.split(",")]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--programmes", help="names, separated by commas; all by default")
    parser.add_argument("--media", type=Path, default=MEDIA, help="what fetch_training_media.py fetched")
    parser.add_argument("--output", type=Path, default=SET)
    arguments = parser.parse_args(argv)
    make_set(choose(arguments.programmes), root=arguments.media, output=arguments.output)


if __name__ == "__main__":
    main()
