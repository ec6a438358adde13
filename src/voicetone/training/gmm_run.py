"""A run of codes on a mixture of Gaussians, of the codes beside them, and of their classifiers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voicetone.errors import DataError
from voicetone.features.workers import ProgressLines
from voicetone.models.gmm_aae import Mixture
from voicetone.training.gmm_checks import require, weights_path
from voicetone.training.gmm_codes import Made, made_up, read_out, reference_codes, wanted
from voicetone.training.gmm_convergence import convergence
from voicetone.training.gmm_fit import Coded, fit_codes
from voicetone.training.gmm_match import reached, stretch
from voicetone.training.gmm_recipe import CodesRecipe, CodeSystem
from voicetone.training.replica_checkpoint import read_codes_checkpoint, write_checkpoint
from voicetone.training.replica_data import Job, Scaling, batch
from voicetone.training.replica_fit import threads
from voicetone.training.runs import RunFolder
from voicetone.training.systems_data import Sources
from voicetone.training.systems_recipe import SystemsRecipe
from voicetone.training.systems_run import Work, refuse_diverged, run_systems
from voicetone.training.systems_trained import require_place
from voicetone.training.written import whole
from voicetone.types import Floats

Progress = Callable[[int, int], None]


def run_codes(recipe: CodesRecipe) -> Path:
    """Train and score every system on every target; see `run_systems`."""
    return run_systems(recipe, _Method())


class _Method:
    """See `voicetone.training.systems_run.Method`."""

    def require(self, recipe: CodesRecipe, found: Sources, system: CodeSystem) -> None:
        """Room in the plane, enough of each class, and that synthetic samples can be had.

        Raises:
            DataError: none of these.
        """
        require(recipe, found, system)

    def words(self, system: CodeSystem) -> str:
        """As in `gmm-aae (2-d; ...)`."""
        return words(system)

    def selection(self, system: CodeSystem) -> str:
        """Who chose the classifier."""
        several = len(system.readout) + len(system.sizes) > 2 or any(
            isinstance(getattr(m, f.name), tuple) for m in system.readout for f in fields(m)
        )
        return "kernel, constants and size chosen on validation speakers" if several else "none"

    def train(self, work: Work) -> None:
        """Codes, then classifiers; predictions are kept as they come."""
        if work.system.trains_network:
            _train_networks(work)
        else:
            _train_references(work)

    def convergence(
        self, recipe: SystemsRecipe, system: CodeSystem, folder: RunFolder
    ) -> dict[str, Any]:
        """Where the losses ended, and whether codes of strangers match the mixture."""
        return convergence(recipe, system, folder)

    def baseline(self, recipe: CodesRecipe, system: CodeSystem) -> CodeSystem | None:
        """See `baseline_of`."""
        return baseline_of(recipe, system)


def baseline_of(recipe: CodesRecipe, system: CodeSystem) -> CodeSystem | None:
    """What a system is compared with: the first that takes the features as they are."""
    for other in recipe.systems:
        plain = other.codes == "raw" and other.synthetic is None and other != system
        same = other.features == system.features and other.labelled == system.labelled
        if plain and same:
            return other
    return None


def words(system: CodeSystem) -> str:
    """A system in one line."""
    if system.codes == "raw":
        said = ["features as they are"]
    else:
        said = [f"{'/'.join(map(str, system.sizes))}-d codes by {system.codes}"]
    if system.weights:
        said.append(f"network of {'/'.join(Path(system.weights).parts[-3:])}")
    if system.trains_network:
        hidden = "x".join(map(str, system.hidden))
        said += [f"hidden={hidden}", f"epochs={system.epochs}", f"rate={system.rate:g}"]
    if system.codes == "gmm-aae" and not system.weights:
        said.append(f"radius={system.radius:g}, SD={system.radial:g} and {system.tangential:g}")
    if system.stretch and system.codes == "gmm-aae":
        said.append("stretched on validation speakers")
    if system.labelled < 1:
        said.append(f"{100 * system.labelled:g} % labelled")
    if system.unlabelled:
        said.append("other corpora unlabelled")
    if (drawn := system.synthetic) is not None:
        many = drawn.per_class if drawn.per_class == "balanced" else f"{drawn.per_class} per class"
        said.append(f"{'with' if drawn.real else 'only'} synthetic samples, {many}")
    said.append(" or ".join(m.name for m in system.readout))
    return f"{system.name} ({'; '.join(said)})"


def _train_references(work: Work) -> None:
    """Statistics and synthetic samples: one replica after another."""
    system: CodeSystem = work.system
    total = sum(len(part.missing) for part in work.parts)
    report = ProgressLines(f"{work.name}: folds and seeds")
    done = 0
    for group, scaling, _ in work.groups():
        for index, job in enumerate(group):
            x, truth = _heard(work, scaling.alone(index), job), work.data.truth[job.target][:, 0]
            if system.weights:
                codes = _codes_of_others(work, job, x)
            else:
                codes = {s: reference_codes(system, s, x, truth, job) for s in system.sizes}
            made = None if system.synthetic is None else _synthetic(work, job)
            _predict(work, job, _outcome(work, job, codes, made)[0])
            done += 1
            report(done, total)


def _codes_of_others(work: Work, job: Job, x: Floats) -> dict[int, Floats]:
    """Codes `[n, size]` by the network of another run, and what is told of them."""
    net = read_codes_checkpoint(weights_path(work.system, job.seed)).net
    with torch.no_grad():
        codes = net.encode(torch.from_numpy(x)[None])[0].numpy()
    mixture = net.config.mixture
    stretched = _stretched(work, job, codes, mixture)
    arrays = {"codes": codes, "stretched": stretched}
    told = {name: values[job.test] for name, values in arrays.items()}
    _write(work, job, "codes", told | {"truth": _truth(work, job, job.test)})
    return {mixture.size: stretched if work.system.stretch else codes}


def _heard(work: Work, scaling: Scaling, job: Job) -> Floats:
    """Normalised features of every utterance of a target `[n, features]`."""
    every = torch.from_numpy(work.data.every(job))[None].to(work.data.values.device)
    return np.asarray(batch(work.data.values, scaling, every)[0][0].cpu().numpy())


def _synthetic(work: Work, job: Job) -> Made:
    """Samples by the network of the same fold and seed.

    Raises:
        DataError: its weights are gone.
    """
    choice = work.system.synthetic
    maker = work.part(job).folders[0].path.parent / choice.of
    own = work.file(job, "checkpoints", "safetensors")
    path = maker / own.parent.name / own.name
    if not path.exists():
        raise DataError(
            f"{path}: the weights that made-up samples come from are not kept; delete "
            f"{maker / 'predictions'}, and {choice.of} is trained again and keeps them"
        )
    checkpoint = read_codes_checkpoint(path)
    require_place(checkpoint, path, work.fold(job), job.seed)
    net = checkpoint.net
    counts = wanted(choice, _truth(work, job, job.labelled), work.data.classes[0])
    return made_up(net, counts, [job.seed, job.fold])


def _train_networks(work: Work) -> None:
    """Autoencoders, all replicas of a group at once, then their classifiers."""
    system: CodeSystem = work.system
    for group, scaling, progress in work.groups():
        coded: list[dict[int, Coded]] = [{} for _ in group]
        shown = _shown(work, group)
        for place, size in enumerate(system.sizes):
            part = _part(progress, place, len(system.sizes))
            with threads(work.recipe.jobs):
                fitted = fit_codes(
                    work.data, group, scaling, system, size, work.steps, part, shown=shown
                )
            for job, found, one in zip(group, coded, fitted, strict=True):
                if one.diverged:
                    _checkpoint(work, job, size, one)
                found[size] = one
        report = ProgressLines(f"{work.name}: classifiers")
        for done, (job, found) in enumerate(zip(group, coded, strict=True), 1):
            if not any(one.diverged for one in found.values()):
                _keep(work, job, found)
            report(done, len(group))
        for size in system.sizes:
            refuse_diverged(work, group, [found[size] for found in coded])


def _shown(work: Work, group: Sequence[Job]) -> list[int]:
    """Whose training is kept for an animation: of each target the first seed's first fold."""
    firsts = ((0, work.seeds(job)[0]) for job in group)
    return [
        i
        for i, (job, first) in enumerate(zip(group, firsts, strict=True))
        if (job.fold, job.seed) == first
    ]


