"""Scores, calibration and thresholds of a tone run, from its folds' predictions alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.evaluation.metrics import (
    by_speakers,
    expected_calibration_error,
    macro_f1,
    proportion,
    uar,
    wa,
)
from voicetone.evaluation.table import PredictionTable, groups_of
from voicetone.inference.speech import Activity
from voicetone.pretrained.spec import Space, SpeechRule
from voicetone.training.tone_batches import Labels
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.training.tone_tables import FoldPredictions
from voicetone.types import SENTIMENTS, Floats, Utterance

ONSETS = (2, 3, 4, 6, 8)  # frames of 31.25 ms in a row that switch speech on
THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.985, 0.99)
RELEASE = 0.3  # probability at which a voice that is there goes on being heard
HANGOVER_FRAMES = 12  # 375 ms: pauses inside words and between them

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """Held-out clips of all folds, one row each."""

    index: NDArray[np.int64]
    """Place among the run's utterances."""
    test: NDArray[np.bool_]
    fold: NDArray[np.int64]
    sentiment: Floats
    emotion: Floats
    """Logits; classes that the clip's corpus doesn't label are at -inf."""


@dataclass(frozen=True)
class Calibration:
    """What a bundle needs beside its weights, found on validation clips."""

    temperature: dict[str, float]
    speech: SpeechRule
    curve: list[list[float]]


def pooled(
    predictions: Sequence[FoldPredictions], utterances: Sequence[Utterance], labels: Labels
) -> Pool:
    """The predictions of all folds on top of each other."""
    place = {u.id: i for i, u in enumerate(utterances)}
    index = np.array([place[key] for p in predictions for key in p.ids])
    emotion = np.concatenate([p.emotion for p in predictions])
    return Pool(
        index=index,
        test=np.array([part == "test" for p in predictions for part in p.parts]),
        fold=np.concatenate([np.full(len(p.ids), k) for k, p in enumerate(predictions)]),
        sentiment=np.concatenate([p.sentiment for p in predictions]),
        emotion=np.where(labels.allowed[index] > 0, emotion, -np.inf),
    )


def prediction_table(
    pool: Pool,
    utterances: Sequence[Utterance],
    labels: Labels,
    corpus: str,
    space: Space = "emotion",
) -> PredictionTable:
    """A corpus's predictions of test clips in the form that the evaluation takes.

    Emotions are those that the corpus labels, sentiments those that its clips have.
    """
    _, logits, truth = _heads(pool, labels)[space == "emotion"]
    here = np.array([utterances[i].corpus == corpus for i in pool.index])
    known = pool.test & here & (truth >= 0)
    names = _names(space, labels)
    allowed = labels.allowed[pool.index[known]].any(axis=0)
    used = np.flatnonzero(allowed) if space == "emotion" else np.arange(len(names))
    clips = [utterances[i] for i in pool.index[known]]
    return PredictionTable(
        id=np.array([u.id for u in clips]),
        truth=np.array([names[k] for k in truth[known]], dtype=np.str_),
        labels=tuple(names[k] for k in used),
        scores=by_fold(pool, logits, truth)[known][:, used].astype(np.float32),
        speaker=np.array([str(u.speaker) for u in clips]),
        corpus=np.array([u.corpus for u in clips]),
        groups=groups_of(clips),
    )


def best_temperature(logits: Floats, truth: NDArray[np.int64]) -> float:
    """The temperature of least negative log-likelihood (Guo et al., ICML 2017)."""
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_t)
        return float((_log_sum(scaled) - scaled[np.arange(len(truth)), truth]).mean())

    found = minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded")
    return float(np.exp(found.x))


def _log_sum(values: Doubles) -> Doubles:
    top = values.max(axis=1, keepdims=True)
    total: Doubles = top[:, 0] + np.log(np.exp(values - top).sum(axis=1))
    return total


def _probabilities(logits: Floats, temperature: float) -> Doubles:
    scaled = logits.astype(np.float64) / temperature
    shares: Doubles = np.exp(scaled - _log_sum(scaled)[:, None])
    return shares


