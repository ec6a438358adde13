"""Rows of published results, and computing them again from the predictions beside them.

A results file is JSON: a list of rows, or an object with the list under `rows`. Each row has the
keys of `ROW`; `predictions` and `baseline` are tables of predictions, relative to the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voicetone.errors import DataError
from voicetone.evaluation.bootstrap import DRAWS
from voicetone.evaluation.counts import HEADLINE
from voicetone.evaluation.dimensions import concordances
from voicetone.evaluation.scores import Summary, headline
from voicetone.evaluation.significance import better_over_seeds, difference, seed_scores
from voicetone.evaluation.table import (
    DimensionTable,
    PredictionTable,
    read_predictions,
)
from voicetone.evaluation.table_files import read_table

ROW = (
    "corpus",
    "labels",
    "protocol",
    "features",
    "model",
    "seeds",
    "metric",
    "mean",
    "sd",
    "low",
    "high",
    "baseline",
    "p",
    "predictions",
)
NUMBERS = ("mean", "sd", "low", "high", "p")
FACTS = {
    "labels": "label_rule",
    "protocol": "protocol",
    "features": "features",
    "model": "model",
    "fold_hash": "folds",
}
"""What a row says in words, and where a table's `meta` says it."""
DIGITS = 4
TOLERANCE = 0.6 * 10**-DIGITS
"""Rows are rounded to `DIGITS` places; other machines may differ in the last bit."""


@dataclass(frozen=True, slots=True)
class Check:
    """A results file computed again: its rows, the numbers and the words that were compared, and
    a line for each that differs."""

    rows: int
    numbers: int
    words: int
    mismatches: list[str]


