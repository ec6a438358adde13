"""Train the adversarial autoencoders on the prepared corpora and write their tables.

    VOICETONE_DATA=DIR python benchmarks/aae.py [RECIPE...]

Each recipe goes into `runs/aae/RECIPE`, and on from where it stopped; without names all are run
that have no results yet. `docs/results/aae.json`, `.md` and the predictions of each row beside them
are made from what there is. With `--page` nothing is trained.
"""

from __future__ import annotations

import sys
from typing import Any

from aae_page import page
from systems import ROOT, Bench

RECIPES = (
    "aae-emodb4",
    "aae-ravdess16",
    "aae-nemo3",
    "aae-fr-emodb4",
    "aae-fr-ravdess16",
    "aae-ablations",
    "aae-semisupervised",
)


def kind() -> type:
    """The recipe's dataclass."""
    from voicetone.training.aae_recipe import AaeRecipe

    return AaeRecipe


def baseline(recipe: Any, system: Any) -> Any:
    """The encoder alone."""
    from voicetone.training.aae_run import baseline_of

    return baseline_of(recipe, system)


BENCH = Bench("aae", RECIPES, kind, baseline, page, ROOT / "runs" / "aae")

if __name__ == "__main__":
    BENCH.main(sys.argv[1:])
