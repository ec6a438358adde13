"""The end of a tone run: metrics, and the bundle with its card."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.corpora.manifest import Manifest
from voicetone.corpora.prepared import CORPORA as PREPARED
from voicetone.corpora.prepared import rows
from voicetone.corpora.provenance import machine_note
from voicetone.errors import DataError
from voicetone.evaluation.report_files import write_report
from voicetone.evaluation.table import CAUTIONS, PredictionTable, concatenate
from voicetone.features.spectral import SpectralConfig
from voicetone.pretrained.spec import Space
from voicetone.training import finetune_judged
from voicetone.training.bundle_weights import Parent
from voicetone.training.device import device_of_choice
from voicetone.training.finetune import parent_of, sound_folders
from voicetone.training.finetune_judged import told
from voicetone.training.leaks import sentence_overlap
from voicetone.training.protocol import FoldTable
from voicetone.training.runs import RunFolder
from voicetone.training.tone_batches import Labels
from voicetone.training.tone_corpora import check_heard_once, fold_table, read_corpora
from voicetone.training.tone_export import write_bundle
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.training.tone_run import (
    Material,
    fold_folder,
    gather,
    run_folder,
    stage_folder,
    train_final,
    train_folds,
)
from voicetone.training.tone_scores import (
    Calibration,
    calibrate,
    mean_scores,
    pooled,
    prediction_table,
    scores,
    speech_scores,
)
from voicetone.training.tone_tables import FoldPredictions, read_fold
from voicetone.training.voice_recipe import VoiceRecipe
from voicetone.training.voice_scores import read_words_heard, words_line, words_scores
from voicetone.training.voice_speech import parts_of, read_words, speech_of
from voicetone.training.voice_stages import require_sizes
from voicetone.types import SENTIMENTS, Floats, Utterance

PACKAGES = ("torch", "scipy")
EIGHT_BIT_CLIPS = 64  # whose ranges are those of the activations


def run_tone(recipe: ToneRecipe) -> Path:
    """Folds, metrics, report, final model and bundle of a recipe; what is there already is kept."""
    if recipe.final and not recipe.licence:
        raise DataError(f"{recipe.name}: say under what licence the weights are: licence=...")
    if recipe.noise_test in recipe.noise_folds or recipe.noise_test == recipe.noise_validation:
        raise DataError(
            f"{recipe.name}: no model may hear noise fold {recipe.noise_test}, which tests: "
            "take it out of noise_folds and noise_validation"
        )
    parent = parent_of(recipe)
    if parent is None:
        require_sizes(recipe)
    corpora = read_corpora(recipe)
    if recipe.final and not any(u.emotion for m in corpora for u in m):
        raise DataError(
            f"{recipe.name}: a bundle names emotions, and none of the corpora has any: final=false"
        )
    table = fold_table(recipe, corpora)
    words = read_words(recipe) if isinstance(recipe, VoiceRecipe) else ()
    folder = run_folder(recipe, table, parent, check_heard_once(table, corpora, words))
    folder.start(PACKAGES, device=str(device_of_choice()))
    material = gather(recipe, final=False)
    overlap = sentence_overlap(material.table, material.utterances)
    folder.log(
        f"{recipe.name}: {len(material.utterances)} utterances, {label_rule(material.labels)}; "
        f"{material.table.protocol}, {len(material.table.folds)} folds"
    )
    folder.log(str(overlap))
    if parent is not None:
        folder.log(start_of(recipe, parent))
    predictions = train_folds(recipe, material, folder.path)
    metrics, calibration = measure(recipe, material, predictions, folder.path)
    metrics["sentence_overlap"] = asdict(overlap)
    metrics |= stages_told(recipe, folder, len(predictions))
    folder.write("metrics.json", json.dumps(metrics, indent=1))
    told_of = facts(recipe, material, folder)
    found = tables(material, predictions, told_of)
    for (corpus, space), said_of in found.items():
        (folder.path / "tables").mkdir(exist_ok=True)
        said_of.write(folder.path / "tables" / f"{corpus}-{space}.parquet")
    if any(space == "emotion" for _, space in found):
        write_report(replace(emotion_table(found), meta=told_of), folder.path, title=recipe.name)
    for name, score in metrics["scores"].items():
        folder.log(f"{name}: UAR {_interval(score['uar'])}, WA {_interval(score['wa'])}")
    for line in [] if parent is None else [*told(metrics), *metrics["cautions"]]:
        folder.log(line)
    if recipe.final:
        net = train_final(recipe, gather(recipe, final=True), folder.path)
        said = bundle_facts(recipe, material, metrics, calibration)
        if parent is not None:
            said = finetune_judged.bundle_facts(recipe, material, metrics, said)
        emotions = material.labels.emotions
        heard = calibration_clips(recipe, material)
        write_bundle(folder.path / "bundle", net, SpectralConfig(), emotions, said, heard)
        folder.log(f"{recipe.name}: bundle of all speakers in {folder.path / 'bundle'}")
    return folder.path


def stages_told(recipe: ToneRecipe, folder: RunFolder, folds: int) -> dict[str, Any]:
    """What the stages before the tone gave, fold by fold and pooled, for `metrics.json`."""
    if not isinstance(recipe, VoiceRecipe):
        return {}
    places = [stage_folder(folder.path, index) for index in range(folds)]
    told: dict[str, Any] = {}
    for name, settings in (("pretrain", recipe.stages.pretrain), ("asr", recipe.stages.asr)):
        if settings is not None:
            told[name] = [json.loads((p / f"{name}.json").read_text("utf-8")) for p in places]
    if recipe.stages.asr is not None:
        told["words"] = words_scores(read_words_heard(places))
        for part in told["words"]:
            folder.log(words_line(part))
    return {"stages": told}


def calibration_clips(recipe: ToneRecipe, material: Material) -> list[Floats] | None:
    """Features `[2n, F]` of a few training clips and noises, where the encoder goes into eight
    bits."""
    if not isinstance(recipe, VoiceRecipe) or not recipe.int8:
        return None
    rng = np.random.default_rng(recipe.seed)
    speech = speech_of(recipe, material.table, material.utterances, material.words)
    spoken = np.flatnonzero(parts_of(recipe, speech, None) == "train")
    noises = np.arange(len(speech.utterances), len(material.store.starts))
    rows = rng.permutation(np.concatenate([spoken, noises]))[:EIGHT_BIT_CLIPS]
    variants = material.store.starts.shape[1]
    clips = [material.store.clip(int(row), int(rng.integers(variants))) for row in rows]
    return [clip.features.astype(np.float32) for clip in clips]


def start_of(recipe: ToneRecipe, parent: Parent) -> str:
    """What a run goes on from, and what it goes without, in words."""
    sounds = sound_folders(recipe)
    missing = [
        words
        for there, words in ((sounds.noises, "recorded noises"), (sounds.rooms, "measured rooms"))
        if not there
    ]
    line = f"starts from {parent.spec.id} ({recipe.init_from})"
    if missing:
        line += f"; no {' and no '.join(missing)} in VOICETONE_DATA: augmentation goes without them"
    return line


def label_rule(labels: Labels) -> str:
    """What the classes are, in words."""
    if not labels.emotions:
        return rule_of(SENTIMENTS, "sentiment")
    return (
        f"emotion, {len(labels.emotions)} classes ({', '.join(labels.emotions)}), "
        "each clip among those of its corpus"
    )


def facts(recipe: ToneRecipe, material: Material, folder: RunFolder) -> dict[str, str]:
    """What stands in the report of a run."""
    more = {}
    model = f"tone (width={recipe.network.width}; steps={recipe.steps})"
    if isinstance(recipe, VoiceRecipe):
        stages = recipe.stages
        before = [name for name in ("pretrain", "asr") if getattr(stages, name) is not None]
        model = f"voice tone ({', '.join([*before, 'tone'])}; steps={recipe.steps})"
    if material.parent is not None:
        model = f"tone (fine-tuned from {material.parent.spec.id}; steps={recipe.steps})"
        said = finetune_judged.cautions(material.parent, material.manifests, material.labels)
        more[CAUTIONS] = " ".join(said)
    tested = {key for fold in material.table.folds for key in fold.test}
    heard = [u for u in material.utterances if u.id in tested]
    notes = [machine_note(heard, field) for field in ("sentiment", "emotion")]
    if said_of := [note for note in (more.get(CAUTIONS), *notes) if note]:
        more[CAUTIONS] = "; ".join(said_of)
    return {
        "name": recipe.name,
        "recipe": folder.recipe_hash,
        "folds": material.table.hash,
        "protocol": material.table.protocol,
        "label_rule": label_rule(material.labels),
        "features": "log-mel energies and pitch map",
        "model": model,
        **more,
    }


def tables(
    material: Material, predictions: Sequence[FoldPredictions], meta: Mapping[str, str]
) -> dict[tuple[str, Space], PredictionTable]:
    """The predictions of the test clips, by corpus and label space; those that have clips."""
    utterances, labels = material.utterances, material.labels
    pool = pooled(predictions, utterances, labels)
    tested = {key: fold.name for fold in material.table.folds for key in fold.test}
    audio = {u.id: str(u.audio) for u in utterances}
    spaces: tuple[Space, ...] = ("sentiment", "emotion") if labels.emotions else ("sentiment",)
    found = {}
    for corpus in dict.fromkeys(u.corpus for u in utterances if u.id in tested):
        for space in spaces:
            table = prediction_table(pool, utterances, labels, corpus, space)
            if len(table):
                found[corpus, space] = replace(
                    table,
                    fold=np.array([tested[key] for key in table.id]),
                    audio=np.array([audio[key] for key in table.id]),
                    meta={**meta, "label_rule": rule_of(table.labels, space)},
                )
    return found


def rule_of(labels: Sequence[str], space: Space) -> str:
    """What the classes of a table are, in words."""
    return f"{space}, {len(labels)} classes ({', '.join(labels)})"


def emotion_table(found: Mapping[tuple[str, Space], PredictionTable]) -> PredictionTable:
    """The emotion predictions of all corpora's test clips."""
    return concatenate([replace(t, meta={}) for (_, s), t in found.items() if s == "emotion"])


