"""A run of several systems on several targets: what kinds of systems have in common.

What a system is and how it is trained is said by its `Method`: `voicetone.training.aae_run`,
`voicetone.training.gmm_run`, `voicetone.training.speaker_run` and `voicetone.training.fusion_run`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from voicetone.errors import DataError
from voicetone.evaluation.report_files import write_report
from voicetone.evaluation.table import CAUTIONS, concatenate
from voicetone.features.normalise import NOTES
from voicetone.features.sets import OPENSMILE
from voicetone.features.workers import ProgressLines
from voicetone.models.aae import CHANCE
from voicetone.training.classifier_data import Material
from voicetone.training.classifier_run import opensmile_version, resolved, summary
from voicetone.training.device import device_of_choice
from voicetone.training.replica_data import Job, Scaling
from voicetone.training.replica_fit import Examples, Kept
from voicetone.training.runs import RunFolder
from voicetone.training.systems_data import (
    Loaded,
    Sources,
    feature_config,
    in_any,
    jobs_of,
    load,
    require_features_that_can_be,
    required_features,
    sources,
    steps_per_epoch,
)
from voicetone.training.systems_recipe import System, SystemFeatures, SystemsRecipe, Target
from voicetone.training.systems_table import as_markdown, write_table
from voicetone.types import Utterance

PACKAGES = ("numpy", "torch", "opensmile")
_Heard = tuple[SystemFeatures, tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """One system on the targets of one network: their folders, and what is still to be trained."""

    system: Any
    found: Sources
    folders: tuple[RunFolder, ...]
    """One per target: several of a joint network, else one."""
    missing: tuple[tuple[int, int], ...]
    """Number of fold, and seed."""
    meta: tuple[dict[str, str], ...]
    """What stands in the tables of predictions, per target."""

    @property
    def steps(self) -> int:
        """Per epoch."""
        return steps_per_epoch(self.found.main, self.system.batch)

    @property
    def program(self) -> tuple[object, ...]:
        """What networks of one system have in common that can be trained as one program."""
        return (*(len(m.labels) for m in self.found.materials), self.steps)

    @property
    def name(self) -> str:
        """Of the targets."""
        return "+".join(target.name for target in self.found.targets)


@dataclass(frozen=True)
class Work:
    """What is to be trained of one system as one program, as far as `at_once` lets it be one."""

    recipe: SystemsRecipe
    system: Any
    parts: tuple[Part, ...]
    """What a job's `target` is a place among."""
    loaded: Loaded

    @cached_property
    def data(self) -> Examples:
        """Features and labels."""
        return self.loaded.examples([part.found for part in self.parts])

    @property
    def jobs(self) -> list[Job]:
        """One per target, fold and seed."""
        return [
            job
            for place, part in enumerate(self.parts)
            for job in jobs_of(part.found, self.system, part.missing, place)
        ]

    @property
    def steps(self) -> int:
        """Per epoch; as many for each part."""
        return self.parts[0].steps

    @property
    def name(self) -> str:
        """The system and its targets, for progress and log."""
        return f"{self.system.name} on {', '.join(part.name for part in self.parts)}"

    def groups(self) -> Iterator[tuple[list[Job], Scaling, Callable[[int, int], None]]]:
        """Jobs that are trained as one program, their normalisation, and whom to tell."""
        jobs, at_once = self.jobs, self.recipe.at_once
        report = ProgressLines(f"{self.name}: epochs")
        groups = [jobs[i : i + at_once] for i in range(0, len(jobs), at_once)]
        gathered = [part.found for part in self.parts]
        for number, group in enumerate(groups):
            scaling = self.loaded.scaling(gathered, group, self.system.features)
            yield group, scaling, _part(report, number, len(groups))

    def part(self, job: Job) -> Part:
        """That of a replica."""
        return self.parts[job.target]

    def seeds(self, job: Job) -> tuple[int, ...]:
        """Those of a replica's target."""
        return self.recipe.seeds_of(self.part(job).found.targets[0])

    def wants_checkpoint(self, job: Job) -> bool:
        """Whether the recipe keeps the weights of this replica."""
        kept = self.recipe.checkpoints
        return kept == "all" or (kept == "first" and job.seed == self.seeds(job)[0])

    def fold(self, job: Job) -> str:
        """Name of a replica's fold."""
        return self.part(job).found.main.table.folds[job.fold].name

    def file(self, job: Job, kind: str, suffix: str) -> Path:
        """Where something of a replica is; a joint network's lies with its first target."""
        return self.part(job).folders[0].part(kind, self.fold(job), job.seed, suffix)

    def write_curves(self, job: Job, kept: Kept) -> None:
        """The training curves of a replica, in each target's folder."""
        told = {"epoch": kept.epoch, **_rounded(kept.curves)}
        for folder in self.part(job).folders:
            curves = folder.part("curves", self.fold(job), job.seed, "json")
            curves.parent.mkdir(exist_ok=True)
            folder.write(str(curves.relative_to(folder.path)), json.dumps(told))


