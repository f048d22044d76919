"""The asset graph as text: every asset's spec, every check, every job's selection, each schedule and sensor.

Belongs here: writing that text, from what Dagster loads. Does not belong here: comparing it, which is
`test_definitions.py`. To renew the file after a change that is meant:

    python -m tests.definitions_text
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from video_pipeline.definitions import build_definitions

SNAPSHOT = Path(__file__).with_name("snapshots") / "definitions.txt"


def definitions_text() -> str:
    """Lines to read in a diff; sorted, with nothing in it that changes by itself."""
    definitions = build_definitions()
    graph = definitions.resolve_asset_graph()
    lines: list[str] = []
    for key in sorted(graph.get_all_asset_keys()):
        lines += [*_asset(graph, key), ""]
    for job in sorted(definitions.resolve_all_job_defs(), key=lambda job: job.name):
        if not job.name.startswith("__"):
            lines += [*_job(job), ""]
    for schedule in sorted(definitions.schedules or (), key=lambda item: item.name):
        lines += [f"schedule {schedule.name}", *_described(getattr(schedule, "description", None)), ""]
    for sensor in sorted(definitions.sensors or (), key=lambda item: item.name):
        lines += [f"sensor {sensor.name}", *_described(sensor.description), ""]
    return "\n".join(lines).rstrip() + "\n"


def _asset(graph, key: dg.AssetKey) -> Iterator[str]:
    node = graph.get(key)
    partitions = node.partitions_def
    yield f"asset {key.to_user_string()}"
    yield f"  group {node.group_name}; kinds {', '.join(sorted(node.kinds))}; {', '.join(node.owners)}"
    yield f"  partitions {getattr(partitions, 'name', None) or 'none'}"
    yield f"  of {', '.join(sorted(parent.to_user_string() for parent in node.parent_keys)) or 'nothing'}"
    if node.pools:
        yield f"  pool {', '.join(sorted(node.pools))}"
    yield from _described(node.description)
    for check in sorted(node.check_keys, key=lambda check: check.name):
        spec = graph.get_check_spec(check)
        yield f"  check {check.name}{' (blocking)' if spec.blocking else ''}"
        yield from _described(spec.description, "    ")


def _job(job: dg.JobDefinition) -> Iterator[str]:
    yield f"job {job.name}"
    yield from _described(job.description)
    selected = job.asset_layer.executable_asset_keys
    if selected:
        yield f"  assets {', '.join(sorted(key.to_user_string() for key in selected))}"
    else:
        yield f"  ops {', '.join(sorted(node.name for node in job.nodes))}"
    tags = {name: value for name, value in job.tags.items() if not name.startswith(".")}
    if tags:
        yield f"  tags {', '.join(f'{name}={value}' for name, value in sorted(tags.items()))}"


def _described(text: str | None, indent: str = "  ") -> list[str]:
    paragraphs = (text or "no description").splitlines()
    return [
        line
        for paragraph in paragraphs
        if paragraph
        for line in textwrap.wrap(
            paragraph,
            100,
            initial_indent=f"{indent}| ",
            subsequent_indent=f"{indent}| ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


if __name__ == "__main__":
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text(definitions_text())
    print(f"wrote {SNAPSHOT}")
