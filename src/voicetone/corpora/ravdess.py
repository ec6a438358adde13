"""RAVDESS, speech: `Actor_01/03-01-06-01-02-01-01.wav`."""

from __future__ import annotations

from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import named, nothing, utterance
from voicetone.types import Utterance

EMOTIONS = {
    "01": ("neutral", "neutral"),
    "02": ("calm", "calm"),
    "03": ("happy", "happiness"),
    "04": ("sad", "sadness"),
    "05": ("angry", "anger"),
    "06": ("fearful", "fear"),
    "07": ("disgust", "disgust"),
    "08": ("surprised", "surprise"),
}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
NAME = r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-([01]\d|2[0-4])"
AUDIO_ONLY, SPEECH = "03", "01"


def read(folder: Path) -> list[Utterance]:
    """Everything stands in the file's name; song and the sound of films are left out."""
    found = []
    example = "03-01-06-01-02-01-12.wav"
    for path, match in named(folder, NAME, example, CORPUS.title):
        modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
        if modality != AUDIO_ONLY or channel != SPEECH:
            continue
        raw, ours = EMOTIONS[emotion]
        found.append(
            utterance(
                "ravdess", path, actor, raw, ours, sex="male" if int(actor) % 2 else "female",
                language="en", sentence=statement, transcript=STATEMENTS[statement],
                extra={"intensity": INTENSITIES[intensity], "repetition": repetition},
            )
        )  # fmt: skip
    if not found:
        raise nothing(folder, example, CORPUS.title)
    return found


CORPUS = Corpus(
    name="ravdess",
    title="RAVDESS (speech)",
    licence="CC BY-NC-SA 4.0",
    citation="Livingstone and Russo, PLoS ONE 13(5), 2018, e0196391",
    labels=dict(EMOTIONS.values()),
    releases=(
        Release(
            "1.0.0, speech", 1440, 24,
            {raw: 96 if raw == "neutral" else 192 for raw, _ in EMOTIONS.values()},
        ),
    ),
    read=read,
)  # fmt: skip
