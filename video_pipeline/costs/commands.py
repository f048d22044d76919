"""`video-pipeline cost`: what a call or a month would take and cost.

Belongs here: arguments and what is printed. Does not belong here: any figure (`plan`, `projection`), the
ledger's command (`ledger_command`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from video_pipeline.costs.ledger_command import add_ledger_command, write_text
from video_pipeline.errors import BadInput
from video_pipeline.wording import counted

if TYPE_CHECKING:
    from video_pipeline.costs.plan import Choice
    from video_pipeline.costs.predict import Coefficients, Prediction
    from video_pipeline.settings import Settings

LEDGER = "ledger"


def add_cost_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command and `ledger` to the parser of the program."""
    cost = commands.add_parser("cost", help="what a task would take and cost, or a month of work")
    what = cost.add_mutually_exclusive_group(required=True)
    what.add_argument("--task", help="one call of this task")
    what.add_argument(
        "--mix",
        metavar="FILE|ledger",
        help="a month of the workloads in a JSON or CSV file, or of what the ledger has",
    )
    cost.add_argument("--duration", type=float, metavar="SECONDS", help="of the video")
    cost.add_argument("--fps", type=float, help="frames a second that are worked on (30)")
    cost.add_argument(
        "--goal", choices=["cheapest", "fastest", "deadline"], help="what chunks are chosen for"
    )
    cost.add_argument("--deadline", type=float, metavar="SECONDS", help="for --goal deadline")
    cost.add_argument("--gpu", help="Modal's name of a type, such as T4")
    cost.add_argument("--backend", choices=["modal", "local"], help="whose machines (Modal's if measured)")
    cost.add_argument(
        "--upscale",
        choices=["auto", "never"],
        help="of a framed clip: enlarged by the network (auto, if measured) or not",
    )
    cost.add_argument("--chunks", type=int, metavar="N", help="add this number of chunks to the table")
    cost.add_argument("--region", default="any", help="Modal's region, of which prices depend")
    cost.add_argument("--csv", type=Path, metavar="FILE", help="of a projection, write the table here too")
    cost.set_defaults(run=run_cost)
    add_ledger_command(commands)


def run_cost(arguments: argparse.Namespace) -> int:
    """Prints the table, the choice, and where the numbers come from."""
    from video_pipeline.costs.stored import known_coefficients, read_models
    from video_pipeline.modal_ops.guard import prices
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    factor = prices().region_factor(arguments.region)
    settings = load_settings()
    known = known_coefficients(read_models(open_store(settings)))
    if arguments.mix is not None:
        return _project(arguments, settings, known, factor)
    if arguments.csv is not None:
        raise BadInput(
            "one call has no table to write", input="--csv", what_to_do="use it with --mix, or leave it out"
        )
    if arguments.fps is None:
        arguments.fps = 30.0
    if arguments.duration is None:
        raise BadInput("the length is missing", input="--duration", what_to_do="give the video's seconds")
    frames = _frames(arguments.duration, arguments.fps)
    _check_deadline(arguments)
    c = _coefficients(arguments, settings, known, factor)
    print("\n".join(_told(arguments, c, frames)))
    return 0


# One task


def _coefficients(
    arguments: argparse.Namespace, settings: Settings, known: Sequence[Coefficients], factor: float
) -> Coefficients:
    from fractions import Fraction

    from video_pipeline.costs.refit import rates_of
    from video_pipeline.costs.stored import ENLARGING, family, find
    from video_pipeline.media.h264 import segment_frames
    from video_pipeline.modal_ops.specs import gpu_name
    from video_pipeline.tasks import find_task

    find_task(arguments.task, settings)
    gpu = None if arguments.gpu is None else gpu_name(arguments.gpu, input="--gpu")
    enlarged = None if arguments.upscale is None else arguments.upscale == "auto"
    if enlarged is not None and family(arguments.task) not in ENLARGING:
        raise BadInput(
            f"{arguments.task} enlarges nothing",
            input="--upscale",
            what_to_do="leave it out: it is for framed clips",
        )
    c = find(known, arguments.task, gpu=gpu, backend=arguments.backend, enlarged=enlarged)
    changes: dict[str, object] = {"rates": rates_of(c.task, c.gpu, factor)}
    if family(arguments.task) == "process_framing_ai":
        changes["segment_frames"] = segment_frames(Fraction(arguments.fps).limit_denominator(1001))
    return c.model_copy(update=changes)


def _frames(duration: float, fps: float) -> int:
    for name, value, most in (("--duration", duration, 86_400.0), ("--fps", fps, 1000.0)):
        if not (math.isfinite(value) and 0 < value <= most):
            raise BadInput(f"{value:g} is out of range", input=name, what_to_do=f"give 0 to {most:g}")
    return max(1, round(duration * fps))


def _check_deadline(arguments: argparse.Namespace) -> None:
    if arguments.deadline is not None:
        if arguments.goal not in (None, "deadline"):
            raise BadInput(
                f"a deadline does not go with the goal {arguments.goal}",
                input="--deadline",
                what_to_do="use --goal deadline",
            )
        arguments.goal = "deadline"
    if arguments.chunks is not None and arguments.chunks < 1:
        raise BadInput("a clip is at least one chunk", input="--chunks", what_to_do="give 1 or more")


