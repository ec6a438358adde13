"""Whether training on helped: a fine-tuned network beside the one that it started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from voicetone.corpora.manifest import Manifest
from voicetone.evaluation.significance import difference
from voicetone.pretrained.spec import Space
from voicetone.training.bundle_weights import Parent
from voicetone.training.tone_batches import Labels
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.training.tone_run import Material
from voicetone.training.tone_scores import (
    Calibration,
    Pool,
    best_temperature,
    coverage_curve,
    pooled,
    prediction_table,
    scores,
    speech_scores,
)
from voicetone.training.tone_tables import FoldPredictions
from voicetone.types import Utterance

Beside = Mapping[str, Sequence[FoldPredictions]]
"""Predictions of the same clips by others: `parent` and, if asked for, `scratch`."""


def judged(
    recipe: ToneRecipe,
    material: Material,
    predictions: Sequence[FoldPredictions],
    beside: Beside,
) -> tuple[dict[str, Any], Calibration]:
    """All scores of a fine-tuned model and of those beside it, and what its bundle needs.

    The speech rule is the parent's. Temperatures are found on the held-out clips of all folds; a
    fold's clips are judged by one that the other folds' clips gave.

    Returns:
        metrics: as of a run from scratch, with `parent` and perhaps `scratch` (their scores), and
            `change_from_parent` and `change_from_scratch` (paired differences of UAR).
        calibration: for the bundle.
    """
    parent = material.parent
    assert parent is not None
    utterances, labels, rule = material.utterances, material.labels, parent.spec.speech
    pool, temperature = calibrated(pooled(predictions, utterances, labels), labels)
    calibration = Calibration(temperature, rule, coverage_curve(pool, labels))
    metrics: dict[str, Any] = {
        "protocol": material.table.protocol,
        "folds": material.table.hash,
        "seed": recipe.seed,
        "scores": scores(pool, utterances, labels),
        "temperature": temperature,
        "speech_rule": rule.model_dump(),
        "speech": speech_scores(predictions, rule),
        "sentiment_accuracy_over_coverage": calibration.curve,
        "cautions": cautions(parent, material.manifests, labels),
    }
    for name, said in beside.items():
        other = pooled(said, utterances, labels)
        metrics[name] = {
            "scores": scores(other, utterances, labels),
            "speech": speech_scores(said, rule) if name == "parent" else {},
        }
        metrics[f"change_from_{name}"] = changes(pool, other, utterances, labels)
    metrics["parent"]["name"] = parent.spec.id
    return metrics, calibration


def calibrated(pool: Pool, labels: Labels) -> tuple[Pool, dict[str, float]]:
    """Logits over temperatures that other folds' test clips gave, and the temperature of all.

    Few speakers leave none to validate on; what a fold's clips are judged by is still not found
    on them. With one fold there are no others, and its logits stay as they are.
    """
    found = {}
    logits = {"sentiment": pool.sentiment.copy(), "emotion": pool.emotion.copy()}
    for name, values in logits.items():
        truth = getattr(labels, name)[pool.index]
        known = pool.test & (truth >= 0)
        found[name] = best_temperature(values[known], truth[known]) if known.any() else 1.0
        given = values.copy()
        for fold in np.unique(pool.fold):
            others = known & (pool.fold != fold)
            if others.any():
                values[pool.fold == fold] /= best_temperature(given[others], truth[others])
    return replace(pool, sentiment=logits["sentiment"], emotion=logits["emotion"]), found


def changes(
    pool: Pool, other: Pool, utterances: Sequence[Utterance], labels: Labels
) -> dict[str, dict[str, Any]]:
    """How far UAR lies above another model's on the same clips, per corpus and label space."""
    found = {}
    for corpus in dict.fromkeys(utterances[i].corpus for i in pool.index[pool.test]):
        spaces: tuple[Space, ...] = ("sentiment", "emotion")
        for space in spaces:
            one, two = (
                prediction_table(p, utterances, labels, corpus, space) for p in (pool, other)
            )
            if len(one):
                found[f"{corpus}/{space}"] = asdict(difference(one, two))
    return found


