"""What the assets share: names, owners, the shape of a check's result.

Belongs here: constants and helpers of more than one asset module. Does not belong here: assets.
"""

from __future__ import annotations

import dagster as dg

from video_pipeline.captions.request import STAGES

GROUP = "captions"
POOL = "caption_pass"
OWNERS = ["team:video-pipeline"]
SOURCE = dg.AssetKey("source_video")
LAYOUT = dg.AssetKey("caption_layout")
PASS = {stage: dg.AssetKey(stage) for stage in STAGES}


def description(asset: str, what: str, look: str) -> str:
    """What an asset is, in plain words, then what to look at and the page it is on. Dagster shows Markdown.

    The link is to the UI's own pages, so it holds wherever the webserver runs at the root of its address.
    """
    return f"{what}\n\n**To look at**, for each of [its partitions](/assets/{asset}?view=partitions): {look}"


def check_result(
    name: str,
    asset: dg.AssetKey,
    problems: list[str],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """Passed where there are no problems; otherwise it lists the first twenty."""
    return dg.AssetCheckResult(
        passed=not problems,
        asset_key=asset,
        check_name=name,
        severity=severity,
        description="; ".join(problems[:20]) or None,
        metadata={"problems": len(problems)},
    )
