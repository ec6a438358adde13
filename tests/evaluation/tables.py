"""Made-up predictions, with speakers that differ in how well a model knows them."""

from __future__ import annotations

from typing import Any

import numpy as np

from voicetone.evaluation.table import PredictionTable

LABELS = ("anger", "happiness", "neutral", "sadness")


def made(
    speakers: int = 10,
    each: int = 40,
    skill: float = 2.0,
    seeds: tuple[int, ...] = (0,),
    number: int = 0,
    **changes: Any,
) -> PredictionTable:
    """A table of probabilities: the truth's logit is raised by about `skill`."""
    rng = np.random.default_rng(number)
    n = speakers * each
    who = np.repeat(np.arange(speakers), each)
    truth = rng.integers(0, len(LABELS), n)
    better = rng.normal(skill, 0.5, speakers)[who]
    parts = []
    for _ in seeds:
        logits = rng.normal(size=(n, len(LABELS)))
        logits[np.arange(n), truth] += better
        parts.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    k = len(seeds)
    votes = rng.multinomial(5, 0.7 * np.eye(len(LABELS))[truth] + 0.3 / len(LABELS))
    sex = np.array(["female", "male"])[who % 2]
    values: dict[str, Any] = {
        "id": np.tile([f"utt{i:05d}" for i in range(n)], k),
        "truth": np.tile(np.array(LABELS)[truth], k),
        "labels": LABELS,
        "scores": np.concatenate(parts),
        "speaker": np.tile([f"sp{i:02d}" for i in who], k),
        "corpus": np.full(n * k, "made"),
        "fold": np.tile([f"fold{i % 5}" for i in who], k),
        "seed": np.repeat(seeds, n),
        "groups": {"sex": np.tile(sex, k)},
        "votes": np.tile(votes, (k, 1)),
        "meta": {"protocol": "leave-one-speaker-out", "features": "made", "model": "made"},
    }
    return PredictionTable(**{**values, **changes})
