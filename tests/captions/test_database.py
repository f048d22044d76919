"""The extents database: DESIGN's schema to the column, every pair once and in order, one run's row."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from video_pipeline.captions.database import VOLATILE_COLUMNS, ExtentsDatabase, open_to_read, read_stable_rows
from video_pipeline.captions.inference import Direction, PairResult
from video_pipeline.captions.labels import LABELS
from video_pipeline.errors import Internal

FORWARD = Direction("empty_valid", 0.6, (0.05, 0.1, 0.15, 0.6, 0.1))
BACKWARD = Direction("valid_empty", 0.5, (0.2, 0.12, 0.08, 0.1, 0.5))


def pair(index: int, forward: Direction = FORWARD, ms: float = 1.5) -> PairResult:
    return PairResult(index, index + 1, forward, BACKWARD, ms)


def opened(path: Path, run_id: str = "run 1", **changes: str) -> ExtentsDatabase:
    named = {"frames_recipe": "f" * 16, "model_version": "m" * 16, "model_checkpoint_path": "shipped"}
    return ExtentsDatabase(path, run_id=run_id, **(named | changes))


@contextlib.contextmanager
def read(path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_to_read(path)
    connection.row_factory = sqlite3.Row
    try:
        yield connection
    finally:
        connection.close()


def columns(path: Path, table: str) -> list[str]:
    with read(path) as connection:
        return [row["name"] for row in connection.execute(f"PRAGMA table_info({table})")]


@pytest.mark.parametrize("name", ["a#b", "a?mode=rw", "a%20b", "a b & ü"])
def test_a_database_is_read_wherever_it_lies_and_never_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "extents.db"
    path.parent.mkdir()
    with opened(path) as database:
        database.add([pair(0)])
        database.finish(2)
    assert len(read_stable_rows(path)["pair_results"]) == 1
    with read(path) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM pair_results")
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_the_tables_have_the_columns_that_the_design_names(tmp_path: Path) -> None:
    path = tmp_path / "extents.db"
    opened(path).close()
    assert columns(path, "run_metadata") == [
        "cropped_frames_version",
        "model_version",
        "model_checkpoint_path",
        "run_id",
        "started_at",
        "completed_at",
        "total_pairs",
        "processing_time_seconds",
    ]
    one_way = ["predicted_label", "confidence"]
    one_way += [
        f"prob_{label}" for label in ("same", "different", "empty_empty", "empty_valid", "valid_empty")
    ]
    assert columns(path, "pair_results") == [
        "frame1_index",
        "frame2_index",
        *(f"forward_{name}" for name in one_way),
        *(f"backward_{name}" for name in one_way),
        "processing_time_ms",
    ]


def test_each_value_stands_in_its_own_column(tmp_path: Path) -> None:
    path = tmp_path / "extents.db"
    with opened(path) as database:
        database.add([pair(0)])
        database.finish(2)
    with read(path) as connection:
        (row,) = connection.execute("SELECT * FROM pair_results").fetchall()
    expected: dict[str, Any] = {"frame1_index": 0, "frame2_index": 1, "processing_time_ms": 1.5}
    for direction, told in (("forward", FORWARD), ("backward", BACKWARD)):
        expected[f"{direction}_predicted_label"] = told.label
        expected[f"{direction}_confidence"] = told.confidence
        expected |= {f"{direction}_prob_{label}": p for label, p in zip(LABELS, told.probs, strict=True)}
    assert dict(row) == expected


def test_a_pair_can_stand_there_once_only(tmp_path: Path) -> None:
    path = tmp_path / "extents.db"
    with opened(path) as database:
        database.add([pair(0)])
    connection = sqlite3.connect(path)
    (row,) = connection.execute("SELECT * FROM pair_results").fetchall()
    other = (*row[:2], *(value if isinstance(value, str) else value / 2 for value in row[2:]))
    with pytest.raises(sqlite3.IntegrityError, match=r"frame1_index, pair_results\.frame2_index$"):
        connection.execute(f"INSERT INTO pair_results VALUES ({', '.join('?' * len(row))})", other)
    connection.close()


def test_the_runs_row_tells_what_of_and_is_completed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "extents.db"
    with opened(path) as database:
        with read(path) as connection:
            (begun,) = map(dict, connection.execute("SELECT * FROM run_metadata").fetchall())
        database.add([pair(0), pair(1)])
        database.add([pair(2)])
        assert database.finish(4) == 3
    with read(path) as connection:
        (done,) = map(dict, connection.execute("SELECT * FROM run_metadata").fetchall())
    named = {
        "cropped_frames_version": "f" * 16,
        "model_version": "m" * 16,
        "model_checkpoint_path": "shipped",
        "run_id": "run 1",
    }
    assert named.items() <= begun.items()
    assert named.items() <= done.items()
    assert (begun["completed_at"], begun["total_pairs"]) == (None, None)
    assert done["total_pairs"] == 3
    started, completed = (datetime.fromisoformat(done[name]) for name in ("started_at", "completed_at"))
    assert started.tzinfo is not None
    assert done["processing_time_seconds"] == pytest.approx((completed - started).total_seconds())
    assert 0 <= done["processing_time_seconds"] < 60


@pytest.mark.parametrize(
    "wrong",
    [PairResult(2, 3, FORWARD, BACKWARD, 1), PairResult(0, 1, FORWARD, BACKWARD, 1),
     PairResult(1, 3, FORWARD, BACKWARD, 1), PairResult(2, 1, FORWARD, BACKWARD, 1)],
    ids=["one is lost", "one comes again", "not neighbours", "turned round"],
)  # fmt: skip
def test_a_pair_that_does_not_follow_is_a_defect(tmp_path: Path, wrong: PairResult) -> None:
    with opened(tmp_path / "extents.db") as database:
        database.add([pair(0)])
        with pytest.raises(Internal, match=r"where \(1, 2\) belongs"):
            database.add([wrong])


@pytest.mark.parametrize("frames", [2, 4, 0])
def test_a_run_that_lacks_pairs_or_has_too_many_cannot_be_finished(tmp_path: Path, frames: int) -> None:
    with opened(tmp_path / "extents.db") as database:
        database.add([pair(0), pair(1)])
        with pytest.raises(Internal, match=f"{frames} frames make {max(frames - 1, 0)} pairs"):
            database.finish(frames)
    with read(tmp_path / "extents.db") as connection:
        ((completed,),) = connection.execute("SELECT completed_at FROM run_metadata").fetchall()
    assert completed is None, "a run that failed does not look like one that ended"


@pytest.mark.parametrize("frames", [0, 1])
def test_a_video_of_one_frame_has_no_pairs_and_that_is_well(tmp_path: Path, frames: int) -> None:
    with opened(tmp_path / "extents.db") as database:
        database.add([])
        assert database.finish(frames) == 0


def test_labels_are_counted_by_the_forward_direction(tmp_path: Path) -> None:
    same = Direction("same", 0.9, (0.9, 0.025, 0.025, 0.025, 0.025))
    with opened(tmp_path / "extents.db") as database:
        database.add([pair(0), pair(1, same), pair(2, same)])
        assert dict(database.label_counts) == {"empty_valid": 1, "same": 2}


def test_leaving_the_context_closes_the_file_and_lets_an_error_through(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of the body"), opened(tmp_path / "extents.db") as database:
        raise ValueError("of the body")
    with pytest.raises(sqlite3.ProgrammingError):
        database.add([pair(0)])


def test_stable_rows_are_all_columns_but_those_of_the_single_run(tmp_path: Path) -> None:
    """The yardstick of the test that streaming and sequential runs are equal: it must not look away."""
    assert VOLATILE_COLUMNS == (
        "run_id",
        "started_at",
        "completed_at",
        "processing_time_seconds",
        "processing_time_ms",
    )

    def made(name: str, *pairs: PairResult, run_id: str = "run 1", **changes: str) -> dict[str, list[Any]]:
        path = tmp_path / name
        with opened(path, run_id, **changes) as database:
            database.add(pairs)
            database.finish(len(pairs) + 1)
        return read_stable_rows(path)

    first = made("first", pair(0), pair(1))
    assert first == made("second", pair(0, ms=99.0), pair(1), run_id="run 2")
    assert [row[:2] for row in first["pair_results"]] == [(0, 1), (1, 2)]
    assert len(first["pair_results"][0]) == 16
    assert first["run_metadata"] == [("f" * 16, "m" * 16, "shipped", 2)]
    other = Direction("empty_valid", 0.6, (0.1, 0.05, 0.15, 0.6, 0.1))
    assert first != made("other value", pair(0, other), pair(1))
    assert first != made("other weights", pair(0), pair(1), model_version="n" * 16)


def test_pairs_are_written_by_another_thread_than_the_one_that_opens_and_closes(tmp_path: Path) -> None:
    with opened(tmp_path / "extents.db") as database, ThreadPoolExecutor(1) as stage:
        stage.submit(database.add, [pair(0)]).result()
        assert database.finish(2) == 1