def cautions(parent: Parent, manifests: Sequence[Manifest], labels: Labels) -> list[str]:
    """What a reader of the scores must know of the parent."""
    heard = {part.corpus.split(" ")[0] for part in parent.spec.training}
    said = [
        f"{parent.spec.id} learnt from {m.corpus}: its scores on it, and those of what was trained "
        "on from it, are too good."
        for m in manifests
        if m.corpus in heard
    ]
    lacking = [name for name in labels.emotions if name not in parent.emotions]
    if lacking:
        said.append(
            f"{parent.spec.id} has no output for {', '.join(lacking)}: its emotion scores hold "
            "clips that it can't get right."
        )
    return said


def told(metrics: dict[str, Any]) -> list[str]:
    """The comparison in lines."""
    names = {"parent": f"than {metrics['parent']['name']}", "scratch": "than from scratch"}
    lines = []
    for kind, words in names.items():
        for space, apart in metrics.get(f"change_from_{kind}", {}).items():
            before = metrics[kind]["scores"][space]["uar"]["value"]
            after = metrics["scores"][space]["uar"]["value"]
            lines.append(
                f"{space}: UAR {after:.3f}, {abs(apart['value']):.3f} "
                f"{'better' if apart['value'] >= 0 else 'worse'} {words} ({before:.3f}); "
                f"{_interval(apart)}"
            )
    return lines


def _interval(apart: dict[str, Any]) -> str:
    if apart["low"] is None:
        return str(apart["reason"])
    return f"95 % interval of the difference {apart['low']:+.3f} to {apart['high']:+.3f}"


def bundle_facts(
    recipe: ToneRecipe, material: Material, metrics: dict[str, Any], facts: dict[str, Any]
) -> dict[str, Any]:
    """What the bundle of a fine-tuned model says otherwise than one from scratch.

    Args:
        recipe: the settings.
        material: the run's corpora and parent.
        metrics: of `judged`.
        facts: as of a model from scratch.
    """
    parent = material.parent
    assert parent is not None
    spec = parent.spec
    own = [{**part, "note": f"{part['note']}; fine-tuned on"} for part in facts["training"]]
    attribution = [
        *facts["attribution"],
        f"fine-tuned from {spec.id}, whose weights are under: {spec.licence}"[:1000],
        *spec.attribution,
    ]
    notice = f"{recipe.name} was fine-tuned from {spec.id}. {spec.notice}"
    return {
        **facts,
        "training": [*own, *(part.model_dump() for part in spec.training)],
        "attribution": list(dict.fromkeys(attribution)),
        "notice": (recipe.notice or notice)[:1000],
        "card": card(recipe, material, metrics),
    }


def card(recipe: ToneRecipe, material: Material, metrics: dict[str, Any]) -> str:
    """The model card of a fine-tuned model, Markdown."""
    parent = material.parent
    assert parent is not None
    spec, labels = parent.spec, material.labels
    lines = [
        f"# {recipe.name} {recipe.version}",
        "",
        f"{spec.id}, trained on. It gives sentiment, emotion ({', '.join(labels.emotions)}) and "
        f"speech per 31.25 ms frame; speech as {spec.id} does.",
        "",
        "## What it was made from",
        "",
        f"- {spec.id}; weights: {spec.licence}",
        *(
            f"- {m.corpus}: {len(m)} utterances of {len(m.speakers)} speakers; {m.citation}; "
            f"{m.licence}"
            for m in material.manifests
        ),
        "",
        f"Weights: {recipe.licence}. They were made from those of {spec.id}, so its licence holds "
        f"for them, too: {spec.licence}.",
        "",
        "## How good it is on speakers that fine-tuning did not hear",
        "",
        "Each fold is the whole recipe with some speakers held out; predictions pooled, 95 % "
        "intervals over speakers.",
        "",
        *(f"- {line}" for line in [*told(metrics), *metrics["cautions"]]),
        "",
        f"## The card of {spec.id}",
        "",
        *(f"> {line}".rstrip() for line in spec.card.splitlines()),
        "",
    ]
    return "\n".join(lines)
