"""A toy corpus with targets that leave different utterances out, and runs of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from training import toy_corpus
from voicetone.evaluation.table import concatenate, read_predictions
from voicetone.training.run import train

TARGETS = {"sentiment": "sentiment", "activation": "activation", "level": "activation-binary"}
"""Rules by name: three classes, without surprise; three classes; two classes."""


def make(folder: Path, kind: str, systems: str) -> Path:
    """`folder/toy.toml` over `folder/toy`: of a speaker 4 sad, 4 neutral, 7 angry, 8 happy
    utterances, and one that is surprised."""
    corpus = toy_corpus.make(folder / "toy", each=8, seconds=0.3)
    rows = [(r[0], _emotion(r[0], r[1]), *r[2:]) for r in toy_corpus.rows(corpus)]
    toy_corpus.write(corpus, rows)
    path = folder / "toy.toml"
    head = (
        f'kind = "{kind}"\nname = "toy"\njobs = 1\nprotocol = {{ name = "speakers" }}\n'
        f'corpora = [{{ name = "{corpus}", licence = "CC0" }}]\n{targets(*TARGETS)}\n'
    )
    path.write_text(head + systems, encoding="utf-8")
    return path


def _emotion(file: str, label: str) -> str:
    take = int(Path(file).stem.rpartition("-")[2])
    if label == "anger" and take == 0:
        return "surprise"
    return "neutral" if label == "sadness" and take > 3 else label


def targets(*names: str) -> str:
    """As a recipe and the command line have them."""
    each = [f'{{ name = "{name}", rule = "{TARGETS[name]}" }}' for name in names]
    return f"targets=[{', '.join(each)}]"


def alone(path: Path, out: Path) -> Path:
    """One target after another, each in a run of its own, into one folder."""
    for name in TARGETS:
        train(path, [f"out={out}", targets(name)])
    return out


def scores(folder: Path) -> dict[str, np.ndarray]:
    """By fold and utterance."""
    table = concatenate([read_predictions(p) for p in sorted((folder / "predictions").iterdir())])
    return {f"{f} {i}": row for f, i, row in zip(table.fold, table.id, table.scores, strict=True)}


def files(root: Path) -> list[str]:
    """Names of all that a run leaves."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def apart(one: Path, other: Path) -> float:
    """The largest difference between the predictions of two folders."""
    first, second = scores(one), scores(other)
    assert first.keys() == second.keys()
    return max(float(np.abs(first[key] - second[key]).max()) for key in first)


def hashes(folder: Path) -> set[str]:
    """Of the settings that the predictions name."""
    return {read_predictions(p).meta["recipe"] for p in (folder / "predictions").iterdir()}


def told(path: Path) -> Any:
    """JSON."""
    return json.loads(path.read_text(encoding="utf-8"))
