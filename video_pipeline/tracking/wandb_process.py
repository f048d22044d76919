"""The process that speaks to wandb: reads `content.json` of its working directory, writes one run.

Belongs here: every use of wandb. Does not belong here: choosing what a run says, or whether there is one.

Run by `wandb_run` as `python -m video_pipeline.tracking.wandb_process SECONDS`. It leaves `outcome.json`:
`where` (a URL or the run's directory) and `failed` (None, or why there is no run).
"""

from __future__ import annotations

import base64
import io
import json
import signal
import sys
from pathlib import Path
from typing import Any

PICTURE_WIDTH = 320
"""Pixels at most; a table shows pictures smaller than that."""


def write_run(content: dict[str, Any]) -> str:
    """One run with what `content` holds. Returns its URL, or its directory where it is offline."""
    import wandb

    quiet = wandb.Settings(
        mode=content["mode"],
        console="off",
        silent=True,
        init_timeout=30,
        # Host name, user, command line, package list, repository: none of it is a run's business.
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
    )
    run = wandb.init(project=content["project"], config=content["config"], job_type="sample", settings=quiet)
    tables: dict[str, Any] = {}
    for name, table in content["tables"].items():
        columns: list[Any] = list(table["columns"])
        rows: list[Any] = table["rows"]
        if name == "predictions" and content["pictures"]:
            columns.append("picture")
            shown = {int(row): wandb.Image(_small(data)) for row, data in content["pictures"].items()}
            rows = [[*row, shown.get(number)] for number, row in enumerate(rows)]
        tables[name] = wandb.Table(columns=columns, data=rows)
    run.log({**content["numbers"], **tables})
    for name, page in content["pages"].items():
        artifact = wandb.Artifact(f"{Path(name).stem}-{run.id}", type="report")
        with artifact.new_file(name, encoding="utf-8") as file:
            file.write(page)
        run.log_artifact(artifact)
    where = run.url if content["mode"] == "online" else str(Path(run.dir).parent)
    run.finish()
    if not where:
        raise RuntimeError("wandb gave the run no URL")
    return where


def _small(data: str) -> Any:
    """A picture at most PICTURE_WIDTH wide."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    picture.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
    return picture


def main() -> None:
    # Ends this process also where the one that waits for it has died; wandb's service follows its parent.
    signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]) + 5)
    content = json.loads(Path("content.json").read_text())
    try:
        outcome = {"where": write_run(content), "failed": None}
    except Exception as error:
        lines = str(error).strip().splitlines()
        outcome = {"where": None, "failed": f"{type(error).__name__}: {lines[0] if lines else ''}"}
    Path("outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
