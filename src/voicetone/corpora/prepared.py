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
    if out and "file" not in out[0]:
        raise DataError(f"{table}: no column 'file'; it names each recording")
    for line, row in enumerate(out, start=2):
        path = folder / row["file"]
        if not path.is_file():
            raise DataError(f"{table}:{line}: {row['file']} is gone; restore it or drop the row")
        row["path"] = str(path)
    return out


def read_prepared(name: str, root: Path | None = None, *, licence: str = "") -> Manifest:
    """A corpus in the prepared layout: one of the known ones, or anybody's folder.

    Args:
        name: `emodb`, `ravdess` or `nemo`, or the path of a folder with `manifest.csv`, whose
            columns `file`, `label` and `speaker` are needed and others taken where known.
        root: the folder that holds the known corpora; `VOICETONE_DATA` if not given.
        licence: of a folder of one's own; it goes into what is made from it.

    Raises:
        DataError: no such corpus, a missing column or file, a row without speaker, a label
            outside the label space, a file named twice, or an own folder without a licence.
    """
    if name in CORPORA:
        folder, facts = (root or data_root()) / name, CORPORA[name]
    else:
        folder = Path(name)
        if not folder.is_dir():
            known = ", ".join(CORPORA)
            raise DataError(
                f"{name}: no such corpus folder; give a folder's path or one of {known}"
            )
        if not licence:
            raise DataError(f'{name}: say under what licence it is: licence = "..." in the recipe')
        facts = _Corpus("as of its manifest", licence, "own recordings")
    corpus = folder.resolve().name
    table = folder / "manifest.csv"
    utterances: dict[str, Utterance] = {}
    for line, row in enumerate(rows(folder), start=2):
        utterance = _utterance(corpus, row, f"{table}:{line}")
        if utterance.id in utterances:
            raise DataError(f"{table}:{line}: {row['file']} has the id of an earlier row; drop one")
        utterances[utterance.id] = utterance
    return Manifest(
        corpus, facts.version, facts.licence, facts.citation, tuple(utterances.values())
    )


def _utterance(corpus: str, row: Mapping[str, str], where: str) -> Utterance:
    for column in ("label", "speaker"):
        if not row.get(column):
            raise DataError(f"{where}: no {column}; give every row one in a column {column!r}")
    emotion = _WORDS.get(row["label"], row["label"])
    if emotion not in EMOTIONS:
        raise DataError(f"{where}: unknown label {row['label']!r}; known are {', '.join(EMOTIONS)}")
    return Utterance(
        id=f"{corpus}/{Path(row['file']).stem}",
        audio=Path(row["path"]),
        corpus=corpus,
        speaker=f"{corpus}/{row['speaker']}",
        emotion=emotion,
        label_raw=row["label"],
        sentiment=EMOTION_TO_SENTIMENT.get(emotion),
        transcript=row.get("transcript") or None,
        sentence=row.get("sentence") or None,
        language=row.get("language") or None,
        sex=row.get("sex") or None,
        age=_number(row, "age", where),
        duration=_number(row, "duration_s", where),
        extra={k: row[k] for k in ("complete", "origin", "intensity") if row.get(k)},
    )


def _number(row: Mapping[str, str], column: str, where: str) -> float | None:
    text = row.get(column)
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(f"{where}: {column} {text!r} is no number; mend or empty it") from None
