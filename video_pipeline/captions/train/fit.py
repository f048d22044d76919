"""Fitting the caption pair network to stored scenes.

Belongs here: the loss, the schedule, batch norms for training and their folding. Does not belong here: data,
metrics (`evaluate.py`), the file that ships (`__main__.py` writes it).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from video_pipeline.captions.labels import LABELS, reverse
from video_pipeline.captions.train.data import Pairs, SceneSet, batches, network_input, pairs_of
from video_pipeline.captions.train.evaluate import balanced_accuracy, confusion_of
from video_pipeline.models.caption_pairs import CaptionPairNet

BACKWARD = torch.tensor([LABELS.index(reverse(label)) for label in LABELS])
"""Label number of (b, a) by label number of (a, b)."""


@dataclass(frozen=True)
class Recipe:
    """What decides a training run besides the data."""

    seed: int
    epochs: int
    batch: int = 5
    peak_rate: float = 3e-3
    weight_decay: float = 1e-3
    smoothing: float = 0.02
    distances: tuple[int, ...] = (1, 2)
    far_share: float = 0.3
    """Share of the pairs at a distance beyond 1 that a step looks at."""

    average: float = 0.998
    """Decay per step of the moving average of the weights, which is what ships."""


def fit(
    train: SceneSet,
    val: SceneSet,
    recipe: Recipe,
    started: CaptionPairNet | None = None,
    keep: Callable[[CaptionPairNet], None] = lambda _net: None,
) -> CaptionPairNet:
    """Train, keep the epoch whose averaged weights are best on `val`, and return it with its batch norms
    folded in. `keep` is given every epoch that is the best so far: a run that is stopped leaves it."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng([recipe.seed, 99])
    net = with_batch_norm(copy.deepcopy(started) if started else CaptionPairNet())
    if started:
        settle_batch_norms(net, train, recipe, rng)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.peak_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * sum(len(ids) // recipe.batch for ids in train.captions)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.peak_rate, total_steps=steps, pct_start=0.15
    )
    weights = label_weights(train, recipe.distances)
    best, best_score, step, began = fold(net), -1.0, 0, time.monotonic()
    if started:
        best_score = balanced_accuracy(confusion_of(best, val))
        print(f"before: balanced accuracy on validation {best_score:.4f}", flush=True)
    for epoch in range(recipe.epochs):
        net.train()
        running = 0.0
        for shape, numbers in batches(train, recipe.batch, rng):
            loss = _loss(net, train, shape, numbers, weights, recipe, rng)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            averaged.update_parameters(net)
            schedule.step()
            step += 1
            running = 0.98 * running + 0.02 * loss.item() if running else loss.item()
            if step % 100 == 0:
                left = (steps - step) * (time.monotonic() - began) / step
                print(f"step {step}/{steps}, loss {running:.4f}, {left:.0f} s left", flush=True)
        folded = fold(averaged.module)  # pyright: ignore[reportArgumentType]
        score = balanced_accuracy(confusion_of(folded, val))
        print(f"epoch {epoch + 1}: balanced accuracy on validation {score:.4f}", flush=True)
        if score > best_score:
            best, best_score = folded, score
            keep(best)
    return best