def _part(progress: Progress, before: int, parts: int) -> Progress:
    return lambda done, of: progress(before * of + done, of * parts)


def _keep(work: Work, job: Job, found: dict[int, Coded]) -> None:
    """Score one replica, and write what is kept of it; predictions last."""
    system: CodeSystem = work.system
    codes = {size: one.codes for size, one in found.items()}
    adversarial = system.codes == "gmm-aae"
    mixtures = {s: system.config(1, work.data.classes[0], s).mixture for s in codes}
    stretched = {s: _stretched(work, job, c, mixtures[s]) for s, c in codes.items() if adversarial}
    used = stretched if system.stretch and adversarial else codes
    outcome, size = _outcome(work, job, used, None)
    one = found[size]
    arrays = {"codes": codes[size][job.test], "truth": _truth(work, job, job.test)}
    if adversarial:
        arrays["stretched"] = stretched[size][job.test]
        arrays["reached"] = _reached(work, job, codes[size], mixtures[size])
    _write(work, job, "codes", arrays)
    if one.snapshots:
        part = np.zeros(len(one.codes), dtype=np.int8)
        part[job.validation], part[job.test] = 1, 2
        used_rows = np.concatenate([job.training, job.validation, job.test])
        shown = np.intersect1d(used_rows, np.arange(len(work.part(job).found.main.utterances)))
        _write(
            work,
            job,
            "snapshots",
            {
                "epochs": np.array([epoch for epoch, _ in one.snapshots]),
                "codes": np.stack([c[shown] for _, c in one.snapshots]),
                "truth": _truth(work, job, shown),
                "part": part[shown],
            },
        )
    needed = any(s.synthetic and s.synthetic.of == system.name for s in work.recipe.systems)
    if needed or work.wants_checkpoint(job):
        _checkpoint(work, job, size, one)
    work.write_curves(job, one)
    _predict(work, job, outcome)