class Method(Protocol):
    """What differs between kinds of systems."""

    def require(self, recipe: Any, found: Sources, system: Any) -> None:
        """Check a system against its data, before anything is trained."""

    def words(self, system: Any) -> str:
        """A system and what makes it, in one line."""

    def selection(self, system: Any) -> str:
        """Who chose what."""

    def train(self, work: Work) -> None:
        """Train, and keep the predictions of every fold and seed that is missing."""

    def convergence(self, recipe: SystemsRecipe, system: Any, folder: RunFolder) -> dict[str, Any]:
        """What the training says of a run; `cautions` and `facts` go into its report."""

    def baseline(self, recipe: Any, system: Any) -> Any:
        """The system that another is compared with, or None."""


def run_systems(recipe: SystemsRecipe, method: Method) -> Path:
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
            method.require(recipe, found, system)
    plans = [_parts(recipe, method, system, gathered, root) for system in recipe.systems]
    _extract_all(recipe, plans)
    loaded: dict[_Heard, Loaded] = {}
    for parts in plans:
        _run_system(recipe, method, parts, loaded)
    table = write_table(root, recipe, method.baseline)
    print(as_markdown(table), file=sys.stderr, flush=True)
    return root


def _parts(
    recipe: SystemsRecipe, method: Method, system: Any, gathered: Sequence[Sources], root: Path
) -> list[Part]:
    """A system on each target, or on all of a joint network; their folders are made."""
    parts = []
    for found in gathered:
        each = list(zip(found.targets, found.materials, strict=True))
        folders = tuple(
            RunFolder(
                root / target.name / system.name,
                settings(recipe, system, target, material, found.foreign_hash),
                material.table,
            )
            for target, material in each
        )
        for folder in folders:
            folder.start(PACKAGES)
        seeds = recipe.seeds_of(found.targets[0])
        missing = sorted({m for f in folders for m in f.missing(seeds)})
        meta = tuple(
            facts(recipe, method, system, *one, folder)
            for one, folder in zip(each, folders, strict=True)
        )
        parts.append(Part(system, found, folders, tuple(missing), meta))
    return parts


def _heard(parts: Sequence[Part]) -> tuple[Utterance, ...]:
    """The utterances of all targets on which a system is still to be trained."""
    return in_any([part.found for part in parts if part.missing])


def _extract_all(recipe: SystemsRecipe, plans: Sequence[Sequence[Part]]) -> None:
    """Features of all that is to be trained on, into the cache: what fails, fails before."""
    done = set()
    for parts in plans:
        utterances, choice = _heard(parts), parts[0].system.features
        key = (feature_config(choice), tuple(u.id for u in utterances))
        if utterances and key not in done:
            done.add(key)
            required_features(utterances, choice, recipe.jobs)


def _require_names(recipe: SystemsRecipe) -> None:
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


def _run_system(
    recipe: SystemsRecipe, method: Method, parts: Sequence[Part], loaded: dict[_Heard, Loaded]
) -> None:
    """One system on all targets.

    Args:
        recipe: the whole.
        method: how it is trained.
        parts: the system on each target.
        loaded: what the system before has heard; systems that hear the same share it.
    """
    try:
        for work in _works(recipe, parts, loaded):
            for part in work.parts:
                _log_start(work, part)
            method.train(work)
    except DataError:  # what others gave is scored all the same
        for part in parts:
            seeds = recipe.seeds_of(part.found.targets[0])
            if not any(folder.missing(seeds) for folder in part.folders):
                _finish(recipe, method, part)
        raise
    for part in parts:
        _finish(recipe, method, part)


def _works(
    recipe: SystemsRecipe, parts: Sequence[Part], loaded: dict[_Heard, Loaded]
) -> Iterator[Work]:
    """What is still to be trained of a system, targets together whose networks can be."""
    programs: dict[tuple[object, ...], list[Part]] = {}
    for part in parts:
        if part.missing:
            programs.setdefault(part.program, []).append(part)
    if not programs:
        return
    system, utterances = parts[0].system, _heard(parts)
    key = (system.features, tuple(u.id for u in utterances))
    if key not in loaded:
        loaded.clear()
        loaded[key] = load(utterances, system.features, recipe.jobs, device_of_choice())
    for together in programs.values():
        yield Work(recipe, system, tuple(together), loaded[key])


def _log_start(work: Work, part: Part) -> None:
    """Say in the targets' folders what is trained."""
    material = part.found.main
    others = [other.name for other in work.parts if other is not part]
    line = (
        f"{part.folders[0].path}: {len(material.utterances)} utterances, {material.rule}; "
        f"{material.table.protocol}; {len(part.missing)} replicas, {work.steps} steps an epoch"
    )
    part.folders[0].log(line + (f"; trained together with {', '.join(others)}" if others else ""))


