"""All runs of a folder in one table, the best first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from voicetone.errors import DataError
from voicetone.evaluation.report_text import interval, number, rows
from voicetone.evaluation.scores import headline
from voicetone.evaluation.table import read_predictions

DEPTH = 3
KNOWN = ("corpus", "label_rule", "protocol", "features", "model", "fold_hash", "majority")


def leaderboard(folder: Path, metric: str = "uar") -> list[dict[str, Any]]:
    """The runs in a folder and up to three folders below it, by a metric, the best first.

    A run has `metrics.json`, or `predictions/` to compute it from; runs without this metric (of
    other kinds) are left out.

    Raises:
        DataError: no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of runs")
    found = []
    for place in _runs(folder, DEPTH):
        entry = _entry(place, folder)
        if _score(entry, metric)["mean"] is not None:
            found.append(entry)
    if not found:
        raise DataError(f"{folder}: no run in it has {metric}; name the folder that holds the runs")
    return sorted(found, key=lambda e: (-e[metric]["mean"], e["run"]))


def markdown(entries: Sequence[Mapping[str, Any]], metric: str = "uar") -> str:
    """A leaderboard as a Markdown table."""
    others = [m for m in ("uar", "wa", "macro_f1") if m != metric]
    head = ["", "run", metric, "SD", "95 % interval", *others]
    head += ["corpus", "labels", "protocol", "folds", "features", "model"]
    body = []
    for place, entry in enumerate(entries, 1):
        score = _score(entry, metric)
        line = [str(place), entry["run"], number(score["mean"]), number(score["sd"])]
        line += [interval(score), *(number(_score(entry, m)["mean"]) for m in others)]
        line += [entry["corpus"], entry["label_rule"], entry["protocol"], entry["fold_hash"][:8]]
        body.append([*line, entry["features"], entry["model"]])
    text = rows(head, body, (1, *range(7, 13)))
    if len({(e["label_rule"], e["fold_hash"]) for e in entries}) > 1:
        text += (
            "\nRuns of other labels or fold tables answer other questions: only rows with the same "
            "labels and folds can be ranked against each other.\n"
        )
    return text


def _score(entry: Mapping[str, Any], metric: str) -> dict[str, float | None]:
    """A score of a run, None for each number that its file does not have."""
    said = entry.get(metric)
    said = said if isinstance(said, Mapping) else {}
    known = {key: said.get(key) for key in ("mean", "sd", "low", "high")}
    found = {k: v if isinstance(v, int | float) else None for k, v in known.items()}
    return found if found["high"] is not None else {**found, "low": None}


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "metrics.json").is_file() or (folder / "predictions").is_dir():
        yield folder
    elif depth:
        for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
            yield from _runs(inner, depth - 1)


def _entry(place: Path, folder: Path) -> dict[str, Any]:
    path = place / "metrics.json"
    name = place.name if place == folder else place.relative_to(folder).as_posix()
    facts: dict[str, Any] = {}
    if path.is_file():
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not readable as JSON ({error}): judge it again") from error
        if not isinstance(facts, dict):
            raise DataError(f"{path}: not the metrics of a run: judge it again")
    else:
        try:
            table = read_predictions(place)
        except DataError:  # dimensions, or a run that has not yet predicted anything
            return {"run": name}
        scores = {k: asdict(v) for k, v in headline(table).items()}
        corpus = ", ".join(sorted({str(c) for c in table.corpus.tolist() if c}))
        facts = {"corpus": corpus, **table.meta, "fold_hash": table.meta.get("folds"), **scores}
    texts = {key: _text(facts.get(key)) for key in KNOWN}
    return {"run": name, **facts, **texts}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    return "" if value is None else str(value)
