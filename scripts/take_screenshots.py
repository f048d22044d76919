"""The pictures of docs/: Dagster's UI with the demonstration in it, from a fresh instance, in one command.

    python -m scripts.take_screenshots [FOLDER]

Takes about two minutes and needs Chromium and the development extras. Each picture is taken only when
the page shows what the picture is for; otherwise this fails.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser import chromium
from tests.conftest import ROOT
from tests.dagster_ui import DagsterUi, dagster_ui
from video_pipeline import keys
from video_pipeline.demo import clips, run
from video_pipeline.keys import VideoId
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.directory import DirectoryStore

FOLDER = Path("docs/pictures")
NAMES = ("run_in_progress", "partition", "contact_sheet", "asset_graph", "costs", "groups", "failure")
BROKEN = VideoId("demo", "cut-off")
VIDEO = run.VIDEO.partition_key
NEUTRAL_PATHS = """pairs => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    for (const [path, name] of pairs)
      texts.currentNode.nodeValue = texts.currentNode.nodeValue.replaceAll(path, name);
}"""
"""Names the store and the checkout as they are called by default, wherever they lie on this machine. Nothing
else of a page is changed."""

WIDTH, HEIGHT = 1440, 900
TALL = 1800
"""For all groups at once, at a size at which the names of their assets can be read."""

A_GROUP_EACH = {
    "captions": "wasabi_upload",
    "sampling": "frame_predictions",
    "clips": "framed_clip",
    "costs": "cost_projection",
    "machines": "machines",
}
"""Every group, and one of its assets with a name short enough to be shown whole."""

WAIT_MS = 60_000
"""For a page to show something: runs are minutes long where other work takes the cores."""


def store_broken_video(ui: DagsterUi, store: ObjectStore) -> VideoId:
    """The bundled sports clip without its end, as an upload that broke off leaves it; registered."""
    whole = store.get(keys.source_key(clips.VIDEO, "mp4"))
    store.put(keys.source_key(BROKEN, "mp4"), whole[:20_000], content_type="video/mp4")
    ui.add_video_partition(BROKEN.partition_key)
    return BROKEN


def take_screenshots(folder: Path, work: Path) -> list[Path]:
    """Takes each picture of NAMES into `folder`; `work` holds the instance and the store meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser, dagster_ui(work) as ui:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(WAIT_MS)
        expect.set_options(timeout=WAIT_MS)
        page.goto(ui.url)
        page.get_by_text("Hide navigation").click()  # the room is for what the pictures are about
        return [_picture(page, folder / f"{name}.png", name, ui) for name in NAMES]


def _picture(page: Page, path: Path, name: str, ui: DagsterUi) -> Path:
    {
        "run_in_progress": _run_in_progress,
        "partition": _partition,
        "contact_sheet": _contact_sheet,
        "asset_graph": _asset_graph,
        "costs": _costs,
        "groups": _groups,
        "failure": _failure,
    }[name](page, ui)
    page.wait_for_timeout(700)  # what moves into its place has arrived
    page.evaluate(NEUTRAL_PATHS, [[f"{ui.folder}/store", "data"], [f"{ROOT}/", ""]])
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        # A palette makes a page a quarter of its size, and no letter worse to read.
        picture.convert("RGB").quantize(192, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)
    return path


def _run_in_progress(page: Page, ui: DagsterUi) -> None:
    run_id = ui.launch("caption_video", VIDEO)
    page.goto(f"{ui.url}/runs/{run_id}")
    expect(page.get_by_text("Started", exact=True).first).to_be_visible()
    line = page.get_by_text(re.compile(r"[1-9]\d* of 420 frames")).last
    expect(line).to_be_attached()
    # The log follows its end, and a fast machine is at the next stage soon after: back to where frames count.
    line.scroll_into_view_if_needed()
    expect(line).to_be_in_viewport()


def _partition(page: Page, ui: DagsterUi) -> None:
    run_id = ui.newest_run()
    assert run_id is not None
    assert ui.wait_for_end(run_id) == "SUCCESS"
    page.goto(f"{ui.url}/assets/cropped_frames?view=partitions&partition={VIDEO}")
    expect(page.get_by_text("contact_sheet").first).to_be_visible()
    expect(page.get_by_text("where_the_time_went").first).to_be_visible()


def _contact_sheet(page: Page, ui: DagsterUi) -> None:
    """From the partition's page, as the one before."""
    page.get_by_text("[Show Markdown]").first.click()
    expect(page.get_by_role("img", name="contact sheet")).to_be_visible()


def _asset_graph(page: Page, ui: DagsterUi) -> None:
    """The captions' graph, after the one run."""
    page.goto(f"{ui.url}/locations/video_pipeline/asset-groups/captions/lineage")
    expect(page.get_by_text("50% filled").nth(6)).to_be_visible()


def _costs(page: Page, ui: DagsterUi) -> None:
    """What the ledger shows after that run."""
    for job in ("probe_machines", "account_costs"):
        assert ui.wait_for_end(ui.launch(job)) == "SUCCESS"
    page.goto(f"{ui.url}/assets/usage_ledger?view=events")
    expect(page.get_by_text("cost_by_task").first).to_be_in_viewport()
    expect(page.get_by_text("read_captions").first).to_be_in_viewport()


def _groups(page: Page, ui: DagsterUi) -> None:
    """Every group with all its assets, once captions, costs and machines have been made."""
    page.set_viewport_size({"width": WIDTH, "height": TALL})
    opened = ",".join(f"global@global:{group}" for group in A_GROUP_EACH)
    page.goto(f"{ui.url}/asset-groups?expanded={quote(opened, safe='')}")
    for asset in A_GROUP_EACH.values():
        expect(page.get_by_text(asset, exact=True).last).to_be_in_viewport(ratio=1)


def _failure(page: Page, ui: DagsterUi) -> None:
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    broken = store_broken_video(ui, DirectoryStore(ui.folder / "store"))
    run_id = ui.launch("caption_video", broken.partition_key)
    assert ui.wait_for_end(run_id) == "FAILURE"
    page.goto(f"{ui.url}/runs/{run_id}")
    expect(page.get_by_text("What to do: upload the file again").last).to_be_in_viewport()


def main() -> int:
    parser = argparse.ArgumentParser("python -m scripts.take_screenshots", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        for path in take_screenshots(arguments.folder, Path(work)):
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
