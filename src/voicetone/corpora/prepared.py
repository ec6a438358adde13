"""The prepared folders: 16 kHz audio and one `manifest.csv` each (see `docs/training.md`)."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.types import EMOTION_TO_SENTIMENT, EMOTIONS, Utterance

_WORDS = {
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "fearful": "fear",
    "surprised": "surprise",
}


@dataclass(frozen=True, slots=True)
class _Corpus:
    version: str
    licence: str
    citation: str


CORPORA: Mapping[str, _Corpus] = {
    "emodb": _Corpus(
        "1.3",
        "CC0 or CC BY 4.0 by later listings; published as freely usable",
        "Burkhardt et al., Interspeech 2005",
    ),
    "ravdess": _Corpus(
        "speech, actors 01-16",
        "CC BY-NC-SA 4.0",
        "Livingstone and Russo, PLoS ONE 13(5), 2018, e0196391",
    ),
    "nemo": _Corpus("3 of 9 speakers", "CC BY-NC-SA 4.0", "Christop, LREC-COLING 2024"),
}


def data_root() -> Path:
    """The folder of the prepared corpora, from `VOICETONE_DATA`.

    Raises:
        DataError: the variable is unset or names no folder.
    """
    root = os.environ.get("VOICETONE_DATA")
    if not root or not Path(root).is_dir():
        raise DataError(
            "VOICETONE_DATA names no folder: set it to the folder that holds the prepared corpora"
        )
    return Path(root).resolve()


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a prepared folder's manifest, with `path` added; every file is checked."""
    table = folder / "manifest.csv"
    if not table.is_file():
        raise DataError(f"{table}: no such manifest; give a prepared corpus folder")
    with table.open(newline="", encoding="utf-8") as handle:
        out = list(csv.DictReader(handle))
    for line, row in enumerate(out, start=2):
        path = folder / row["file"]
        if not path.is_file():
            raise DataError(f"{table}:{line}: {row['file']} is gone; restore it or drop the row")
        row["path"] = str(path)
    return out


def read_prepared(name: str, root: Path | None = None) -> Manifest:
    """One of the prepared emotional corpora.

    Args:
        name: `emodb`, `ravdess` or `nemo`.
        root: the folder that holds the corpora; `VOICETONE_DATA` if not given.

    Raises:
        DataError: unknown name, a missing file, or a label outside the label space.
    """
    if name not in CORPORA:
        raise DataError(f"no prepared corpus {name!r}: choose one of {', '.join(CORPORA)}")
    folder = (root or data_root()) / name
    facts = CORPORA[name]
    utterances = [
        _utterance(name, row, folder, line) for line, row in enumerate(rows(folder), start=2)
    ]
    return Manifest(name, facts.version, facts.licence, facts.citation, tuple(utterances))


def _utterance(corpus: str, row: Mapping[str, str], folder: Path, line: int) -> Utterance:
    emotion = _WORDS.get(row["label"], row["label"])
    if emotion not in EMOTIONS:
        raise DataError(
            f"{folder / 'manifest.csv'}:{line}: unknown label {row['label']!r}; "
            f"known are {', '.join(EMOTIONS)}"
        )
    return Utterance(
        id=f"{corpus}/{Path(row['file']).stem}",
        audio=Path(row["path"]),
        corpus=corpus,
        speaker=f"{corpus}/{row['speaker']}",
        emotion=emotion,
        label_raw=row["label"],
        sentiment=EMOTION_TO_SENTIMENT.get(emotion),
        transcript=row.get("transcript"),
        sentence=row.get("sentence"),
        language=row.get("language"),
        sex=row.get("sex"),
        age=float(row["age"]) if row.get("age") else None,
        duration=float(row["duration_s"]),
        extra={k: row[k] for k in ("complete", "origin", "intensity") if row.get(k)},
    )
