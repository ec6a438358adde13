"""A run's folder: settings, folds, predictions as they are made, and what came of them."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.errors import DataError
from voicetone.evaluation.table import PredictionTable, read_predictions
from voicetone.training.protocol import FoldTable

INERT = ("out", "jobs", "seeds")
"""Settings that change no fold's predictions; there may be more seeds later."""
OWN = ("recipe.json", "folds.json", "environment.json", "log.txt")
"""What a run writes before it has made anything."""


class RunFolder:
    """One run on disk. The same settings go on where it stopped, others are refused.

    Everything is written beside its place and moved there, so what is there is whole.

    Args:
        path: the folder.
        recipe: the settings as resolved, JSON's types only.
        table: the folds.
    """

    def __init__(self, path: Path, recipe: Mapping[str, Any], table: FoldTable) -> None:
        self.path, self.table = path, table
        self.told = {k: v for k, v in recipe.items() if k not in INERT or k == "seeds"}
        self.recipe_hash = hashlib.sha256(_text(_decisive(recipe)).encode()).hexdigest()
        self._files = {fold.name: _slug(fold.name) for fold in table.folds}
        if len(set(self._files.values())) < len(table.folds):
            self._files = {f.name: f"{i:03d}" for i, f in enumerate(table.folds)}

    def require_own(self) -> None:
        """Make sure that the folder is this run's, new, or holds nothing but settings.

        What is damaged in it is written again: predictions name their settings and folds, too.

        Raises:
            DataError: it holds a run of other settings or other folds.
        """
        if not self.path.is_dir() or all(
            p.name in OWN or p.name.startswith(".") for p in self.path.iterdir()
        ):
            return
        there = _read(self.path / "recipe.json")
        if there is not None:
            first = _difference(_decisive(there), json.loads(_text(_decisive(self.told))))
            if first:
                raise DataError(
                    f"{self.path}: holds a run of other settings: {first}; choose another "
                    "folder: out=DIR"
                )
        folds = _read(self.path / "folds.json")
        if folds is not None and folds.get("hash") != self.table.hash:
            raise DataError(
                f"{self.path}: its folds are others: the corpus has changed since; choose another "
                "folder: out=DIR"
            )

    def start(self, packages: Sequence[str], **facts: str) -> None:
        """Make the folder, or make sure that it is this run's.

        Args:
            packages: whose versions go into `environment.json`.
            facts: what else goes into it.

        Raises:
            DataError: it holds a run of other settings or other folds, or can't be made.
        """
        try:
            self.require_own()
            self.path.mkdir(parents=True, exist_ok=True)
            self.write("recipe.json", _text(self.told))
        except OSError as error:
            raise DataError(
                f"{self.path}: a run can't be kept here ({error.strerror}); choose another folder: "
                "out=DIR"
            ) from error
        folds = {"hash": self.table.hash, **asdict(self.table)}
        self.write("folds.json", json.dumps(folds, indent=1))
        self.write("environment.json", json.dumps({**environment(packages), **facts}, indent=1))

    def write(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        unfinished = self.path / f".{uuid.uuid4().hex}"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(self.path / name)

    def log(self, line: str) -> None:
        """A line in `log.txt` and on stderr."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")
        print(line, file=sys.stderr, flush=True)

    def predictions_path(self, fold: str, seed: int) -> Path:
        """Where the predictions of a fold and seed are."""
        return self.part("predictions", fold, seed, "parquet")

    def part(self, kind: str, fold: str, seed: int, suffix: str) -> Path:
        """Where something of a fold and seed is: `KIND/FOLD-SEED.SUFFIX`."""
        return self.path / kind / f"{self._files[fold]}-{seed}.{suffix}"

    def keep(self, fold: str, seed: int, table: PredictionTable) -> None:
        """Keep the predictions of a fold and seed."""
        unfinished = self.path / f".{uuid.uuid4().hex}.parquet"
        table.write(unfinished)
        place = self.predictions_path(fold, seed)
        place.parent.mkdir(exist_ok=True)
        unfinished.replace(place)

    def missing(self, seeds: Sequence[int]) -> list[tuple[int, int]]:
        """Number of fold, and seed, of what is still to be trained.

        Raises:
            DataError: predictions there are of another run.
        """
        left = []
        for seed in seeds:
            for index, fold in enumerate(self.table.folds):
                path = self.predictions_path(fold.name, seed)
                if not path.exists():
                    left.append((index, seed))
                    continue
                meta = read_predictions(path).meta
                if (meta.get("recipe"), meta.get("folds")) != (self.recipe_hash, self.table.hash):
                    raise DataError(
                        f"{path}: predictions of another recipe or other folds; choose another "
                        "folder: out=DIR"
                    )
        return left

    def tables(self, seeds: Sequence[int]) -> list[PredictionTable]:
        """The predictions of each fold and seed."""
        return [
            read_predictions(self.predictions_path(fold.name, seed))
            for seed in seeds
            for fold in self.table.folds
        ]


def environment(packages: Sequence[str]) -> dict[str, str]:
    """What a run ran on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "numpy": np.__version__,
    }
    found["started"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for name in ("voicetone", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "fold"


def _decisive(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in INERT}


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=1, sort_keys=True)


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _difference(there: Any, here: Any, name: str = "") -> str:
    """The first setting that differs, and how; empty if none does."""
    if there == here:
        return ""
    if isinstance(there, dict) and isinstance(here, dict):
        # What is learnt from follows from the other settings, so these are named first.
        keys = sorted({*there, *here}, key=lambda key: (key == "labelled_data", key))
        for key in keys:
            below = f"{name}.{key}" if name else key
            if found := _difference(there.get(key), here.get(key), below):
                return found
    if name == "labelled_data":
        return "the labels, speakers or recordings have changed since"
    return f"{name} was {json.dumps(there)}, is {json.dumps(here)}"
