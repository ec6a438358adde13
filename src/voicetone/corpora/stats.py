"""Counts of a manifest, and how far its raters agree."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from voicetone.corpora.agreement import (
    fleiss_kappa,
    krippendorff_interval,
    krippendorff_nominal,
)
from voicetone.corpora.manifest import Manifest
from voicetone.corpora.words import emotion_of
from voicetone.types import Utterance

ATTRIBUTES = ("arousal", "valence", "dominance")
NO_LABEL, NO_SPEAKER = "(none)", "(unknown)"


@dataclass(frozen=True, slots=True)
class Stats:
    """What there is, by label and speaker. Durations are seconds; None where not known.

    `agreement` holds `fleiss_kappa`, `krippendorff_nominal` of the categories and
    `krippendorff_<attribute>`, as far as two people rated an utterance.
    """

    utterances: int
    seconds: float | None
    labels: dict[str, int]
    label_seconds: dict[str, float]
    speakers: dict[str, dict[str, int]]
    sexes: dict[str, int]
    languages: dict[str, int]
    partitions: dict[str, int]
    durations: dict[str, float]
    agreement: dict[str, float]
    rated: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON; what is no number becomes null."""
        agreement = {k: None if math.isnan(v) else round(v, 4) for k, v in self.agreement.items()}
        return {
            "utterances": self.utterances,
            "seconds": self.seconds,
            "labels": self.labels,
            "label_seconds": {k: round(v, 3) for k, v in self.label_seconds.items()},
            "speakers": self.speakers,
            "sexes": self.sexes,
            "languages": self.languages,
            "partitions": self.partitions,
            "durations": self.durations,
            "agreement": agreement,
            "rated": self.rated,
        }


def label_of(u: Utterance) -> str:
    """The class of a label rule, else the emotion, else the corpus's word in brackets."""
    if u.label or u.emotion:
        return u.label or u.emotion or ""
    return f"({u.label_raw})" if u.label_raw else NO_LABEL


def stats(manifest: Manifest) -> Stats:
    """Count a manifest."""
    seconds: dict[str, float] = defaultdict(float)
    speakers: dict[str, Counter[str]] = defaultdict(Counter)
    for u in manifest:
        seconds[label_of(u)] += u.duration or 0.0
        speakers[u.speaker or NO_SPEAKER][label_of(u)] += 1
    lengths = [u.duration for u in manifest if u.duration is not None]
    known = len(lengths) == len(manifest) > 0
    return Stats(
        utterances=len(manifest),
        seconds=round(sum(lengths), 3) if known else None,
        labels=_counts(label_of(u) for u in manifest),
        label_seconds=dict(seconds) if known else {},
        speakers={name: dict(counts) for name, counts in sorted(speakers.items())},
        sexes=_counts(u.sex for u in manifest),
        languages=_counts(u.language for u in manifest),
        partitions=_counts(u.partition for u in manifest),
        durations=_quantiles(lengths),
        agreement=agreement(manifest),
        rated=len(rated(manifest)),
    )


def agreement(manifest: Manifest) -> dict[str, float]:
    """The measures that the manifest's votes and ratings allow."""
    found: dict[str, float] = {}
    items = rated(manifest)
    if items:
        names = sorted({name for item in items for name in item})
        table = [[item.get(name, 0.0) for name in names] for item in items]
        found["fleiss_kappa"] = fleiss_kappa(table)
        found["krippendorff_nominal"] = krippendorff_nominal(table)
    for attribute in ATTRIBUTES:
        values = [
            [v for r in u.ratings if not r.own and (v := getattr(r, attribute)) is not None]
            for u in manifest
        ]
        if any(len(v) > 1 for v in values):
            found[f"krippendorff_{attribute}"] = krippendorff_interval(values)
    return found


def rated(manifest: Manifest) -> list[dict[str, float]]:
    """Number of raters per label, of each utterance that two people or more labelled.

    From `ratings` where there are any: each rater's first word, without the speaker's own rating;
    else from `votes`.
    """
    items = []
    for u in manifest:
        words = [r.emotions[0] for r in u.ratings if r.emotions and not r.own]
        item = Counter(emotion_of(w.split()[0])[0] or w.lower() for w in words)
        votes = {k: float(n) for k, n in item.items()} or dict(u.votes or {})
        if sum(votes.values()) > 1:
            items.append(votes)
    return items


def _counts(values: Any) -> dict[str, int]:
    counts = Counter(v for v in values if v is not None)
    return {name: counts[name] for name in sorted(counts)}


def _quantiles(lengths: list[float]) -> dict[str, float]:
    if not lengths:
        return {}
    names = ("shortest", "q1", "median", "q3", "longest")
    values = np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1])
    return {name: round(float(v), 3) for name, v in zip(names, values, strict=True)}