def result_row(
    predictions: Path,
    folder: Path,
    metric: str = "uar",
    baseline: Path | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """A row of a results file, computed from predictions.

    Args:
        predictions: the table's file.
        folder: where the results file lies.
        metric: a name in `HEADLINE`, or `ccc:<dimension>` or `speaker_ccc:<dimension>`.
        baseline: the table of the run that this one is to be better than.
        facts: values of `ROW` that the table's own facts do not have.

    Raises:
        DataError: predictions that can't be read, or without this metric, or facts that the table
            contradicts.
    """
    table = read_table(predictions)
    meta = table.meta
    row: dict[str, Any] = {
        "corpus": ", ".join(_corpora(table)),
        "labels": meta.get("label_rule", ""),
        "protocol": meta.get("protocol", ""),
        "features": meta.get("features", ""),
        "model": meta.get("model", ""),
        "seeds": len(table.seeds),
        "metric": metric,
        **facts,
        "baseline": None if baseline is None else _relative(baseline, folder),
        "predictions": _relative(predictions, folder),
    }
    for key, told in _told(table, row).items():
        if not _agree(key, row[key], told):
            raise DataError(f"{predictions}: {key} can't be {row[key]!r}, the table says {told!r}")
    row |= _numbers(table, metric, None if baseline is None else read_predictions(baseline))
    return {key: row[key] for key in ROW} | {k: v for k, v in row.items() if k not in ROW}


def write_results(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a results file."""
    text = json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def read_results(path: Path) -> list[dict[str, Any]]:
    """The rows of a results file.

    Raises:
        DataError: no such file, no JSON, or a row that lacks a key; row and key are named.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file of results") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a JSON file of results ({error})") from error
    rows = data.get("rows") if isinstance(data, Mapping) else data
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise DataError(f"{path}: no list of rows in it; see docs/evaluation.md")
    if not rows:
        raise DataError(f"{path}: its list of rows is empty: there is nothing to compute again")
    for number, row in enumerate(rows, 1):
        lacking = [key for key in ROW if key not in row]
        if lacking:
            raise DataError(f"{path}: row {number} lacks {', '.join(lacking)}")
    return [dict(row) for row in rows]


def recompute(path: Path, tolerance: float = TOLERANCE) -> Check:
    """Compute every number of a results file again from its predictions.

    What a row says in words (corpus, labels, protocol, features, model, fold table, test) must be
    what the table says, where it does.

    Raises:
        DataError: a file that is no file of results. What is wrong with single rows, a table that
            is gone included, is a mismatch.
    """
    rows = read_results(path)
    mismatches = []
    numbers = words = 0
    for number, row in enumerate(rows, 1):
        where = f"{path}: row {number} ({row['model']}, {row['metric']})"
        try:
            found, told = _again(row, path.parent)
        except DataError as error:
            mismatches.append(f"{where}: {error}")
            continue
        for key, value in found.items():
            numbers += 1
            if not _same(row[key], value, 0.0 if key == "seeds" else tolerance):
                mismatches.append(f"{where}: {key} is {row[key]} in the file and {value} computed")
        for key, text in told.items():
            words += 1
            if not _agree(key, row[key], text):
                mismatches.append(
                    f"{where}: {key} is {row[key]!r} in the file and {text!r} in the table"
                )
    return Check(len(rows), numbers, words, mismatches)


def _again(row: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The numbers of a row, and the words that its table has for it."""
    table = read_table(folder / str(row["predictions"]))
    baseline = row["baseline"]
    against = None if baseline in (None, "") else read_predictions(folder / str(baseline))
    found = _numbers(table, str(row["metric"]), against)
    told = _told(table, row)
    if "test" in row:
        told["test"] = str(found.get("test", ""))
    return {"seeds": len(table.seeds), **{key: found[key] for key in NUMBERS}}, told


def _told(table: PredictionTable | DimensionTable, row: Mapping[str, Any]) -> dict[str, str]:
    """What a table says of itself, by the keys of a row."""
    told = {key: table.meta[name] for key, name in FACTS.items() if table.meta.get(name)}
    corpora = _corpora(table)
    told |= {"corpus": ", ".join(corpora)} if corpora else {}
    return {key: text for key, text in told.items() if key in row}


def _corpora(table: PredictionTable | DimensionTable) -> list[str]:
    return sorted({str(name) for name in table.corpus.tolist() if name})


def _agree(key: str, said: Any, told: str) -> bool:
    if key == "corpus":  # in any order
        return sorted(part.strip() for part in str(said).split(",")) == told.split(", ")
    return str(said) == told


def _numbers(
    table: PredictionTable | DimensionTable, metric: str, baseline: PredictionTable | None
) -> dict[str, Any]:
    score = _score(table, metric)
    p = test = None
    if baseline is not None and isinstance(table, PredictionTable):
        p, test = _better(table, baseline, metric)
    found: dict[str, Any] = {
        "mean": _rounded(score.mean),
        "sd": _rounded(score.sd),
        "low": _rounded(score.low),
        "high": _rounded(score.high),
        "p": _rounded(p),
    }
    return found if test is None else {**found, "test": test}


def _score(table: PredictionTable | DimensionTable, metric: str) -> Summary:
    if isinstance(table, PredictionTable):
        if metric in HEADLINE:
            return headline(table)[metric]
        raise DataError(f"metric {metric!r} is unknown; known are: {', '.join(HEADLINE)}")
    kind, _, dimension = metric.partition(":")
    for one in concordances(table):
        if one.dimension == dimension and kind == "ccc":
            return Summary(one.mean, one.sd, one.low, one.high)
        if one.dimension == dimension and kind == "speaker_ccc" and one.speaker_mean is not None:
            return Summary(one.speaker_mean, one.speaker_sd, one.speaker_low, one.speaker_high)
    known = ", ".join(f"ccc:{name}" for name in table.dimensions)
    raise DataError(f"metric {metric!r} is unknown; known are: {known}")


def _better(
    table: PredictionTable, baseline: PredictionTable, metric: str
) -> tuple[float | None, str | None]:
    """p against the baseline: over speakers where there are enough, else over seeds."""
    apart = difference(table, baseline, metric, DRAWS)
    if apart.p is not None:
        return apart.p, "paired bootstrap over speakers"
    p = better_over_seeds(seed_scores(table, metric), seed_scores(baseline, metric))
    return p, None if p is None else "one-tailed t-test over seeds"


def _same(said: Any, found: Any, tolerance: float) -> bool:
    if said is None or found is None:
        return said is None and found is None
    if isinstance(said, list):  # seeds by their numbers
        return bool(len(said) == found)
    try:
        apart = abs(float(said) - float(found))
    except (TypeError, ValueError):
        return False
    return apart <= tolerance


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
