"""What a bundle of an autoencoder says of itself: card, licences, metrics."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voicetone.audio.energy import ABOVE
from voicetone.audio.units import FRAME, HOP_SECONDS, SAMPLE_RATE, WINDOW_SECONDS
from voicetone.corpora.manifest import Manifest
from voicetone.evaluation.calibration import scale
from voicetone.evaluation.table import read_predictions
from voicetone.features.sets import OPENSMILE, FeatureConfig
from voicetone.pretrained.spec import Space
from voicetone.pretrained.window_predictor import sentiment_of
from voicetone.training.classifier_data import read_corpus
from voicetone.training.systems_data import feature_config
from voicetone.training.systems_trained import OpenedRun, TrainedNetwork
from voicetone.training.tone_scores import HANGOVER_FRAMES, RELEASE, sure_curve
from voicetone.types import EMOTION_TO_SENTIMENT, SENTIMENTS, Utterance

SURE_FROM = 0.5  # more likely right than wrong
ONSET_FRAMES = 4  # of 31.25 ms, loud in a row, that switch speech on
SMILE = "openSMILE, whose features it hears, is for research and education only"
PATENT = (
    "A US patent was granted to authors of the paper, US 11,854,538 B1: whoever builds a product "
    "on the method should have a lawyer look at it."
)


@dataclass(frozen=True)
class Export:
    """One network of a run on its way to a bundle."""

    run: OpenedRun[Any, Any]
    network: TrainedNetwork[Any]
    index: int
    """Of its y."""
    labels: tuple[str, ...]
    """Its classes."""
    head: Space
    name: str
    licence: str
    labelled: frozenset[str]
    """Training utterances whose labels it learnt."""
    foreign: tuple[Manifest, ...]
    """Corpora whose audio alone it learnt from."""
    temperature: float
    test_uar: float
    """Of the speakers that its fold tests on."""

    @property
    def features(self) -> FeatureConfig:
        """What it hears."""
        return feature_config(self.network.checkpoint.features)


Card = Callable[[Export, str, list[Manifest], Mapping[str, str]], str]
"""Writes the card of a network: also given the bundle's name, the corpora and the metrics."""


def bundle_facts(made: Export, macs: int, write: Card | None = None) -> dict[str, Any]:
    """What `bundle.json` says beside features, graph and hashes.

    Args:
        made: the network.
        macs: multiply-adds of one window.
        write: the card; that of an autoencoder if not given.
    """
    emotional = made.head == "emotion"
    labelled = [read_corpus(choice) for choice in made.run.recipe.corpora]
    manifests = [*labelled, *made.foreign]
    name = made.name or plain(made.run.name)
    licences = "; ".join(dict.fromkeys(m.licence for m in manifests))
    temperature = {"sentiment": 1.0, "emotion": 1.0, made.head: made.temperature}
    found = metrics(made)
    return {
        "name": name,
        "version": plain(made.network.path.stem),
        "created": time.strftime("%Y-%m-%d", time.gmtime()),
        "label_spaces": {
            "sentiment": list(SENTIMENTS if emotional else made.labels),
            "emotion": list(made.labels) if emotional else [],
        },
        "sample_rate": SAMPLE_RATE,
        "window_seconds": WINDOW_SECONDS,
        "hop_seconds": HOP_SECONDS,
        "frame_samples": FRAME,
        "temperature": temperature,
        "speech": {
            "threshold": 0.5,
            "release": RELEASE,
            "onset_frames": ONSET_FRAMES,
            "hangover_frames": HANGOVER_FRAMES,
        },
        "dont_know": {"sentiment": SURE_FROM, "curve": curve(made)},
        "mac_per_second": round(macs / HOP_SECONDS),
        "training": [
            *(row for m in labelled for row in training_row(m, made)),
            *(foreign_row(m) for m in made.foreign),
        ],
        "licence": made.licence or f"as the training data's: {licences}",
        "attribution": [f"{m.corpus}: {m.citation}; {m.licence}" for m in manifests],
        "notice": notice(made, name),
        "card": (write or card)(made, name, manifests, found),
        "metrics": found,
    }


