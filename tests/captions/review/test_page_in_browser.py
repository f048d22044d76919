"""The review page as a person uses it: opened from the disk in Chromium, with a keyboard and a mouse."""

from __future__ import annotations

from pathlib import Path

import pytest
import srt
import webvtt
from playwright.sync_api import Page, expect

from tests.captions.review.person import (
    FRAMES,
    RATE,
    at,
    exported,
    frames,
    opened,
    png,
    press,
    saved,
    seen,
    street,
)
from video_pipeline.captions.review.page import ReviewChunk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_page_opens_from_the_disk_at_the_first_caption_with_its_picture(ready: Page):
    at(ready, 21)
    expect(ready.locator(".row")).to_have_count(5)
    expect(ready.locator("#here")).to_have_text("first")
    expect(ready.locator("#left")).to_have_text("5 of 5 left to review")
    expect(ready.locator("#notices p")).to_have_count(0)
    expect(ready.locator(".row").nth(4)).to_contain_text("nothing was recognised")


def test_stepping_by_keys_shows_the_picture_of_every_sample_on_all_levels(ready: Page):
    at(ready, 21)
    frame = 21
    for key, step in [*[("ArrowRight", 1)] * 13, ("Shift+ArrowRight", 10), *[("ArrowLeft", -1)] * 4]:
        press(ready, key)
        frame += step
        at(ready, frame)
    for key, frame in [
        ("Home", 0),
        ("ArrowLeft", 0),
        ("End", 299),
        ("ArrowRight", 299),
        ("Shift+ArrowLeft", 289),
    ]:
        press(ready, key)
        at(ready, frame)


def test_captions_are_reached_by_time_by_doubt_and_in_the_list(ready: Page):
    title = ready.locator("#title")
    press(ready, "]", "]")
    expect(title).to_have_text("Caption 3 of 5")
    at(ready, 83)
    press(ready, "[")
    at(ready, 60)
    press(ready, "n")
    expect(title).to_have_text("Caption 4 of 5")
    press(ready, "n")
    expect(title).to_have_text("Caption 5 of 5")
    press(ready, "Shift+N")
    expect(title).to_have_text("Caption 4 of 5")
    ready.select_option("#order", "certainty")
    expect(ready.locator(".row[aria-rowindex='1']")).to_contain_text("nothing was recognised")
    expect(ready.locator(".row[aria-rowindex='2']")).to_contain_text("fourth ⏎ with two lines")
    ready.locator(".row", has_text="second").click()
    at(ready, 60)
    ready.fill("#search", "FOURTH")
    expect(ready.locator(".row")).to_have_count(2)  # it, and the selected one


def test_the_timeline_takes_the_playhead_where_it_is_clicked_and_dragged(ready: Page):
    press(ready, "0")
    box = ready.locator("#track").bounding_box()
    assert box
    place = lambda frame: (box["x"] + (frame + 0.5) / FRAMES * box["width"], box["y"] + 40)  # noqa: E731
    ready.mouse.click(*place(95))
    at(ready, 95)
    expect(ready.locator("#title")).to_have_text("Caption 3 of 5")
    ready.mouse.move(*place(120))
    ready.mouse.down()
    ready.mouse.move(*place(247), steps=12)
    ready.mouse.up()
    at(ready, 247)
    expect(ready.locator("#track")).to_have_attribute("aria-valuenow", "247")


def test_playing_goes_on_at_the_rate_of_the_samples_and_stops_at_the_end(ready: Page):
    press(ready, "End", "Shift+ArrowLeft", "Shift+ArrowLeft")
    at(ready, 279)
    # What the button says while it plays may be gone before a busy machine looks again.
    ready.evaluate("""() => {
        const button = document.querySelector("#play");
        window.said = [];
        new MutationObserver(() => window.said.push(button.textContent)).observe(
            button, {childList: true, characterData: true, subtree: true});
    }""")
    press(ready, "Space")
    at(ready, 299)
    expect(ready.locator("#play")).to_have_text("Play")
    assert ready.evaluate("window.said.includes('Pause')")


def test_both_boundaries_of_the_selected_caption_show_the_samples_on_either_side(ready: Page):
    press(ready, "]")
    for end, frame in (("start", 60), ("end", 83)):
        for side, sample in (("before", frame - 1), ("after", frame)):
            canvas = f"#boundary-{end} [data-part={side}]"
            expect(ready.locator(canvas)).to_have_attribute("data-sample", str(sample))
            assert seen(ready, canvas) == sample
    expect(ready.locator("#boundary-end")).to_contain_text("beside: another caption")
    expect(ready.locator("#boundary-start")).to_contain_text(f"{60 / RATE} s, sample 60")


