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
    if kind == "speaker":
        groups = [f"={i}" if s is None else s for i, s in enumerate(speakers)]
        fitted = np.ones(len(values), dtype=bool)
    elif kind == "corpus":
        groups, fitted = list(corpora), train.copy()
        for name in set(groups) - {g for g, t in zip(groups, train, strict=True) if t}:
            fitted |= np.array([g == name for g in groups])
    else:
        groups, fitted = [""] * len(values), train
    places: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        places.setdefault(group, []).append(index)
    out: list[Floats] = list(values)
    for members in places.values():
        mean, scale = statistics([values[i] for i in members if fitted[i]])
        for i in members:
            out[i] = ((values[i] - mean) / scale).astype(np.float32)
    return out


def statistics(values: Sequence[Floats]) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of each feature `[features]` over utterances and frames.

    The deviation is 1 where a feature does not vary beyond rounding.
    """
    stacked = np.concatenate([np.atleast_2d(v) for v in values]).astype(np.float64)
    mean, scale = stacked.mean(axis=0), stacked.std(axis=0)
    scale[scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)] = 1.0
    return mean, scale
