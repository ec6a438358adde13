"""A run of adversarial autoencoders with emotion and style latents, and of their baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.training.aae_fit import Outcome, fit, network_config
from voicetone.training.aae_recipe import AaeRecipe, System
from voicetone.training.replica_checkpoint import write_checkpoint
from voicetone.training.replica_data import Job
from voicetone.training.replica_fit import threads
from voicetone.training.runs import RunFolder
from voicetone.training.systems_data import Sources
from voicetone.training.systems_recipe import SystemsRecipe
from voicetone.training.systems_run import (
    Work,
    adversarial_cautions,
    last_epochs,
    refuse_diverged,
    run_systems,
)

NO_BETTER = 0.98  # of the error that the mean makes, which is 1 up to the speakers' differences


def run_aae(recipe: AaeRecipe) -> Path:
    """Train and score every system on every target; see `run_systems`."""
    return run_systems(recipe, _Method())


class _Method:
    """See `voicetone.training.systems_run.Method`."""

    def require(self, recipe: AaeRecipe, found: Sources, system: System) -> None:
        """Nothing beyond what every system needs."""

    def words(self, system: System) -> str:
        """As in `aae (optimized; epochs=60; ...)`."""
        return system_words(system)

    def selection(self, system: System) -> str:
        """Who chose the epoch."""
        return "epoch chosen on validation speakers"

    def train(self, work: Work) -> None:
        """Train, and keep what each replica gave."""
        for group, scaling, progress in work.groups():
            with threads(work.recipe.jobs):
                outcomes = fit(work.data, group, scaling, work.system, work.steps, progress)
            for job, outcome in zip(group, outcomes, strict=True):
                _keep(work, job, outcome)
            refuse_diverged(work, group, outcomes)

    def convergence(
        self, recipe: SystemsRecipe, system: System, folder: RunFolder
    ) -> dict[str, Any]:
        """See `convergence`."""
        return convergence(folder, recipe.seeds)

    def baseline(self, recipe: AaeRecipe, system: System) -> System | None:
        """See `baseline_of`."""
        return baseline_of(recipe, system)


def baseline_of(recipe: AaeRecipe, system: System) -> System | None:
    """What a system is to be better than: the last `base` before it that hears the same audio."""
    if system.network == "base":
        return None
    found = None
    for other in recipe.systems[: recipe.systems.index(system)]:
        same = other.features == system.features and other.labelled == system.labelled
        if other.network == "base" and same:
            found = other
    return found


def system_words(system: System) -> str:
    """A system and what makes it, as in `aae (optimized; epochs=60; ...)`."""
    norm, dropout, relative = system.ingredients
    said = [f"epochs={system.epochs}", f"batch={system.batch}", f"rate={system.rate:g}"]
    if norm:
        said.append("batch norm")
    if system.network == "aae":
        weights = system.weights
        said += [
            f"discriminators: dropout={dropout:g}, rate={relative:g}x",
            f"weights {weights.reconstruct:g}:{weights.y:g}:{weights.z:g}:{weights.classify:g}",
        ]
    if system.labelled < 1:
        said.append(f"{100 * system.labelled:g} % labelled")
    if system.unlabelled:
        said.append("other corpora unlabelled")
    return f"{system.name} ({'; '.join(said)})"


def _keep(work: Work, job: Job, outcome: Outcome) -> None:
    """Write what a replica gave; of a diverged one the weights only."""
    name, part = work.fold(job), work.part(job)
    if work.wants_checkpoint(job) or outcome.diverged:
        write_checkpoint(
            work.file(job, "checkpoints", "safetensors"),
            outcome.state,
            config=network_config(work.system, work.data),
            labels=[m.labels for m in part.found.materials],
            features=work.system.features,
            fold=name,
            seed=job.seed,
        )
    work.write_curves(job, outcome)
    if outcome.diverged:
        return
    for folder, material, told, scores in zip(
        part.folders, part.found.materials, part.meta, outcome.scores, strict=True
    ):
        meta = {**told, "chosen": json.dumps({"epoch": outcome.epoch})}
        table = material.predictions(job.test, scores, name, job.seed, meta, probabilities=True)
        folder.keep(name, job.seed, table)


def convergence(folder: RunFolder, seeds: Sequence[int]) -> dict[str, Any]:
    """Where the curves of all replicas ended, and what that says against them.

    Discriminators that can't tell have a loss of ln 2; far below, codes don't follow the prior.
    """
    ends = last_epochs(folder, seeds)
    mean = {name: round(float(np.mean(values)), 4) for name, values in ends.items()}
    return {"last_epoch": mean, "cautions": _cautions(mean, ends)}


def _cautions(mean: dict[str, float], ends: dict[str, list[float]]) -> list[str]:
    """What the ends of the curves say against a run."""
    cautions = []
    error = mean.get("validation_reconstruction", 0.0)
    if error >= NO_BETTER:
        cautions.append(
            f"the decoder does no better than the mean of the features on validation speakers: its "
            f"mean squared error is {error:.2f}, and about 1 for the mean"
        )
    for code in ("y", "z"):
        if f"discriminator_{code}" in mean:
            cautions += adversarial_cautions(code, mean[f"discriminator_{code}"])
    for name, limit, words in (
        ("y_entropy", 0.5, "y has collapsed: most validation utterances get the same few classes"),
        ("z_sd", 0.1, "z has collapsed: it hardly varies over the validation utterances"),
    ):
        values = ends.get(name, [])
        low = sum(value < limit for value in values)
        if low:
            cautions.append(f"{words} (in {low} of {len(values)} trainings)")
    return cautions
