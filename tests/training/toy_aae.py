"""Toy runs of autoencoders that tests read back: seconds to train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from training import toy_corpus
from voicetone.models.aae import AaeConfig
from voicetone.training import aae_fit
from voicetone.training.aae_fit import network_config
from voicetone.training.replica_data import Scaling, Values
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


@contextmanager
def double_precision(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Double precision throughout: what is left of a difference is not rounding.

    Of convolutions fewer channels, as they are slow in it.
    """

    def small(*given: Any) -> AaeConfig:
        return replace(network_config(*given), channels=(6, 6, 9, 9))

    def values(self: Values, *given: Any) -> None:
        made(self, *given)
        self.x = self.x.double()
        self.mask = None if self.mask is None else self.mask.double()

    def scaling(*given: Any) -> Scaling:
        found = of(*given)
        return replace(found, mean=found.mean.double(), scale=found.scale.double())

    made, of, prior = Values.__init__, Scaling.of, aae_fit.prior_of
    patch.setattr(aae_fit, "network_config", small)
    patch.setattr(Values, "__init__", values)
    patch.setattr(Scaling, "of", scaling)
    patch.setattr(aae_fit, "prior_of", lambda *given: prior(*given).double())
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
