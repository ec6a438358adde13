"""How well "who speaks when" was found: the diarization error rate."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError, MissingExtraError

Spoken = tuple[float, float, Hashable]
"""Start and end in seconds, and who."""


@dataclass(frozen=True, slots=True)
class DiarizationError:
    """Seconds of each error, and their share of the reference speech.

    Attributes:
        rate: (missed + false alarm + confusion) / total; more than 1 is possible.
        missed: seconds of speech, per speaker, that were not found.
        false_alarm: seconds found, per speaker, that there are not.
        confusion: seconds given to another speaker.
        total: seconds of reference speech, per speaker.
        mapping: which speaker of the reference each of the hypothesis stands for.
    """

    rate: float
    missed: float
    false_alarm: float
    confusion: float
    total: float
    mapping: Mapping[Hashable, Hashable]


def der(
    reference: Sequence[Spoken], hypothesis: Sequence[Spoken], collar: float = 0.0
) -> DiarizationError:
    """The diarization error rate as NIST defined it (RT-09 evaluation plan, 2009, section 6.1).

    In every stretch of time in which nothing changes, speakers of the reference and of the
    hypothesis are counted. What one side has more is missed or false alarm; of the others those
    that are not mapped to each other are confused. The mapping is the one with the most shared
    time, found over the scored time. Overlapping speech is scored.

    Args:
        reference: who speaks when; the same speaker twice at one time counts once.
        hypothesis: what was found; names of its own.
        collar: seconds before and after each start and end of the reference that are not scored.

    Raises:
        DataError: a time that is none, a negative collar, or a reference without speech.
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError:
        raise MissingExtraError("the diarization error rate", "report") from None
    if not 0 <= collar < np.inf:
        raise DataError(f"collar {collar:g}: give seconds from 0")
    for start, end, _ in (*reference, *hypothesis):
        if not -np.inf < start <= end < np.inf:
            raise DataError(f"somebody speaks from {start:g} to {end:g} s: mend the times")
    theirs, ours = _names(reference), _names(hypothesis)
    times = [t for start, end, _ in (*reference, *hypothesis) for t in (start, end)]
    kept_out = [(t - collar, t + collar) for start, end, _ in reference for t in (start, end)]
    cuts = np.unique([*times, *(t for pair in kept_out for t in pair)])
    middles, lengths = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts)
    for low, high in kept_out:
        lengths[(middles > low) & (middles < high)] = 0.0
    real, found = _present(reference, theirs, middles), _present(hypothesis, ours, middles)
    total = float((real.sum(0) * lengths).sum())
    if not total:
        raise DataError("the reference holds no speech outside of its collars: nothing to score")
    shared = (real * lengths) @ found.T
    rows, columns = linear_sum_assignment(-shared)
    pairs = [(i, j) for i, j in zip(rows, columns, strict=True) if shared[i, j] > 0]
    right = sum((real[i] * found[j] for i, j in pairs), np.zeros(len(lengths)))
    n_real, n_found = real.sum(0), found.sum(0)
    missed = float((np.maximum(n_real - n_found, 0) * lengths).sum())
    false_alarm = float((np.maximum(n_found - n_real, 0) * lengths).sum())
    confusion = float(((np.minimum(n_real, n_found) - right) * lengths).sum())
    return DiarizationError(
        rate=(missed + false_alarm + confusion) / total,
        missed=missed,
        false_alarm=false_alarm,
        confusion=confusion,
        total=total,
        mapping={ours[j]: theirs[i] for i, j in pairs},
    )


def _names(spoken: Sequence[Spoken]) -> list[Hashable]:
    return list(dict.fromkeys(who for _, _, who in spoken))


def _present(
    spoken: Sequence[Spoken], names: Sequence[Hashable], middles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Whether each speaker speaks in each stretch `[speakers, stretches]`, 0 or 1."""
    out = np.zeros((len(names), len(middles)))
    row = {name: i for i, name in enumerate(names)}
    for start, end, who in spoken:
        out[row[who], (middles > start) & (middles < end)] = 1.0
    return out