def plain(text: str) -> str:
    """A text as a name that bundles may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:64] or "aae"


def training_row(manifest: Manifest, made: Export) -> list[dict[str, Any]]:
    """What the network learnt of a corpus; none where it learnt nothing."""
    learnt = set(made.network.fold.train)
    used = [u for u in manifest if u.id in learnt]
    if not used:
        return []
    note = (
        f"{len({u.speaker for u in used})} speakers of {len(manifest.speakers)}; "
        f"fold {made.network.fold.name}"
    )
    known = sum(u.id in made.labelled for u in used)
    if known < len(used):
        note += f"; labels of {known} utterances, the audio alone of the others"
    return [_row(manifest, used, note)]


def foreign_row(manifest: Manifest) -> dict[str, Any]:
    """A corpus whose audio alone the network learnt from."""
    note = f"{len(manifest.speakers)} speakers; unlabelled audio: no label was used"
    return _row(manifest, list(manifest), note)


def _row(manifest: Manifest, used: Sequence[Utterance], note: str) -> dict[str, Any]:
    return {
        "corpus": f"{manifest.corpus} ({manifest.version}); {manifest.citation}",
        "licence": manifest.licence,
        "utterances": len(used),
        "hours": round(sum(u.duration or 0.0 for u in used) / 3600, 3),
        "note": note,
    }


def notice(made: Export, name: str) -> str:
    """The line shown when it is first used."""
    smile = f" {SMILE}." if made.features.name in OPENSMILE else ""
    return (
        f"{name} is a research model: scores are estimates, and where there is speech is estimated "
        f"from energy.{smile} Inferring emotions of people at work or in education is prohibited "
        "in the EU."
    )


def curve(made: Export) -> list[list[float]]:
    """Accuracy of the sentiment over coverage: test predictions of all of the run's folds, at this
    network's temperature."""
    table = read_predictions(made.run.path / "predictions")
    table = table.select(table.seed == made.run.seed)
    scores, truth = scale(table.scores, made.temperature), table.truth.tolist()
    order: tuple[str, ...] = table.labels
    if made.head == "emotion":
        scores, order = sentiment_of(scores, table.labels), SENTIMENTS
        truth = [EMOTION_TO_SENTIMENT.get(word, "") for word in truth]
    known = np.array([word in order for word in truth])
    right = np.array([order[k] == word for k, word in zip(scores.argmax(1), truth, strict=True)])
    if not known.any():
        return []
    return sure_curve(scores[known].max(1).astype(np.float64), right[known])


def metrics(made: Export) -> dict[str, str]:
    """Scores of the run that the network is of, and of its own fold, in words."""
    run, fold = made.run, made.network.fold
    found = json.loads((run.path / "metrics.json").read_text(encoding="utf-8"))
    seeds = ", ".join(str(s) for s in found["seeds"])
    return {
        f"UAR, {made.head}, of the run": interval(found["uar"]),
        f"WA, {made.head}, of the run": interval(found["wa"]),
        "the run": f"{found['protocol']}; {found['folds']} folds, seeds {seeds}; "
        f"{found['utterances']} utterances of {found['speakers']} speakers",
        "these weights": f"fold {fold.name}, seed {run.seed}: UAR {made.test_uar:.3f} on the "
        f"{len(fold.test)} utterances that it held out",
        "recipe, SHA-256": found["recipe_hash"][:16],
        "folds, SHA-256": found["fold_hash"][:16],
    }


def interval(score: Mapping[str, Any]) -> str:
    """A score with its spread over seeds and its interval over speakers."""
    sd = "" if score["sd"] is None else f" ± {score['sd']:.3f} over seeds"
    if score["low"] is None:
        return f"{score['mean']:.3f}{sd}"
    return f"{score['mean']:.3f}{sd}, 95 % over speakers [{score['low']:.3f}, {score['high']:.3f}]"


def card(made: Export, name: str, manifests: list[Manifest], found: Mapping[str, str]) -> str:
    """The model card, Markdown."""
    run, system = made.run, made.run.settings["system"]
    adversarial = system["network"] == "aae"
    kind = "encoder of an adversarial autoencoder" if adversarial else "feed-forward classifier"
    return card_text(
        made,
        name,
        manifests,
        found,
        what=f"The {kind} (recipe {run.settings['name']}, system {system['name']}), after "
        "Parthasarathy, Rozgic, Sun and Wang, ICASSP 2019.",
        told=(
            "It takes no speaker enrolment: a voice is normalised with the statistics of the "
            "training speakers.",
        ),
        end=(PATENT,) if adversarial else (),
    )