def measure(
    recipe: ToneRecipe,
    material: Material,
    predictions: Sequence[FoldPredictions],
    folder: Path,
) -> tuple[dict[str, Any], Calibration]:
    """All scores of the run in a folder, and what the bundle needs of them."""
    if material.parent is not None:
        kinds = ("parent", "scratch") if recipe.finetune.scratch else ("parent",)
        folds = range(len(material.table.folds))
        beside = {
            kind: [read_fold(fold_folder(folder, fold, kind)) for fold in folds] for kind in kinds
        }
        return finetune_judged.judged(recipe, material, predictions, beside)
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
        "mean_scores": mean_scores(pool, calibration.temperature["sentiment"]),
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
            "note": f"{len(m.speakers)} speakers{acted(m) if tone else ', words alone'}",
        }
        for corpora, tone in ((material.manifests, True), (material.words, False))
        for m in corpora
    ]
    everything = (*material.manifests, *material.words)
    attribution = [f"{m.corpus}: {m.citation}; {m.licence}" for m in everything]
    attribution += _sounds_named(recipe)
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


def _sounds_named(recipe: ToneRecipe) -> list[str]:
    """Whom to name for the noises and rooms of augmentation."""
    sounds = sound_folders(recipe)
    named = []
    if sounds.rooms and recipe.augmentation.reverb:
        rooms = {f"{r['source']} ({r['licence']})" for r in rows(sounds.root / "rir")}
        named += [f"room responses: {source}" for source in sorted(rooms)]
    if sounds.noises:
        noises = rows(sounds.root / "noise_esc10")
        named.append("noises: K. J. Piczak, ESC-10, ACM Multimedia 2015, CC BY 3.0; clips:")
        named += [
            " ".join(r["attribution"].split())[:900]
            for r in noises
            if int(r["fold"]) in recipe.noise_folds
        ]
    return named


