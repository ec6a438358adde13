"""What noise, rooms, telephones and small changes do to a model's predictions.

Thresholds: Derington et al. (arXiv 2312.06270). Whatever has none is reported without a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from voicetone.errors import DataError
from voicetone.evaluation import counts
from voicetone.evaluation.bootstrap import DRAWS, Codes
from voicetone.evaluation.significance import difference
from voicetone.evaluation.table import PredictionTable


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest loss of UAR, and the smallest share of unchanged predictions."""

    delta_uar: float | None
    unchanged: float | None


BACKGROUND = Limit(-0.05, 0.90)
"""Babble, environment, music or white noise at 20 dB, cough at 10 dB."""
TELEPHONE = Limit(-0.05, None)
"""Compression, AMR-NB at 7.4 kbit/s, pink noise."""
SMALL_CHANGE = Limit(None, 0.95)
"""Gain of 1 to 2 dB, 100 to 1,000 samples cropped or added, white noise at 35 to 45 dB, high-pass
at 50 to 150 Hz, low-pass at 6.5 to 7.5 kHz."""


LIMITS = {
    **dict.fromkeys(
        ("babble 20 dB", "environment 20 dB", "music 20 dB", "white noise 20 dB", "cough 10 dB"),
        BACKGROUND,
    ),
    **dict.fromkeys(("telephone", "telephone G.711", "telephone GSM"), TELEPHONE),
    **dict.fromkeys(
        ("gain", "crop", "pad", "white noise 35 dB", "white noise 45 dB", "high-pass", "low-pass"),
        SMALL_CHANGE,
    ),
}
"""Limits by the names of conditions."""


def limit_words(limit: Mapping[str, float | None] | None) -> str:
    """A limit as reports print it, from the record that a judgement holds."""
    if limit is None:
        return "–"
    least, unchanged = limit["delta_uar"], limit["unchanged"]
    words = [] if least is None else [f"Δ ≥ {least:+.2f}".replace("-", "−")]
    return ", ".join(words if unchanged is None else [*words, f"≥ {unchanged:.0%}"])


@dataclass(frozen=True, slots=True)
class Condition:
    """One perturbation of the audio, and the predictions made of it."""

    name: str
    table: PredictionTable
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What a perturbation does; `passed` and `limit` are None where it has no limit."""

    name: str
    utterances: int
    uar: float
    delta_uar: float
    low: float | None
    high: float | None
    unchanged: float
    limit: Limit | None
    passed: bool | None


def robustness(
    clean: PredictionTable, conditions: list[Condition], number: int = DRAWS, seed: int = 0
) -> list[Effect]:
    """The effect of each condition against the predictions of the clean audio.

    Raises:
        DataError: a condition that lacks one of the clean table's utterances, or has others.
    """
    return [_effect(clean, condition, number, seed) for condition in conditions]


def _effect(clean: PredictionTable, condition: Condition, number: int, seed: int) -> Effect:
    table = condition.table
    same, where = _matched(clean, table)
    if same is None:
        raise DataError(
            f"{condition.name}: {where}: judge the same utterances with and without the change"
        )
    apart = difference(table, clean, "uar", number, seed)
    unchanged = float((table.predicted[same] == clean.predicted).mean())
    found = counts.count(table.truth_codes, table.predicted_codes, len(table.labels))
    return Effect(
        name=condition.name,
        utterances=len(np.unique(table.id)),
        uar=float(counts.uar(found)),
        delta_uar=apart.value,
        low=apart.low,
        high=apart.high,
        unchanged=unchanged,
        limit=condition.limit,
        passed=_passed(condition.limit, apart.value, unchanged),
    )


def _passed(limit: Limit | None, delta: float, unchanged: float) -> bool | None:
    if limit is None:
        return None
    loses = limit.delta_uar is not None and delta < limit.delta_uar
    changes = limit.unchanged is not None and unchanged < limit.unchanged
    return not (loses or changes)


def _matched(clean: PredictionTable, table: PredictionTable) -> tuple[Codes | None, str]:
    """The rows of `table` in the clean table's order, or None and what is wrong."""
    keys = zip(table.id.tolist(), table.seed.tolist(), strict=True)
    places = {key: i for i, key in enumerate(keys)}
    wanted = list(zip(clean.id.tolist(), clean.seed.tolist(), strict=True))
    lacking = next((key for key in wanted if key not in places), None)
    if lacking is not None:
        return None, f"utterance {lacking[0]} is not among its predictions"
    if len(places) > len(wanted):
        return None, f"it has {len(places) - len(wanted)} predictions more than the clean audio"
    return np.array([places[key] for key in wanted], dtype=np.int64), ""
