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
    """Group minus all, of one label, with 95 % intervals over speakers.

    None where the group has no such case or prediction, or too few speakers for an interval.
    """

    label: str
    precision: float | None
    precision_low: float | None
    precision_high: float | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Group:
    """One group against all: `gap` is its UAR minus that of all, over the labels it has.

    `beyond` names the gaps that exceed their limit, as in "precision of anger, fear"; `certain` is
    whether the interval of one of them lies beyond its limit as a whole. Where none does, as where
    there are no intervals, chance may have made the gaps.
    """

    name: str
    cases: int
    speakers: int
    uar: float
    gap: float
    low: float | None
    high: float | None
    labels: list[LabelGap]
    passed: bool
    beyond: str
    certain: bool


@dataclass(frozen=True, slots=True)
class _Gaps:
    """Group minus all: `uar` `[..., groups]`, the others `[..., groups, labels]`."""

    uar: Counts
    precision: Counts
    recall: Counts


@dataclass(frozen=True, slots=True)
class Fairness:
    """All groups of one kind. `unknown` utterances belong to none of them."""

    kind: str
    groups: list[Group]
    unknown: int
    passed: bool
    certain: bool


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
    gaps = _gaps(whole)
    drawn = None
    if number and not (part.speaker == "").any():
        utterance, codes = utterances(part)
        found = np.array(
            [
                np.bincount(cells, weights=w[utterance], minlength=size)
                for w in draws(codes, number, seed)
            ]
        )
        drawn = _gaps(found.astype(np.float64).reshape(number, *shape))
    groups = [
        _group(
            str(names[g]),
            whole[g],
            len(speakers[g]),
            table.labels,
            _of_group(gaps, g),
            _of_group(drawn, g) if drawn and len(speakers[g]) >= FEWEST_SPEAKERS else None,
        )
        for g in range(len(names))
    ]
    return Fairness(
        kind,
        groups,
        int((~known).sum()),
        all(g.passed for g in groups),
        any(g.certain for g in groups),
    )


def _gaps(whole: Counts) -> _Gaps:
    """The gaps of all groups from their counts `[..., groups, labels, labels]`."""
    every = whole.sum(-3, keepdims=True)
    recall = counts.recall(whole)
    apart = recall - counts.recall(every)
    has = np.isfinite(recall)
    cases = np.where(has.any(-1), has.sum(-1), np.nan)
    # A group that lacks a label is compared with all without that label's cases.
    others = np.where(whole.sum(-1, keepdims=True) > 0, balanced(every), 0.0)
    precision = counts.precision(balanced(whole)) - counts.precision(others)
    return _Gaps(np.asarray(np.where(has, apart, 0.0).sum(-1) / cases), precision, apart)


def _of_group(gaps: _Gaps, g: int) -> _Gaps:
    return _Gaps(gaps.uar[..., g], gaps.precision[..., g, :], gaps.recall[..., g, :])


def _group(
    name: str,
    whole: Counts,
    speakers: int,
    labels: tuple[str, ...],
    gaps: _Gaps,
    drawn: _Gaps | None,
) -> Group:
    rows = []
    gap = float(gaps.uar)
    low, high = interval(drawn.uar) if drawn else (None, None)
    beyond = [] if _within(gap, UAR_GAP) else ["UAR"]
    certain = not _within(_nearest(low, high), UAR_GAP)
    far: dict[str, list[str]] = {"precision": [], "recall": []}
    for k, label in enumerate(labels):
        found: dict[str, float | None] = {}
        for kind, most in (("precision", PRECISION_GAP), ("recall", RECALL_GAP)):
            value = float(getattr(gaps, kind)[k])
            ends = interval(getattr(drawn, kind)[:, k]) if drawn else (None, None)
            found |= {kind: _known(value), f"{kind}_low": ends[0], f"{kind}_high": ends[1]}
            if not _within(value, most):
                far[kind].append(label)
                certain |= not _within(_nearest(*ends), most)
        passed = label not in (*far["precision"], *far["recall"])
        rows.append(LabelGap(label=label, **found, passed=passed))
    beyond += [f"{kind} of {', '.join(names)}" for kind, names in far.items() if names]
    return Group(
        name=name,
        cases=int(whole.sum()),
        speakers=speakers,
        uar=float(counts.uar(whole)),
        gap=gap,
        low=low,
        high=high,
        labels=rows,
        passed=not beyond,
        beyond="; ".join(beyond),
        certain=certain,
    )


def _nearest(low: float | None, high: float | None) -> float:
    """The value of an interval that is nearest to 0; 0 where there is no interval."""
    if low is None or high is None or low <= 0 <= high:
        return 0.0
    return min(abs(low), abs(high))


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
