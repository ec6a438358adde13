"""Predictions as other tools write them: EmoBox and the Odyssey 2024 challenge.

EmoBox: a JSON list or JSON lines of `{"key", "pred"}`; the truth is `{"key", "label"}` of the same
numbering, or EmoBox's metadata (`{"key", "emo", ...}`). Odyssey: a CSV with `FileName,EmoClass` or
`FileName,EmoAct,EmoVal,EmoDom`, whose truth is the corpus's `labels_consensus.csv`; or the
baseline's `Filename,Label,Prediction`, which has its truth in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.evaluation.table import CAUTIONS, DimensionTable, PredictionTable, RowError

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


def needs_truth(columns: Mapping[str, Any]) -> bool:
    """Whether the true labels of a table with these columns stand in another file."""
    return is_odyssey(columns) and "FileName" in columns


def read_odyssey(
    path: Path, columns: Mapping[str, Any], lines: Sequence[int] | None, truth: Path | None
) -> PredictionTable | DimensionTable:
    """Predictions of the challenge.

    Args:
        path: for messages.
        columns: of the predictions.
        lines: of the predictions' rows, for messages; None where the file has none.
        truth: `labels_consensus.csv`; not for the baseline's own format.

    Raises:
        DataError: no truth, a file that it does not know, a class or number that is none.
    """
    if "Filename" in columns:
        return _baseline(path, columns)
    real = _consensus(path, truth)
    known = np.asarray(real["FileName"]).astype(np.str_)
    places = {str(name): i for i, name in enumerate(known)}
    names = [str(name) for name in columns["FileName"]]
    for row, name in enumerate(names):
        if name not in places:
            raise DataError(f"{_where(path, lines, row)}: {name} is not in the file of the truth")
    _once(names)
    rows = np.array([places[name] for name in names], dtype=np.int64)
    common = _about(names, real, rows)
    classes = np.asarray(real["EmoClass"]).astype(np.str_)
    asked = _partitions(real, rows)
    if "EmoClass" not in columns:
        common["meta"] = _left_out(asked, known, names, truth, "")
        return DimensionTable(
            **common,
            dimensions=tuple(ATTRIBUTES.values()),
            truth=_ratings(truth or path, real)[rows],
            predicted=_ratings(path, columns),
        )
    said = np.array([_label(_where(path, lines, k), v) for k, v in enumerate(columns["EmoClass"])])
    agreed = np.isin(classes[rows], list(LETTERS))  # X is no agreement, O another emotion
    if not agreed.any():
        raise DataError(f"{path}: none of its files has one of the classes {' '.join(LETTERS)}")
    unclear = ""
    if not agreed.all():
        unclear = (
            f"{int((~agreed).sum()):,} of the {len(agreed):,} predictions are not scored: "
            "raters agreed on no class (X), or on another emotion (O)."
        )
    labels = tuple(LETTERS.values())
    return PredictionTable(
        **{k: v[agreed] for k, v in common.items() if k != "groups"},
        groups={k: v[agreed] for k, v in common["groups"].items()},
        truth=np.array([LETTERS[v] for v in classes[rows][agreed]]),
        labels=labels,
        scores=(said[agreed][:, None] == np.array(labels)).astype(np.float32),
        meta=_left_out(asked & np.isin(classes, list(LETTERS)), known, names, truth, unclear),
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
    of_truth = records if truth is None else _records(truth)
    known = {str(r["key"]): r for _, r in of_truth}
    ids, said, real = [], [], []
    seen: set[str] = set()
    for where, record in records:
        key = str(record["key"])
        if key in seen:
            raise DataError(f"{where}: {key} is there twice: leave one out")
        seen.add(key)
        value = record.get("pred", record.get("prediction"))
        if value is None:
            raise DataError(f"{where}: {key} has no pred")
        label = _true_label(known.get(key, {}))
        if label is None:
            raise DataError(
                f"{where}: {key} has no label: give the file with the labels, or the metadata, as "
                "--truth"
            )
        ids.append(key)
        said.append(str(value))
        real.append(label)
    if set(said).isdisjoint(real) and any(v.isdigit() for v in said) != real[0].isdigit():
        raise DataError(f"{path}: predictions are numbers and labels are names, or the reverse")
    labels = tuple(sorted({*said, *real}))
    about = [known[key] for key in ids]
    labelled = np.array([key for key, r in known.items() if _true_label(r) is not None])
    return PredictionTable(
        id=np.array(ids),
        truth=np.array(real),
        labels=labels,
        scores=(np.array(said)[:, None] == np.array(labels)).astype(np.float32),
        speaker=np.array([str(r.get("spk", r.get("speaker", ""))) for r in about]),
        corpus=np.array([str(r.get("dataset", "")) for r in about]),
        audio=np.array([str(r.get("wav", "")) for r in about]),
        meta=_left_out(np.full(len(labelled), True), labelled, ids, truth, ""),
    )


def _true_label(record: Mapping[str, Any]) -> str | None:
    label = record.get("label", record.get("emo"))
    return None if label is None else str(label)


def _where(path: Path, lines: Sequence[int] | None, row: int) -> str:
    return f"{path}: row {row + 1}" if lines is None else f"{path}:{lines[row]}"


def _once(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for row, name in enumerate(names):
        if name in seen:
            raise RowError("this utterance is there twice: leave one out", row, name)
        seen.add(name)


def _consensus(path: Path, truth: Path | None) -> Mapping[str, Any]:
    """The columns of `labels_consensus.csv`."""
    from voicetone.evaluation.table_files import read_csv

    columns = {} if truth is None else read_csv(truth)[0]
    if not {"FileName", "EmoClass"} <= set(columns):
        raise DataError(f"{path}: predictions without truth: give labels_consensus.csv as --truth")
    return columns


def _partitions(truth: Mapping[str, Any], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The utterances of the partitions that predictions are of `[n]`; all, where none is named."""
    if "Split_Set" not in truth:
        return np.full(len(truth["FileName"]), True)
    split = np.asarray(truth["Split_Set"]).astype(np.str_)
    return np.asarray(np.isin(split, split[rows]))


