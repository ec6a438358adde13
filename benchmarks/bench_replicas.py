"""Throughput of replicas trained at once against one after another, in one run.

    VOICETONE_DATA=DIR python benchmarks/bench_replicas.py

The functionals of RAVDESS actors 01-16, four folds, ten seeds: 40 replicas of the autoencoder.
Writes `benchmarks/results/replicas.json`.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STEPS = 10  # an epoch
ROUNDS = 3
REPLICAS = 40
ALONE = 6  # so many are timed one after another, and the mean taken


def main() -> None:
    """Measure both, alternating, and take medians."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from bench_speed import machine
    from voicetone.training.aae_fit import fit
    from voicetone.training.aae_recipe import AaeRecipe, System
    from voicetone.training.device import device_of_choice
    from voicetone.training.recipe import dataclass_from, read_recipe
    from voicetone.training.replica_data import Scaling
    from voicetone.training.replica_fit import threads
    from voicetone.training.systems_data import examples, jobs_of, sources

    path = ROOT / "recipes" / "aae-ravdess16.toml"
    recipe = dataclass_from(AaeRecipe, read_recipe(path), path)
    found = sources(recipe, recipe.targets[:1])
    folds = len(found.main.table.folds)
    which = [(i, seed) for seed in range(REPLICAS // folds) for i in range(folds)]
    device = device_of_choice()
    rows = []
    for preset in ("vanilla", "optimized"):
        system = System(preset, preset=preset, epochs=1)
        data = examples(found, system.features, 0, device)
        jobs = jobs_of(found, system, which)
        people = [u.speaker for u in found.utterances], [u.corpus for u in found.utterances]
        together, alone = [], []
        for _ in range(ROUNDS):
            for group in [jobs, *([job] for job in jobs[:ALONE])]:
                scaling = Scaling.of(data.values, group, "global", 10.0, *people)
                begun = time.perf_counter()
                with threads(0):
                    fit(data, group, scaling, system, STEPS)
                taken = (time.perf_counter() - begun) / len(group) / STEPS
                (together if len(group) > 1 else alone).append(taken)
        at_once, after = statistics.median(together), statistics.median(alone)
        rows.append(
            {
                "what": f"autoencoder ({preset}): training steps of {REPLICAS} replicas at once "
                f"against one after another, functionals of RAVDESS, {device.type}",
                "measured": f"{after / at_once:.2f}x ({1000 * at_once:.0f} ms a step of a replica, "
                f"{1000 * after:.0f} ms alone)",
                "wanted": ">= 20x" if device.type == "cuda" else ">= 1.5x",
            }
        )
        print(rows[-1], flush=True)
    out = ROOT / "benchmarks" / "results" / "replicas.json"
    told = {
        "command": "python benchmarks/bench_replicas.py",
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rows": rows,
    }
    out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
