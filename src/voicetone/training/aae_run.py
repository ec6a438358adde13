"""A run of adversarial autoencoders: every system on every target, and their table."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voicetone.errors import DataError
from voicetone.evaluation.report_files import write_report
from voicetone.evaluation.table import CAUTIONS, concatenate
from voicetone.features.normalise import NOTES
from voicetone.features.sets import OPENSMILE
from voicetone.features.workers import ProgressLines
from voicetone.models.aae import CHANCE
from voicetone.training.aae_checkpoint import write_checkpoint
from voicetone.training.aae_data import (
    Sources,
    examples,
    feature_config,
    jobs_of,
    require_features_that_can_be,
    required_features,
    sources,
    steps_per_epoch,
)
from voicetone.training.aae_fit import Outcome, fit, network_config
from voicetone.training.aae_recipe import AaeFeatures, AaeRecipe, System, Target
from voicetone.training.aae_table import as_markdown, write_table
from voicetone.training.classifier_data import Material
from voicetone.training.classifier_run import opensmile_version, resolved, summary
from voicetone.training.device import device_of_choice
from voicetone.training.replica_data import Job, Scaling
from voicetone.training.replica_fit import Examples, threads
from voicetone.training.runs import RunFolder

NO_BETTER = 0.98  # of the error that the mean makes, which is 1 up to the speakers' differences
PACKAGES = ("numpy", "torch", "opensmile")


def run_aae(recipe: AaeRecipe) -> Path:
    """Train and score every system on every target, or go on where the run stopped.

    Everything about the data is checked before anything is trained. What has its predictions is
    not trained again.

    Returns:
        The folder, with `TARGET/SYSTEM/` for each run, and `table.md` and `table.json`.

    Raises:
        DataError: data that is not in order, settings that can't be, or a folder of another run.
    """
    root = Path(recipe.out or f"runs/{recipe.name}")
    _require_names(recipe)
    groups = [recipe.targets] if recipe.joint else [(target,) for target in recipe.targets]
    for system in recipe.systems:
        require_features_that_can_be(system)
    gathered = [sources(recipe, group) for group in groups]
    for found in gathered:
        for system in recipe.systems:
            jobs_of(found, system, [(i, 0) for i in range(len(found.main.table.folds))])
    plans = [_plans(recipe, found, root) for found in gathered]
    _extract_all(recipe, gathered, plans)
    for found, plan in zip(gathered, plans, strict=True):
        _run_group(recipe, found, plan)
    print(as_markdown(write_table(root, recipe)), file=sys.stderr, flush=True)
    return root


@dataclass(frozen=True)
class _Plan:
    """One system on the targets of one network: their folders, and what is still to be trained."""

    system: System
    folders: tuple[RunFolder, ...]
    missing: tuple[tuple[int, int], ...]


def _plans(recipe: AaeRecipe, found: Sources, root: Path) -> list[_Plan]:
    plans = []
    for system in recipe.systems:
        folders = tuple(
            RunFolder(
                root / target.name / system.name,
                settings(recipe, system, target, material, found.foreign_hash),
                material.table,
            )
            for target, material in zip(found.targets, found.materials, strict=True)
        )
        for folder in folders:
            folder.start(PACKAGES)
        missing = sorted({m for f in folders for m in f.missing(recipe.seeds)})
        plans.append(_Plan(system, folders, tuple(missing)))
    return plans


def _extract_all(
    recipe: AaeRecipe, gathered: Sequence[Sources], plans: Sequence[Sequence[_Plan]]
) -> None:
    """Features of all that is to be trained on, into the cache: what fails, fails before."""
    done = set()
    for found, group in zip(gathered, plans, strict=True):
        ids = tuple(u.id for u in found.utterances)
        for plan in group:
            config = feature_config(plan.system.features)
            if plan.missing and (config, ids) not in done:
                done.add((config, ids))
                required_features(found, plan.system.features, recipe.jobs)


def _require_names(recipe: AaeRecipe) -> None:
    for kind, names in (
        ("systems", [s.name for s in recipe.systems]),
        ("targets", [t.name for t in recipe.targets]),
    ):
        twice = {n for n in names if names.count(n) > 1 or not n or Path(n).name != n}
        if twice:
            raise DataError(
                f"{recipe.name}: {kind} need names of their own that can name a folder, not "
                f"{sorted(twice)[0]!r}; mend the recipe"
            )
    if any(s.unlabelled for s in recipe.systems) and not recipe.unlabelled:
        raise DataError(
            f"{recipe.name}: a system has unlabelled = true, and the recipe names no [[unlabelled]]"
        )


def _run_group(recipe: AaeRecipe, found: Sources, plans: Sequence[_Plan]) -> None:
    """All systems on the targets of one network; systems that hear the same share it."""
    loaded: dict[AaeFeatures, Examples] = {}
    for plan in plans:
        system, folders = plan.system, plan.folders
        if plan.missing:
            key = system.features
            if key not in loaded:
                loaded.clear()
                loaded[key] = examples(found, key, recipe.jobs, device_of_choice())
            _train(recipe, system, found, loaded[key], folders, plan.missing)
        for folder, target, material in zip(folders, found.targets, found.materials, strict=True):
            _finish(recipe, system, target, material, folder)


def settings(
    recipe: AaeRecipe, system: System, target: Target, material: Material, foreign: str = ""
) -> dict[str, Any]:
    """What makes one system's run on one target what it is.

    Args:
        recipe: the whole.
        system: what is trained.
        target: what y stands for.
        material: what it learns from.
        foreign: hash of the audio of the unlabelled corpora.
    """
    whole = resolved(recipe, material)
    kept = ("kind", "name", "corpora", "protocol", "joint", "labelled_data")
    out = {key: whole[key] for key in kept}
    if system.unlabelled:
        out["unlabelled"] = [{**asdict(c), "name": Path(c.name).name} for c in recipe.unlabelled]
        out["unlabelled_data"] = foreign
    if system.features.name in OPENSMILE:
        out["opensmile"] = opensmile_version()
    if recipe.joint:
        out["joint_targets"] = [t.name for t in recipe.targets]
    return {**out, "system": asdict(system), "target": asdict(target)}


def facts(
    recipe: AaeRecipe, system: System, target: Target, material: Material, folder: RunFolder
) -> dict[str, str]:
    """What stands in every table of predictions."""
    choice = system.features
    heard = str(feature_config(choice))
    if choice.frames:
        heard += f", {choice.frames} frames of {10 * choice.step} ms"
    return {
        "name": f"{recipe.name}/{target.name}/{system.name}",
        "recipe": folder.recipe_hash,
        "folds": material.table.hash,
        "protocol": material.table.protocol,
        "label_rule": material.rule,
        "features": f"{heard}; {NOTES[choice.normalise]}",
        "model": system_words(system),
        "selection": "epoch chosen on validation speakers",
        "sentence_overlap": str(material.overlap),
        CAUTIONS: "; ".join(material.notes),
    }


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


def _train(
    recipe: AaeRecipe,
    system: System,
    found: Sources,
    data: Examples,
    folders: Sequence[RunFolder],
    missing: Sequence[tuple[int, int]],
) -> None:
    jobs = jobs_of(found, system, missing)
    steps = steps_per_epoch(found.main, system.batch)
    folders[0].log(
        f"{folders[0].path}: {len(found.main.utterances)} utterances, {found.main.rule}; "
        f"{found.main.table.protocol}; {len(jobs)} replicas, {steps} steps an epoch"
    )
    report = ProgressLines(f"{system.name}: epochs")
    groups = [jobs[i : i + recipe.at_once] for i in range(0, len(jobs), recipe.at_once)]
    for number, group in enumerate(groups):
        progress = _part(report, number, len(groups))
        scaling = Scaling.of(
            data.values,
            group,
            system.features.normalise,
            system.features.limit,
            [u.speaker for u in found.utterances],
            [u.corpus for u in found.utterances],
        )
        with threads(recipe.jobs):
            outcomes = fit(data, group, scaling, system, steps, progress)
        for job, outcome in zip(group, outcomes, strict=True):
            _keep(recipe, system, found, data, folders, job, outcome)
        _refuse_diverged(folders[0], group, outcomes)


def _part(report: ProgressLines, number: int, groups: int) -> Callable[[int, int], None]:
    return lambda done, of: report(number * of + done, groups * of)


def _keep(
    recipe: AaeRecipe,
    system: System,
    found: Sources,
    data: Examples,
    folders: Sequence[RunFolder],
    job: Job,
    outcome: Outcome,
) -> None:
    """Write what a replica gave; of a diverged one the weights only."""
    name = found.main.table.folds[job.fold].name
    wanted = recipe.checkpoints == "all" or (
        recipe.checkpoints == "first" and job.seed == recipe.seeds[0]
    )
    if wanted or outcome.diverged:
        path = folders[0].part("checkpoints", name, job.seed, "safetensors")
        write_checkpoint(
            path,
            outcome.state,
            config=network_config(system, data),
            labels=[m.labels for m in found.materials],
            features=system.features,
            fold=name,
            seed=job.seed,
        )
    for folder, material, target, scores in zip(
        folders, found.materials, found.targets, outcome.scores, strict=True
    ):
        curves = folder.part("curves", name, job.seed, "json")
        curves.parent.mkdir(exist_ok=True)
        told = {"epoch": outcome.epoch, **_rounded(outcome.curves)}
        folder.write(str(curves.relative_to(folder.path)), json.dumps(told))
        if outcome.diverged:
            continue
        meta = facts(recipe, system, target, material, folder)
        meta["chosen"] = json.dumps({"epoch": outcome.epoch})
        table = material.predictions(job.test, scores, name, job.seed, meta, probabilities=True)
        folder.keep(name, job.seed, table)


def _rounded(curves: dict[str, list[float]]) -> dict[str, list[float | None]]:
    return {
        k: [round(x, 5) if np.isfinite(x) else None for x in values] for k, values in curves.items()
    }


def _refuse_diverged(folder: RunFolder, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.diverged:
            name = folder.table.folds[job.fold].name
            path = folder.part("checkpoints", name, job.seed, "safetensors")
            others = sum(o.diverged for o in outcomes) - 1
            raise DataError(
                f"fold {name}, seed {job.seed} diverged{f', and {others} more' if others else ''}: "
                f"a loss is no number; its best weights before that (epoch {outcome.epoch}) are in "
                f"{path}; lower the system's rate, or give clip"
            )


def _finish(
    recipe: AaeRecipe, system: System, target: Target, material: Material, folder: RunFolder
) -> None:
    """Metrics and report of one system on one target."""
    tables = folder.tables(recipe.seeds)
    found = facts(recipe, system, target, material, folder)
    metrics = summary(found, material, folder, tables)
    metrics["convergence"] = convergence(folder, recipe.seeds)
    for caution in metrics["convergence"]["cautions"]:
        folder.log(f"{folder.path}: {caution}")
    folder.write("metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False))
    write_report(concatenate(tables), folder.path, title=found["name"])
    folder.log(f"{folder.path}: UAR {metrics['uar']['mean']:.3f}, WA {metrics['wa']['mean']:.3f}")


def convergence(folder: RunFolder, seeds: Sequence[int]) -> dict[str, Any]:
    """Where the curves of all replicas ended, and what that says against them.

    Discriminators that can't tell have a loss of ln 2; far below, codes don't follow the prior.
    """
    ends: dict[str, list[float]] = {}
    for fold in folder.table.folds:
        for seed in seeds:
            path = folder.part("curves", fold.name, seed, "json")
            if not path.exists():  # a run made from its predictions alone
                continue
            for name, values in json.loads(path.read_text(encoding="utf-8")).items():
                last = values if name == "epoch" else values[-1]
                if last is not None:
                    ends.setdefault(name, []).append(float(last))
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
        loss = mean.get(f"discriminator_{code}")
        if loss is not None and loss < 0.6 * CHANCE:
            cautions.append(
                f"{code} does not follow its prior: its discriminators end at {loss:.3f}, and at "
                f"{CHANCE:.3f} where they can't tell"
            )
        elif loss is not None and loss > 1.2 * CHANCE:
            cautions.append(
                f"the discriminators of {code} lag behind: they end at {loss:.3f}, above the "
                f"{CHANCE:.3f} of a guess"
            )
    for name, limit, words in (
        ("y_entropy", 0.5, "y has collapsed: most validation utterances get the same few classes"),
        ("z_sd", 0.1, "z has collapsed: it hardly varies over the validation utterances"),
    ):
        values = ends.get(name, [])
        low = sum(value < limit for value in values)
        if low:
            cautions.append(f"{words} (in {low} of {len(values)} trainings)")
    return cautions
