"""What words alone tell of sentiment and emotion, on the folds of a voice tone recipe."""

from __future__ import annotations

from typing import Any

import numpy as np

FACTS = {
    "features": "characters of the transcript, n-grams of 1 to 4, TF-IDF",
    "model": "logistic regression, classes weighted (C=1)",
}


def text_only(recipe: Any) -> dict[tuple[str, str], Any]:
    """Predictions from the true transcripts, by corpus and label space.

    Each fold's classifier learns from the transcripts of the fold's training clips.
    """
    from voicetone.evaluation.table import PredictionTable
    from voicetone.training.tone_corpora import fold_table, read_corpora
    from voicetone.types import EMOTIONS, SENTIMENTS

    manifests = read_corpora(recipe)
    utterances = {u.id: u for m in manifests for u in m}
    folds = fold_table(recipe, manifests)
    found: dict[tuple[str, str], Any] = {}
    for space, names in (("sentiment", SENTIMENTS), ("emotion", EMOTIONS)):
        for manifest in manifests:
            mine = [u for u in manifest if getattr(u, space) and u.transcript]
            labels = tuple(n for n in names if any(getattr(u, space) == n for u in mine))
            if len(labels) < 2:
                continue
            parts = [
                _fold(fold, utterances, manifest.corpus, space, labels) for fold in folds.folds
            ]
            ids, fold, scores = (
                np.concatenate([p[k] for p in parts if len(p[0])]) for k in range(3)
            )
            tested = [utterances[key] for key in ids]
            found[manifest.corpus, space] = PredictionTable(
                id=ids,
                truth=np.array([getattr(u, space) for u in tested]),
                labels=labels,
                scores=scores.astype(np.float32),
                speaker=np.array([str(u.speaker) for u in tested]),
                corpus=np.array([u.corpus for u in tested]),
                fold=fold,
                groups={"sex": np.array([u.sex or "" for u in tested])},
                meta={
                    **FACTS,
                    "protocol": folds.protocol,
                    "label_rule": f"{space}, {len(labels)} classes ({', '.join(labels)})",
                    "folds": folds.hash,
                },
            )
    return found


def _fold(
    fold: Any, utterances: dict[str, Any], corpus: str, space: str, labels: tuple[str, ...]
) -> tuple[Any, Any, Any]:
    """Ids, fold names and probabilities of a fold's test clips of one corpus."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def chosen(keys: tuple[str, ...]) -> list[Any]:
        all_of = [utterances[key] for key in keys]
        return [
            u for u in all_of if u.corpus == corpus and getattr(u, space) in labels and u.transcript
        ]

    train, test = chosen(fold.train), chosen(fold.test)
    if not test:
        return np.array([]), np.array([]), np.zeros((0, len(labels)))
    words = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), lowercase=True),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    words.fit([u.transcript for u in train], [getattr(u, space) for u in train])
    scores = np.zeros((len(test), len(labels)))
    order = [labels.index(name) for name in words.classes_]
    scores[:, order] = words.predict_proba([u.transcript for u in test])
    return np.array([u.id for u in test]), np.full(len(test), fold.name), scores
