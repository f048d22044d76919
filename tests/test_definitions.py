"""What Dagster loads, in fresh interpreters, as Dagster would."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import textwrap

from tests.conftest import ROOT
from tests.definitions_text import SNAPSHOT, definitions_text

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


def test_assets_checks_jobs_and_automation_are_those_of_the_snapshot() -> None:
    assert definitions_text() == SNAPSHOT.read_text(), (
        "the definitions changed; if that is meant, renew the text: python -m tests.definitions_text"
    )


def test_every_asset_says_what_it_is_whose_it_is_and_where_to_look() -> None:
    from video_pipeline.definitions import build_definitions

    definitions = build_definitions()
    graph = definitions.resolve_asset_graph()
    groups = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key
        groups.setdefault(node.group_name, []).append(key)
        if node.partitions_def is not None:
            # A link of one asset to another one's page would lead a person astray.
            assert f"(/assets/{key.to_user_string()}?view=partitions)" in node.description
    assert {"captions", "sampling", "clips"} <= set(groups)
    for check in graph.asset_check_keys:
        assert graph.get_check_spec(check).description, check
    for job in definitions.resolve_all_job_defs():
        assert job.name.startswith("__") or job.description, job.name


def test_imports_point_one_way() -> None:
    """Only Dagster's modules import Dagster, only Modal's import Modal, and domains import no backend."""
    import ast

    dagster_may = {
        "definitions",
        "partitions",
        "jobs",
        "cleanup_job",
        "run_launcher",
        "run_queue",
        "code_server",
        "run_host",
        "schedules",
        "sensors",
        "report_sensor",
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


def test_nothing_that_costs_is_started_again_or_automated_by_dagster_itself() -> None:
    """Retries are the calls' and the runs' (`failures`); what runs by itself are schedules and sensors."""
    import dagster as dg

    from video_pipeline.definitions import build_definitions, default_assets

    for asset in default_assets:
        name = asset.op.name
        # A retry policy starts a step again that a person has cancelled, and its call is paid a second time.
        assert asset.op.retry_policy is None, name
        # Two policies along one chain split a video's run; none means one run per partition.
        assert asset.backfill_policy is None, name
        for spec in asset.specs:
            assert spec.automation_condition is None, name
            assert spec.freshness_policy is None, name
        # What a function without this annotation returns is pickled by Dagster's default IO manager.
        returned = str(inspect.signature(asset.node_def.compute_fn.decorated_fn).return_annotation)
        assert "MaterializeResult" in returned, name
    repository = build_definitions().get_repository_def()
    for job in repository.get_all_jobs():
        # The UI's Materialize and backfills of assets run `__ASSET_JOB`, where no job's own executor applies.
        assert job.executor_def is dg.in_process_executor, job.name
        assert all(node.retry_policy is None for node in job.nodes), job.name
