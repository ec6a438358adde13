"""TESS, the Toronto emotional speech set: `OAF_angry/OAF_back_angry.wav`."""

from __future__ import annotations

from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import named, utterance
from voicetone.types import Utterance

WORDS = {
    "angry": ("angry", "anger"),
    "disgust": ("disgust", "disgust"),
    "fear": ("fear", "fear"),
    "happy": ("happy", "happiness"),
    "neutral": ("neutral", "neutral"),
    "ps": ("ps", "surprise"),  # pleasant surprise
    "sad": ("sad", "sadness"),
}
AGES = {"OAF": 64.0, "YAF": 26.0}
# The release has one file that is named OA_bite_neutral.
NAME = rf"(OAF|YAF|OA)_([a-z]+)_({'|'.join(WORDS)})"


def read(folder: Path) -> list[Utterance]:
    """Two women, 200 words after "Say the word", seven emotions."""
    found = []
    for path, match in named(folder, NAME, "OAF_back_angry.wav", CORPUS.title):
        speaker = "OAF" if match[1] == "OA" else match[1]
        raw, emotion = WORDS[match[3]]
        found.append(
            utterance(
                "tess", path, speaker, raw, emotion, sex="female", age=AGES[speaker],
                language="en", sentence=match[2], transcript=f"Say the word {match[2]}.",
            )
        )  # fmt: skip
    return found


CORPUS = Corpus(
    name="tess",
    title="TESS",
    licence="CC BY-NC-ND 4.0",
    citation="Pichora-Fuller and Dupuis, Toronto emotional speech set, 2020, "
    "doi 10.5683/SP2/E8H2MF",
    labels=dict(WORDS.values()),
    releases=(Release("1.0", 2800, 2, dict.fromkeys(WORDS, 400)),),
    read=read,
)
