"""One fold of a classifier: settings chosen on held-out speakers, then trained, then tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.evaluation.metrics import uar
from voicetone.features.normalise import Normalisation, normalised
from voicetone.training.classifier_recipe import (
    LinearSvm,
    Logistic,
    ModelChoice,
    NetworkChoice,
    RbfSvm,
    Selection,
)
from voicetone.types import Floats

Rows = NDArray[np.int64]
Shallow = LinearSvm | RbfSvm | Logistic


@dataclass(frozen=True)
class Examples:
    """Features and labels of all utterances of a run."""

    values: Sequence[Floats]
    """`[features]` or `[frames, features]` each."""
    truth: Rows
    """`[n]`, below `classes`."""
    classes: int
    speakers: Sequence[str | None]
    corpora: Sequence[str]


@dataclass(frozen=True)
class Settings:
    """How a fold is trained."""

    models: tuple[ModelChoice, ...]
    """Of several, and of several values of their settings, the best is taken."""
    selection: Selection
    normalise: Normalisation
    refit: bool
    scored: bool = False
    """Tell the score on held-out speakers even where there is nothing to choose."""


@dataclass(frozen=True)
class Outcome:
    """What a fold gave."""

    scores: Floats
    """`[test, classes]`."""
    probabilities: bool
    chosen: dict[str, float | str]
    """Settings that were chosen among several, and the best epoch."""


def candidates(model: ModelChoice) -> list[ModelChoice]:
    """Every combination of the settings of which there are several values."""
    several = {
        f.name: value for f in fields(model) if isinstance(value := getattr(model, f.name), tuple)
    }
    return [
        replace(model, **dict(zip(several, values, strict=True)))
        for values in product(*several.values())
    ]


def run_fold(
    data: Examples,
    settings: Settings,
    parts: tuple[Rows, Rows, Rows],
    seed: int,
) -> Outcome:
    """Train on the first part, choose on the second, score the third.

    Args:
        data: of all parts.
        settings: what to train.
        parts: places of the training, validation and test utterances.
        seed: of everything random in this fold.

    Raises:
        DataError: settings to choose between and nobody to choose on.
    """
    train, validation, test = parts
    tried = [(m, c) for m in settings.models for c in candidates(m)]
    (model, best), chosen = tried[0], dict[str, float | str]()
    if len(tried) > 1 or settings.scored:
        found = [_held_out(data, settings, c, train, validation, seed) for _, c in tried]
        model, best = tried[int(np.argmax(found))]
        several = [f.name for f in fields(best) if isinstance(getattr(model, f.name), tuple)]
        chosen |= {name: float(getattr(best, name)) for name in several}
        if len(settings.models) > 1:
            chosen["model"] = best.name
        chosen["uar"] = max(found)
    if isinstance(best, NetworkChoice):
        scores, epoch = _network(data, settings, best, (train, validation, test), seed)
        return Outcome(scores, True, {**chosen, "epoch": float(epoch)})
    fitted = np.concatenate([train, validation]) if settings.refit else train
    scores = _shallow(data, settings, best, fitted, test, seed)
    return Outcome(scores, isinstance(best, Logistic), chosen)


def _held_out(
    data: Examples,
    settings: Settings,
    choice: ModelChoice,
    train: Rows,
    validation: Rows,
    seed: int,
) -> float:
    """UAR on speakers that neither trained nor test."""
    on = settings.selection.on
    if on == "validation" and not len(validation):
        raise DataError(
            "nobody validates in this protocol: give validation speakers or choose on inner folds"
        )
    if on == "validation" or (on == "auto" and len(validation)):
        splits = [(train, validation)]
    else:
        splits = inner_folds(data, np.concatenate([train, validation]), settings.selection.inner)
    truth, predicted = [], []
    for learnt, held in splits:
        if isinstance(choice, NetworkChoice):
            scores = _network(data, settings, choice, (learnt, held, held), seed)[0]
        else:
            scores = _shallow(data, settings, choice, learnt, held, seed)
        truth.append(data.truth[held])
        predicted.append(scores.argmax(axis=1))
    return uar(np.concatenate(truth), np.concatenate(predicted))


def inner_folds(data: Examples, rows: Rows, groups: int) -> list[tuple[Rows, Rows]]:
    """Training speakers in groups, each held out once.

    Raises:
        DataError: fewer speakers than groups.
    """
    speakers = np.array([str(data.speakers[i]) for i in rows])
    names = np.unique(speakers)
    if not 2 <= groups <= len(names):
        raise DataError(
            f"{groups} inner folds of {len(names)} training speakers can't be: change "
            "selection.inner"
        )
    out = []
    for index in range(groups):
        held = np.isin(speakers, names[index::groups])
        out.append((rows[~held], rows[held]))
    return out


def _prepared(data: Examples, settings: Settings, fitted: Rows, used: Rows) -> list[Floats]:
    """Normalised features of `used`, with the statistics of `fitted`."""
    involved = np.union1d(fitted, used)
    values = normalised(
        [data.values[i] for i in involved],
        np.isin(involved, fitted),
        settings.normalise,
        speakers=[data.speakers[i] for i in involved],
        corpora=[data.corpora[i] for i in involved],
    )
    return [values[i] for i in np.searchsorted(involved, used)]


def _shallow(
    data: Examples, settings: Settings, choice: Shallow, train: Rows, test: Rows, seed: int
) -> Floats:
    both = np.concatenate([train, test])
    x = np.stack(_prepared(data, settings, train, both)).astype(np.float64)
    model = _model(choice, seed)
    model.fit(x[: len(train)], data.truth[train])
    tested = x[len(train) :]
    if isinstance(choice, Logistic):
        found = np.asarray(model.predict_proba(tested))
    else:
        found = np.asarray(model.decision_function(tested))
        if found.ndim == 1:  # two classes
            found = np.stack([-found, found], axis=1)
    floor = 0.0 if isinstance(choice, Logistic) else float(found.min()) - 1.0
    scores = np.full((len(test), data.classes), floor, dtype=np.float32)
    scores[:, model.classes_] = found
    return scores


def _model(choice: Shallow, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC, LinearSVC

    weight = "balanced" if choice.balanced else None
    if isinstance(choice, LinearSvm):
        return LinearSVC(C=choice.C, class_weight=weight, random_state=seed, max_iter=10_000)
    if isinstance(choice, RbfSvm):
        return SVC(C=choice.C, gamma=choice.gamma, class_weight=weight)
    return LogisticRegression(C=choice.C, class_weight=weight, max_iter=2000)


def _network(
    data: Examples,
    settings: Settings,
    choice: NetworkChoice,
    parts: tuple[Rows, Rows, Rows],
    seed: int,
) -> tuple[Floats, int]:
    from voicetone.training.classifier_networks import fit, probabilities, repeatable

    train, validation, _ = parts
    x = _prepared(data, settings, train, np.concatenate(parts))
    cuts = np.cumsum([len(train), len(validation)])
    held = (x[cuts[0] : cuts[1]], data.truth[validation])
    with repeatable(seed):
        net, epoch = fit(choice, (x[: cuts[0]], data.truth[train]), held, data.classes, seed)
        return probabilities(net, x[cuts[1] :]), epoch
