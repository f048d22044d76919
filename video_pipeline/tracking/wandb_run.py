"""A sampling run in Weights & Biases: offline by default, online where there is a key, or not at all.

Belongs here: choosing the mode, and writing a run in a process of its own. Does not belong here: what is
said (`sample_values`), wandb itself (`wandb_process`).

wandb starts a service, threads and hooks that last as long as the process that imported it, and writes to the
user's home and the temporary directory. In a process of its own it ends with that process, and everything it
writes stays in one directory.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from video_pipeline.sampling.request import RunInferenceResult
from video_pipeline.settings import Settings
from video_pipeline.telemetry.timing import Span
from video_pipeline.tracking.addresses import without_signatures
from video_pipeline.tracking.sample_values import (
    PREDICTION_COLUMNS,
    VIDEO_COLUMNS,
    configuration,
    numbers,
    prediction_rows,
    video_rows,
)

Mode = Literal["online", "offline", "disabled"]

DEFAULT_PROJECT = "video-pipeline"
MAX_PICTURES = 500
"""In the table; at about 100 KB each."""

_PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSED_ON_ONLINE = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "REQUESTS_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """Where a run can be seen: its URL, or the directory of an offline run. `note` says what went wrong."""

    url_or_path: str | None
    mode: Mode
    note: str | None = None


def tracking_mode(settings: Settings, environment: Mapping[str, str]) -> tuple[Mode, str | None]:
    """The mode, and what is to be said of it.

    WANDB_MODE decides where it is set; otherwise it is online with a WANDB_API_KEY, and offline without.
    """
    has_key = bool(environment.get("WANDB_API_KEY"))
    if settings.wandb_mode is None:
        return ("online" if has_key else "offline"), None
    if settings.wandb_mode == "online" and not has_key:
        return "offline", "W&B: WANDB_MODE is online but WANDB_API_KEY is not set; the run was kept offline."
    return settings.wandb_mode, None


def track_sample(
    result: RunInferenceResult,
    *,
    settings: Settings,
    spans: Iterable[Span],
    waterfall_html: str,
    bandwidth_html: str,
    config: Mapping[str, Any],
    directory: Path,
    pictures: Sequence[bytes] = (),
    timeout_s: float = 120.0,
) -> TrackedRun:
    """Write one run. `pictures` are PNGs of the delivered frames, in order of `result.frames`.

    Never raises `Exception`: what fails is told in the answer's `note`. An online run that fails, or does not
    end within `timeout_s`, is written offline. Nothing is written outside of `directory`; URLs lose their
    queries. An offline run refers to files in `directory` and is uploaded by `wandb sync` from there.
    """
    mode, note = tracking_mode(settings, os.environ)
    if mode == "disabled":
        return TrackedRun(None, "disabled")
    try:
        shown, left_out = _pictures(result, pictures)
        content = without_signatures(
            {
                "project": settings.wandb_project or DEFAULT_PROJECT,
                "config": configuration(result, config),
                "numbers": numbers(result, spans),
                "tables": {
                    "predictions": {"columns": PREDICTION_COLUMNS, "rows": prediction_rows(result)},
                    "bandwidth_videos": {"columns": VIDEO_COLUMNS, "rows": video_rows(result)},
                },
                "pages": {
                    "timing_waterfall.html": waterfall_html,
                    "bandwidth_report.html": bandwidth_html,
                },
            }
        )
        content["pictures"] = shown
        where, failed = _write(content, mode, directory.resolve(), timeout_s)
        if mode == "online" and where is None:
            mode = "offline"
            failed = f"{failed}; the run was kept offline"
            where, again = _write(content, mode, directory.resolve(), timeout_s)
            failed = f"{failed}, and that failed too: {again}" if again else failed
    except Exception as error:
        return TrackedRun(None, mode, _said(note, None, f"{type(error).__name__}: {error}"))
    return TrackedRun(where, mode, _said(note, left_out, failed))


def _said(note: str | None, left_out: str | None, failed: str | None) -> str | None:
    parts = [note, left_out, f"W&B tracking failed: {failed}." if failed else None]
    return without_signatures(" ".join(part for part in parts if part)) or None


def _pictures(result: RunInferenceResult, pictures: Sequence[bytes]) -> tuple[dict[str, str], str | None]:
    """PNGs in base64 by row of the predictions table, and what is not among them."""
    if not pictures:
        return {}, None
    rows = [number for number, row in enumerate(result.frames) if row.delivered]
    if len(rows) != len(pictures):
        return {}, f"W&B: {len(pictures)} pictures do not match {len(rows)} delivered frames; none is shown."
    kept = {
        str(row): base64.b64encode(png).decode()
        for row, png in zip(rows[:MAX_PICTURES], pictures, strict=False)
    }
    more = len(pictures) - len(kept)
    return (
        kept,
        f"W&B: the table shows the first {MAX_PICTURES} pictures of {len(pictures)}." if more else None,
    )


def _write(
    content: Mapping[str, Any], mode: Mode, directory: Path, timeout_s: float
) -> tuple[str | None, str | None]:
    """(where the run is, None), or (None, what failed)."""
    directory.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="tracking-", dir=directory))
    try:
        (scratch / "tmp").mkdir()
        (scratch / "content.json").write_text(json.dumps({**content, "mode": mode}))
        with (scratch / "output").open("wb") as output:
            process = subprocess.Popen(
                # -P: no module is taken from the working directory.
                [sys.executable, "-P", "-m", "video_pipeline.tracking.wandb_process", str(timeout_s)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(mode, directory, scratch),
                cwd=scratch,
            )
            try:
                status = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return None, f"it did not end within {timeout_s:g} s"
            finally:
                _end(process)
        outcome = scratch / "outcome.json"
        if not outcome.exists():
            return None, f"its process ended with status {status}: {_last_line(scratch / 'output')}"
        told = json.loads(outcome.read_text())
        return told["where"], told["failed"]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _environment(mode: Mode, directory: Path, scratch: Path) -> dict[str, str]:
    """What wandb's process sees: no key offline, no credentials of the store ever, no home of the user."""
    passed = {*_PASSED_ON, *(_PASSED_ON_ONLINE if mode == "online" else ())}
    kept = {name: value for name, value in os.environ.items() if name in passed or name.lower() in _PROXIES}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        # wandb's cache and configuration, and the ~/.netrc in which it would look for a key.
        "HOME": str(scratch),
        "TMPDIR": str(scratch / "tmp"),
        "WANDB_DIR": str(directory),
        "WANDB_DATA_DIR": str(directory / "wandb" / "staged"),
        "WANDB_ERROR_REPORTING": "false",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its service if they still run."""
    import psutil

    if process.poll() is not None:
        return
    running = psutil.Process(process.pid)
    family = [*running.children(recursive=True), running]
    for member in family:
        member.kill()
    process.wait()
    psutil.wait_procs(family, timeout=10)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else "it said nothing"