def card_text(
    made: Export,
    name: str,
    manifests: list[Manifest],
    found: Mapping[str, str],
    *,
    what: str,
    heard: str = "",
    told: Sequence[str] = (),
    sources: Sequence[str] = (),
    scored: str = "",
    end: Sequence[str] = (),
) -> str:
    """The model card of a network that hears windows, Markdown.

    Args:
        made: what is exported.
        name: of the bundle.
        manifests: of the corpora that it learnt from.
        found: lines about how good it is, by what they are of.
        what: it is, a sentence.
        heard: besides the features, such as ` and from what is said in it`.
        told: paragraphs about what else it is told.
        sources: of what, besides the corpora, it was made from.
        scored: how utterances were scored, behind their being whole.
        end: paragraphs behind all.
    """
    lines = [
        f"# {name}",
        "",
        f"{what} It gives {made.head} ({', '.join(made.labels)}) of a window of 5 s from its "
        f"{made.features}{heard}.",
        "",
        derived(made),
        f"{temperature_words(made)} Speech is estimated from the energy of the sound, {ABOVE:g} dB "
        "above the quietest of late: any sound can pass for it.",
        "",
        *(line for paragraph in told for line in (paragraph, "")),
        "## What it was made from",
        "",
        *(
            f"- {m.corpus}: {m.citation}; {m.licence}{'; audio alone' * (m in made.foreign)}"
            for m in manifests
        ),
        f"- these weights: {made.run.material.rule}; {learnt_words(made)}",
        *(f"- {source}" for source in sources),
        "",
        "## How good it is on speakers that it never heard",
        "",
        *(f"- {key}: {value}" for key, value in found.items()),
        "",
        "The scores of the run are of all of its folds together, each by a network of its own on "
        f"speakers it had not heard, whole utterances at a time{scored}. This is one of these "
        "networks; windows of a call were not measured.",
        "",
        "## What it is not for",
        "",
        "It may not be used to decide about a person, to tell who somebody is, nor to infer the "
        "emotions of people at work or in education (EU AI Act, Article 5(1)(f)).",
        "",
        *([f"{SMILE}.", ""] if made.features.name in OPENSMILE else []),
        *(line for paragraph in end for line in (paragraph, "")),
    ]
    return "\n".join(lines)


def learnt_words(made: Export) -> str:
    """Which utterances trained it, and of how many it learnt the labels."""
    train, known = made.network.fold.train, len(made.labelled)
    words = f"the {len(train)} training utterances of fold {made.network.fold.name}"
    if known < len(train):
        words += f", of {known} of them with labels and of {len(train) - known} the audio alone"
    if made.foreign:
        count = sum(len(m) for m in made.foreign)
        words += f"; the audio alone of {count} utterances of {_listed(made.foreign)}"
    return words


def _listed(manifests: Sequence[Manifest]) -> str:
    return ", ".join(m.corpus for m in manifests)


def derived(made: Export) -> str:
    """Where the sentiment comes from."""
    if made.head == "sentiment":
        return "It names no emotions."
    none = [e for e in made.labels if e not in EMOTION_TO_SENTIMENT]
    left = f"; {', '.join(none)}: left out" if none else ""
    of = {s: [e for e in made.labels if EMOTION_TO_SENTIMENT.get(e) == s] for s in SENTIMENTS}
    told = [f"{', '.join(of[s]) or 'none'}: {s}" for s in ("negative", "positive", "neutral")]
    known = sum(map(len, of.values()))
    return (
        f"Sentiment is the sum over the emotions ({'; '.join(told)}{left}). "
        f"{len(of['negative'])} of {known} are negative: a network that holds all of them equally "
        f"likely says negative with {100 * len(of['negative']) / known:.0f} %."
    )


def temperature_words(made: Export) -> str:
    """Where the calibration comes from."""
    if not made.network.fold.validation:
        return "Its probabilities are not calibrated: its fold has no validation speakers."
    return (
        f"Its probabilities are calibrated (temperature {made.temperature:.2f}) on the "
        f"{len(made.network.fold.validation)} validation utterances of its fold."
    )
