"""Toy runs of autoencoders that tests read back: seconds to train."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import toy_corpus
from voicetone.training.run import train

RECIPE = """
kind = "aae"
name = "toy"
jobs = 1
seeds = [3]
[protocol]
name = "groups"
groups = 3
[[targets]]
name = "emotion"
[[corpora]]
name = "{corpus}"
licence = "CC0"
"""
SYSTEM = """
[[systems]]
name = "{name}"
batch = 12
epochs = {epochs}
rate = 3e-3
style = 6
{more}
[systems.features]
name = "mfcc"
{features}
"""
SYSTEMS = {
    "base": ('network = "base"', ""),
    "aae": ("", ""),
    "optimized": ('preset = "optimized"', ""),
    "speaker": ("", 'normalise = "speaker"'),
    "frames": ("", "frames = 32"),
}


def make_run(folder: Path, names: tuple[str, ...] = tuple(SYSTEMS), epochs: int = 8) -> Path:
    """`folder/toy` is the corpus, `folder/out` the run, `folder/cache` what was computed."""
    corpus = toy_corpus.make(folder / "toy", speakers=6, each=3)
    text = RECIPE.format(corpus=corpus)
    for name in names:
        more, features = SYSTEMS[name]
        text += SYSTEM.format(name=name, epochs=epochs, more=more, features=features)
    path = folder / "toy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICETONE_CACHE", str(folder / "cache"))
        return train(path, [f"out={folder / 'out'}"])