def _left_out(
    asked: NDArray[np.bool_],
    known: NDArray[np.str_],
    names: Sequence[str],
    truth: Path | None,
    also: str,
) -> dict[str, str]:
    """What `meta` says of utterances that are not scored: leaving out the hard ones helps."""
    lacking = int((asked & ~np.isin(known, names)).sum())
    said = [also] if also else []
    if lacking and truth is not None:
        said.insert(
            0,
            f"{lacking:,} of the {int(asked.sum()):,} utterances that {truth.name} "
            "has labels for have no prediction: the scores are of the others only.",
        )
    return {CAUTIONS: " ".join(said)} if said else {}


def _records(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """The records of a file, each with its place for messages."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            found = [(f"{path}: record {k}", r) for k, r in enumerate(json.loads(text), 1)]
        else:  # not splitlines: texts may hold U+2028 and the like
            found = [
                (f"{path}:{k}", json.loads(line))
                for k, line in enumerate(text.split("\n"), 1)
                if line.strip()
            ]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file of predictions") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: neither a JSON list nor JSON lines ({error})") from error
    if not found or not all(isinstance(r, Mapping) and "key" in r for _, r in found):
        raise DataError(f"{path}: no records with a key; see docs/evaluation.md")
    return found


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


def _label(where: str, value: object) -> str:
    text = str(value).strip()
    if text not in LETTERS:
        raise DataError(f"{where}: {text!r} is none of the classes {' '.join(LETTERS)}")
    return LETTERS[text]


def _ratings(path: Path, columns: Mapping[str, Any]) -> Any:
    try:
        values = np.stack([np.asarray(columns[k]).astype(np.float64) for k in ATTRIBUTES], axis=1)
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: {', '.join(ATTRIBUTES)} must be columns of numbers") from error
    low, high = SCALE
    return (values - low) / (high - low)
