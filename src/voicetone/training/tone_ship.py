"""The end of a tone run: metrics, and the bundle with its card."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from voicetone.corpora.prepared import data_root, rows
from voicetone.errors import DataError
from voicetone.features.spectral import SpectralConfig
from voicetone.training.protocol import FoldTable
from voicetone.training.tone_batches import Labels
from voicetone.training.tone_export import write_bundle
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.training.tone_run import (
    Material,
    gather,
    start_folder,
    train_final,
    train_folds,
)
from voicetone.training.tone_scores import (
    Calibration,
    calibrate,
    pooled,
    scores,
    speech_scores,
)
from voicetone.training.tone_tables import FoldPredictions
from voicetone.types import Utterance


def run_tone(recipe: ToneRecipe) -> Path:
    """Folds, metrics, final model and bundle of a recipe; what is there already is kept."""
    if recipe.final and not recipe.licence:
        raise DataError(f"{recipe.name}: say under what licence the weights are: licence=...")
    folder = start_folder(recipe)
    material = gather(recipe, final=False)
    (folder / "folds.json").write_text(
        json.dumps({"hash": material.table.hash, **asdict(material.table)}, indent=0)
    )
    predictions = train_folds(recipe, material, folder)
    metrics, calibration = measure(recipe, material, predictions)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
    if recipe.final:
        net = train_final(recipe, gather(recipe, final=True), folder)
        facts = bundle_facts(recipe, material, metrics, calibration)
        emotions = material.labels.emotions
        write_bundle(folder / "bundle", net, SpectralConfig(), emotions, facts)
    return folder


def measure(
    recipe: ToneRecipe, material: Material, predictions: Sequence[FoldPredictions]
) -> tuple[dict[str, Any], Calibration]:
    """All scores of the run, and what the bundle needs of them."""
    return measure_folds(recipe, material.utterances, material.labels, material.table, predictions)


def measure_folds(
    recipe: ToneRecipe,
    utterances: Sequence[Utterance],
    labels: Labels,
    table: FoldTable,
    predictions: Sequence[FoldPredictions],
) -> tuple[dict[str, Any], Calibration]:
    """The same from predictions alone, without rendered clips."""
    pool = pooled(predictions, utterances, labels)
    calibration = calibrate(pool, labels, predictions, recipe)
    metrics: dict[str, Any] = {
        "protocol": table.protocol,
        "folds": table.hash,
        "seed": recipe.seed,
        "scores": scores(pool, utterances, labels),
        "temperature": calibration.temperature,
        "speech_rule": calibration.speech.model_dump(),
        "speech": speech_scores(predictions, calibration.speech),
        "sentiment_accuracy_over_coverage": calibration.curve,
    }
    return metrics, calibration


def bundle_facts(
    recipe: ToneRecipe, material: Material, metrics: dict[str, Any], calibration: Calibration
) -> dict[str, Any]:
    """What `bundle.json` says beside sizes and hashes."""
    training = [
        {
            "corpus": f"{m.corpus} ({m.version}); {m.citation}",
            "licence": m.licence,
            "utterances": len(m),
            "hours": round(sum(u.duration or 0.0 for u in m) / 3600, 3),
            "note": f"{len(m.speakers)} speakers, acted",
        }
        for m in material.manifests
    ]
    root = data_root()
    noises = [r for r in rows(root / "noise_esc10") if int(r["fold"]) in recipe.noise_folds]
    rooms = sorted({f"{r['source']} ({r['licence']})" for r in rows(root / "rir")})
    attribution = [f"{m.corpus}: {m.citation}; {m.licence}" for m in material.manifests]
    attribution += [f"room responses: {source}" for source in rooms]
    attribution.append("noises: K. J. Piczak, ESC-10, ACM Multimedia 2015, CC BY 3.0; clips:")
    attribution += [" ".join(r["attribution"].split())[:900] for r in noises]
    return {
        "name": recipe.name,
        "version": recipe.version,
        "created": time.strftime("%Y-%m-%d", time.gmtime()),
        "temperature": calibration.temperature,
        "speech": calibration.speech.model_dump(),
        "dont_know": {"sentiment": recipe.sentiment_threshold, "curve": calibration.curve},
        "training": training,
        "licence": recipe.licence,
        "attribution": attribution,
        "notice": recipe.notice,
        "card": card(recipe, material, metrics),
        "metrics": _headlines(metrics),
    }


def _headlines(metrics: dict[str, Any]) -> dict[str, str]:
    """Scores on held-out speakers in words, as reports show them."""
    out = {f"UAR, {name}": _interval(s["uar"]) for name, s in metrics["scores"].items()}
    for name, s in metrics["speech"].items():
        share = f"{100 * s['value']:.1f} % ({s['hits']} of {s['total']})"
        out[name.replace("_", " ")] = share
    out["folds, SHA-256"] = metrics["folds"][:16]
    return out


def _interval(score: dict[str, Any]) -> str:
    if score["low"] is None:
        return f"{score['value']:.3f} (under 5 speakers: no interval)"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def card(recipe: ToneRecipe, material: Material, metrics: dict[str, Any]) -> str:
    """The model card, Markdown."""
    lines = [
        f"# {recipe.name} {recipe.version}",
        "",
        "A compact streaming network: log-mel energies and a pitch map, causal convolutions, "
        "attentive-statistics pooling over 5 s windows. It gives sentiment, emotion "
        f"({', '.join(material.labels.emotions)}) and speech per 31.25 ms frame.",
        "",
        "## What it was made from",
        "",
        *(
            f"- {m.corpus}: {len(m)} utterances of {len(m.speakers)} speakers, acted; "
            f"{m.citation}; {m.licence}"
            for m in material.manifests
        ),
        "- ESC-10 noises and measured room responses for augmentation and for speech detection",
        "",
        "Sentiment is derived from the emotion (anger, disgust, fear, sadness: negative; "
        "happiness: positive; neutral, calm: neutral; surprise: none).",
        "",
        "## How good it is on speakers that it never heard",
        "",
        "Each fold is the whole recipe with some speakers held out; predictions pooled, "
        "95 % intervals over speakers. A clip is scored among the emotions its corpus labels.",
        "",
        "| corpus / task | UAR | WA |",
        "|---|---|---|",
        *(
            f"| {name} | {_interval(s['uar'])} | {_interval(s['wa'])} |"
            for name, s in metrics["scores"].items()
        ),
        "",
        "## What it is not for",
        "",
        "It learnt from actors in English, German and Polish. Spontaneous speech, other "
        "languages, children and telephone calls were not measured with labels. It may not be "
        "used to decide about a person, nor to infer the emotions of people at work or in "
        "education (EU AI Act, Article 5(1)(f)).",
        "",
        f"Weights: {recipe.licence}.",
        "",
    ]
    return "\n".join(lines)
