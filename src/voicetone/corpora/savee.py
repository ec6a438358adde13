"""SAVEE: `AudioData/DC/a01.wav`, or all in one folder as `DC_a01.wav`."""

from __future__ import annotations

import re
from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import nothing, recordings, utterance
from voicetone.errors import DataError
from voicetone.types import Utterance

LETTERS = {
    "a": ("anger", "anger"),
    "d": ("disgust", "disgust"),
    "f": ("fear", "fear"),
    "h": ("happiness", "happiness"),
    "n": ("neutral", "neutral"),
    "sa": ("sadness", "sadness"),
    "su": ("surprise", "surprise"),
}
SPEAKERS = ("DC", "JE", "JK", "KL")
NAME = re.compile(rf"(?:({'|'.join(SPEAKERS)})_)?(sa|su|[adfhn])(\d\d)")
TITLE, EXAMPLE = "SAVEE", "DC/a01.wav"


def read(folder: Path) -> list[Utterance]:
    """The speaker is the folder's name or stands before the file's; all are men."""
    found: dict[str, Utterance] = {}
    for path in recordings(folder):
        match = NAME.fullmatch(path.stem)
        speaker = match and (match[1] or path.parent.name)
        if match is None or speaker not in SPEAKERS:
            raise DataError(
                f"{path}: not a name of {TITLE}, whose recordings are named like {EXAMPLE}; "
                "move it elsewhere"
            )
        raw, emotion = LETTERS[match[2]]
        key = f"{speaker}_{match[2]}{match[3]}"
        if key in found:
            before = found[key].audio
            raise DataError(f"{path}: the same recording as {before}, by its name; remove one copy")
        found[key] = utterance(
            "savee", path, speaker, raw, emotion, key=key, sex="male", language="en",
            sentence=f"{match[2]}{match[3]}",
        )  # fmt: skip
    if not found:
        raise nothing(folder, EXAMPLE, TITLE)
    return list(found.values())


CORPUS = Corpus(
    name="savee",
    title=TITLE,
    licence="research use, by registration",
    citation="Haq and Jackson, Multimodal Emotion Recognition, in Machine Audition, 2010",
    labels=dict(LETTERS.values()),
    releases=(
        Release(
            "1.0", 480, 4,
            {raw: 120 if raw == "neutral" else 60 for raw, _ in LETTERS.values()},
        ),
    ),
    read=read,
)  # fmt: skip