def _told(arguments: argparse.Namespace, c: Coefficients, frames: int) -> list[str]:
    from video_pipeline.costs.plan import COUNTS, auto_chunks, choose_chunks, tells_counts_apart
    from video_pipeline.costs.predict import predict
    from video_pipeline.costs.refit import coefficients_note

    several = c.chunks_range[1] > 1
    if not several and (arguments.chunks or 1) > 1:
        raise BadInput(
            f"{c.task} was never measured in several chunks",
            input="--chunks",
            what_to_do="leave it out: the model knows one call",
        )
    counts = sorted({*(COUNTS if several else (1,)), arguments.chunks or 1})
    if arguments.goal is None:
        choice = auto_chunks(c, frames) if several else choose_chunks(c, frames, max_chunks=1)
    else:
        choice = choose_chunks(
            c,
            frames,
            arguments.goal,
            deadline_s=arguments.deadline,
            counts=counts,
            max_chunks=max(counts),
        )
    rows = {found.chunks: found for found in (predict(c, frames, count) for count in counts)}
    lines = [
        f"{arguments.task}, {arguments.duration:g} s of video at {arguments.fps:g} frames a second: "
        f"{frames} frames, on {c.gpu or 'CPU'} ({c.backend}){_how(c)}",
        "",
        f"{'chunks':>6}  {'seconds':>8}  {'95 % of one run':>16}  {'USD':>8}  {'95 %':>18}",
    ]
    for chunks, found in sorted(rows.items()):
        mark = "  <- chosen" if chunks == choice.chunks else ""
        beyond = "  (not measured)" if found.extrapolated else ""
        lines.append(_line(found) + beyond + mark)
    lines += [
        "",
        f"Chosen: {counted(choice.chunks, 'chunk')}. {_why(arguments, choice)}",
    ]
    lines += [f"  {note}" for note in choice.notes]
    if c.task == "process_framing_ai" and not tells_counts_apart(c):
        lines.append("  `auto` does not go by this model, which has seen one number of chunks alone")
    lines.append(f"From: {coefficients_note(c)}")
    if c.work:
        lines.append(f"Work: {c.work}.")
    lines.append(_prices_line(c))
    return lines


def _how(c: Coefficients) -> str:
    return {None: "", True: ", enlarged by the network", False: ", without the network"}[c.enlarged]


def _line(found: Prediction) -> str:
    seconds = "-" if found.low is None or found.high is None else f"{found.low:.1f} to {found.high:.1f}"
    usd = "-" if found.usd is None else f"{found.usd:.4f}"
    around = (
        "-"
        if found.usd_low is None or found.usd_high is None
        else f"{found.usd_low:.4f} to {found.usd_high:.4f}"
    )
    return f"{found.chunks:>6}  {found.seconds:>8.1f}  {seconds:>16}  {usd:>8}  {around:>18}"


def _why(arguments: argparse.Namespace, choice: Choice) -> str:
    if not choice.others:
        return "There is no other count to choose."
    return {
        None: "The fastest of 1, 2 and 4 that costs at most 20 % more than one call, and the fewest that the "
        "model cannot tell from it: what `auto` asks for.",
        "cheapest": "The lowest cost; of counts within 0.5 % of it the fewest.",
        "fastest": "The shortest time, at any cost, and the fewest that the model cannot tell from it.",
        "deadline": f"The cheapest that is predicted to take at most {arguments.deadline or 0:g} s."
        if choice.met
        else "The fastest, for want of one in time, and the fewest that the model cannot tell from it.",
    }[arguments.goal]


def _prices_line(c: Coefficients) -> str:
    if c.rates is None:
        return "No price is known of this machine."
    line = (
        f"Prices of {c.rates.as_of}, region factor {c.rates.region_factor:g}: GPU, cores, memory as reserved."
    )
    if c.backend == "local":
        line += " These seconds are of a machine of one's own, where they cost nothing: no forecast of Modal."
    return line


# A month


def _project(
    arguments: argparse.Namespace, settings: Settings, known: Sequence[Coefficients], factor: float
) -> int:
    from video_pipeline.costs.ledger import load
    from video_pipeline.costs.mix import mix_of, read_mix
    from video_pipeline.costs.projection import project
    from video_pipeline.store import open_store

    given = [
        name
        for name in ("duration", "fps", "goal", "deadline", "gpu", "backend", "chunks", "upscale")
        if getattr(arguments, name) is not None
    ]
    if given:
        raise BadInput(
            f"--{given[0]} does not go with --mix", input=f"--{given[0]}", what_to_do="say it in the mix"
        )
    mix = mix_of(load(open_store(settings))) if arguments.mix == LEDGER else read_mix(Path(arguments.mix))
    found = project(mix, known, region_factor=factor)
    if arguments.csv is not None:
        write_text(arguments.csv, found.csv())
    print(found.markdown(), end="")
    return 0
