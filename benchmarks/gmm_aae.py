"""Train the codes on a mixture of Gaussians on the prepared corpora and write their tables.

    VOICETONE_DATA=DIR python benchmarks/gmm_aae.py [RECIPE...]

Each recipe goes into `runs/RECIPE`, and on from where it stopped; without names all are run
that have no results yet. `docs/results/gmm-aae.json`, `.md` and the predictions of each row beside
them are made from what there is. With `--page` nothing is trained.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

from gmm_aae_page import LATENTS, PLANE, page
from systems import RESULTS, ROOT, Bench

RECIPES = (
    "gmm-aae-emodb4",
    "gmm-aae-ravdess16",
    "gmm-aae-nemo3",
    "gmm-aae-cross",
    "gmm-aae-cross-codes",
)


def kind() -> type:
    """The recipe's dataclass."""
    from voicetone.training.gmm_recipe import CodesRecipe

    return CodesRecipe


def baseline(recipe: Any, system: Any) -> Any:
    """The features as they are."""
    from voicetone.training.gmm_run import baseline_of

    return baseline_of(recipe, system)


BENCH = Bench("gmm-aae", RECIPES, kind, baseline, page, ROOT / "runs")


def keep_latents() -> None:
    """What EMO-DB's codes know, and how they lie, beside the page."""
    run = BENCH.runs / "gmm-aae-emodb4" / "emotion" / "gmm-aae"
    if not (run / "metrics.json").exists():
        return
    if not (run / "latents" / "latents.json").exists():
        from voicetone.training.gmm_latents import use_codes

        use_codes(run)
    BENCH.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "latents" / "latents.json", RESULTS / LATENTS)
    shutil.copyfile(run / "latents" / "plane-strangers.png", RESULTS / PLANE)


if __name__ == "__main__":
    keep_latents()
    BENCH.main(sys.argv[1:])