def _headlines(metrics: dict[str, Any]) -> dict[str, str | float]:
    """Scores on held-out speakers in words, as reports show them; mean scores as numbers."""
    out: dict[str, str | float] = {
        f"UAR, {name}": _interval(s["uar"]) for name, s in metrics["scores"].items()
    }
    for name, s in metrics["speech"].items():
        share = f"{100 * s['value']:.1f} % ({s['hits']} of {s['total']})"
        out[name.replace("_", " ")] = share
    out |= {f"mean score, {label}": x for label, x in metrics.get("mean_scores", {}).items()}
    out["folds, SHA-256"] = metrics["folds"][:16]
    return out


def _interval(score: dict[str, Any]) -> str:
    if score["low"] is None:
        return f"{score['value']:.3f} (under 5 speakers: no interval)"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def acted(manifest: Manifest) -> str:
    """What is known of how a corpus came about, as an addition."""
    return ", acted" if manifest.corpus in PREPARED else ""


def spoken(manifests: Sequence[Manifest]) -> str:
    """As in `acted speech (languages: de, en)`."""
    languages = sorted({u.language for m in manifests for u in m if u.language})
    kind = "acted speech" if all(acted(m) for m in manifests) else "the recordings above"
    return f"{kind} (languages: {', '.join(languages) or 'not told'})"


