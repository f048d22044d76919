"""What Dagster loads, in fresh interpreters, as Dagster would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

from tests.conftest import ROOT

HEAVY = ("torch", "av", "modal", "wandb", "boto3", "PyNvVideoCodec", "pandas")


def python(code: str, **environment: str) -> str:
    """Runs code in a fresh interpreter with an empty environment; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_definitions_load_without_a_credential_or_a_heavy_import() -> None:
    loaded = json.loads(
        python(f"""
            import json, sys
            from video_pipeline.definitions import defs
            import dagster as dg
            dg.Definitions.validate_loadable(defs)
            print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
        """)
    )
    assert loaded == []


def test_the_definitions_load_with_a_wrong_environment_too() -> None:
    # Settings are read at run time: a typo in a variable must not take the UI down.
    python("import video_pipeline.definitions", VIDEO_PIPELINE_STORE="gs://nowhere")


def test_the_graph_is_the_one_the_readme_describes() -> None:
    from video_pipeline.definitions import build_definitions

    graph = build_definitions().resolve_asset_graph()
    parents = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "source_video": [],
        "caption_layout": ["source_video"],
        "cropped_frames": ["caption_layout", "source_video"],
        "caption_frame_extents": ["caption_layout", "source_video"],
        "vp9_chunks": ["caption_layout", "source_video"],
        "captions": ["caption_frame_extents", "cropped_frames", "vp9_chunks"],
        "wasabi_upload": ["caption_frame_extents", "captions", "cropped_frames", "vp9_chunks"],
        "frame_samples": [],
        "frame_predictions": ["frame_samples"],
        "clip": [],
        "player_detections": ["clip"],
        "overlay_clip": ["clip"],
        "framed_clip": ["clip", "overlay_clip"],
        "multi_clip": ["framed_clip"],
        "annotated_compilation": ["framed_clip"],
    }
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description
        assert node.group_name in ("captions", "sampling", "clips")
        assert node.partitions_def is not None


def test_imports_point_one_way() -> None:
    """Only Dagster's modules import Dagster, only Modal's import Modal, and domains import no backend."""
    import ast

    dagster_may = {
        "definitions",
        "partitions",
        "jobs",
        "schedules",
        "sensors",
        "failures",
        "assets",
        "resources",
    }
    domains = {"captions", "clips", "sampling", "media", "models", "streaming", "telemetry", "store"}
    wrong = []
    for path in sorted((ROOT / "video_pipeline").rglob("*.py")):
        relative = path.relative_to(ROOT / "video_pipeline")
        if relative.as_posix() == "demo/ui.py":
            continue  # `make ui` is Dagster's front door: it makes the instance and registers partitions
        top = relative.parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                root, _, rest = name.partition(".")
                inner = rest.split(".")[0]
                if root == "dagster" and top not in dagster_may:
                    wrong.append(f"{relative} imports {name}")
                if root == "modal" and not (top == "modal_ops" or relative.as_posix() == "compute/modal.py"):
                    wrong.append(f"{relative} imports {name}")
                if (
                    root == "video_pipeline"
                    and top in domains
                    and inner in {"assets", "resources", "compute", "cli"}
                    and rest != "compute.fan_out"  # the loop over calls, which knows no backend
                ):
                    wrong.append(f"{relative} imports {name}")
                if (
                    root == "video_pipeline"
                    and top in {"media", "models", "streaming", "telemetry"}
                    and inner in {"captions", "clips", "sampling"}
                ):
                    wrong.append(f"{relative} imports {name}")
    assert wrong == []


def test_the_workspace_file_names_the_definitions() -> None:
    import yaml

    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["python_module"]["module_name"] == "video_pipeline.definitions"
    assert "[tool.dagster]" not in [
        line.strip() for line in (ROOT / "pyproject.toml").read_text().splitlines()
    ]
