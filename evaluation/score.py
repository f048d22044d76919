"""From predicted and true captions to figures. Pure functions.

Belongs here: what is counted, and every figure's definition. Does not belong here: running the product
(`run`), targets and tables (`report`).

Everything is counted in records, one per true or predicted boundary and caption, so that any group of them
(a language, an effect, the whole set) has figures by the same functions. What a predicted boundary or caption
without a partner belongs to is told by the true caption nearest in time.

A boundary is the start or the end of a caption; where one caption follows another without a gap there are
two, an end and a start, at one sample. Each kind is matched with its own.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rapidfuzz.distance import LCSseq, Levenshtein

from evaluation.matching import match_moments, match_spans
from evaluation.truth import TrueCaption, Truth
from video_pipeline.captions.labels import LABELS, REVERSED, Label, labels_of

READABLE = ("en", "de", "fr", "es", "it", "sv", "zh", "ja")
"""Languages of the set in writing that the product's recogniser knows."""

SHIFT = 10
"""Samples, a second at 10 Hz: a missed and a wrong boundary this near to each other are one error."""

LEAST_CERTAIN = 0.05


@dataclass(frozen=True)
class Predicted:
    """A caption as found. `text` is None where none was read; it is only scored if texts were asked for."""

    first_frame: int
    end_frame: int
    start_confidence: float
    end_confidence: float
    text: str | None = None


@dataclass(frozen=True)
class BoundaryRecord:
    """One boundary, true or predicted (then with a confidence). `near` has a partner within one sample,
    `exact` at the very sample; `lost` is a true one that no wrong predicted one is a shift of."""

    programme: str
    language: str
    effect: str
    confidence: float | None
    near: bool
    exact: bool
    lost: bool = False


@dataclass(frozen=True)
class CaptionRecord:
    """One caption. A true one is found or not, a predicted one without a partner is a phantom. Texts are
    there for pairs in readable writing."""

    programme: str
    language: str
    effect: str
    true: TrueCaption | None
    predicted: Predicted | None

    @property
    def readable(self) -> bool:
        return self.true is not None and self.predicted is not None and self.language in READABLE


@dataclass
class Records:
    """What was counted on any number of programmes. `confusion` (5, 5) counts pairs by true and published
    label, in the order of LABELS: those that the published captions give them. `network_confusion` counts
    the labels that the network gives a pair by its two pictures alone, without what comes before and after.
    `texts` tells whether texts were read, `ocr_calls` how often."""

    true_boundaries: list[BoundaryRecord] = field(default_factory=list)
    predicted_boundaries: list[BoundaryRecord] = field(default_factory=list)
    captions: list[CaptionRecord] = field(default_factory=list)
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((5, 5), np.int64))
    network_confusion: np.ndarray = field(default_factory=lambda: np.zeros((5, 5), np.int64))
    texts: bool = True
    ocr_calls: int = 0

    def of(self, **wanted: str) -> Records:
        """The records of a group, such as language="en". Pairs are not counted by group, nor OCR calls."""

        def belongs(record: BoundaryRecord | CaptionRecord) -> bool:
            return all(getattr(record, name) == value for name, value in wanted.items())

        return Records(
            [record for record in self.true_boundaries if belongs(record)],
            [record for record in self.predicted_boundaries if belongs(record)],
            [record for record in self.captions if belongs(record)],
            texts=self.texts,
        )


def records_of(
    truth: Truth,
    predicted: Sequence[Predicted],
    probabilities: np.ndarray,
    *,
    texts: bool,
    ocr_calls: int = 0,
) -> Records:
    """Score one programme. `predicted` is in order of time; `probabilities` (N - 1, 2, 5) as in the database.

    ValueError if the product saw another number of samples than the truth has.
    """
    if len(probabilities) != truth.frame_count - 1:
        raise ValueError(
            f"{truth.name}: {len(probabilities)} pairs, but {truth.frame_count} samples have "
            f"{truth.frame_count - 1}"
        )
    true_boundaries: list[BoundaryRecord] = []
    predicted_boundaries: list[BoundaryRecord] = []
    for name, sure in (("first_frame", "start_confidence"), ("end_frame", "end_confidence")):
        _count_boundaries(truth, predicted, name, sure, true_boundaries, predicted_boundaries)
    return Records(
        true_boundaries,
        predicted_boundaries,
        _count_captions(truth, predicted),
        confusion_of(
            truth.labels(), labels_of(((c.first_frame, c.end_frame) for c in predicted), truth.frame_count)
        ),
        confusion_of(truth.labels(), network_labels(probabilities)),
        texts,
        ocr_calls,
    )


