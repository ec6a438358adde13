"""The worst errors: where a model was surest of a wrong label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voicetone.evaluation.table import PredictionTable

MOST = 20


@dataclass(frozen=True, slots=True)
class Mistake:
    """An utterance that was told wrong; scores are means over seeds."""

    id: str
    speaker: str
    corpus: str
    truth: str
    predicted: str
    score: float
    truth_score: float
    audio: str


def worst_errors(table: PredictionTable, most: int = MOST) -> list[Mistake]:
    """The wrong utterances whose wrong label has the largest lead over the true one."""
    if not len(table):
        return []
    _, first, place = np.unique(table.id, return_index=True, return_inverse=True)
    rows = np.bincount(place).astype(np.float64)
    scores = np.stack([np.bincount(place, weights=s) / rows for s in table.scores.T], axis=1)
    truth = table.truth_codes[first]
    several = len(table.seeds) > 1
    predicted = scores.argmax(1) if several else table.predicted_codes[first]
    everyone = np.arange(len(first))
    lead = scores[everyone, predicted] - scores[everyone, truth]
    wrong = np.flatnonzero(predicted != truth)
    ranked = wrong[np.argsort(-lead[wrong], kind="stable")][:most]
    return [
        Mistake(
            id=str(table.id[first[i]]),
            speaker=str(table.speaker[first[i]]),
            corpus=str(table.corpus[first[i]]),
            truth=table.labels[truth[i]],
            predicted=table.labels[predicted[i]],
            score=float(scores[i, predicted[i]]),
            truth_score=float(scores[i, truth[i]]),
            audio=str(table.audio[first[i]]),
        )
        for i in ranked.tolist()
    ]
