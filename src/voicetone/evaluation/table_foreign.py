"""Predictions as other tools write them: EmoBox and the Odyssey 2024 challenge.

EmoBox: a JSON list or JSON lines of `{"key", "pred"}`; the truth is `{"key", "label"}` of the same
numbering, or EmoBox's metadata (`{"key", "emo", ...}`). Odyssey: a CSV with `FileName,EmoClass` or
`FileName,EmoAct,EmoVal,EmoDom`, whose truth is the corpus's `labels_consensus.csv`; or the
baseline's `Filename,Label,Prediction`, which has its truth in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.errors import DataError
from voicetone.evaluation.table import DimensionTable, PredictionTable

LETTERS = {
    "A": "anger",
    "S": "sadness",
    "H": "happiness",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
}
ATTRIBUTES = {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}
SCALE = (1.0, 7.0)
"""MSP-Podcast's ratings; tables hold them from 0 to 1."""
UNKNOWN_SPEAKER = ("", "Unknown")


def is_odyssey(columns: Mapping[str, Any]) -> bool:
    """Whether a table's columns are those of the challenge."""
    return {"FileName", "EmoClass"} <= set(columns) or (
        {"FileName", *ATTRIBUTES} <= set(columns) or {"Filename", "Prediction"} <= set(columns)
    )


def read_odyssey(
    path: Path, columns: Mapping[str, Any], truth: Mapping[str, Any] | None
) -> PredictionTable | DimensionTable:
    """Predictions of the challenge.

    Args:
        path: for messages.
        columns: of the predictions.
        truth: columns of `labels_consensus.csv`; not for the baseline's own format.

    Raises:
        DataError: no truth, a file that it does not know, a class or number that is none.
    """
    if "Filename" in columns:
        return _baseline(path, columns)
    if truth is None or not {"FileName", "EmoClass"} <= set(truth):
        raise DataError(f"{path}: predictions without truth: give labels_consensus.csv as --truth")
    places = {str(name): i for i, name in enumerate(truth["FileName"])}
    names = [str(name) for name in columns["FileName"]]
    unknown = next((name for name in names if name not in places), None)
    if unknown is not None:
        raise DataError(f"{path}: {unknown} is not in the file of the truth")
    rows = np.array([places[name] for name in names], dtype=np.int64)
    common = _about(names, truth, rows)
    if "EmoClass" in columns:
        said = np.array([_label(path, v) for v in columns["EmoClass"]])
        real = np.asarray(truth["EmoClass"]).astype(np.str_)[rows]
        agreed = np.isin(real, list(LETTERS))  # X is no agreement, O another emotion
        if not agreed.any():
            raise DataError(f"{path}: none of its files has one of the classes {' '.join(LETTERS)}")
        labels = tuple(LETTERS.values())
        return PredictionTable(
            **{k: v[agreed] for k, v in common.items() if k != "groups"},
            groups={k: v[agreed] for k, v in common["groups"].items()},
            truth=np.array([LETTERS[v] for v in real[agreed]]),
            labels=labels,
            scores=(said[agreed][:, None] == np.array(labels)).astype(np.float32),
        )
    return DimensionTable(
        **common,
        dimensions=tuple(ATTRIBUTES.values()),
        truth=_ratings(path, truth)[rows],
        predicted=_ratings(path, columns),
    )


