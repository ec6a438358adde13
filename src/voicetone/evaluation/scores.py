"""All that a table of predictions says of a model, as plain data for JSON and for the reports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from voicetone.evaluation import counts
from voicetone.evaluation.bootstrap import DRAWS, Resampled, interval, no_interval, resample
from voicetone.evaluation.calibration import calibration
from voicetone.evaluation.counts import HEADLINE, Counts
from voicetone.evaluation.dimensions import concordances
from voicetone.evaluation.errors_made import worst_errors
from voicetone.evaluation.fairness import fairness
from voicetone.evaluation.selective import conformal_sets, coverage_curve
from voicetone.evaluation.soft_labels import soft_labels
from voicetone.evaluation.table import CAUTIONS, DimensionTable, PredictionTable

FEW_SPEAKERS = 10
FEW_CASES = 10
DEPENDENT = re.compile(r"(^|speaker[\s_-]*)dependent", re.IGNORECASE)
"""In a protocol that says so; no part of "speaker-independent"."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A score: mean and SD over seeds (no SD of one seed), 95 % interval over speakers."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None


def headline(table: PredictionTable, number: int = DRAWS, seed: int = 0) -> dict[str, Summary]:
    """UAR, accuracy, macro and weighted F1 of a table, by their names in `HEADLINE`.

    A score is that of all folds' predictions together; with several seeds it is their mean.
    """
    return _headline(resample(table, number, seed))


def judge(table: PredictionTable, number: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Everything that can be said of a table of labels.

    Args:
        table: the predictions.
        number: draws of the bootstrap.
        seed: of every draw; the same gives the same numbers.

    Returns:
        Data for JSON; what can't be known is None or an empty list.
    """
    drawn = resample(table, number, seed)
    found: dict[str, Any] = {
        "kind": "labels",
        "table": _facts(table),
        "scores": {name: asdict(score) for name, score in _headline(drawn).items()},
        "majority": _majority(table),
        "draws": number,
        "seed": seed,
        "no_intervals": drawn.reason,
        "cautions": _cautions(table, drawn.reason, number),
        "labels": _labels(table, drawn),
        "confusion": drawn.whole.sum(0).astype(int).tolist(),
        "calibration": _plain(calibration(table, seed)),
        "soft_labels": _plain(soft_labels(table)),
        "dont_know": [asdict(point) for point in coverage_curve(table)],
        "sets": [asdict(sets) for sets in conformal_sets(table, seed)],
        "fairness": [asdict(kind) for kind in fairness(table, number, seed)],
        "errors": [asdict(error) for error in worst_errors(table)],
    }
    return {key: _without_nan(value) for key, value in found.items()}


def judge_dimensions(table: DimensionTable, number: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Everything that can be said of a table of dimensions."""
    reason = no_interval(table.speaker)
    found: dict[str, Any] = {
        "kind": "dimensions",
        "table": _facts(table),
        "concordance": [asdict(c) for c in concordances(table, number, seed)],
        "draws": number,
        "seed": seed,
        "no_intervals": reason,
        "cautions": _speaker_cautions(table, reason, number),
    }
    return {key: _without_nan(value) for key, value in found.items()}


def _headline(drawn: Resampled) -> dict[str, Summary]:
    return {name: _summary(score(drawn.whole), drawn, score) for name, score in HEADLINE.items()}


def _summary(values: Counts, drawn: Resampled, score: Any) -> Summary:
    low, high = (None, None) if drawn.drawn is None else interval(score(drawn.drawn).mean(1))
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Summary(float(values.mean()), sd, low, high)


def _facts(table: PredictionTable | DimensionTable) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "utterances": len(np.unique(table.id)),
        "rows": len(table),
        "speakers": len(table.speakers),
        "seeds": list(table.seeds),
        "folds": len({str(f) for f in np.unique(table.fold)} - {""}),
        "corpora": [str(name) for name in np.unique(table.corpus) if name],
        "meta": dict(table.meta),
    }
    if isinstance(table, PredictionTable):
        facts["labels"] = list(table.labels)
        facts["probabilities"] = table.probabilities
    return facts


def _majority(table: PredictionTable) -> dict[str, Any]:
    cases = np.bincount(table.truth_codes, minlength=len(table.labels))
    return {
        "label": table.labels[int(cases.argmax())],
        "wa": float(cases.max() / cases.sum()),
        "uar": float(1 / max(1, (cases > 0).sum())),
    }


def _labels(table: PredictionTable, drawn: Resampled) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label, each as a summary."""
    cases = drawn.whole.sum(2).mean(0)
    rows: list[dict[str, Any]] = [
        {"label": label, "cases": round(float(cases[k]))} for k, label in enumerate(table.labels)
    ]
    for name, score in (
        ("precision", counts.precision),
        ("recall", counts.recall),
        ("f1", counts.f1),
    ):
        whole = score(drawn.whole)
        every = None if drawn.drawn is None else score(drawn.drawn)
        for k, row in enumerate(rows):
            known = whole[:, k][np.isfinite(whole[:, k])]
            low = high = None
            if every is not None and len(known) and np.isfinite(every[:, :, k]).all(1).any():
                low, high = interval(every[:, :, k].mean(1))
            row[name] = asdict(
                Summary(
                    float(known.mean()) if len(known) else float("nan"),
                    float(known.std(ddof=1)) if len(known) > 1 else None,
                    low,
                    high,
                )
            )
    return rows


def _cautions(table: PredictionTable, reason: str | None, draws: int) -> list[str]:
    """What a reader must know before believing a number."""
    said = _speaker_cautions(table, reason, draws)
    cases = np.bincount(table.truth_codes, minlength=len(table.labels)) / max(1, len(table.seeds))
    for label, number in zip(table.labels, cases.tolist(), strict=True):
        if number == 0:
            said.append(f"No utterance is {label}: averages over labels leave it out.")
        elif number < FEW_CASES:
            few = "1 utterance is" if round(number) == 1 else f"{number:.0f} utterances are"
            said.append(f"Only {few} {label}: its scores are rough.")
    if not table.probabilities:
        said.append(
            "The scores are no probabilities, so nothing is said of calibration and of sets."
        )
    return said


def _speaker_cautions(
    table: PredictionTable | DimensionTable, reason: str | None, draws: int
) -> list[str]:
    told = table.meta.get(CAUTIONS, "").removeprefix("caution: ")
    said = [_sentence(text) for text in (told, reason) if text]
    if reason is None and draws and len(table.speakers) < FEW_SPEAKERS:
        said.append(
            f"{len(table.speakers)} speakers are few: the intervals are wide, and rough themselves."
        )
    protocol = table.meta.get("protocol", "")
    if not protocol:
        said.append(
            "The table does not say by which protocol it was made: whether test speakers were "
            "unknown to the model can't be seen from it."
        )
    elif DEPENDENT.search(protocol):
        said.append(
            "The protocol is speaker-dependent: the model learnt from the speakers it is judged "
            "on, so the scores say little of new speakers."
        )
    return said


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def _plain(record: Any) -> dict[str, Any] | None:
    return None if record is None else asdict(record)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
