"""The page's edits and files without a page: its scripts in the Node that playwright brings along."""

from __future__ import annotations

import json
import random
import subprocess
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import playwright
import pytest
import srt
import webvtt

from tests.captions.documents import boundary, caption, document
from video_pipeline.captions.document import CaptionsDocument, Strip
from video_pipeline.captions.review import page
from video_pipeline.captions.subtitles import to_srt, to_vtt

NODE = Path(playwright.__file__).parent / "driver" / "node"
NTSC = Fraction(10_000, 1001)


def run_js(captions: CaptionsDocument, program: str) -> Any:
    """What `program` returns, as JSON; it has the document as `captions` and its list as `list`."""
    parts = files(page.__name__.rpartition(".")[0]) / "js"
    scripts = [parts.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in page.MODEL_SCRIPTS]
    main = f"""
      const captions = new Captions({captions.model_dump_json()});
      const list = captions.original;
      console.log(JSON.stringify((() => {{ {program} }})()));
    """
    done = subprocess.run(
        [NODE, "--input-type=module", "-"],
        input="\n".join([*scripts, main]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def exported(captions: CaptionsDocument, program: str) -> CaptionsDocument:
    """The document that the page writes after `program` has returned the edited list."""
    return CaptionsDocument.model_validate_json(
        run_js(captions, f"return toJson(captions, (() => {{ {program} }})())")
    )


def narrowed() -> CaptionsDocument:
    """Three captions, the first two touching at a time that is no sample's; the video starts at 1/3 s."""
    begin, rate = Fraction(1, 3), NTSC
    change = begin + Fraction(1995, 100) / rate
    ends = {"confidence": 0.7, "beside": "other_caption", "resolution": Fraction(1, 30), "pts": 77}
    at = lambda frame: boundary(begin + frame / rate)  # noqa: E731 - a table reads better with it
    return document(
        caption(1, 5, 20, text="one", text_confidence=0.8, start=at(5), end=boundary(change, **ends)),
        caption(2, 20, 40, text="two", text_confidence=0.9, start=boundary(change, **ends), end=at(40)),
        caption(3, 60, 80, text=None, unread="nothing_recognised", start=at(60), end=at(80)),
        rate=rate,
        frame_count=100,
        first_picture=begin,
        notes=("kept",),
    )


def test_a_file_without_edits_says_what_it_said():
    assert exported(narrowed(), "return list") == narrowed()


def test_a_moved_boundary_has_the_sample_s_exact_time_and_is_certain():
    edited = exported(narrowed(), "return captions.moveBoundary(list, 2, 'end', 81, true)")
    moved = edited.captions[2].end
    assert moved.exact == edited.sample_time(81) == Fraction(1, 3) + 81 / NTSC
    assert (moved.confidence, moved.resolution, moved.pts) == (1, 1 / NTSC, None)
    assert edited.captions[:2] == narrowed().captions[:2]
    assert edited.notes == ("kept", "review: boundaries set by a person, confidence 1, end of captions 3")


def test_a_boundary_that_two_captions_share_moves_for_both_or_opens_a_gap():
    both = exported(narrowed(), "return captions.moveBoundary(list, 1, 'start', 22, true)").captions
    assert (both[0].end_frame, both[1].first_frame) == (22, 22)
    assert both[0].end.exact == both[1].start.exact
    assert both[0].end.beside == both[1].start.beside == "other_caption"
    alone = exported(narrowed(), "return captions.moveBoundary(list, 1, 'start', 22, false)").captions
    assert (alone[0].end_frame, alone[1].first_frame) == (20, 22)
    assert alone[0].end.beside == alone[1].start.beside == "empty"


def test_a_boundary_moved_back_to_where_the_file_has_one_gets_its_exact_time_again():
    edited = exported(
        narrowed(),
        """const away = captions.moveBoundary(list, 1, "start", 25, false);
        return captions.moveBoundary(away, 1, "start", 20, false);""",
    )
    before, after = narrowed().captions[1].start, edited.captions[1].start
    assert (after.exact, after.pts, after.resolution) == (before.exact, before.pts, before.resolution)
    assert after.confidence == 1


@pytest.mark.parametrize(
    "edit",
    [
        "captions.moveBoundary(list, 0, 'start', 20, true)",
        "captions.moveBoundary(list, 0, 'start', -1, true)",
        "captions.moveBoundary(list, 2, 'end', 101, true)",
        "captions.moveBoundary(list, 2, 'start', 39, true)",
        "captions.moveBoundary(list, 1, 'start', 19, false)",
        "captions.moveBoundary(list, 1, 'start', 5, true)",
        "captions.split(list, 45)",
        "captions.split(list, 20)",
        "captions.merge(list, 2)",
        "captions.insert(list, 30)",
    ],
)
def test_an_edit_that_cannot_be_is_refused_and_says_why(edit: str):
    program = f"try {{ {edit}; }} catch (error) {{ return [error instanceof EditRefused, error.message]; }}"
    refused, message = run_js(narrowed(), program + "return [false, 'it was done'];")
    assert refused, message
    assert message.endswith(".")


def test_a_split_makes_two_captions_that_touch_and_keeps_the_text_in_both():
    edited = exported(narrowed(), "return captions.split(list, 30)")
    first, second = edited.captions[1:3]
    assert [(c.first_frame, c.end_frame, c.text) for c in (first, second)] == [
        (20, 30, "two"),
        (30, 40, "two"),
    ]
    assert first.end.exact == second.start.exact == edited.sample_time(30)
    assert first.end.confidence == second.start.confidence == 1
    assert first.start == narrowed().captions[1].start


def test_merging_joins_texts_and_keeps_the_outer_boundaries():
    edited = exported(narrowed(), "return captions.merge(list, 0)")
    merged = edited.captions[0]
    assert (merged.first_frame, merged.end_frame, merged.text) == (5, 40, "one\ntwo")
    assert (merged.start, merged.end) == (narrowed().captions[0].start, narrowed().captions[1].end)
    assert merged.text_confidence == 0.8
    again = exported(narrowed(), "return captions.merge(captions.split(list, 30), 1)")
    assert again.captions[1].text == "two"


def test_a_new_caption_lasts_two_seconds_or_up_to_the_next_one():
    roomy = exported(narrowed(), "return captions.insert(list, 41)").captions[2]
    tight = exported(narrowed(), "return captions.insert(list, 50)").captions[2]
    assert [(c.first_frame, c.end_frame) for c in (roomy, tight)] == [(41, 60), (50, 60)]
    assert tight.end.beside == "other_caption"
    last = exported(narrowed(), "return captions.insert(list, 99)").captions[3]
    assert (last.end_frame, last.end.beside) == (100, "video_edge")


def test_a_written_text_is_no_longer_the_recogniser_s():
    edited = exported(
        narrowed(), "return captions.setText(captions.setText(list, 2, 'three'), 0, ' ')"
    ).captions
    assert (edited[2].text, edited[2].unread) == ("three", None)
    assert (edited[0].text, edited[0].text_confidence) == (None, None)


def test_the_notes_name_captions_by_their_new_numbers_and_the_lost_ones_by_the_old():
    edited = exported(
        narrowed(),
        """let edited = captions.remove(list, 0);
        edited = captions.setText(edited, 1, "three");
        return captions.setReviewed(captions.setReviewed(edited, 0, true), 1, true);""",
    )
    assert edited.notes[1:] == (
        "review: text written by a person, captions 2",
        "review: marked as reviewed, captions 1-2",
        "review: deleted or merged away by a person, captions of the unreviewed file 1",
    )


def test_any_run_of_edits_leaves_a_document_that_python_accepts():
    rng = random.Random(5)
    steps = [
        (rng.choice(["start", "end", "split", "merge", "remove", "insert"]), rng.random(), rng.randint(-3, 3))
        for _ in range(1500)
    ]
    program = f"""
      const files = [];
      let now = list;
      let done = 0;
      for (const [what, where, by] of {json.dumps(steps)}) {{
        const index = Math.floor(where * now.length);
        const frame = Math.floor(where * captions.frameCount);
        const caption = now[index];
        try {{
          if (what === "split") now = captions.split(now, frame);
          else if (what === "insert") now = captions.insert(now, frame);
          else if (!caption) continue;
          else if (what === "merge") now = captions.merge(now, index);
          else if (what === "remove") now = captions.remove(now, index);
          else {{
            const at = what === "start" ? caption.first_frame : caption.end_frame;
            now = captions.moveBoundary(now, index, what, at + by, by % 2 === 0);
          }}
          done += 1;
        }} catch (error) {{
          if (!(error instanceof EditRefused)) throw error;
        }}
        if (done % 20 === 0) files.push(toJson(captions, now));
      }}
      return {{ files, done }};
    """
    found = run_js(narrowed(), program)
    assert found["done"] > 500
    for text in found["files"]:
        edited = CaptionsDocument.model_validate_json(text)
        for before, after in zip(edited.captions, edited.captions[1:], strict=False):
            touching = before.end_frame == after.first_frame
            assert (
                (before.end.beside == "other_caption") == (after.start.beside == "other_caption") == touching
            )


@pytest.mark.parametrize(
    "captions",
    [
        narrowed(),
        document(
            caption(1, 5, 20, text="a --> b\n\n<i>5 & 6</i>\n\n2\n\u2028 end"),
            caption(2, 30, 40, unread="script_not_readable"),
            caption(3, 40, 41, text=" "),
            strip=Strip(left=0, top=10, width=1280, height=160, display_width=1280, display_height=720),
        ),
        document(
            caption(1, 0, 1, rate=Fraction(4000), text="half a millisecond"),
            caption(2, 1, 2, rate=Fraction(4000), text="another"),
            caption(3, 8, 9, rate=Fraction(4000), text="alone"),
            rate=Fraction(4000),
        ),
        document(),
    ],
    ids=["narrowed", "awkward texts", "shorter than a millisecond", "none"],
)
def test_subtitle_files_of_untouched_captions_are_the_pipeline_s_own(captions: CaptionsDocument):
    subrip, web = run_js(captions, "return [toSrt(list), toVtt(captions, list)]")
    assert subrip == to_srt(captions)
    assert web == to_vtt(captions)


def test_subtitle_files_of_edited_captions_are_what_the_pipeline_makes_of_the_edited_document():
    program = """const edited = captions.setText(captions.split(list, 31), 3, "<three>");
      return [toJson(captions, edited), toSrt(edited), toVtt(captions, edited)];"""
    written, subrip, web = run_js(narrowed(), program)
    edited = CaptionsDocument.model_validate_json(written)
    assert subrip == to_srt(edited)
    assert web.replace(", reviewed by a person", "") == to_vtt(edited) != web
    assert [cue.content for cue in srt.parse(subrip)] == ["one", "two", "two", "<three>"]
    assert len(webvtt.from_string(web)) == 4


def test_times_are_exact_however_long_the_video_and_odd_the_rate():
    rate = Fraction(24_000, 1001) / 7
    far = 9_999_990
    captions = document(caption(1, far, far + 5, rate=rate, text="x"), rate=rate, frame_count=10**7)
    edited = exported(captions, "return captions.moveBoundary(list, 0, 'end', 9_999_997, true)")
    assert edited.captions[0].end.exact == Fraction(9_999_997) / rate
    (cue,) = srt.parse(run_js(captions, "return toSrt(list)"))
    start = captions.captions[0].start.exact
    assert round(cue.start.total_seconds() * 1000) == int(start * 1000 + Fraction(1, 2))


def test_what_is_uncertain_counts_text_and_times_but_not_a_missing_recogniser():
    captions = document(
        caption(1, 0, 5, text="x", text_confidence=0.5, end=boundary(Fraction(1, 2), confidence=0.95)),
        caption(2, 10, 15, unread="nothing_recognised"),
        caption(3, 20, 25, unread="no_ocr"),
        caption(4, 30, 35, text="x", text_confidence=1, end=boundary(Fraction(7, 2), confidence=0.4)),
    )
    assert run_js(captions, "return list.map((caption) => captions.certainty(caption))") == [0.5, 0, 0.9, 0.4]
