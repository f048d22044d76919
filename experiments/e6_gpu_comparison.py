"""E6: GPU types, and software switches on the upscaling network."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from experiments import gpus
from experiments.films import SPORT, sport_of
from experiments.harness import Experiment, Options, Results, Step, Work, main
from experiments.place import TENANT, Place
from experiments.schema import Comparison, NotTested
from experiments.tasks import NETWORK

ANYWHERE: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("float32, channels last, batch 1, nothing compiled: as the product on a CPU", {}),
    "contiguous": ("channels first", {"channels_last": False}),
    "batch_2": ("batch 2", {"batch": 2}),
    "batch_4": ("batch 4", {"batch": 4}),
    "bfloat16": ("bfloat16", {"precision": "bfloat16"}),
    "compile": ("torch.compile, its default mode", {"compile": "default"}),
}
GPU_ONLY: dict[str, tuple[str, dict[str, Any]]] = {
    "cudnn_benchmark": ("cudnn.benchmark", {"cudnn_benchmark": True}),
    "no_tf32": ("TF32 forbidden; torch allows it by itself", {"tf32": False}),
    "float16": ("half precision, as the product on a GPU", {"precision": "float16"}),
    "float16_batch_4": ("half precision, batch 4", {"precision": "float16", "batch": 4}),
    "compile_reduce_overhead": ("torch.compile, reduce-overhead", {"compile": "reduce-overhead"}),
    "float16_compile_benchmark": (
        "half precision, torch.compile and cudnn.benchmark",
        {"precision": "float16", "compile": "default", "cudnn_benchmark": True},
    ),
}
ON_EVERY_TYPE = ("plain", "float16")
"""The others run on two types only."""
MEASURES = ("steady_ms", "wall_s")


def experiment(place: Place, options: Options) -> Experiment:
    sport = place.put(sport_of(place.folder, 1.0) if options.quick else SPORT)
    absent = gpus.absent(place)
    size = (
        {"width": 48, "height": 48, "pictures": 8}
        if options.quick
        else {"width": 72, "height": 128, "pictures": 16}
    )
    if absent is None and not options.quick:
        size = {"width": 153, "height": 272, "pictures": 64}
    switches, missing = dict(ANYWHERE), []
    if absent is None:
        switches |= GPU_ONLY
    else:
        missing += [NotTested(what=what, reason=absent) for what, _ in GPU_ONLY.values()]
        if place.on_this_machine and shutil.which("g++") is None and shutil.which("clang++") is None:
            del switches["compile"]
            missing.append(NotTested(what="torch.compile", reason="this machine has no C++ compiler"))
    if options.quick:
        switches = {name: switches[name] for name in ("plain", "contiguous")}
    on_types: list[str | None] = [None]
    if gpus.types_not_reached(place):
        missing += [
            NotTested(what=f"GPU {kind}", reason=gpus.types_not_reached(place)) for kind in gpus.TYPES
        ]
    else:
        on_types = list(gpus.TYPES)
        missing.append(NotTested(what="software switches on GPUs other than T4 and L4", reason="their cost"))
    works, comparisons = [], []
    for kind in on_types:
        for name, (what, fields) in switches.items():
            if kind not in (None, "T4", "L4") and name not in ON_EVERY_TYPE:
                continue
            works.append(_work(_named(name, kind), what, kind, sport, size, fields))
            comparisons += _comparisons(name, kind)
    return Experiment(
        "e6_gpu_comparison",
        "Which GPU type, and which software switches, make the upscaling network cheaper?",
        works,
        comparisons,
        missing,
        notes=[
            "`steady_ms` is a picture's time after the first batch; `wall_s` is the whole call, with what a "
            "switch does once (compiling, choosing algorithms).",
            "Outputs are held against the plain float32 on the same device: the largest difference in "
            "steps of 255, and the share of values that differ.",
        ],
    )


def _named(name: str, kind: str | None) -> str:
    return name if kind is None else f"{kind.lower()}_{name}"


def _comparisons(name: str, kind: str | None) -> list[Comparison]:
    """A switch against none on the same GPU; a GPU type against T4, plain and as the product runs on it."""
    against = [_named("plain", kind)] if name != "plain" else []
    if kind not in (None, "T4") and name in ON_EVERY_TYPE:
        against.append(_named(name, "T4"))
    measures = (*MEASURES, "usd") if kind else MEASURES
    return [
        Comparison(name=_named(name, kind), baseline=other, measure=measure)
        for other in against
        for measure in measures
    ]


def _work(
    name: str, what: str, kind: str | None, source: str, size: dict[str, Any], fields: dict[str, Any]
) -> Work:
    def request(run: str) -> dict[str, Any]:
        return {"tenant_id": TENANT, "name": run, "source_key": source, **size, **fields}

    return Work(
        name=name,
        what=what,
        steps=[Step(NETWORK, request, kind)],
        hardware=kind or "",
        equal_outputs=name,
        output=lambda results, place: results[0]["output_sha256"],
        values=_values,
        facts={**size, **{key: str(value) for key, value in fields.items()}},
    )


def _values(results: Results) -> dict[str, float | str | bool | None]:
    names = ("device", "load_s", "first_s", "steady_ms", "largest_step", "differing_share")
    return {name: results[0][name] for name in names}


if __name__ == "__main__":
    sys.exit(main("e6_gpu_comparison"))
