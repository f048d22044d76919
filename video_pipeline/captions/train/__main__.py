"""The commands: `python -m video_pipeline.captions.train [make | calibrate | evaluate]`.

Belongs here: arguments, and what the weight file says about how it was made. Does not belong here:
everything else (`data.py` makes scenes, `fit.py` trains, `evaluate.py` measures, `card.py` writes the model
card).

`make` builds the scenes, trains and writes the weights; `calibrate` prints the one constant of
`captions.extents` that depends on them; `evaluate` measures a weight file on scenes of unseen
photographs, clips, fonts and lines and on the demo clip, and writes the model card beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from video_pipeline.captions.train import calibrate, card, data, fit
from video_pipeline.captions.train.media import load_media
from video_pipeline.captions.train.scenes import RECIPE
from video_pipeline.machine import usable_cores
from video_pipeline.models.weights import SHIPPED_CAPTION_WEIGHTS, load_caption_model, save_caption_weights

ROOT = Path(__file__).resolve().parents[3]

DATA_RECIPE = (
    "captions drawn by Pillow over photographs, real clips and scene text; H.264, JPEG; see the model card"
)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m video_pipeline.captions.train")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in (
        ("make", "make scenes, train, write weights"),
        ("calibrate", "fit how far probabilities can be trusted along a path"),
        ("evaluate", "measure, write the card"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("--media", type=Path, default=ROOT / ".cache" / "training")
        command.add_argument("--scenes-in", type=Path, help="folder of stored scenes; reused where complete")
        command.add_argument("--weights", type=Path, default=SHIPPED_CAPTION_WEIGHTS)
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--workers", type=int, default=usable_cores(), help="processes that make scenes")
        command.add_argument("--val-scenes", type=int, default=600)
        command.add_argument("--test-scenes", type=int, default=1000)
        if name == "make":
            command.add_argument("--scenes", type=int, default=20000)
            command.add_argument("--epochs", type=int, default=3)
            command.add_argument("--start-from", type=Path, help="weights to go on from, instead of chance")
            command.add_argument("--peak-rate", type=float, default=fit.Recipe.peak_rate)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.scenes_in = arguments.scenes_in or arguments.media / f"scenes-{arguments.seed}"
    {"make": make, "calibrate": fit_confidence, "evaluate": measure}[arguments.command](arguments)


def make(arguments: argparse.Namespace) -> None:
    """Scenes, training, weights."""
    train = _scenes(arguments, "train", arguments.scenes)
    val = _scenes(arguments, "val", arguments.val_scenes)
    recipe = fit.Recipe(seed=arguments.seed, epochs=arguments.epochs, peak_rate=arguments.peak_rate)
    command = (
        f"python -m video_pipeline.captions.train make --scenes {arguments.scenes}"
        f" --epochs {arguments.epochs} --seed {arguments.seed} --peak-rate {arguments.peak_rate}"
    )
    started = load_caption_model(arguments.start_from) if arguments.start_from else None
    if started:
        command += " --start-from FILE"
    metadata = {
        "command": command,
        "seed": str(arguments.seed),
        "data": DATA_RECIPE,
        "scene_recipe": str(RECIPE),
        "training_scenes": str(train.count),
        "torch": torch.__version__,
        "started_from": f"weights with SHA-256 {started.sha256}" if started else "chance",
    }
    net = started.net if started else None
    fit.fit(
        train,
        val,
        recipe,
        started=net,
        keep=lambda net: save_caption_weights(net, arguments.weights, metadata),
    )
    print(json.dumps(metadata, indent=2))


def fit_confidence(arguments: argparse.Namespace) -> None:
    """The weight that `captions.extents.EVIDENCE` is to have, and how true confidences are with it."""
    model = load_caption_model(arguments.weights)
    print(calibrate.report(model.net, _scenes(arguments, "val", arguments.val_scenes)))


def measure(arguments: argparse.Namespace) -> None:
    """Figures, confusion matrix, model card."""
    model = load_caption_model(arguments.weights)
    scenes = _scenes(arguments, "test", arguments.test_scenes)
    text = card.write_card(model, arguments.weights, scenes, seed=arguments.seed)
    print(text)


def _scenes(arguments: argparse.Namespace, split: data.Split, count: int) -> data.SceneSet:
    """The stored scenes of a split, made now unless the folder holds just those."""
    folder: Path = arguments.scenes_in
    if not data.is_stored(folder, split, scenes=count, seed=arguments.seed):
        data.build(
            load_media(arguments.media, split),
            folder,
            scenes=count,
            seed=arguments.seed,
            workers=arguments.workers,
        )
    return data.load(folder, split)


if __name__ == "__main__":
    main()