def calibrate(
    pool: Pool, labels: Labels, predictions: Sequence[FoldPredictions], recipe: ToneRecipe
) -> Calibration:
    """Temperatures and speech threshold from all folds' validation parts, and the measured
    accuracy over coverage on the test parts."""
    temperature = {}
    for name, logits, truth in _heads(pool, labels):
        known = ~pool.test & (truth >= 0)
        temperature[name] = best_temperature(logits[known], truth[known]) if known.any() else 1.0
    return Calibration(
        temperature, speech_rule(predictions, recipe.false_alarms), coverage_curve(pool, labels)
    )


def mean_scores(pool: Pool, temperature: float) -> dict[str, float]:
    """Mean sentiment scores over the validation clips of all folds, as the bundle would give them.

    A server tells how far the scores of its calls drift from these.

    Args:
        pool: clips of all folds.
        temperature: the bundle's for sentiment.
    """
    held = pool.sentiment[~pool.test]
    if not len(held):
        return {}
    means = _probabilities(held, temperature).mean(axis=0)
    return {label: round(float(x), 4) for label, x in zip(SENTIMENTS, means, strict=True)}


def _heads(pool: Pool, labels: Labels) -> list[tuple[str, Floats, NDArray[np.int64]]]:
    found = [("sentiment", pool.sentiment, labels.sentiment[pool.index])]
    if labels.emotions:
        found.append(("emotion", pool.emotion, labels.emotion[pool.index]))
    return found


def by_fold(pool: Pool, logits: Floats, truth: NDArray[np.int64]) -> Doubles:
    """Probabilities of test clips, each fold's temperature from its own validation clips."""
    out = np.zeros(logits.shape)
    for fold in np.unique(pool.fold):
        here = pool.fold == fold
        known = here & ~pool.test & (truth >= 0)
        temperature = best_temperature(logits[known], truth[known]) if known.any() else 1.0
        out[here] = _probabilities(logits[here], temperature)
    return out


def coverage_curve(pool: Pool, labels: Labels) -> list[list[float]]:
    """Rows of [confidence threshold, share of test clips over it, accuracy there], sentiment."""
    truth = labels.sentiment[pool.index]
    shares = by_fold(pool, pool.sentiment, truth)
    known = pool.test & (truth >= 0)
    return sure_curve(shares[known].max(1), shares[known].argmax(1) == truth[known])


def sure_curve(confidence: Doubles, right: NDArray[np.bool_]) -> list[list[float]]:
    """Rows of [threshold, share with a confidence over it, accuracy of those]."""
    curve = []
    for threshold in np.arange(0.35, 0.96, 0.05):
        over = confidence >= threshold
        if over.any():
            curve.append([round(float(x), 4) for x in (threshold, over.mean(), right[over].mean())])
    return curve


