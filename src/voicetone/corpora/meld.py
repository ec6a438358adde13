"""MELD: `train_sent_emo.csv` and the sound of `train_splits/dia0_utt0.mp4`.

The release holds films. Their sound is taken out first, beside the film or in a folder whose name
begins with train, dev or test: `ffmpeg -i dia0_utt0.mp4 -ac 1 -ar 16000 dia0_utt0.wav`.
"""

from __future__ import annotations

from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import missing, only, recordings, table_rows, utterance
from voicetone.errors import DataError
from voicetone.types import SENTIMENTS, Utterance

WORDS = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "joy": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
    "surprise": "surprise",
}
# The folder of each partition's films, and names by which people call it.
FOLDERS = {
    "train": ("train",),
    "dev": ("dev",),
    "test": ("test", "output_repeated_splits_test"),
}
# Two films are missing or broken in the release itself.
ABSENT = {("train", "dia125_utt3"), ("dev", "dia110_utt7")}
SEXES = {
    "Chandler": "male", "Joey": "male", "Ross": "male",
    "Monica": "female", "Phoebe": "female", "Rachel": "female",
}  # fmt: skip
COLUMNS = (
    "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season",
    "Episode",
)  # fmt: skip


def read(folder: Path) -> list[Utterance]:
    """Both labels of MELD, emotion and sentiment, are taken as they stand in the tables."""
    tables = {part: only(folder, [f"{part}_sent_emo.csv"], CORPUS.title) for part in FOLDERS}
    files = _files(folder)
    found = []
    for part, table in tables.items():
        gone = []
        for line, row in table_rows(table, COLUMNS):
            name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            if row["Emotion"] not in WORDS or row["Sentiment"] not in SENTIMENTS:
                labels = f"{row['Emotion']!r} or {row['Sentiment']!r}"
                raise DataError(f"{table}:{line}: unknown label {labels}; get the table again")
            path = files.get((part, name))
            if path is None:
                gone += [] if (part, name) in ABSENT else [f"{name}.wav"]
                continue
            found.append(
                utterance(
                    "meld", path, row["Speaker"], row["Emotion"], WORDS[row["Emotion"]],
                    key=f"{part}-{name}", sentiment=row["Sentiment"], partition=part,
                    session=f"{part}-dia{row['Dialogue_ID']}", transcript=row["Utterance"],
                    language="en", sex=SEXES.get(row["Speaker"]),
                    extra={"season": row["Season"], "episode": row["Episode"]},
                )
            )  # fmt: skip
        missing(table, gone)
    return found


def _files(folder: Path) -> dict[tuple[str, str], Path]:
    """The recordings by partition and name."""
    found = {}
    for path in recordings(folder):
        parts = [p.name for p in path.relative_to(folder).parents][:-1]
        for part, starts in FOLDERS.items():
            if any(name.startswith(starts) for name in parts):
                found[part, path.stem] = path
    return found


CORPUS = Corpus(
    name="meld",
    title="MELD",
    licence="GPL-3.0 (tables); the films are those of a television series",
    citation="Poria et al., MELD, ACL 2019",
    labels=WORDS,
    releases=(
        Release(
            "MELD.Raw, without its two unusable films", 13_706, None,
            partitions={"train": 9988, "dev": 1108, "test": 2610},
        ),
    ),
    read=read,
)  # fmt: skip
