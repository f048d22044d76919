"""Work beside the pixels grows with the frames and not with their square: 36,000 of them are an hour."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from video_pipeline.captions.chunks import ChunkAssembler
from video_pipeline.captions.contact_sheet import ContactSheet
from video_pipeline.captions.database import ExtentsDatabase
from video_pipeline.captions.extents import extents_of
from video_pipeline.captions.inference import Direction, PairResult
from video_pipeline.captions.strips import Gatherer, representatives, surroundings
from video_pipeline.captions.windows import Wanted, WindowGatherer, clear_cuts, spans
from video_pipeline.media.frames import ColourTags, CroppedFrame, CroppedPicture
from video_pipeline.media.schedule import Entry, PacketSchedule

TEN = Fraction(10)
PLANE = np.zeros((16, 16), np.uint8)
FRAME = CroppedFrame(PLANE, PLANE[:8, :8], PLANE[:8, :8], ColourTags())
SAME = Direction("same", 0.96, (0.96, 0.01, 0.01, 0.01, 0.01))


def assemble(count: int, _folder: Path) -> None:
    assembler: ChunkAssembler[int] = ChunkAssembler()
    jobs = [job for index in range(count) for job in assembler.push(index, index)] + assembler.finish()
    assert sum(len(job.frames) for job in jobs) == count


def keep_pairs(count: int, folder: Path) -> None:
    path = folder / f"{time.perf_counter_ns()}.db"
    with ExtentsDatabase(
        path, frames_recipe="f", model_version="m", model_checkpoint_path="c", run_id="r"
    ) as database:
        for batch in range(0, count, 32):
            stop = min(batch + 32, count)
            database.add(PairResult(index, index + 1, SAME, SAME, 1.0) for index in range(batch, stop))
        database.finish(count + 1)


def schedule_packets(count: int, _folder: Path) -> None:
    schedule: PacketSchedule[int] = PacketSchedule(Fraction(1, 1000), TEN)
    sent = 0
    for index in range(count):
        entry = Entry(packet=index, pts=40 * index, duration=40, shown=True, droppable=bool(index % 2))
        for packet in schedule.push(entry):
            schedule.samples_of(40 * packet)
            sent += 1
    sent += len(list(schedule.finish()))
    assert sent + schedule.dropped == count


def show_to_the_sheet(count: int, _folder: Path) -> None:
    sheet = ContactSheet(expected_frames=None, rate=TEN)
    for index in range(count):
        sheet.add(index, FRAME)
    assert sheet.thumbnails_held <= 96


def find_captions(count: int, _folder: Path) -> None:
    """A caption of two seconds and a second without one, by turns."""
    labels = [2, *[3, *[0] * 19, 4, *[2] * 9] * (count // 30)]
    chances = np.full((len(labels), 2, 5), 0.01)
    chances[np.arange(len(labels)), 0, labels] = 0.96
    chances[np.arange(len(labels)), 1, [{3: 4, 4: 3}.get(label, label) for label in labels]] = 0.96
    extents = extents_of(chances)
    assert len(extents) == count // 30
    frames = len(labels) + 1
    windows = spans(extents, TEN, frames, clear_cuts(chances))
    wanted = Wanted([4 * k for k in range(frames)], windows)
    gatherer = WindowGatherer(windows)
    reader = Gatherer(representatives(extents), surroundings(extents, frames))
    complete = read = 0
    for pts in range(4 * frames):
        samples = range(pts // 4, pts // 4 + (pts % 4 == 0))
        if samples or wanted.between(pts):
            picture = CroppedPicture(pts, samples, FRAME)
            complete += len(list(gatherer.take(picture)))
            read += sum(len(list(reader.take(sample, picture))) for sample in samples)
    assert (complete, read) == (len(windows), len(extents))


STEPS: list[tuple[Callable[[int, Path], None], int]] = [
    (assemble, 30_000),
    (keep_pairs, 6000),
    (schedule_packets, 12_000),
    (show_to_the_sheet, 20_000),
    (find_captions, 1500),
]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "count"), STEPS, ids=[step.__name__ for step, _ in STEPS])
def test_four_times_the_frames_take_about_four_times_the_work(
    step: Callable[[int, Path], None], count: int, tmp_path: Path
) -> None:
    def cpu(frames: int) -> float:
        """The least of three: other work on the machine only ever adds to it."""
        taken = []
        for _ in range(3):
            began = time.thread_time()
            step(frames, tmp_path)
            taken.append(time.thread_time() - began)
        return min(taken)

    step(count, tmp_path)
    small, large = cpu(count), cpu(4 * count)
    assert large < 8 * small, (
        f"linear work would take 4 times as long, quadratic work 16 times: {small}, {large}"
    )
