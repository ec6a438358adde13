"""Personal calibration: one speaker's own clips correct what a model says of that speaker.

From unlabelled clips (`centre`, `match`, `prior`) or from a few labelled ones (`bias`, `means`).
Nothing needs it; whether it helps is measured in `personal_measured`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from voicetone.errors import DataError
from voicetone.evaluation.personal_fits import (
    LABELLED,
    METHODS,
    UNLABELLED,
    Clips,
    Codes,
    Others,
    Values,
    centred,
    softmax,
)
from voicetone.evaluation.table import SUM_TOLERANCE, PredictionTable
from voicetone.types import Floats

FORMAT = 1
STRENGTH = {"unlabelled": 8.0, "labelled": 2.0}
"""Pseudo-count: how many clips of the speaker weigh as much as leaving all as it is. Cautious:
other speakers mostly choose these or smaller ones in docs/results/personal.md."""
MOST_LABELS = 64
MOST_CLIPS = 100_000
MOST_VALUE = 1e4  # of a weight or bias in a file; fitted ones lie far below
MOST_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Reference:
    """What a model says of other speakers; `labels` are its own, `speakers` how many they are."""

    labels: tuple[str, ...]
    others: Others
    speakers: int


@dataclass(frozen=True, eq=False)
class PersonalCalibration:
    """A change of one speaker's probabilities; it holds for one model and one label space.

    Args:
        labels: of the probabilities, in their order.
        weights: what centred log-probabilities are multiplied by `[labels, labels]`.
        bias: what is added then `[labels]`.
        method: by which it was fitted.
        clips: from how many.

    Raises:
        DataError: other shapes, or values that are not finite or too large.
    """

    labels: tuple[str, ...]
    weights: Values
    bias: Values
    method: str = "none"
    clips: int = 0

    def __post_init__(self) -> None:
        labels = _labels(self.labels)
        k = len(labels)
        weights, bias = (np.asarray(v, dtype=np.float64) for v in (self.weights, self.bias))
        if weights.shape != (k, k) or bias.shape != (k,):
            raise DataError(
                f"a personal calibration of {k} labels needs {k} by {k} weights and {k} biases: "
                "fit it again"
            )
        if not all((np.abs(v) <= MOST_VALUE).all() for v in (weights, bias)):
            raise DataError(
                "a weight of a personal calibration is no number, or huge: fit it again"
            )
        for name, value in (("labels", labels), ("weights", weights), ("bias", bias)):
            object.__setattr__(self, name, value)  # the way into a frozen dataclass

    def apply(self, probabilities: ArrayLike, labels: Sequence[str] | None = None) -> Floats:
        """The speaker's probabilities as corrected `[n, labels]`.

        Args:
            probabilities: of the model `[n, labels]`, or of one clip `[labels]`.
            labels: of them; where given, they must be those of the calibration.

        Raises:
            DataError: no probabilities, or those of another label space.
        """
        if labels is not None and tuple(labels) != self.labels:
            raise DataError(_other_labels(labels, self.labels))
        given = np.asarray(probabilities, dtype=np.float64)
        rows = _probabilities(np.atleast_2d(given), self.labels)
        changed = softmax(centred(rows) @ self.weights.T + self.bias)
        return changed.reshape(given.shape).astype(np.float32)

    def write(self, path: Path) -> None:
        """Write it as JSON. It tells how somebody speaks: keep it as you keep recordings."""
        held = {
            "format": FORMAT,
            "labels": list(self.labels),
            "method": self.method,
            "clips": self.clips,
            "weights": np.round(self.weights, 6).tolist(),
            "bias": np.round(self.bias, 6).tolist(),
        }
        text = json.dumps(held, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8", newline="\n")


def read_personal(path: Path) -> PersonalCalibration:
    """A personal calibration from its file.

    Raises:
        DataError: no such file, or one that is none; the file and what is wrong are named.
    """
    path = Path(path)
    try:
        with path.open("rb") as opened:
            raw = opened.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ValueError("it is too large")
        return _parsed(json.loads(raw))
    except OSError as error:
        raise DataError(
            f"{path}: can't be read as a personal calibration ({error.strerror}): check the path"
        ) from error
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, DataError) as error:
        reason = " ".join(str(error).split()).removesuffix(": fit it again")
        raise DataError(f"{path}: no personal calibration ({reason}): fit it again") from error


def fit(
    probabilities: ArrayLike,
    labels: Sequence[str],
    truth: Sequence[str] | None = None,
    method: str | None = None,
    reference: Reference | None = None,
    strength: float | None = None,
) -> PersonalCalibration:
    """Calibrate to one speaker, from what the model says of some clips of theirs.

    Args:
        probabilities: `[n, labels]`.
        labels: of the model, in their order.
        truth: the clips' true labels `[n]`, where they are known.
        method: one of `UNLABELLED`, or with `truth` of `LABELLED`; by default `centre`, with truth
            `bias`.
        reference: what the model says of others, see `reference_of`; by default every label is as
            likely as any other. `means` needs it.
        strength: pseudo-count of clips that say "no change"; larger changes less. By default that
            of `STRENGTH`.

    Raises:
        DataError: no clips, what are no probabilities, labels of another model, labelled clips of
            one label alone, or a method that is unknown or lacks what it needs.
    """
    names = _labels(labels)
    given = np.asarray(probabilities, dtype=np.float64)
    rows = _probabilities(given, names)
    if len(rows) > MOST_CLIPS:
        raise DataError(f"{len(rows)} clips of one speaker: {MOST_CLIPS} are enough, give fewer")
    chosen = method or ("centre" if truth is None else "bias")
    known = None if truth is None else _truth(truth, names, len(rows))
    _check_method(chosen, known, reference)
    if strength is None:
        strength = STRENGTH["unlabelled" if known is None else "labelled"]
    if not strength > 0:
        raise DataError(f"strength {strength}: a pseudo-count above 0 is needed, such as 8")
    if reference is not None and reference.labels != names:
        raise DataError(_other_labels(reference.labels, names))
    others = _even(len(names)) if reference is None else reference.others
    clips = Clips(centred(rows), np.ones(len(rows)), known)
    found = METHODS[chosen](clips, others, float(strength))
    return PersonalCalibration(names, found.weights, found.bias, chosen, len(rows))


def reference_of(table: PredictionTable) -> Reference:
    """What the model says of the speakers in a table of predictions, each counting the same.

    They should be speakers whom the model did not learn from, and not the one to calibrate to.

    Raises:
        DataError: a table without rows, or of decision values.
    """
    if not len(table):
        raise DataError("a reference needs predictions of other speakers: the table has none")
    if not table.probabilities:
        raise DataError("a reference needs probabilities: the table holds decision values")
    each = [table.select(table.speaker == name) for name in np.unique(table.speaker)]
    parts = [(centred(t.scores), t.scores.astype(np.float64), t.truth_codes) for t in each]
    found = others_of(
        np.array([moments(z, p, codes, len(table.labels)) for z, p, codes in parts]).sum(0),
        len(table.labels),
    )
    return Reference(table.labels, found, len(each))


def moments(logs: Values, probabilities: Values, truth: Codes, labels: int) -> Values:
    """Sums of one speaker's clips, divided by their number, from which `others_of` is made.

    Flat, so that those of several speakers can be added and taken off: one speaker, the
    probabilities, the logarithms, their squares, and per label the clips and their logarithms.
    """
    right = np.eye(labels)[truth]
    sums = [
        probabilities.sum(0),
        logs.sum(0),
        np.array([(logs**2).sum()]),
        right.sum(0),
        (right.T @ logs).ravel(),
    ]
    return np.concatenate([np.ones(1), *(s / max(1, len(logs)) for s in sums)])


def others_of(sums: Values, labels: int) -> Others:
    """What some speakers' added `moments` say; without any speaker, `_even`."""
    if sums[0] < 0.5:
        return _even(labels)
    shares, logs, squares, cases, by_label = np.split(
        sums[1:] / sums[0], np.cumsum([labels, labels, 1, labels])
    )
    total = by_label.reshape(labels, labels)
    known = (cases > 0)[:, None]
    centres = np.where(known, total / np.maximum(cases, 1e-12)[:, None], logs)
    within = squares[0] - (cases * (centres**2).sum(1)).sum()
    return Others(shares, logs, centres, np.array(max(within, 1e-6) / max(1, labels - 1)))


