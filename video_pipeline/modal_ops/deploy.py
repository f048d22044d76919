"""`python -m video_pipeline.modal_ops.deploy [--env staging]`: deploy the app, probe it, record it.

Belongs here: the order of these steps, the record and what is printed. Does not belong here: what is deployed
(`app`), or probing (`probing`).

Exit codes: 0 deployed, and every probe found what its machine must have; 1 deployed, but a probe failed, or
Modal was away; 2 the command, the environment or Modal's answer to it is wrong, nothing was deployed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from video_pipeline import __version__, keys
from video_pipeline.compute.follow import Interrupts
from video_pipeline.errors import BadInput, Internal, PipelineError, Transient
from video_pipeline.modal_ops.guard import prices
from video_pipeline.modal_ops.probing import Probed, check_probes, machines_of_the_table, probe_machines
from video_pipeline.modal_ops.specs import app_name, deployed_specs
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import all_tasks


class DeployedFunction(BaseModel):
    """One function as it was deployed: a caller can compare the version of its task."""

    model_config = ConfigDict(extra="ignore")

    version: int
    gpu: str | None
    cpu_cores: float
    memory_mib: int
    timeout_s: int
    image: str


class DeploymentRecord(BaseModel):
    """`system/server/deployments/{app}/{time}.json`."""

    model_config = ConfigDict(extra="ignore")

    app: str
    app_id: str
    env: str
    at: datetime
    package_version: str
    modal_client: str
    store: str
    source_sha256: str
    """Over the paths and contents of every file that was shipped."""
    shipped_files: int
    shipped_bytes: int
    prices_as_of: str
    functions: dict[str, DeployedFunction]
    probes: list[Probed] = []


def deploy(settings: Settings, *, probe: Sequence[str] | None = None) -> DeploymentRecord:
    """Deploys the app of `settings`, runs the probes and stores the record.

    `probe` lists GPU types and "cpu"; None means each type that a task of the table asks for, and "cpu". The
    cost of the probes is held against the limits first. Ctrl-C while they run, or wait for a machine, cancels
    them; the app stays deployed. `BadInput` for settings that cannot be deployed, `Transient` or `BadInput`
    where Modal is away or refuses.
    """
    if settings.compute != "modal":
        raise BadInput(
            f"these settings run tasks on {settings.compute}, which needs no deployment",
            input="VIDEO_PIPELINE_COMPUTE",
            what_to_do="set VIDEO_PIPELINE_COMPUTE=modal and VIDEO_PIPELINE_STORE=s3://BUCKET",
        )
    store = open_store(settings)
    wanted = list(dict.fromkeys(probe)) if probe is not None else machines_of_the_table(settings)
    for cost in check_probes(wanted, settings):
        print(f"cost: {cost}")
    app_id = _deploy(settings)
    record = _record(settings, app_id, store)
    key = keys.deployment_key(record.app, record.at)
    _store(store, key, record)
    print(f"deployed {record.app} ({app_id}), {len(record.functions)} functions: {store.uri}/{key}")
    if wanted:
        with Interrupts.watched() as interrupts:
            record.probes = probe_machines(wanted, settings, store, interrupted=lambda: interrupts.asked)
        _store(store, key, record)
    return record


def latest_deployment(store: ObjectStore, app: str) -> DeploymentRecord | None:
    """The record of the app's last deployment, if there is one."""
    found = sorted(item.key for item in store.list(keys.deployments_prefix(app)))
    return DeploymentRecord.model_validate_json(store.get(found[-1])) if found else None


def _deploy(settings: Settings) -> str:
    """Deploys through Modal's client; returns Modal's id of the app."""
    import modal
    from modal.exception import (
        AuthError,
        ConnectionError,
        Error,
        InternalError,
        NotFoundError,
        ServiceError,
        TimeoutError,
    )

    from video_pipeline.modal_ops.app import build_app

    app = build_app(settings, namespace={})
    try:
        with modal.enable_output():
            app.deploy()
    except AuthError as error:
        raise BadInput(
            f"Modal does not know this token: {error}",
            input="MODAL_TOKEN_ID and MODAL_TOKEN_SECRET",
            what_to_do="run `modal token new`, or set both variables",
        ) from error
    except (ConnectionError, ServiceError, InternalError, TimeoutError) as error:
        # The last is of uploads: of the source's files, or to a volume.
        raise Transient(f"Modal cannot be reached: {error}", what_to_do="try again later") from error
    except Error as error:
        raise BadInput(
            f"Modal refused the deployment: {error}",
            input=app.name,
            what_to_do="create the secrets wasabi and wandb-secret (docs/modal.md says how)"
            if isinstance(error, NotFoundError)
            else "correct what the message names, and deploy again",
        ) from error
    if app.app_id is None:
        raise Internal("the app was deployed and has no id", input=app.name)
    return app.app_id


def _record(settings: Settings, app_id: str, store: ObjectStore) -> DeploymentRecord:
    import modal

    from video_pipeline.modal_ops.images import shipped_files

    digest, count, size = hashlib.sha256(), 0, 0
    for local, remote in sorted(shipped_files(settings), key=lambda pair: pair[1]):
        data = local.read_bytes()
        # Lengths first, so that no two sets of files give the same bytes.
        digest.update(f"{len(remote)} {remote} {len(data)} ".encode() + data)
        count, size = count + 1, size + len(data)
    functions: dict[str, DeployedFunction] = {}
    for task in all_tasks(settings).values():
        for spec in deployed_specs(task, settings):
            functions[spec.name] = DeployedFunction(
                version=task.version,
                gpu=spec.gpu,
                cpu_cores=spec.cpu_cores,
                memory_mib=spec.memory_mib,
                timeout_s=spec.timeout_s,
                image=spec.image,
            )
    return DeploymentRecord(
        app=app_name(settings),
        app_id=app_id,
        env=settings.env,
        at=datetime.now(UTC),
        package_version=__version__,
        modal_client=modal.__version__,
        store=store.uri,
        source_sha256=digest.hexdigest(),
        shipped_files=count,
        shipped_bytes=size,
        prices_as_of=prices().as_of,
        functions=functions,
    )


def _store(store: ObjectStore, key: str, record: DeploymentRecord) -> None:
    store.put(key, record.model_dump_json(indent=2).encode(), content_type="application/json")


def _show(probed: Probed, store: ObjectStore) -> None:
    print(f"\nprobe on {probed.gpu}: {'as needed' if probed.ok else f'FAILED: {probed.error}'}")
    if probed.report_key is not None:
        print(store.get(probed.report_key).decode(), end="")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m video_pipeline.modal_ops.deploy", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--env", choices=["local", "ci", "staging", "prod"], help="default: VIDEO_PIPELINE_ENV, else local"
    )
    parser.add_argument(
        "--probe",
        nargs="*",
        metavar="GPU",
        help="GPU types to probe, or cpu (default: all that tasks ask for; with nothing after it: none)",
    )
    arguments = parser.parse_args(argv)
    # The environment, and not only these settings: importing the app's module describes the app from it.
    os.environ["VIDEO_PIPELINE_COMPUTE"] = "modal"
    if arguments.env:
        os.environ["VIDEO_PIPELINE_ENV"] = arguments.env
    try:
        settings = load_settings()
        record = deploy(settings, probe=arguments.probe)
        store = open_store(settings)
        for probed in record.probes:
            _show(probed, store)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if error.kind == "bad_input" else 1
    return 0 if all(probed.ok for probed in record.probes) else 1


if __name__ == "__main__":
    sys.exit(main())
