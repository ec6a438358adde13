"""Toy runs of codes on a mixture of Gaussians that tests read back: seconds to train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training import toy_corpus

RECIPE = """
kind = "gmm-aae"
name = "toy"
jobs = 1
out = "{out}"
corpora = [{{ name = "{corpus}", licence = "CC0" }}]
protocol = {{ name = "speakers" }}
"""
SYSTEM = """
[[systems]]
name = "{name}"
codes = "{codes}"
features = {{ name = "mfcc"{features} }}
hidden = [16, 16]
epochs = {epochs}
batch = 12
rate = 3e-3
readout = [{{ name = "linear-svm", C = [0.01, 0.1] }}]
{more}
"""
SYNTHETIC = 'synthetic = {{ of = "gmm-aae", per_class = {}, real = {} }}'
SYSTEMS: dict[str, tuple[str, str]] = {
    "gmm-aae": ("gmm-aae", ""),
    "autoencoder": ("autoencoder", "size = 4"),
    "lda": ("lda", ""),
    "pca": ("pca", "size = [2, 4]"),
    "raw": ("raw", ""),
    "synthetic-only": ("raw", SYNTHETIC.format(20, "false")),
    "real+5": ("raw", SYNTHETIC.format(5, "true")),
    "real+balanced": ("raw", SYNTHETIC.format('"balanced"', "true")),
}
"""Kind of codes, and further settings, by name."""


def system(
    name: str, codes: str = "gmm-aae", *more: str, features: str = "", epochs: int = 4
) -> str:
    """One table of a recipe."""
    return SYSTEM.format(
        name=name, codes=codes, more="\n".join(more), features=features, epochs=epochs
    )


def recipe(corpus: Path, folder: Path, text: str = "", names: Sequence[str] = ()) -> Path:
    """`folder/toy.toml`, whose run is `folder/run`: systems by their names, or as in `text`."""
    text += "".join(system(name, *SYSTEMS[name]) for name in names)
    path = folder / "toy.toml"
    whole = RECIPE.format(out=folder / "run", corpus=corpus) + text
    path.write_text(whole, encoding="utf-8")
    return path


def foreign(folder: Path) -> Path:
    """Another corpus, of other speakers, 4 utterances of each class."""
    place = toy_corpus.make(folder / "others" / "foreign", speakers=2, each=2, seconds=0.5)
    changed = [(*r[:2], f"x{r[2]}", *r[3:]) for r in toy_corpus.rows(place)]
    toy_corpus.write(place, changed)
    return place
