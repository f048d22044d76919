"""Doubts: medians of several pictures overrule pairs, by made-up opinions and on the real footage."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline.captions import doubts
from video_pipeline.captions.doubts import Pairs, opinions, reconsidered
from video_pipeline.captions.extents import extents_of
from video_pipeline.captions.labels import LABELS, Label, reverse
from video_pipeline.errors import BadInput
from video_pipeline.media.decode_software import SoftwareDecoder
from video_pipeline.media.frames import ColourTags, CroppedFrame, CroppedPicture
from video_pipeline.media.geometry import CropRegion
from video_pipeline.models.weights import load_caption_model
from video_pipeline.streaming.pipeline import THREAD_PREFIX

CUES = json.loads(DEMO_CLIP.with_suffix(".cues.json").read_text())


def pairs_of(labels: Sequence[Label], sure: float = 0.998) -> np.ndarray:
    """(N - 1, 2, 5): pairs whose both directions are `sure` of their label, and of nothing else."""
    rest = (1 - sure) / 4
    rows = [
        [[sure if name == told else rest for name in LABELS] for told in (label, reverse(label))]
        for label in labels
    ]
    return np.array(rows)


def hesitant(probabilities: np.ndarray, pair: int, label: Label, share: float = 0.4) -> np.ndarray:
    """The same with `share` of the probability of a pair given to a label."""
    changed = probabilities.copy()
    for direction, told in ((0, label), (1, reverse(label))):
        changed[pair, direction] *= 1 - share
        changed[pair, direction, LABELS.index(told)] += share
    return changed


def opinion(label: Label, sure: float = 0.95) -> np.ndarray:
    return np.log([sure if name == label else (1 - sure) / 4 for name in LABELS])


def spans(pairs: Pairs, said: dict[int, np.ndarray]) -> list[tuple[int, int]]:
    return [(extent.first_frame, extent.end_frame) for extent in reconsidered(pairs, said)]


def a_caption(length: int) -> np.ndarray:
    inside: list[Label] = ["same"] * length
    return pairs_of(["empty_empty", "empty_valid", *inside, "valid_empty", "empty_empty"])


ENDS = {1: opinion("empty_valid"), 22: opinion("valid_empty")}


def test_an_opinion_splits_a_caption_that_pairs_took_for_one() -> None:
    pairs = Pairs.of(hesitant(a_caption(20), 9, "different"))
    assert np.flatnonzero(pairs.doubtful).tolist() == [9]
    assert spans(pairs, ENDS | {9: opinion("different")}) == [(2, 10), (10, 23)]


def test_an_opinion_that_nothing_changed_leaves_the_caption_whole() -> None:
    pairs = Pairs.of(hesitant(a_caption(20), 9, "different"))
    found = reconsidered(pairs, ENDS | {9: opinion("same")})
    assert [(each.first_frame, each.end_frame) for each in found] == [(2, 23)]
    assert [(each.first_frame, each.end_frame) for each in extents_of(pairs.probabilities)] == [(2, 23)]


def test_after_a_caption_has_gone_there_is_nothing_until_the_next_one_comes() -> None:
    """As with a logo: between the two all pairs rather say `same`."""
    unsure = hesitant(hesitant(a_caption(20), 8, "valid_empty", 0.45), 14, "empty_valid", 0.45)
    for pair in range(9, 14):
        unsure = hesitant(unsure, pair, "empty_empty", 0.45)
    said = ENDS | {8: opinion("valid_empty"), 14: opinion("empty_valid")}
    found = reconsidered(Pairs.of(unsure), said)
    assert [(each.first_frame, each.end_frame) for each in found] == [(2, 9), (15, 23)]
    assert [(each.start_beside, each.end_beside) for each in found] == [("empty", "empty")] * 2
    assert all(0.5 < each.end_confidence <= 1 for each in found)


def test_neighbouring_doubts_are_one_change_where_pairs_say_most_of_it() -> None:
    unsure = hesitant(hesitant(a_caption(20), 9, "different", 0.3), 10, "different")
    said = ENDS | {9: opinion("different"), 10: opinion("different")}
    assert spans(Pairs.of(unsure), said) == [(2, 11), (11, 23)]


def test_a_change_that_may_lie_beside_its_pair_is_less_certain() -> None:
    clear = reconsidered(Pairs.of(hesitant(a_caption(20), 9, "different")), ENDS | {9: opinion("different")})
    unsure = hesitant(hesitant(a_caption(20), 9, "different"), 10, "different", 0.3)
    blurred = reconsidered(Pairs.of(unsure), ENDS | {9: opinion("different"), 10: opinion("different")})
    assert blurred[0].end_frame == clear[0].end_frame == 10
    assert blurred[0].end_confidence < clear[0].end_confidence - 0.2


def test_a_video_that_is_one_caption_or_none_stays_so() -> None:
    always: dict[Label, list[tuple[int, int]]] = {"same": [(0, 11)], "empty_empty": []}
    for label, expected in always.items():
        pairs = Pairs.of(
            hesitant(pairs_of((label,) * 10), 4, "different" if label == "same" else "empty_valid")
        )
        assert spans(pairs, {4: opinion(label)}) == expected


def told_of(pairs: Pairs, shown: list[CroppedPicture]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each pair with both of its medians, as soon as it is complete."""
    medians = doubts._Medians(pairs, "cpu")
    for picture in shown:
        yield from medians.take(picture)
    assert not medians.wanting