def _even(labels: int) -> Others:
    flat = np.full(labels, 1 / labels)
    centres = np.eye(labels) - 1 / labels
    return Others(flat, np.zeros(labels), centres, np.array(1.0))


def _labels(labels: Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(name) for name in labels)
    if not 2 <= len(names) <= MOST_LABELS or len(set(names)) < len(names):
        raise DataError(f"personal calibration takes 2 to {MOST_LABELS} labels, each of them once")
    return names


def _probabilities(rows: Values, labels: tuple[str, ...]) -> Values:
    if rows.ndim != 2 or not len(rows):
        raise DataError("no clips of this speaker: give the probabilities of one or more")
    if rows.shape[1] != len(labels):
        raise DataError(
            f"probabilities of {rows.shape[1]} labels where {len(labels)} are wanted: "
            f"{', '.join(labels)}"
        )
    good = (rows >= 0).all(1) & (np.abs(rows.sum(1) - 1) <= SUM_TOLERANCE)
    if not good.all():
        raise DataError(
            f"clip {int(good.argmin()) + 1}: no probabilities, which are not negative and sum to "
            "one: give the model's probabilities, not its decision values"
        )
    return rows


def _truth(truth: Sequence[str], labels: tuple[str, ...], clips: int) -> Codes:
    given = [str(name) for name in truth]
    if len(given) != clips:
        raise DataError(f"{clips} clips and {len(given)} true labels: give one for each clip")
    unknown = [name for name in given if name not in labels]
    if unknown:
        raise DataError(
            f"the true label {unknown[0]!r} is none of the model's labels {', '.join(labels)}"
        )
    if len(set(given)) < 2:
        raise DataError(
            f"all labelled clips are {given[0]}: label clips of two or more kinds, or calibrate "
            "without labels"
        )
    return np.array([labels.index(name) for name in given], dtype=np.int64)


