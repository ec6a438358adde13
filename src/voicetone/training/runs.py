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

INERT = ("out", "jobs")
"""Settings that change no result."""


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
        kept = {key: value for key, value in recipe.items() if key not in INERT}
        self._text = json.dumps(kept, indent=1, sort_keys=True)
        self.recipe_hash = hashlib.sha256(self._text.encode()).hexdigest()
        self._files = {fold.name: _slug(fold.name) for fold in table.folds}
        if len(set(self._files.values())) < len(table.folds):
            self._files = {f.name: f"{i:03d}" for i, f in enumerate(table.folds)}

    def start(self, packages: Sequence[str], **facts: str) -> None:
        """Make the folder, or make sure that it is this run's.

        Args:
            packages: whose versions go into `environment.json`.
            facts: what else goes into it.

        Raises:
            DataError: it holds a run of other settings, other folds, or other predictions.
        """
        told = self.path / "recipe.json"
        if told.exists() and told.read_text(encoding="utf-8") != self._text:
            raise DataError(
                f"{self.path}: holds a run of other settings; choose another folder: out=DIR"
            )
        folds = {"hash": self.table.hash, **asdict(self.table)}
        self.path.mkdir(parents=True, exist_ok=True)
        there = self.path / "folds.json"
        if there.exists() and json.loads(there.read_text("utf-8")).get("hash") != self.table.hash:
            raise DataError(
                f"{self.path}: its folds are others: the corpus has changed since; choose another "
                "folder: out=DIR"
            )
        self.write("recipe.json", self._text)
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