def test_medians_reach_four_samples_and_into_no_other_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions change at pairs 5 and 7, there is a doubt at 12; sample k is a picture of k times ten."""
    labels: list[Label] = ["same"] * 16
    labels[5] = labels[7] = "different"
    pairs = Pairs.of(hesitant(pairs_of(labels), 12, "different"))
    monkeypatch.setattr(doubts, "_small", lambda picture, _device: picture.frame.y)
    chroma = np.zeros((1, 1), np.uint8)
    shown = [
        CroppedPicture(
            at,
            range(at, at + 1),
            CroppedFrame(np.full((2, 2), 10 * at, np.uint8), chroma, chroma, ColourTags()),
        )
        for at in range(17)
    ]
    found = {pair: (int(before[0, 0]), int(after[0, 0])) for pair, before, after in told_of(pairs, shown)}
    assert found == {
        5: (35, 65),  # of samples 2 to 5, and of 6 and 7, where the next caption ends
        7: (65, 95),  # of 6 and 7, and of 8 to 11
        12: (105, 145),  # of 9 to 12, and of 13 to 16
    }


def test_a_picture_that_shows_several_samples_is_made_small_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def small(picture: CroppedPicture, _device: str) -> np.ndarray:
        made.append(picture.pts)
        return picture.frame.to_host().y

    monkeypatch.setattr(doubts, "_small", small)
    labels: list[Label] = ["same"] * 8
    labels[3] = "different"
    chroma = np.zeros((1, 1), np.uint8)
    frame = CroppedFrame(np.zeros((2, 2), np.uint8), chroma, chroma, ColourTags())
    shown = [CroppedPicture(at, range(3 * at, 3 * at + 3), frame) for at in range(3)]
    assert [pair for pair, _, _ in told_of(Pairs.of(pairs_of(labels)), shown)] == [3]
    assert made == [0, 1, 2]


@pytest.fixture(scope="module")
def samples() -> list[CroppedPicture]:
    """The demo clip at 5 Hz."""
    crop = CropRegion.model_validate(CUES["crop_region"])
    return list(SoftwareDecoder(DEMO_CLIP, name="demo", crop_region=crop, rate=Fraction(5)).pictures())


def shown(samples: list[CroppedPicture]) -> list[int | None]:
    """The demo's cue of each sample, which show source frames 0, 6, 12 …"""
    return [
        next((n for n, cue in enumerate(CUES["cues"]) if cue["start_frame"] <= f < cue["end_frame"]), None)
        for f in range(0, 6 * len(samples), 6)
    ]


def true_label(left: int | None, right: int | None) -> Label:
    if left == right:
        return "empty_empty" if left is None else "same"
    return "empty_valid" if left is None else "valid_empty" if right is None else "different"


def test_the_network_tells_changes_from_none_by_medians(samples: list[CroppedPicture]) -> None:
    """Every second change of the demo is hidden: its pair claims that nothing changed, with a doubt."""
    torch.set_num_threads(1)
    captions = shown(samples)
    truth: list[Label] = [true_label(left, right) for left, right in itertools.pairwise(captions)]
    changes = [pair for pair, label in enumerate(truth) if label not in ("same", "empty_empty")]
    told, still = pairs_of(truth), set(range(len(truth))) - set(changes)
    for pair in changes[::2]:
        told[pair] = hesitant(pairs_of(["same"]), 0, truth[pair], 0.2)[0]
    for pair in sorted(still)[::4]:
        told[pair] = hesitant(told[pair : pair + 1], 0, "different")[0]
    pairs = Pairs.of(told)
    looked_at = np.flatnonzero(pairs.on_path | pairs.doubtful).tolist()
    said = opinions(load_caption_model(None).net, pairs, samples)
    assert sorted(said) == looked_at
    sure = {pair: float(np.exp(said[pair][[1, 3, 4]]).sum()) for pair in said}
    apart = [pair for pair in said if all(abs(pair - other) > 4 for other in changes if other != pair)]
    found = [pair for pair in apart if sure[pair] > 0.5]
    assert len([pair for pair in apart if pair in still]) > 10
    assert found == [pair for pair in apart if pair in changes]
    assert len(found) > 5


def test_no_picture_is_taken_after_the_last_one_that_is_wanted(samples: list[CroppedPicture]) -> None:
    labels: list[Label] = ["same"] * (len(samples) - 1)
    labels[3] = "different"
    taken: list[int] = []

    def pictures() -> Iterator[CroppedPicture]:
        for picture in samples:
            taken.append(picture.samples[0])
            yield picture

    assert sorted(opinions(load_caption_model(None).net, Pairs.of(pairs_of(labels)), pictures())) == [3]
    assert max(taken) < 3 + doubts.WIDE + 20, "a queue is ahead, and no more"


def test_what_goes_wrong_while_pictures_are_decoded_ends_the_second_opinion(
    samples: list[CroppedPicture],
) -> None:
    labels: list[Label] = ["same"] * (len(samples) - 1)
    labels[3] = labels[-1] = "different"

    def pictures() -> Iterator[CroppedPicture]:
        yield from samples[:10]
        raise BadInput("the picture at 2 s is damaged", input="film", what_to_do="replace it")

    with pytest.raises(BadInput, match="damaged"):
        opinions(load_caption_model(None).net, Pairs.of(pairs_of(labels)), pictures())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]
