"""A folder that looks like a checkout, in which documents' blocks run as a reader would run them.

Belongs here: the folder, the environment, running one block after another. Does not belong here: which blocks
there are (`document`), and what is expected of them (the tests).

The checkout's own files are links; what a block makes (`data/`, results, files of its own) lies in the folder
alone. The virtual environment's commands are on the path, as after `. .venv/bin/activate`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.docs.document import Block

OWN = {".git", ".venv", ".cache", ".dagster_home", "data", "build"}
"""Not linked: the virtual environment is made below, the rest is what somebody's own work has left."""

LONGEST_S = 900


@dataclass
class Session:
    """Runs blocks; variables that one exports are there for the next."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Session:
        folder.mkdir()
        for entry in ROOT.iterdir():
            if entry.name not in OWN:
                (folder / entry.name).symlink_to(entry)
        _virtual_environment(folder / ".venv")
        return cls(folder)

    @property
    def _exported(self) -> Path:
        return self.folder / ".exported"

    def run(self, block: Block) -> str:
        """What the block printed. `AssertionError` with that and its place if it ends otherwise than said."""
        if block.language == "python":
            command = ["python", "-"]
            done = self._spawn(command, block.text)
        else:
            before = f"[ ! -f {self._exported} ] || . {self._exported}\n"
            after = f"export -p > {self._exported}\n"
            done = self._spawn(["bash", "-euo", "pipefail", "-c", before + block.text + after], None)
        failed = done.returncode != 0
        assert failed == ("fails" in block.marks), f"{block} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def write(self, block: Block) -> None:
        assert block.file is not None
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        assert not path.is_symlink(), f"{block} would write over the checkout's {block.file}"
        path.write_text(block.text, encoding="utf-8")

    def _spawn(self, command: list[str], text: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(),
            input=text if text is not None else "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "VIDEO_PIPELINE_STORE": str(self.folder / "data"),
            "VIDEO_PIPELINE_STATE": str(self.folder / ".state"),
            "WANDB_MODE": "offline",
            "OMP_NUM_THREADS": "1",
            "MAKEFLAGS": "",
        }


def _virtual_environment(folder: Path) -> None:
    """The one that runs the tests, called as it is in a checkout. `make` finds it as new as it wants it: it
    is what is tested with, and installing is no part of these tests."""
    folder.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".installed":
            (folder / entry.name).symlink_to(entry)
    (folder / ".installed").touch()
