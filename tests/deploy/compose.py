"""The compose files as tests read them: variables put in, files laid over each other, as Compose does it.

Belongs here: as much of the Compose specification as `deploy/` uses (interpolation of `${NAME:-default}` and
`${NAME:?message}`, anchors and merge keys, merging of services over files). Does not belong here: what is
expected of the services. Where Docker Compose itself is installed, `test_compose.py` asks that too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
FILES = ("compose.yaml", "compose.s3.yaml", "compose.proxy.yaml")

_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


class Missing(Exception):
    """A variable that must be set is not: what Compose stops with."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Compose specification, "Interpolation": `:-` and `:?` count an empty variable as not set."""

    def value(found: re.Match[str]) -> str:
        if found.group() == "$$":
            return "$"
        set_to = variables.get(found["name"], "")
        if set_to or found["kind"] is None:
            return set_to
        if found["kind"] == "-":
            return found["rest"]
        raise Missing(f"{found['name']}: {found['rest']}")

    return _VARIABLE.sub(value, text)


def services(variables: Mapping[str, str], files: tuple[str, ...] = FILES) -> dict[str, dict[str, Any]]:
    """Every service with its variables put in; what a later file says of a service is added to it."""
    merged: dict[str, dict[str, Any]] = {}
    for name in files:
        document = _put_in(yaml.safe_load((DEPLOY / name).read_text()), variables)
        for service, said in document["services"].items():
            known = merged.setdefault(service, {})
            for key, new in said.items():
                both = isinstance(new, dict) and isinstance(known.get(key), dict)
                known[key] = {**known[key], **new} if both else new
    return merged


def _put_in(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return interpolate(value, variables)
    if isinstance(value, dict):
        return {key: _put_in(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_put_in(item, variables) for item in value]
    return value


def environment_file(name: str) -> dict[str, str]:
    """The variables that a file of the form `NAME=value` sets."""
    lines = (DEPLOY / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