def speech_rule(predictions: Sequence[FoldPredictions], false_alarms: float) -> SpeechRule:
    """The threshold and onset that find most frames of validation speakers among those that let
    no more than this share of validation noise clips through; if none does, those with the
    fewest errors of both kinds."""
    noises = [p for f in predictions for part, p in f.noise if part == "validation"]
    clips = [
        s
        for f in predictions
        for part, s in zip(f.parts, f.speech, strict=True)
        if part == "validation"
    ]
    clips = clips[:: max(1, len(clips) // 500)]
    best: tuple[tuple[bool, float], SpeechRule] | None = None
    for onset in ONSETS:
        for threshold in THRESHOLDS:
            rule = SpeechRule(
                threshold=threshold,
                release=min(RELEASE, threshold),
                onset_frames=onset,
                hangover_frames=HANGOVER_FRAMES,
            )
            alarms = _share(bool(active(p, rule).any()) for p in noises)
            misses = 1.0 - _share(bool(active(s[0], rule).any()) for s in clips)
            found = sum((active(s[0], rule) & (s[1] > 0.5)).sum() for s in clips)
            kept = alarms <= false_alarms
            worth = (kept, float(found) if kept else -alarms - misses)
            if best is None or worth > best[0]:
                best = worth, rule
    assert best is not None
    return best[1]


def _share(cases: Iterable[bool]) -> float:
    values = list(cases)
    return sum(values) / len(values) if values else 0.0


def active(probability: Floats, rule: SpeechRule) -> NDArray[np.bool_]:
    """Active frames of one clip under a rule."""
    return Activity(rule).push(probability)


def speech_scores(
    predictions: Sequence[FoldPredictions], rule: SpeechRule, fold: int | None = None
) -> dict[str, Any]:
    """Detection on held-out speakers' clips and false alarms on held-out noise, by clip and by
    frame, each with count and Wilson interval.

    Every fold's network hears the same noises; noise is scored for one fold alone if asked."""
    chosen = predictions if fold is None else [predictions[fold]]
    clips = [s for f in chosen for part, s in zip(f.parts, f.speech, strict=True) if part == "test"]
    noises = [p for f in chosen for part, p in f.noise if part == "test"]
    heard = [(active(s[0], rule), s[1] > 0.5) for s in clips]
    alarms = [active(p, rule) for p in noises]
    pairs = {
        "clips_detected": (sum(bool(a.any()) for a, _ in heard), len(heard)),
        "speech_frames_detected": (
            int(sum((a & t).sum() for a, t in heard)),
            int(sum(t.sum() for _, t in heard)),
        ),
        "noise_clips_alarmed": (sum(bool(a.any()) for a in alarms), len(alarms)),
        "noise_frames_alarmed": (int(sum(a.sum() for a in alarms)), sum(len(a) for a in alarms)),
    }
    # The folds' networks hear the same noises: over networks these are no independent cases.
    by_fold = [
        [bool(active(p, rule).any()) for part, p in f.noise if part == "test"] for f in chosen
    ]
    ever = [any(alarm) for alarm in zip(*by_fold, strict=True)]
    pairs["noise_clips_alarmed_by_any_fold"] = (sum(ever), len(ever))
    return {
        name: {"hits": hits, "total": total, **asdict(proportion(hits, total))}
        for name, (hits, total) in pairs.items()
        if total
    }


def scores(
    pool: Pool, utterances: Sequence[Utterance], labels: Labels
) -> dict[str, dict[str, Any]]:
    """UAR, WA and macro-F1 per corpus and label space, with intervals over speakers, and the
    expected calibration error of the test clips.

    A clip is scored among the emotions that its corpus labels. `speakers_never_validated` is
    the UAR over speakers that validated no fold, whom no choice of settings has seen.
    """
    corpus = np.array([utterances[i].corpus for i in pool.index])
    speaker = np.array([str(utterances[i].speaker) for i in pool.index])
    validated = np.unique(speaker[~pool.test])
    out: dict[str, dict[str, Any]] = {}
    for name, logits, truth in _heads(pool, labels):
        shares = by_fold(pool, logits, truth)
        predicted = shares.argmax(1)
        for part in np.unique(corpus):
            known = pool.test & (corpus == part) & (truth >= 0)
            if not known.any():
                continue
            args = (truth[known], predicted[known], list(speaker[known]))
            fresh = known & ~np.isin(speaker, validated)
            out[f"{part}/{name}"] = {
                "uar": asdict(by_speakers(uar, *args)),
                "wa": asdict(by_speakers(wa, *args)),
                "macro_f1": asdict(by_speakers(macro_f1, *args)),
                "ece": expected_calibration_error(
                    shares[known].max(1), predicted[known] == truth[known]
                ),
                "clips": int(known.sum()),
                "speakers": len(set(args[2])),
                "speakers_never_validated": {
                    "speakers": len(set(speaker[fresh])),
                    "uar": uar(truth[fresh], predicted[fresh]) if fresh.any() else None,
                },
                "confusion": _confusion(truth[known], predicted[known], _names(name, labels)),
            }
    return out


def _names(space: str, labels: Labels) -> tuple[str, ...]:
    return SENTIMENTS if space == "sentiment" else labels.emotions


def _confusion(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], names: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    return {
        names[t]: {names[p]: int(((truth == t) & (predicted == p)).sum()) for p in np.unique(truth)}
        for t in np.unique(truth)
    }