def _check_method(method: str, truth: Codes | None, reference: Reference | None) -> None:
    if method not in METHODS:
        raise DataError(f"method {method!r} is unknown; known are: {', '.join(METHODS)}")
    if method in LABELLED and truth is None:
        raise DataError(
            f"{method} needs the clips' true labels; without them use {', '.join(UNLABELLED)}"
        )
    if method in UNLABELLED and truth is not None:
        raise DataError(f"{method} takes no true labels: leave them out, or use bias or means")
    if method == "means" and reference is None:
        raise DataError("means needs what the model says of others: give a reference")


def _other_labels(given: Sequence[str], wanted: Sequence[str]) -> str:
    return (
        f"labels {', '.join(map(str, given))} where {', '.join(wanted)} are wanted, in this order"
    )


def _parsed(held: Any) -> PersonalCalibration:
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise ValueError(f"not of format {FORMAT}")
    labels, clips = held["labels"], held["clips"]
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise ValueError("its labels are no list of names")
    if not isinstance(clips, int) or not 0 <= clips <= MOST_CLIPS:
        raise ValueError("its number of clips can't be")
    if held["method"] not in ("none", *METHODS):
        raise ValueError("its method is unknown")
    return PersonalCalibration(
        tuple(labels),
        np.array(held["weights"], dtype=np.float64),
        np.array(held["bias"], dtype=np.float64),
        held["method"],
        clips,
    )