def _reached(work: Work, job: Job, codes: Floats, mixture: Mixture) -> Any:
    """Of each class's training utterances, the share in its own component."""
    truth = _truth(work, job, job.labelled)
    weights = np.bincount(truth, minlength=mixture.classes) / len(truth)
    return reached(codes[job.labelled].astype(np.float64), truth, mixture, weights)


def _truth(work: Work, job: Job, rows: Any) -> Any:
    return work.data.truth[job.target][rows, 0]


def _stretched(work: Work, job: Job, codes: Floats, mixture: Mixture) -> Floats:
    """Codes stretched on validation speakers; as they are where these all lie in the middle.

    Raises:
        DataError: they do, and stretched codes are what the system is to use.
    """
    held = job.validation
    exact = codes.astype(np.float64)
    try:
        found = stretch(exact, exact[held], _truth(work, job, held), mixture)
    except DataError:
        if work.system.stretch:
            raise
        return codes
    return np.asarray(found, dtype=np.float32)


def _write(work: Work, job: Job, kind: str, arrays: dict[str, Any]) -> None:
    path = work.file(job, kind, "npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as unfinished:
        np.savez_compressed(unfinished, allow_pickle=False, **arrays)


def _checkpoint(work: Work, job: Job, size: int, one: Coded) -> None:
    write_checkpoint(
        work.file(job, "checkpoints", "safetensors"),
        one.state,
        config=work.system.config(work.data.values.x.shape[-1], work.data.classes[0], size),
        labels=[work.part(job).found.main.labels],
        features=work.system.features,
        fold=work.fold(job),
        seed=job.seed,
    )


def _outcome(work: Work, job: Job, codes: dict[int, Floats], made: Made | None) -> Any:
    truth, classes = work.data.truth[job.target][:, 0], work.data.classes[0]
    return read_out(work.system, codes, truth, classes, job, made)


def _predict(work: Work, job: Job, outcome: Any) -> None:
    name, part = work.fold(job), work.part(job)
    meta = {**part.meta[0], "chosen": json.dumps(outcome.chosen)}
    table = part.found.main.predictions(
        job.test, outcome.scores, name, job.seed, meta, probabilities=outcome.probabilities
    )
    part.folders[0].keep(name, job.seed, table)
