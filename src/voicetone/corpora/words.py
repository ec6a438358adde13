"""Emotion words as corpora write them → the nine names used here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from voicetone.types import EMOTION_TO_SENTIMENT, EMOTIONS

WORDS: Mapping[str, str] = {
    **{name: name for name in EMOTIONS},
    "angry": "anger",
    "happy": "happiness",
    "joy": "happiness",
    "joyful": "happiness",
    "sad": "sadness",
    "neutrality": "neutral",
    "afraid": "fear",
    "fearful": "fear",
    "scared": "fear",
    "disgusted": "disgust",
    "surprised": "surprise",
    "bored": "boredom",
    "calmness": "calm",
}

# Labels that corpora use and that are none of the nine: they stay in `label_raw`.
_OTHERS = """
amused amusement annoyed anxiety anxious ambiguous concerned confused confusion contempt
contemptuous depressed desire determined disappointed disappointment embarrassed enthusiasm excited
excitement frustrated frustration guilt hate hope interest irritated love mixed no_agreement none
other pain pride proud relief sarcasm shame sleepiness sleepy stress stressed tired unknown worried
xxx
"""
OTHERS = frozenset(_OTHERS.split())


def emotion_of(word: str) -> tuple[str | None, bool]:
    """The emotion that a word names, if it is one of the nine, and whether the word is known."""
    key = "_".join(word.strip().lower().replace("-", " ").split())
    return WORDS.get(key), key in WORDS or key in OTHERS


def sentiment_of(emotion: str | None) -> str | None:
    """The sentiment of an emotion; surprise and boredom have none."""
    return None if emotion is None else EMOTION_TO_SENTIMENT.get(emotion)


def hint(word: str, known: Iterable[str], shown: Iterable[str] | None = None) -> str:
    """`did you mean …?`, or the words that are known (all of them, or those to be shown)."""
    choices = list(known)
    close = difflib.get_close_matches(word.strip().lower(), choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are {', '.join(choices if shown is None else shown)}"