def read_emobox(path: Path, truth: Path | None) -> PredictionTable:
    """Predictions of EmoBox's form.

    Args:
        path: records with `key` and `pred` (or `prediction`), perhaps with `label`.
        truth: records with `key` and `label`, or EmoBox's metadata with `key` and `emo`.

    Raises:
        DataError: no such records, no truth, or labels numbered on one side and named on the other.
    """
    records = _records(path)
    known = {str(r["key"]): r for r in (records if truth is None else _records(truth))}
    ids, said, real = [], [], []
    for number, record in enumerate(records, 1):
        key = str(record["key"])
        value = record.get("pred", record.get("prediction"))
        if value is None:
            raise DataError(f"{path}: record {number} ({key}) has no pred")
        of_truth = known.get(key, {})
        label = of_truth.get("label", of_truth.get("emo"))
        if label is None:
            raise DataError(
                f"{path}: record {number} ({key}) has no label: give the file with the labels, or "
                "the metadata, as --truth"
            )
        ids.append(key)
        said.append(str(value))
        real.append(str(label))
    if set(said).isdisjoint(real) and any(v.isdigit() for v in said) != real[0].isdigit():
        raise DataError(f"{path}: predictions are numbers and labels are names, or the reverse")
    labels = tuple(sorted({*said, *real}))
    about = [known[key] for key in ids]
    return PredictionTable(
        id=np.array(ids),
        truth=np.array(real),
        labels=labels,
        scores=(np.array(said)[:, None] == np.array(labels)).astype(np.float32),
        speaker=np.array([str(r.get("spk", r.get("speaker", ""))) for r in about]),
        corpus=np.array([str(r.get("dataset", "")) for r in about]),
        audio=np.array([str(r.get("wav", "")) for r in about]),
    )


def _records(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
        if text.startswith("["):
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file of predictions") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: neither a JSON list nor JSON lines ({error})") from error
    if not found or not all(isinstance(r, Mapping) and "key" in r for r in found):
        raise DataError(f"{path}: no records with a key; see docs/evaluation.md")
    return list(found)


def _baseline(path: Path, columns: Mapping[str, Any]) -> PredictionTable:
    """The baseline's file: eight comma-separated values in each of two columns."""
    if "Label" not in columns:
        raise DataError(f"{path}: predictions without truth: the column Label is missing")
    arrays = {}
    for name in ("Label", "Prediction"):
        try:
            arrays[name] = np.array([[float(v) for v in row.split(",")] for row in columns[name]])
        except ValueError as error:
            raise DataError(f"{path}: {name} must hold eight numbers with commas") from error
        if arrays[name].ndim != 2 or arrays[name].shape[1] != len(LETTERS):
            raise DataError(f"{path}: {name} must hold eight numbers with commas")
    labels = tuple(LETTERS.values())
    return PredictionTable(
        id=np.asarray(columns["Filename"]).astype(np.str_),
        truth=np.array(labels)[arrays["Label"].argmax(1)],
        labels=labels,
        scores=arrays["Prediction"].astype(np.float32),
        corpus=np.full(len(columns["Filename"]), "msp-podcast"),
    )


def _about(names: list[str], truth: Mapping[str, Any], rows: Any) -> dict[str, Any]:
    common: dict[str, Any] = {
        "id": np.array(names),
        "corpus": np.full(len(names), "msp-podcast"),
        "audio": np.array(names),
        "groups": {},
    }
    if "SpkrID" in truth:
        speaker = np.asarray(truth["SpkrID"]).astype(np.str_)[rows]
        common["speaker"] = np.where(np.isin(speaker, UNKNOWN_SPEAKER), "", speaker)
    if "Gender" in truth:
        sex = np.char.lower(np.asarray(truth["Gender"]).astype(np.str_)[rows])
        common["groups"] = {"sex": np.where(np.isin(sex, ("male", "female")), sex, "")}
    return common


def _label(path: Path, value: object) -> str:
    text = str(value).strip()
    if text not in LETTERS:
        raise DataError(f"{path}: {text!r} is none of the classes {' '.join(LETTERS)}")
    return LETTERS[text]


def _ratings(path: Path, columns: Mapping[str, Any]) -> Any:
    try:
        values = np.stack([np.asarray(columns[k]).astype(np.float64) for k in ATTRIBUTES], axis=1)
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: {', '.join(ATTRIBUTES)} must be columns of numbers") from error
    low, high = SCALE
    return (values - low) / (high - low)