def test_pictures_that_came_with_a_boundary_are_shown_until_it_is_moved(
    page: Page, tmp_path: Path, chunks: list[ReviewChunk]
):
    opened(page, tmp_path, street(), chunks, pictures={(1, "start"): (png(1020), png(1021))})
    before = page.locator("#boundary-start [data-part=before]")
    expect(before).to_have_attribute("data-sample", "boundary")
    assert seen(page, "#boundary-start [data-part=before]") == 1020
    assert seen(page, "#boundary-start [data-part=after]") == 1021
    press(page, ".")
    expect(before).to_have_attribute("data-sample", "21")
    assert seen(page, "#boundary-start [data-part=before]") == 21
    press(page, ",")
    expect(before).to_have_attribute("data-sample", "boundary")


def test_edits_by_keys_are_undone_and_done_again_and_leave_in_the_json(ready: Page):
    assert exported(ready) == street()
    press(ready, ".", ".", ",", ">", ">")
    at(ready, 47)
    press(ready, "]", "<")
    moved = exported(ready)
    assert frames(moved) == [(22, 47), (60, 82), (82, 110), (150, 181), (200, 230)]
    assert moved.captions[0].start.exact == 22 / RATE
    assert moved.captions[1].end.confidence == moved.captions[2].start.confidence == 1
    assert any("set by a person" in note for note in moved.notes)
    press(ready, "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "s")
    assert frames(exported(ready))[1:4] == [(60, 77), (77, 82), (82, 110)]
    press(ready, "m")
    merged = exported(ready)
    assert frames(merged)[1:3] == [(60, 77), (77, 110)]
    assert merged.captions[2].text == "second\nthird"
    press(ready, "Delete")
    assert frames(exported(ready)) == [(22, 47), (60, 77), (150, 181), (200, 230)]
    press(ready, "End", "a", "Escape")
    assert frames(exported(ready))[-1] == (299, 300)
    for _ in range(10):
        press(ready, "Control+z")
    expect(ready.locator("#undo")).to_be_disabled()
    assert exported(ready) == street()
    press(ready, *["Control+Shift+Z"] * 7)
    assert frames(exported(ready))[1:4] == [(60, 77), (77, 82), (82, 110)]


def test_a_text_is_written_in_its_field_and_one_undo_takes_the_typing_back(ready: Page):
    press(ready, "]", "Enter", "Control+a")
    ready.keyboard.type("[n] what, now?\nyes")
    press(ready, "Control+Enter")
    expect(ready.locator("#title")).to_have_text("Caption 3 of 5")
    expect(ready.locator(".row").nth(1)).to_contain_text("[n] what, now? ⏎ yes")
    edited = exported(ready)
    assert edited.captions[1].text == "[n] what, now?\nyes"
    assert any("marked as reviewed, captions 2" in note for note in edited.notes)
    press(ready, "Control+z", "Control+z")
    assert exported(ready) == street()


def test_refused_edits_say_why_and_change_nothing(ready: Page):
    status = ready.locator("#status")
    press(ready, "Home", "s")
    expect(status).to_contain_text("no caption at the playhead")
    press(ready, "End", "i")
    expect(status).to_contain_text("cannot go beyond")
    press(ready, "n", "n", "m")
    expect(status).to_contain_text("no next one")
    assert exported(ready) == street()


def test_edits_and_marks_are_there_after_a_reload_and_gone_when_discarded(ready: Page):
    press(ready, ".", "r")
    expect(ready.locator("#title")).to_have_text("Caption 2 of 5")
    press(ready, "Enter", "Control+a")
    ready.keyboard.type("kept")
    before = exported(ready)
    ready.reload()
    expect(ready.locator("#left")).to_have_text("4 of 5 left to review")
    assert exported(ready) == before
    assert before.captions[1].text == "kept"
    assert before.captions[0].first_frame == 22
    ready.click("[data-act=discard]")
    ready.reload()
    expect(ready.locator("#left")).to_have_text("5 of 5 left to review")
    assert exported(ready) == street()


def test_edits_of_one_document_do_not_land_on_another(ready: Page, tmp_path: Path, chunks: list[ReviewChunk]):
    press(ready, ".", "Delete")
    other = street().model_copy(update={"text_recipe": "3" * 16})
    opened(ready, tmp_path, other, chunks)
    assert exported(ready) == other
    shorter = street().model_copy(update={"captions": street().captions[:4]})
    opened(ready, tmp_path, shorter, chunks)
    expect(ready.locator("#notices")).to_contain_text("belong to other captions")
    assert exported(ready) == shorter


def test_the_three_files_agree(ready: Page):
    press(ready, ".", ">", "]", ",", "]", "]", "]", "Enter")
    ready.keyboard.type("fifth")
    captions = exported(ready).captions
    subrip = list(srt.parse(saved(ready, "srt")))
    web = webvtt.from_string(saved(ready, "vtt")).captions
    assert len(subrip) == len(web) == len(captions) == 5
    for found, one, other in zip(captions, subrip, web, strict=True):
        assert one.content == other.text == found.text
        assert one.start.total_seconds() == pytest.approx(found.start.seconds, abs=0.000501)
        assert one.end.total_seconds() == pytest.approx(found.end.seconds, abs=0.000501)
        assert other.start == f"{srt.timedelta_to_srt_timestamp(one.start).replace(',', '.')}"
