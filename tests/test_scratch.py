"""Scratch folders: of a worker that ends, of one that is killed, and of one that still works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from video_pipeline.scratch import remove_abandoned, scratch_folder

HOLDER = """
import sys, time
from pathlib import Path
from video_pipeline.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "part.mp4").write_bytes(b"half of it")
    print(folder, flush=True)
    time.sleep(600)
"""


def _holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def _kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_folder_is_empty_and_goes_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert list(folder.iterdir()) == []
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_bytes(b"1")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_goes_when_the_task_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch_folder(tmp_path) as folder:
            (folder / "file").write_bytes(b"1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_worker_left_goes_when_the_next_one_starts(tmp_path: Path) -> None:
    process, left = _holder(tmp_path)
    _kill(process)
    assert (left / "part.mp4").exists()
    with scratch_folder(tmp_path) as folder:
        assert not left.exists()
        assert list(tmp_path.iterdir()) == [folder.parent]


def test_what_a_worker_works_with_stays(tmp_path: Path) -> None:
    process, used = _holder(tmp_path)
    try:
        with scratch_folder(tmp_path):
            assert (used / "part.mp4").read_bytes() == b"half of it"
        assert remove_abandoned(tmp_path) == []
    finally:
        _kill(process)
    assert remove_abandoned(tmp_path) == [used.parent]


def test_folders_of_others_stay(tmp_path: Path) -> None:
    process, left = _holder(tmp_path)
    _kill(process)
    foreign = tmp_path / "video_pipeline-scratch-without-a-lock"
    foreign.mkdir()
    elsewhere = tmp_path / "elsewhere"
    left.parent.rename(elsewhere)
    link = tmp_path / "video_pipeline-scratch-link"
    link.symlink_to(elsewhere)
    assert remove_abandoned(tmp_path) == []
    assert (elsewhere / "files" / "part.mp4").exists()
    assert foreign.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")
def test_another_users_folder_stays_though_nobody_holds_it(tmp_path: Path) -> None:
    process, left = _holder(tmp_path)
    _kill(process)
    os.chown(left.parent, 65534, 65534)
    assert remove_abandoned(tmp_path) == []
    assert (left / "part.mp4").exists()
    os.chown(left.parent, 0, 0)
    before = len(os.listdir("/proc/self/fd"))
    assert remove_abandoned(tmp_path) == [left.parent]
    assert len(os.listdir("/proc/self/fd")) <= before  # its lock is let go of