def _layers(recipe: ToneRecipe) -> str:
    """What stands between features and pooling, and how it was learnt."""
    if not isinstance(recipe, VoiceRecipe):
        return "causal convolutions"
    stages, fixed = recipe.stages, ", held fixed" if recipe.stages.frozen else ""
    parts = ["causal convolutions"]
    if stages.pretrain is not None:
        parts[0] += " pretrained on audio alone (BEST-RQ)"
    if stages.asr is not None:
        parts.append("a streaming Conformer that learnt to give sentiment and transcript")
    return f"{' and '.join(parts)}{fixed}"


def _rounding(recipe: ToneRecipe) -> list[str]:
    if not isinstance(recipe, VoiceRecipe) or not recipe.int8:
        return []
    return ["", "The scores are those of full precision; here the encoder is in eight bits."]


def card(recipe: ToneRecipe, material: Material, metrics: dict[str, Any]) -> str:
    """The model card, Markdown."""
    lines = [
        f"# {recipe.name} {recipe.version}",
        "",
        f"A compact streaming network: log-mel energies and a pitch map, {_layers(recipe)}, "
        "attentive-statistics pooling over 5 s windows. It gives sentiment, emotion "
        f"({', '.join(material.labels.emotions)}) and speech per 31.25 ms frame.",
        "",
        "## What it was made from",
        "",
        *(
            f"- {m.corpus}: {len(m)} utterances of {len(m.speakers)} speakers{acted(m)}; "
            f"{m.citation}; {m.licence}"
            for m in material.manifests
        ),
        *(
            f"- {m.corpus}: {len(m)} utterances of {len(m.speakers)} speakers, words alone, for "
            f"the stages before the tone; {m.citation}; {m.licence}"
            for m in material.words
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
        *_rounding(recipe),
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
        f"It learnt the tone from {spoken(material.manifests)}. Spontaneous speech, other "
        "languages, children and telephone calls were not measured with labels. It may not be "
        "used to decide about a person, nor to infer the emotions of people at work or in "
        "education (EU AI Act, Article 5(1)(f)).",
        "",
        f"Weights: {recipe.licence}.",
        "",
    ]
    return "\n".join(lines)
