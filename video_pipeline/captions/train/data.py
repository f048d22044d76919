"""Scenes on disk, and batches of them.

Belongs here: making many scenes from one seed, storing them as network input, and dealing them out in
batches of one shape. Does not belong here: what a scene is (`scenes.py`), the network, the loss.

A set is a folder: `{split}-{shape}.npy` holds (N, SAMPLES, H_in, W_in) uint8,
`{split}-{shape}.captions.npy` the ids (N, SAMPLES). Stored are `resize`'s pictures: the product's own resize,
done once.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from video_pipeline.captions.labels import LABELS
from video_pipeline.captions.train.media import Media, Split
from video_pipeline.captions.train.scenes import EMPTY, RECIPE, SAMPLES, SHAPES, UNSURE, Scene, make_scene
from video_pipeline.models.caption_pairs import as_input, input_size, resize

SPLIT_CODE: dict[Split, int] = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class SceneSet:
    """One split of stored scenes: per shape the pictures (memory-mapped), caption ids and effects."""

    pictures: list[np.ndarray]
    captions: list[np.ndarray]
    effects: list[list[tuple[str, ...]]]

    @property
    def count(self) -> int:
        return sum(len(part) for part in self.captions)


def shape_of(media: Media, seed: int, number: int) -> int:
    """The shape of scene `number` of a seed's endless list."""
    rng = np.random.default_rng([seed, SPLIT_CODE[media.split], number])
    return int(rng.choice(len(SHAPES), p=[share for _, _, share in SHAPES]))


def numbered_scene(media: Media, seed: int, number: int) -> tuple[int, Scene]:
    """Scene `number` of a seed's endless list, and its shape; independent of every other scene."""
    shape = shape_of(media, seed, number)
    return shape, make_scene(media, shape, np.random.default_rng([seed, SPLIT_CODE[media.split], number, 1]))


def build(media: Media, into: Path, *, scenes: int, seed: int, workers: int = 1) -> None:
    """Make scenes 0 .. scenes - 1 in `workers` processes and store them; prints rate and time left."""
    into.mkdir(parents=True, exist_ok=True)
    counts = np.bincount([shape_of(media, seed, number) for number in range(scenes)], minlength=len(SHAPES))
    pictures = [_new_array(into, media.split, shape, int(counts[shape])) for shape in range(len(SHAPES))]
    captions = [np.empty((int(count), SAMPLES), np.int16) for count in counts]
    effects: list[list[tuple[str, ...]]] = [[] for _ in SHAPES]
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(workers, _one_thread) as pool:
        make = partial(_stored_scene, media, seed)
        for number, (shape, frames, ids, names) in enumerate(pool.imap(make, range(scenes), chunksize=20)):
            at = len(effects[shape])
            pictures[shape][at], captions[shape][at] = frames, ids
            effects[shape].append(names)
            if number % 500 == 499:
                rate = (number + 1) / (time.monotonic() - began)
                left = (scenes - number - 1) / rate
                print(
                    f"{media.split}: {number + 1}/{scenes} scenes, {rate:.1f}/s, {left:.0f} s left",
                    flush=True,
                )
    for shape in range(len(SHAPES)):
        np.save(into / f"{media.split}-{shape}.captions.npy", captions[shape])
    about = {"recipe": RECIPE, "seed": seed, "scenes": scenes, "effects": effects}
    (into / f"{media.split}.json").write_text(json.dumps(about))


def _one_thread() -> None:
    torch.set_num_threads(1)


def _stored_scene(
    media: Media, seed: int, number: int
) -> tuple[int, np.ndarray, np.ndarray, tuple[str, ...]]:
    """A scene as it is stored: shape, pictures, caption ids, effects."""
    shape, scene = numbered_scene(media, seed, number)
    return shape, as_stored(scene.frames), scene.captions, scene.effects


def _new_array(into: Path, split: Split, shape: int, count: int) -> np.ndarray:
    """A stored array, memory-mapped for writing, so that a set may be larger than memory."""
    rows, columns = input_size(1000, round(1000 * SHAPES[shape][0]))
    path = into / f"{split}-{shape}.npy"
    wanted = (count, SAMPLES, rows, columns)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=wanted)


def as_stored(frames: np.ndarray) -> np.ndarray:
    """Strip luma (T, H, W) uint8 to network input size, uint8 luma steps."""
    return resize(torch.from_numpy(frames)).numpy()


def network_input(stored: np.ndarray) -> Tensor:
    """Stored pictures (N, T, H_in, W_in) to the values that `prepare` gives, (N, T, H_in, W_in) float32."""
    return as_input(torch.from_numpy(np.array(stored)).flatten(0, 1)).view(stored.shape)


def is_stored(folder: Path, split: Split, *, scenes: int, seed: int) -> bool:
    """Whether a folder holds exactly the set that `build` would make now."""
    path = folder / f"{split}.json"
    if not path.exists():
        return False
    about = json.loads(path.read_text())
    return (about.get("recipe"), about.get("seed"), about.get("scenes")) == (RECIPE, seed, scenes)


def load(folder: Path, split: Split) -> SceneSet:
    """Open a stored split."""
    pictures = [np.load(folder / f"{split}-{shape}.npy", mmap_mode="r") for shape in range(len(SHAPES))]
    captions = [np.load(folder / f"{split}-{shape}.captions.npy") for shape in range(len(SHAPES))]
    effects = json.loads((folder / f"{split}.json").read_text())["effects"]
    return SceneSet(pictures, captions, [[tuple(names) for names in part] for part in effects])


def batches(scenes: SceneSet, size: int, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """One pass over a set: (shape, scene numbers of that shape), each batch of one shape, in random order."""
    dealt: list[tuple[int, np.ndarray]] = []
    for shape, ids in enumerate(scenes.captions):
        order = rng.permutation(len(ids))
        dealt += [(shape, np.sort(order[at : at + size])) for at in range(0, len(order) - size + 1, size)]
    rng.shuffle(dealt)  # type: ignore[arg-type]
    yield from dealt


@dataclass(frozen=True)
class Pairs:
    """Positions of left and right frames in a flattened batch (scenes * SAMPLES), and their label numbers."""

    left: Tensor
    right: Tensor
    labels: Tensor


def pairs_of(captions: np.ndarray, distances: tuple[int, ...]) -> Pairs:
    """All pairs at the given distances within each scene (N, SAMPLES), without those that involve UNSURE."""
    lefts, rights, labels = [], [], []
    for distance in distances:
        a, b = captions[:, :-distance], captions[:, distance:]
        scene, sample = np.nonzero((a != UNSURE) & (b != UNSURE))
        a, b = a[scene, sample], b[scene, sample]
        lefts.append(scene * SAMPLES + sample)
        rights.append(scene * SAMPLES + sample + distance)
        labels.append(label_numbers(a, b))
    left, right, label = (torch.from_numpy(np.concatenate(part)) for part in (lefts, rights, labels))
    return Pairs(left, right, label)


def label_numbers(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Indices into LABELS for pairs of caption ids; `captions.labels.pair_label` for arrays."""
    numbers = np.full(left.shape, LABELS.index("different"))
    numbers[left == right] = LABELS.index("same")
    numbers[(left == EMPTY) & (right == EMPTY)] = LABELS.index("empty_empty")
    numbers[(left == EMPTY) & (right != EMPTY)] = LABELS.index("empty_valid")
    numbers[(left != EMPTY) & (right == EMPTY)] = LABELS.index("valid_empty")
    return numbers.astype(np.int64)