def _loss(
    net: CaptionPairNet,
    scenes: SceneSet,
    shape: int,
    numbers: np.ndarray,
    weights: Tensor,
    recipe: Recipe,
    rng: np.random.Generator,
) -> Tensor:
    """Weighted cross entropy of both directions of all pairs of a batch of scenes."""
    stored = scenes.pictures[shape][numbers]
    pairs = pairs_of(scenes.captions[shape][numbers], recipe.distances)
    kept = (pairs.right - pairs.left == 1) | (
        torch.from_numpy(rng.random(len(pairs.left))) < recipe.far_share
    )
    pairs = Pairs(pairs.left[kept], pairs.right[kept], pairs.labels[kept])
    pictures = vary(network_input(stored), rng).flatten(0, 1)[:, None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = net.encode(pictures)
        left, right = features.select(pairs.left), features.select(pairs.right)
        forward, backward = net.classify(left, right)
    options = {"weight": weights, "label_smoothing": recipe.smoothing}
    return (
        functional.cross_entropy(forward.float(), pairs.labels, **options)
        + functional.cross_entropy(backward.float(), BACKWARD[pairs.labels], **options)
    ) / 2


def vary(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Per scene of (N, T, H, W): contrast, brightness, rarely negative or mirrored; noise on every frame."""
    count = len(pictures)
    gain = rng.uniform(0.75, 1.2, count) * np.where(rng.random(count) < 0.04, -1, 1)
    lift = rng.uniform(-0.25, 0.25, count)
    noise = rng.choice([0, 1], count) * rng.uniform(0, 0.12, count)
    shaped = [torch.tensor(value, dtype=torch.float32).view(-1, 1, 1, 1) for value in (gain, lift, noise)]
    varied = pictures * shaped[0] + shaped[1]
    varied += torch.randn_like(varied) * shaped[2]
    for scene in np.flatnonzero(rng.random(count) < 0.15):
        varied[scene] = varied[scene].flip(-1)
    return varied


def label_weights(scenes: SceneSet, distances: tuple[int, ...]) -> Tensor:
    """Inverse frequency of each label, softened by a square root, mean 1."""
    labels = torch.cat([pairs_of(ids, distances).labels for ids in scenes.captions if len(ids)])
    counts = torch.bincount(labels, minlength=len(LABELS)).clamp(min=1)
    weights = (counts.sum() / counts).sqrt()
    return weights / weights.mean()


def with_batch_norm(net: CaptionPairNet) -> CaptionPairNet:
    """Put a batch norm behind every convolution that feeds one nonlinearity by itself."""
    for name, child in list(net.named_modules()):
        if isinstance(child, nn.Conv2d) and name not in ("as_side", "as_pair"):
            _replace(net, name, nn.Sequential(child, nn.BatchNorm2d(child.out_channels)))
    return net


def settle_batch_norms(
    net: CaptionPairNet, scenes: SceneSet, recipe: Recipe, rng: np.random.Generator, count: int = 40
) -> None:
    """Give fresh batch norms the statistics of `count` batches, and scale and shift that undo them: the
    network computes what it did without them, and training goes on from there."""
    net.eval()
    sums: dict[nn.Module, Tensor] = {}
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]

    def note(module: nn.Module, given: tuple[Tensor, ...], _out: Tensor) -> None:
        values = given[0].float()
        moments = torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))])
        sums[module] = sums.get(module, torch.zeros_like(moments)) + moments / count

    hooks = [norm.register_forward_hook(note) for norm in norms]
    with torch.no_grad():
        for (shape, numbers), _ in zip(batches(scenes, recipe.batch, rng), range(count), strict=False):
            pictures = network_input(scenes.pictures[shape][numbers]).flatten(0, 1)[:, None]
            features = net.encode(pictures)
            net.classify(features.select(slice(0, -1)), features.select(slice(1, None)))
    for hook in hooks:
        hook.remove()
    for norm in norms:
        mean, square = sums[norm]
        variance = (square - mean.square()).clamp(min=1e-6)
        norm.running_mean, norm.running_var = mean, variance
        norm.weight.data, norm.bias.data = (variance + norm.eps).sqrt(), mean.clone()


def fold(net: CaptionPairNet) -> CaptionPairNet:
    """A copy in evaluation mode whose convolutions have their batch norms folded in; the shape that ships."""
    folded = copy.deepcopy(net).eval()
    for name, child in list(folded.named_modules()):
        if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], nn.BatchNorm2d):
            _replace(folded, name, fuse_conv_bn_eval(child[0], child[1]))  # type: ignore[arg-type]
    return folded


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(net.get_submodule(parent), last, module)
