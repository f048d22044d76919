"""How a worker's process ends: at once, with all that was written, and with its code."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import atexit, sys, threading, time
from video_pipeline.worker_end import end_process
threading.Thread(target=time.sleep, args=(60,)).start()
atexit.register(sys.stderr.write, "told of the end")
sys.stdout.write("half a line")
end_process(3)
"""


def test_a_process_ends_with_its_output_and_its_code_and_waits_for_no_thread() -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=buffered, capture_output=True, text=True, timeout=40, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "half a line", "told of the end")
