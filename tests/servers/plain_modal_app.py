"""An app for testing the loopback stand-in itself: nothing of the project in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import modal

SHIPPED = ("__init__.py", "servers/__init__.py", "servers/plain_modal_app.py")

image = (
    modal.Image.debian_slim()
    .env({"A_VARIABLE": "of the image"})
    .add_local_python_source("tests", ignore=lambda path: path.as_posix() not in SHIPPED)
)
app = modal.App("plain", image=image, include_source=False)


@app.function(secrets=[modal.Secret.from_name("a-secret")])
def look() -> dict[str, str]:
    try:
        import video_pipeline

        project = str(video_pipeline.__file__)
    except ModuleNotFoundError:
        project = "not uploaded"
    return {
        "module": __file__,
        "word": os.environ["SECRET_WORD"],
        "variable": os.environ["A_VARIABLE"],
        "project": project,
    }


@app.function()
def double(number: int) -> int:
    return 2 * number


@app.function()
def echo(text: str) -> str:
    return text


@app.function(max_containers=1)
def talk(number: int) -> None:
    print(f"{number} says a")
    print(f"{number} says b")


@app.function()
def fail(how: str) -> None:
    raise ValueError("as asked")


@app.function()
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@app.function(timeout=1)
def short(seconds: float) -> None:
    time.sleep(seconds)


@app.function(retries=1)
def second_try() -> str:
    if modal.current_input_id() not in _seen():
        raise ValueError("not at the first")
    return "at the second try"


def _seen() -> list[str]:
    """The inputs that this function has tried before, in whatever container."""
    path = Path(os.environ["MODAL_CONTAINER_ARGUMENTS_PATH"]).parent.parent / "seen"
    before = path.read_text().splitlines() if path.exists() else []
    path.write_text("\n".join([*before, modal.current_input_id() or ""]))
    return before


@app.function()
def note(journal: str, seconds: float) -> str:
    with Path(journal).open("a") as file:
        file.write("started\n")
    time.sleep(seconds)
    return "done"


@app.function()
def exits_at_start() -> None:
    """Never reached: its containers end while they import this module."""


if not modal.is_local():
    from modal_proto import api_pb2

    _arguments = api_pb2.ContainerArguments()
    _arguments.ParseFromString(Path(os.environ["MODAL_CONTAINER_ARGUMENTS_PATH"]).read_bytes())
    if _arguments.function_def.function_name == "exits_at_start":
        print("these are its last words", flush=True)
        os._exit(3)
