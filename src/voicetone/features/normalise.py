"""Zero mean and unit spread: over the training set, per corpus or per speaker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from voicetone.types import Floats

Normalisation = Literal["none", "global", "corpus", "speaker"]
Doubles = NDArray[np.float64]

NOTES: dict[Normalisation, str] = {
    "none": "features as extracted",
    "global": "normalised with the statistics of the training set",
    "corpus": "normalised with the statistics of each corpus's training set; of a corpus that "
    "does not train, with those of its own unlabelled audio",
    "speaker": "normalised per speaker: uses the unlabelled audio of test speakers",
}


def normalised(
    values: Sequence[Floats],
    train: NDArray[np.bool_],
    kind: Normalisation,
    *,
    speakers: Sequence[str | None],
    corpora: Sequence[str],
) -> list[Floats]:
    """Features with zero mean and unit standard deviation; a feature that never varies is 0.

    Args:
        values: of each utterance `[features]` or `[frames, features]`.
        train: which utterances train `[n]`; the others' labels and, but for `speaker` and corpora
            that don't train, their audio are not looked at.
        kind: whose statistics. `speaker` takes those of all of a speaker's utterances; one
            without a speaker counts as a speaker of its own.
        speakers: `[n]`.
        corpora: `[n]`.
    """
    if kind == "none":
        return list(values)
    group, mean, scale = group_statistics(values, train, kind, speakers=speakers, corpora=corpora)
    return [
        ((v - mean[g]) / scale[g]).astype(np.float32) for v, g in zip(values, group, strict=True)
    ]


def group_statistics(
    values: Sequence[Floats],
    train: NDArray[np.bool_],
    kind: Normalisation,
    *,
    speakers: Sequence[str | None],
    corpora: Sequence[str],
) -> tuple[NDArray[np.int64], Doubles, Doubles]:
    """The statistics that `normalised` applies, by groups of utterances.

    Returns:
        The group of each utterance `[n]`, and mean and scale of each `[groups, features]`.
    """
    if kind == "speaker":
        names = [f"={i}" if s is None else s for i, s in enumerate(speakers)]
        fitted = np.ones(len(values), dtype=bool)
    elif kind == "corpus":
        names, fitted = list(corpora), train.copy()
        for name in set(names) - {g for g, t in zip(names, train, strict=True) if t}:
            fitted |= np.array([g == name for g in names])
    else:
        names, fitted = [""] * len(values), train
    places = {name: index for index, name in enumerate(dict.fromkeys(names))}
    group = np.array([places[name] for name in names], dtype=np.int64)
    if kind == "none":
        width = values[0].shape[-1]
        return group, np.zeros((1, width)), np.ones((1, width))
    each = [
        statistics([values[i] for i in np.flatnonzero((group == index) & fitted).tolist()])
        for index in range(len(places))
    ]
    return group, np.stack([mean for mean, _ in each]), np.stack([scale for _, scale in each])


def statistics(values: Sequence[Floats]) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of each feature `[features]` over utterances and frames.

    The deviation is 1 where a feature does not vary beyond rounding.
    """
    stacked = np.concatenate([np.atleast_2d(v) for v in values]).astype(np.float64)
    mean, scale = stacked.mean(axis=0), stacked.std(axis=0)
    scale[scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)] = 1.0
    return mean, scale
