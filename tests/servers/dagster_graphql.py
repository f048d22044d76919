"""Dagster's webserver as its own page talks to it.

Belongs here: asking over GraphQL, and launching a run. Does not belong here: starting a webserver, or what
only one test asks.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

SELECTOR = {"repositoryLocationName": "video_pipeline", "repositoryName": "__repository__"}


def ask(url: str, query: str, variables: dict[str, Any], timeout_s: float) -> Any:
    """The answer's data. `url` is the webserver's, without a path."""
    request = urllib.request.Request(
        f"{url}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        data = json.load(answer)
    assert "errors" not in data, data
    return data["data"]


def launch(
    url: str,
    job: str,
    timeout_s: float,
    *,
    partition: str | None = None,
    config: dict[str, Any] | None = None,
) -> str:
    """Launches a run of a job; its id."""
    tags = [] if partition is None else [{"key": "dagster/partition", "value": partition}]
    parameters = {
        "selector": {**SELECTOR, "jobName": job},
        "mode": "default",
        "runConfigData": json.dumps(config or {}),
        "executionMetadata": {"tags": tags},
    }
    query = """mutation($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
                 __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
                 ... on RunConfigValidationInvalid { errors { message } } } }"""
    launched = ask(url, query, {"parameters": parameters}, timeout_s)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return launched["run"]["runId"]
