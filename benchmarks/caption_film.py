"""A long captioned film, made once into `.cache/benchmarks` from what the repository holds.

Belongs here: choosing its pictures, texts and times. Does not belong here: drawing and encoding
(`evaluation.render`), measuring.

Ten minutes of 720p at 30 pictures a second, H.264 with three B-frames: shots of 2 to 12 seconds, each a
window of its own place, size and motion, perhaps mirrored or slowed down, of the two bundled films (a street
above its own captions, and sport). Captions are new runs of words from the licence's text, timed by reading
speed, with cuts, fades and words that change; no stretch of the film comes again with the same captions.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from benchmarks.harness import ROOT
from benchmarks.media import CACHE, CLIP, ffmpeg_binary
from evaluation.ass import font_size
from evaluation.backgrounds import choose_shots
from evaluation.programmes import Look, Programme
from evaluation.render import Plan, encode
from evaluation.schedule import make_schedule
from evaluation.set import recipe_of, truth_of
from evaluation.texts import CaptionTexts, face_of, width_by
from evaluation.truth import Truth, read_truth
from video_pipeline.captions.train.media import Media

FONT = ROOT / "video_pipeline" / "clips" / "fonts" / "DejaVuSans.ttf"
SPORT = ROOT / "video_pipeline" / "demo" / "sport.mp4"
FILM = Programme(
    name="captions_ten_minutes",
    language="en",
    look=Look(FONT.name, size=0.055),
    width=1280,
    height=720,
    rate=Fraction(30),
    crf=20,
    captions=210,
    scenery="clips",
    fades=0.1,
)


def captioned_film(rate: Fraction) -> Truth:
    """The film and its captions in samples at `rate` in Hz; made again only if its recipe changes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    plan = plan_of(FILM, _clips())
    truth = CACHE / f"{FILM.name}.cues.json"
    if not truth.exists() or json.loads(truth.read_text(encoding="utf-8"))["recipe"] != recipe_of(plan):
        truth.unlink(missing_ok=True)
        encode(plan, CACHE / f"{FILM.name}.mp4")
        truth.write_text(json.dumps(truth_of(plan), indent=1) + "\n", encoding="utf-8")
    return read_truth(truth, rate)


def plan_of(film: Programme, clips: list[Path]) -> Plan:
    """Every choice of a film, from its name alone."""
    chance = random.Random(film.name)
    face = face_of(FONT, None)
    texts = CaptionTexts(
        _paragraphs(),
        face=face,
        width=width_by(face, font_size(film)),
        room=0.88 * film.width,
        spaced=True,
        two_lines=film.two_lines,
        chance=chance,
    )
    schedule = make_schedule(film, texts, chance)
    # No split of the training media: any of these clips may follow any other.
    media = Media("train", photos=[], plates=[], clips=clips, fonts={}, texts={})
    return Plan(film, face, schedule, tuple(choose_shots(film, media, schedule.frames, chance)), ticker="")


def _paragraphs() -> list[str]:
    """Each paragraph of the licence's terms as one line; the appendix has brackets that are no prose."""
    terms = (ROOT / "LICENSE").read_text(encoding="utf-8").partition("APPENDIX")[0]
    lines = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", terms)]
    return [line for line in lines if len(line) > 60]


def _clips() -> list[Path]:
    """The bundled clip without its lowest quarter, where captions are burned in, and 16 s of sport (4 s, four
    times: a shot may take 12 s)."""
    above = ("-i", str(CLIP), "-an", "-vf", "crop=iw:ih*3/4:0:0", "-c:v", "libx264", "-crf", "14")
    sport = ("-stream_loop", "3", "-i", str(SPORT), "-an", "-c", "copy")
    return [_made("street_above.mp4", above), _made("sport_16_s.mp4", sport)]


def _made(name: str, arguments: Sequence[str]) -> Path:
    target = CACHE / name
    if not target.exists():
        part = target.with_name(f"part-{name}")
        subprocess.run([ffmpeg_binary(), "-nostdin", "-v", "error", "-y", *arguments, str(part)], check=True)
        part.rename(target)
    return target