def settings(
    recipe: SystemsRecipe, system: Any, target: Target, material: Material, foreign: str = ""
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
    out |= recipe.decides(system) | recipe.reads(system, material.utterances)
    if recipe.joint:
        out["joint_targets"] = [t.name for t in recipe.targets]
    meant = asdict(target)
    meant.pop("seeds")
    own = asdict(system)
    if isinstance(own.get("weights"), str) and own["weights"]:
        other = Path(own["weights"])  # wherever it lies, with the settings it was trained with
        told = (other / "recipe.json").read_bytes() if (other / "recipe.json").exists() else b""
        own["weights"] = "/".join(other.parts[-3:])
        own["weights_recipe"] = hashlib.sha256(told).hexdigest()
    return {**out, "system": own, "target": meant}


def facts(
    recipe: SystemsRecipe,
    method: Method,
    system: System,
    target: Target,
    material: Material,
    folder: RunFolder,
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
        "model": method.words(system),
        "selection": method.selection(system),
        "sentence_overlap": str(material.overlap),
        CAUTIONS: "; ".join(material.notes),
    }


def _part(report: ProgressLines, number: int, groups: int) -> Callable[[int, int], None]:
    return lambda done, of: report(number * of + done, groups * of)


def _rounded(curves: dict[str, list[float]]) -> dict[str, list[float | None]]:
    return {
        k: [round(x, 5) if np.isfinite(x) else None for x in values] for k, values in curves.items()
    }


def refuse_diverged(work: Work, jobs: Sequence[Job], kept: Sequence[Kept]) -> None:
    """End a run in which a loss is no number.

    Raises:
        DataError: there is such a replica.
    """
    for job, outcome in zip(jobs, kept, strict=True):
        if outcome.diverged:
            others = sum(k.diverged for k in kept) - 1
            raise DataError(
                f"fold {work.fold(job)}, seed {job.seed} diverged"
                f"{f', and {others} more' if others else ''}: a loss is no number; its best "
                f"weights before that (epoch {outcome.epoch}) are in "
                f"{work.file(job, 'checkpoints', 'safetensors')}; lower the system's rate, or give "
                "clip"
            )


def _finish(recipe: SystemsRecipe, method: Method, part: Part) -> None:
    """Metrics and report of one system on the targets of one network."""
    own = replace(recipe, seeds=recipe.seeds_of(part.found.targets[0]))
    for told, material, folder in zip(part.meta, part.found.materials, part.folders, strict=True):
        _score(own, method, part.system, told, material, folder)


def _score(
    recipe: SystemsRecipe,
    method: Method,
    system: Any,
    found: Mapping[str, str],
    material: Material,
    folder: RunFolder,
) -> None:
    """Metrics and report of one system on one target."""
    tables = folder.tables(recipe.seeds)
    metrics = summary(found, material, folder, tables)
    metrics["convergence"] = method.convergence(recipe, system, folder)
    for caution in metrics["convergence"]["cautions"]:
        folder.log(f"{folder.path}: {caution}")
    folder.write("metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False))
    table = concatenate(tables)
    said = [table.meta.get(CAUTIONS, ""), *metrics["convergence"]["cautions"]]
    meta = {
        **table.meta,
        **metrics["convergence"].get("facts", {}),
        CAUTIONS: "; ".join(text for text in said if text),
    }
    write_report(replace(table, meta=meta), folder.path, title=found["name"])
    folder.log(f"{folder.path}: UAR {metrics['uar']['mean']:.3f}, WA {metrics['wa']['mean']:.3f}")


def adversarial_cautions(code: str, loss: float) -> list[str]:
    """What the loss at which a code's discriminators ended says against a run."""
    if loss < 0.6 * CHANCE:
        return [
            f"{code} does not follow its prior: its discriminators end at {loss:.3f}, and at "
            f"{CHANCE:.3f} where they can't tell"
        ]
    if loss > 1.2 * CHANCE:
        return [
            f"the discriminators of {code} lag behind: they end at {loss:.3f}, above the "
            f"{CHANCE:.3f} of a guess"
        ]
    return []


def last_epochs(folder: RunFolder, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Where the curves of all replicas ended: name → the last value of each."""
    ends: dict[str, list[float]] = {}
    for fold in folder.table.folds:
        for seed in seeds:
            path = folder.part("curves", fold.name, seed, "json")
            if not path.exists():  # a run made from its predictions alone
                continue
            try:
                curves = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(
                    f"{path}: no training curves ({error}); delete it and the predictions of the "
                    "same name, and train again"
                ) from error
            for name, values in curves.items():
                last = values if name == "epoch" else values[-1]
                if last is not None:
                    ends.setdefault(name, []).append(float(last))
    return ends