def joined(parts: Iterable[Records]) -> Records:
    """All records together. Texts count as read only if they were on every programme."""
    whole = Records()
    for part in parts:
        whole.true_boundaries += part.true_boundaries
        whole.predicted_boundaries += part.predicted_boundaries
        whole.captions += part.captions
        whole.confusion = whole.confusion + part.confusion
        whole.network_confusion = whole.network_confusion + part.network_confusion
        whole.texts = whole.texts and part.texts
        whole.ocr_calls += part.ocr_calls
    return whole


def _count_boundaries(
    truth: Truth,
    predicted: Sequence[Predicted],
    name: str,
    sure: str,
    into_true: list[BoundaryRecord],
    into_predicted: list[BoundaryRecord],
) -> None:
    want = [getattr(caption, name) for caption in truth.captions]
    have = [getattr(caption, name) for caption in predicted]
    near, exact = match_moments(want, have, 1), match_moments(want, have, 0)
    near_true, near_predicted = {i for i, _ in near}, {j for _, j in near}
    exact_true, exact_predicted = {i for i, _ in exact}, {j for _, j in exact}
    missed = [i for i in range(len(want)) if i not in exact_true]
    wrong = [j for j in range(len(have)) if j not in exact_predicted]
    shifts = match_moments([want[i] for i in missed], [have[j] for j in wrong], SHIFT)
    shifted = {missed[i] for i, _ in shifts}
    for i, caption in enumerate(truth.captions):
        lost = i not in exact_true and i not in shifted
        into_true.append(
            BoundaryRecord(
                truth.name, caption.language, caption.effect, None, i in near_true, i in exact_true, lost
            )
        )
    for j, found in enumerate(predicted):
        language, effect = _nearest(truth, getattr(found, name))
        into_predicted.append(
            BoundaryRecord(
                truth.name, language, effect, getattr(found, sure), j in near_predicted, j in exact_predicted
            )
        )


