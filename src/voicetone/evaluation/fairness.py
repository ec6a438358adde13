"""Does a model serve some groups of speakers worse than others?

Groups are balanced by truth: in each, every label weighs the same, so that a group that is angry
more often does not score otherwise for that alone. Thresholds: Derington et al., "Testing speech
emotion recognition machine learning models" (arXiv 2312.06270), who set them for sex; here they
serve for every kind of group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voicetone.evaluation import counts
from voicetone.evaluation.bootstrap import DRAWS, FEWEST_SPEAKERS, draws, interval, utterances
from voicetone.evaluation.counts import Counts
from voicetone.evaluation.table import PredictionTable, Texts

UAR_GAP = 0.075
PRECISION_GAP = 0.075
RECALL_GAP = 0.175
AGE_BANDS = ((30.0, "under 30"), (50.0, "30 to 49"), (np.inf, "50 and over"))


@dataclass(frozen=True, slots=True)
class LabelGap:
    """Group minus all, of one label; None where the group has no such case or prediction."""

    label: str
    precision: float | None
    recall: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Group:
    """One group against all: `gap` is its UAR minus that of all, over the labels it has."""

    name: str
    cases: int
    speakers: int
    uar: float
    gap: float
    low: float | None
    high: float | None
    labels: list[LabelGap]
    passed: bool


@dataclass(frozen=True, slots=True)
class Fairness:
    """All groups of one kind. `unknown` utterances belong to none of them."""

    kind: str
    groups: list[Group]
    unknown: int
    passed: bool


def fairness(table: PredictionTable, number: int = DRAWS, seed: int = 0) -> list[Fairness]:
    """Each kind of group that has two or more groups; corpus is one of the kinds."""
    kinds = {**table.groups, "corpus": table.corpus}
    found = []
    for kind, values in kinds.items():
        names = _bands(values) if kind == "age" else values
        if len({str(v) for v in np.unique(names)} - {""}) > 1:
            found.append(_kind(table, kind, names, number, seed))
    return found


def balanced(found: Counts) -> Counts:
    """Confusion counts with every label that occurs weighing the same."""
    total = found.sum(-1, keepdims=True)
    return np.asarray(np.divide(found, total, out=np.zeros_like(found), where=total > 0))


def _kind(table: PredictionTable, kind: str, values: Texts, number: int, seed: int) -> Fairness:
    known = np.asarray(values != "")
    names, place = np.unique(values[known], return_inverse=True)
    part = table.select(known)
    labels = len(table.labels)
    cells = (place * labels + part.truth_codes) * labels + part.predicted_codes
    shape = (len(names), labels, labels)
    size = int(np.prod(shape))
    whole = np.bincount(cells, minlength=size).reshape(shape).astype(np.float64)
    speakers = [
        np.unique(part.speaker[(place == g) & (part.speaker != "")]) for g in range(len(names))
    ]
    gaps = None
    if number and not (part.speaker == "").any():
        utterance, codes = utterances(part)
        drawn = [
            np.bincount(cells, weights=w[utterance], minlength=size).astype(np.float64)
            for w in draws(codes, number, seed)
        ]
        gaps = np.array([_uar_gaps(found.reshape(shape)) for found in drawn])
    groups = [
        _group(
            str(names[g]),
            whole,
            g,
            len(speakers[g]),
            table.labels,
            gaps[:, g] if gaps is not None and len(speakers[g]) >= FEWEST_SPEAKERS else None,
        )
        for g in range(len(names))
    ]
    return Fairness(kind, groups, int((~known).sum()), all(g.passed for g in groups))


def _uar_gaps(whole: Counts) -> Counts:
    """Each group's UAR minus that of all over the labels the group has `[groups]`."""
    recall = counts.recall(whole)
    of_all = np.broadcast_to(counts.recall(whole.sum(0)), recall.shape)
    has = np.isfinite(recall)
    cases = np.where(has.sum(1) > 0, has.sum(1), np.nan)
    return np.asarray(np.where(has, recall - of_all, 0.0).sum(1) / cases)


def _group(
    name: str,
    whole: Counts,
    g: int,
    speakers: int,
    labels: tuple[str, ...],
    drawn: Counts | None,
) -> Group:
    own, every = balanced(whole[g]), balanced(whole.sum(0))
    has = whole[g].sum(1) > 0
    # A group that lacks a label is compared with all without that label's cases.
    every[~has] = 0
    precision = counts.precision(own) - counts.precision(every)
    recall = counts.recall(own) - counts.recall(every)
    gap = float(_uar_gaps(whole)[g])
    gaps = [
        LabelGap(
            label=label,
            precision=_known(precision[k]),
            recall=_known(recall[k]),
            passed=_within(precision[k], PRECISION_GAP) and _within(recall[k], RECALL_GAP),
        )
        for k, label in enumerate(labels)
    ]
    low, high = (None, None) if drawn is None else interval(drawn)
    return Group(
        name=name,
        cases=int(whole[g].sum()),
        speakers=speakers,
        uar=float(counts.uar(whole[g])),
        gap=gap,
        low=low,
        high=high,
        labels=gaps,
        passed=_within(gap, UAR_GAP) and all(x.passed for x in gaps),
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _within(gap: float, most: float) -> bool:
    return not abs(gap) > most + 1e-12  # a gap that is not known passes


def _bands(ages: Texts) -> Texts:
    """Ages in years as bands; text that is no number stays as it is."""

    def band(age: str) -> str:
        try:
            return next(name for below, name in AGE_BANDS if float(age) < below)
        except (ValueError, StopIteration):
            return age

    values, place = np.unique(ages, return_inverse=True)
    return np.array([band(str(v)) for v in values])[place]
