"""The caption extents database: one SQLite file per extents recipe.

Belongs here: its schema, writing pair results in order, reading them back. Does not belong here: inference,
or turning pairs into captions. Pure sqlite3.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from video_pipeline.captions.labels import LABELS
from video_pipeline.errors import Internal

if TYPE_CHECKING:
    from video_pipeline.captions.inference import PairResult

_PROBABILITIES = [
    f"{direction}_prob_{label} REAL NOT NULL" for direction in ("forward", "backward") for label in LABELS
]

SCHEMA = f"""
CREATE TABLE run_metadata (
    cropped_frames_version TEXT NOT NULL,
    model_version TEXT NOT NULL,
    model_checkpoint_path TEXT NOT NULL,
    run_id TEXT NOT NULL PRIMARY KEY,
    started_at TEXT NOT NULL,
    completed_at TEXT,
    total_pairs INTEGER,
    processing_time_seconds REAL
);
CREATE TABLE pair_results (
    frame1_index INTEGER NOT NULL,
    frame2_index INTEGER NOT NULL,
    forward_predicted_label TEXT NOT NULL,
    forward_confidence REAL NOT NULL,
    {", ".join(_PROBABILITIES[:5])},
    backward_predicted_label TEXT NOT NULL,
    backward_confidence REAL NOT NULL,
    {", ".join(_PROBABILITIES[5:])},
    processing_time_ms REAL NOT NULL,
    PRIMARY KEY (frame1_index, frame2_index)
) WITHOUT ROWID;
"""

VOLATILE_COLUMNS = ("run_id", "started_at", "completed_at", "processing_time_seconds", "processing_time_ms")
"""The columns in which two runs of one recipe may differ. Every other column is equal."""

_INSERT = f"INSERT INTO pair_results VALUES ({', '.join('?' * 17)})"


class ExtentsDatabase:
    """Writes one run's pairs. Used from one thread at a time; a context manager that closes the file."""

    def __init__(
        self, path: Path, *, frames_recipe: str, model_version: str, model_checkpoint_path: str, run_id: str
    ) -> None:
        self.path = path
        self._run_id = run_id
        self._started = datetime.now(UTC)
        self._next = 0
        self.label_counts: Counter[str] = Counter()
        # The stage that writes may run in another thread than the one that opens and closes.
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # The file is scratch until it is uploaded whole: durability per commit would cost an fsync a batch.
        self._connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + SCHEMA)
        self._connection.execute(
            "INSERT INTO run_metadata VALUES (?, ?, ?, ?, ?, NULL, NULL, NULL)",
            (frames_recipe, model_version, model_checkpoint_path, run_id, self._started.isoformat()),
        )

    def add(self, results: Iterable[PairResult]) -> None:
        """Appends pairs. They come as neighbours in order; anything else is a lost or doubled pair."""
        rows = []
        for pair in results:
            if (pair.frame1_index, pair.frame2_index) != (self._next, self._next + 1):
                raise Internal(
                    f"pair ({pair.frame1_index}, {pair.frame2_index}) came where "
                    f"({self._next}, {self._next + 1}) belongs"
                )
            self._next += 1
            self.label_counts[pair.forward.label] += 1
            rows.append(
                (
                    pair.frame1_index,
                    pair.frame2_index,
                    pair.forward.label,
                    pair.forward.confidence,
                    *pair.forward.probs,
                    pair.backward.label,
                    pair.backward.confidence,
                    *pair.backward.probs,
                    pair.processing_time_ms,
                )
            )
        if rows:
            self._connection.execute("BEGIN")
            self._connection.executemany(_INSERT, rows)
            self._connection.execute("COMMIT")

    def finish(self, frame_count: int) -> int:
        """Completes the run's row and checks that every pair is there. Returns the number of pairs."""
        expected = max(frame_count - 1, 0)
        (stored,) = self._connection.execute("SELECT count(*) FROM pair_results").fetchone()
        if not self._next == stored == expected:
            raise Internal(f"{frame_count} frames make {expected} pairs, the database holds {stored}")
        completed = datetime.now(UTC)
        self._connection.execute(
            "UPDATE run_metadata SET completed_at = ?, total_pairs = ?, processing_time_seconds = ? "
            "WHERE run_id = ?",
            (completed.isoformat(), stored, (completed - self._started).total_seconds(), self._run_id),
        )
        return stored

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> ExtentsDatabase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. SQLite takes that wish in a URI only, where `#`, `?` and `%` of the
    path must be quoted (sqlite.org/uri.html, section 3.1)."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def read_stable_rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every table's rows without the volatile columns: equal for two runs of one recipe."""
    tables: dict[str, list[tuple[object, ...]]] = {}
    with contextlib.closing(open_to_read(path)) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            stable = ", ".join(column for column in columns if column not in VOLATILE_COLUMNS)
            tables[table] = connection.execute(f"SELECT {stable} FROM {table} ORDER BY 1, 2").fetchall()
    return tables
