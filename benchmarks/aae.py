"""Train the adversarial autoencoders on the prepared corpora and write their tables.

    VOICETONE_DATA=DIR python benchmarks/aae.py [RECIPE...]

Each recipe goes into `runs/aae/RECIPE`, and on from where it stopped; without names all are run
that have no results yet. `docs/results/aae.json`, `.md` and the predictions of each row beside them
are made from what there is. With `--page` nothing is trained.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "aae"
RESULTS = ROOT / "docs" / "results"
FOLDER = RESULTS / "aae"
RECIPES = (
    "aae-emodb4",
    "aae-ravdess16",
    "aae-nemo3",
    "aae-fr-emodb4",
    "aae-fr-ravdess16",
    "aae-ablations",
    "aae-semisupervised",
)
DIGITS = 4  # of the probabilities that are kept
METRICS = ("uar", "wa")


def recipe_of(name: str) -> Any:
    """A recipe as its dataclass."""
    from voicetone.training.aae_recipe import AaeRecipe
    from voicetone.training.recipe import dataclass_from, read_recipe

    path = ROOT / "recipes" / f"{name}.toml"
    return dataclass_from(AaeRecipe, read_recipe(path), path)


def train(names: list[str]) -> None:
    """The recipes that are asked for; if none is, those without results."""
    from voicetone.training.run import train as run

    for name in names or [n for n in RECIPES if not list(FOLDER.glob(f"{n}-*.parquet"))]:
        run(ROOT / "recipes" / f"{name}.toml", [f"out={RUNS / name}"])


def keep(name: str) -> None:
    """Put the predictions of what is done beside the page, rounded, and what else is told of it."""
    from voicetone.evaluation.table import read_predictions

    for metrics in sorted((RUNS / name).glob("*/*/metrics.json")):
        run = metrics.parent
        found = read_predictions(run / "predictions")
        table = replace(
            found,
            scores=np.round(found.scores, DIGITS),
            audio=np.full(len(found), ""),  # no paths of this machine
        )
        stem = f"{name}-{run.parent.name}-{run.name}"
        FOLDER.mkdir(parents=True, exist_ok=True)
        table.write(FOLDER / f"{stem}.parquet")
        told = json.loads(metrics.read_text(encoding="utf-8"))
        kept = {key: told[key] for key in ("majority_rate", "fold_hash", "convergence")}
        ran = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        kept |= {"machine": ran["machine"], "date": ran["started"][:10]}
        (FOLDER / f"{stem}.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")


def rows_of(name: str) -> list[dict[str, Any]]:
    """Rows of one recipe's results, as far as there are any."""
    from voicetone.evaluation.results import result_row
    from voicetone.evaluation.significance import better_over_seeds, difference, seed_scores
    from voicetone.evaluation.table import read_predictions
    from voicetone.training.aae_run import baseline_of

    recipe = recipe_of(name)
    rows = []
    for target in recipe.targets:
        for system in recipe.systems:
            path = FOLDER / f"{name}-{target.name}-{system.name}.parquet"
            if not path.exists():
                continue
            base = baseline_of(recipe, system)
            against = FOLDER / f"{name}-{target.name}-{base.name}.parquet" if base else None
            facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            more: dict[str, Any] = {
                "recipe": name,
                "target": target.name,
                "system": system.name,
                "labelled": system.labelled,
                **facts,
            }
            if against is not None and against.exists():
                one, two = read_predictions(path), read_predictions(against)
                more["difference"] = round(difference(one, two).value, 4)
                p = better_over_seeds(seed_scores(one), seed_scores(two))
                more["p_seeds"] = None if p is None else round(p, 4)
            known = against if against is not None and against.exists() else None
            rows += [result_row(path, RESULTS, m, known, **more) for m in METRICS]
    return rows


if __name__ == "__main__":
    from aae_page import page
    from voicetone.evaluation.results import write_results

    words = sys.argv[1:]
    if words != ["--page"]:
        train(words)
    for each in RECIPES:
        keep(each)
    made = [row for each in RECIPES for row in rows_of(each)]
    write_results(RESULTS / "aae.json", made)
    (RESULTS / "aae.md").write_text(page(made), encoding="utf-8")
