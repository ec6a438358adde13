"""What MSP-IMPROV and MSP-Podcast share: one line per rater.

WORKER00000001; Neutral; Neutral,Concerned; A:4.0; V:4.0; D:4.0;
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from voicetone.corpora.words import WORDS
from voicetone.types import Rating

CODES: dict[str, str | None] = {
    "A": "anger",
    "C": None,  # contempt
    "D": "disgust",
    "F": "fear",
    "H": "happiness",
    "N": "neutral",
    "O": None,  # other
    "S": "sadness",
    "U": "surprise",
    "X": None,  # no agreement
}
ATTRIBUTES = {"A": "arousal", "V": "valence", "D": "dominance"}
ATTRIBUTE = re.compile(r"\b([AVD]): *(\d+(?:\.\d+)?)")


def attributes(text: str, highest: float) -> dict[str, float]:
    """`A:2; V:3; D:1;` in [0, 1]; what is missing or NaN is left out."""
    found = {}
    for letter, value in ATTRIBUTE.findall(text):
        found[ATTRIBUTES[letter]] = scale(value, highest)
    return {name: value for name, value in found.items() if value is not None}


def scale(text: str, highest: float) -> float | None:
    """A rating from 1 to `highest` in [0, 1]; None for no number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return min(max((value - 1) / (highest - 1), 0.0), 1.0) if math.isfinite(value) else None


def rating(line: str, highest: float) -> Rating | None:
    """A rater's line: first the main emotion, then the others that were heard."""
    parts = [part.strip() for part in line.split(";")]
    if len(parts) < 3 or not parts[0] or not parts[1]:
        return None
    second = () if ":" in parts[2] else tuple(w.strip() for w in parts[2].split(",") if w.strip())
    words = (parts[1], *(w for w in second if w != parts[1]))
    found = attributes(line, highest)
    return Rating(
        parts[0], words, found.get("arousal"), found.get("valence"), found.get("dominance")
    )


def votes(ratings: Iterable[Rating]) -> dict[str, float] | None:
    """Raters per main emotion."""
    counts: dict[str, float] = {}
    for one in ratings:
        if one.emotions:
            word = re.split(r"[-( ]", one.emotions[0].lower())[0] or "other"  # "Other-Curious"
            name = WORDS.get(word, word)
            counts[name] = counts.get(name, 0.0) + 1.0
    return dict(sorted(counts.items())) or None
