"""The commands: `python -m video_pipeline.captions.train [make | evaluate]`.

Belongs here: arguments, and what the weight file says about how it was made. Does not belong here:
everything else (`data.py` makes scenes, `fit.py` trains, `evaluate.py` measures, `card.py` writes the model
card).

`make` builds the scenes, trains and writes the weights; `evaluate` measures a weight file on scenes of unseen
photographs, clips, fonts and lines and on the demo clip, and writes the model card beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from video_pipeline.captions.train import card, data, evaluate, fit
from video_pipeline.captions.train.media import load_media
from video_pipeline.captions.train.scenes import RECIPE
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
        ("evaluate", "measure, write the card"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("--media", type=Path, default=ROOT / ".cache" / "training")
        command.add_argument("--scenes-in", type=Path, help="folder of stored scenes; reused where complete")
        command.add_argument("--weights", type=Path, default=SHIPPED_CAPTION_WEIGHTS)
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--test-scenes", type=int, default=1000)
        if name == "make":
            command.add_argument("--scenes", type=int, default=8000)
            command.add_argument("--val-scenes", type=int, default=400)
            command.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.scenes_in = arguments.scenes_in or arguments.media / f"scenes-{arguments.seed}"
    {"make": make, "evaluate": measure}[arguments.command](arguments)


def make(arguments: argparse.Namespace) -> None:
    """Scenes, training, weights."""
    train = _scenes(arguments, "train", arguments.scenes)
    val = _scenes(arguments, "val", arguments.val_scenes)
    recipe = fit.Recipe(seed=arguments.seed, epochs=arguments.epochs)
    net = fit.fit(train, val, recipe)
    confusion = evaluate.confusion_of(net, _scenes(arguments, "test", arguments.test_scenes))
    command = (
        f"python -m video_pipeline.captions.train make --scenes {arguments.scenes}"
        f" --epochs {arguments.epochs} --seed {arguments.seed}"
    )
    metadata = {
        "command": command,
        "seed": str(arguments.seed),
        "data": DATA_RECIPE,
        "scene_recipe": str(RECIPE),
        "training_scenes": str(train.count),
        "test_scenes": str(arguments.test_scenes),
        "unseen_balanced_accuracy": f"{evaluate.balanced_accuracy(confusion):.4f}",
        "unseen_accuracy": f"{confusion.diagonal().sum() / confusion.sum():.4f}",
        "torch": torch.__version__,
    }
    save_caption_weights(net, arguments.weights, metadata)
    print(json.dumps(metadata, indent=2))


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
        data.build(load_media(arguments.media, split), folder, scenes=count, seed=arguments.seed)
    return data.load(folder, split)


if __name__ == "__main__":
    main()