def _count_captions(truth: Truth, predicted: Sequence[Predicted]) -> list[CaptionRecord]:
    pairs = match_spans(
        [(caption.first_frame, caption.end_frame) for caption in truth.captions],
        [(caption.first_frame, caption.end_frame) for caption in predicted],
    )
    partner = dict(pairs)
    records = []
    for i, caption in enumerate(truth.captions):
        found = predicted[partner[i]] if i in partner else None
        records.append(CaptionRecord(truth.name, caption.language, caption.effect, caption, found))
    for j in sorted(set(range(len(predicted))) - set(partner.values())):
        language, effect = _nearest(truth, (predicted[j].first_frame + predicted[j].end_frame) // 2)
        records.append(CaptionRecord(truth.name, language, effect, None, predicted[j]))
    return records


def _nearest(truth: Truth, moment: int) -> tuple[str, str]:
    if not truth.captions:
        return truth.language, "none"
    nearest = min(truth.captions, key=lambda c: max(c.first_frame - moment, moment - c.end_frame, 0))
    return nearest.language, nearest.effect


def precision_recall_f1(records: Records, *, exact: bool) -> tuple[float, float, float] | None:
    """Of boundaries, at the very sample or within one sample; None where there are none at all."""
    which = "exact" if exact else "near"
    true, predicted = records.true_boundaries, records.predicted_boundaries
    if not true and not predicted:
        return None
    precision = _share(predicted, which)
    recall = _share(true, which)
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


def _share(records: Sequence[BoundaryRecord], which: str) -> float:
    """Of no records all are right: a programme without captions loses nothing by recall."""
    return sum(getattr(record, which) for record in records) / len(records) if records else 1.0


def not_found(records: Records) -> float | None:
    """Share of true captions without a partner."""
    true = [record for record in records.captions if record.true is not None]
    return sum(record.predicted is None for record in true) / len(true) if true else None


def phantom(records: Records) -> float | None:
    """Share of predicted captions without a partner; None if there was nothing to find and nothing found."""
    if not records.captions:
        return None
    predicted = [record for record in records.captions if record.predicted is not None]
    return sum(record.true is None for record in predicted) / len(predicted) if predicted else 0.0


def least_certain_share(records: Records) -> float | None:
    """Share of all boundary errors that lie among the least certain 5 % of predicted boundaries.

    An error is a predicted boundary that is not at the very sample, or a true one that no wrong prediction is
    near to; the latter has no confidence and can be among none. 1 if there are no errors. Of boundaries of
    one confidence across the 5 % mark the expected share counts, so that no order is favoured.
    """
    boundaries = records.predicted_boundaries
    if not boundaries:
        return None
    sure = np.array([record.confidence for record in boundaries], np.float64)
    wrong = np.array([not record.exact for record in boundaries])
    errors = int(wrong.sum()) + sum(record.lost for record in records.true_boundaries)
    if not errors:
        return 1.0
    taken = math.ceil(LEAST_CERTAIN * len(sure))
    mark = np.partition(sure, taken - 1)[taken - 1]
    below, at = sure < mark, sure == mark
    within = wrong[below].sum() + wrong[at].sum() * (taken - below.sum()) / at.sum()
    return float(within / errors)


def network_labels(probabilities: np.ndarray) -> list[Label]:
    """The likeliest label of each pair by itself, (N - 1, 2, 5): both directions multiplied."""
    joint = probabilities[:, 0] * probabilities[:, 1][:, REVERSED]
    return [LABELS[at] for at in joint.argmax(axis=1)]


def confusion_of(labels: Sequence[Label], predicted: Sequence[Label]) -> np.ndarray:
    """(5, 5) counts of pairs by true (row) and predicted label."""
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    for true, said in zip(labels, predicted, strict=True):
        confusion[LABELS.index(true), LABELS.index(said)] += 1
    return confusion


def balanced_accuracy(confusion: np.ndarray) -> float | None:
    """Mean over the labels that occur of the share that was recognised; None without pairs."""
    totals = confusion.sum(axis=1)
    occur = totals > 0
    return float((confusion.diagonal()[occur] / totals[occur]).mean()) if occur.any() else None


def character_error_rate(records: Records) -> float | None:
    """Edit distance over true characters, of found captions in readable writing; one without text is all
    wrong. Line breaks count as spaces. None if texts were not read or there are none."""
    pairs = [_texts(record, joint=True) for record in records.captions if record.readable]
    length = sum(len(true) for true, _ in pairs)
    if not records.texts or not length:
        return None
    return sum(Levenshtein.distance(true, read) for true, read in pairs) / length


def lines_exact(records: Records) -> float | None:
    """Share of the true lines of found captions in readable writing that were read as they are, in order."""
    pairs = [_texts(record, joint=False) for record in records.captions if record.readable]
    lines = sum(len(true.split("\n")) for true, _ in pairs)
    if not records.texts or not lines:
        return None
    return sum(LCSseq.similarity(true.split("\n"), read.split("\n")) for true, read in pairs) / lines


def ocr_calls_per_caption(records: Records) -> float | None:
    """Of predicted captions; None if texts were not read or nothing was found."""
    predicted = sum(record.predicted is not None for record in records.captions)
    return records.ocr_calls / predicted if records.texts and predicted else None


def _texts(record: CaptionRecord, *, joint: bool) -> tuple[str, str]:
    assert record.true is not None
    assert record.predicted is not None
    texts = (record.true.text, record.predicted.text or "")
    if joint:
        texts = tuple(text.replace("\n", " ") for text in texts)
    spaced = record.language not in ("zh", "ja")
    true, read = (comparable(text, spaced=spaced) for text in texts)
    return true, read


_PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "…": "..."})


def comparable(text: str, *, spaced: bool) -> str:
    """What two texts are compared by: Unicode NFC, straight quotation marks, three full stops for an
    ellipsis, single spaces and none at the ends of lines; in Chinese and Japanese no spaces at all."""
    text = unicodedata.normalize("NFC", text).translate(_PLAIN)
    lines = (re.sub(r"\s+", " " if spaced else "", line).strip() for line in text.split("\n"))
    return "\n".join(lines)
