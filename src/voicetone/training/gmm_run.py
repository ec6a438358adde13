"""A run of codes on a mixture of Gaussians, of the codes beside them, and of their classifiers."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voicetone.errors import DataError
from voicetone.evaluation.table import read_predictions
from voicetone.features.workers import ProgressLines
from voicetone.training.gmm_codes import Made, made_up, read_out, reference_codes, wanted
from voicetone.training.gmm_fit import Coded, fit_codes
from voicetone.training.gmm_match import Match, cautions, match, stretch
from voicetone.training.gmm_recipe import CodesRecipe, CodeSystem
from voicetone.training.protocol import read_folds
from voicetone.training.replica_checkpoint import read_codes_checkpoint, write_checkpoint
from voicetone.training.replica_data import Job, Scaling, batch
from voicetone.training.replica_fit import threads
from voicetone.training.runs import RunFolder
from voicetone.training.systems_data import Sources
from voicetone.training.systems_recipe import SystemsRecipe
from voicetone.training.systems_run import Work, last_epochs, refuse_diverged, run_systems
from voicetone.types import Floats

Progress = Callable[[int, int], None]
FEWEST = 10
"""Training utterances of a class: a component can't be matched with fewer."""


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
        several = len(system.readout) > 1 or any(
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


def require(recipe: CodesRecipe, found: Sources, system: CodeSystem) -> None:
    """Check a system against its data, see `_Method.require`."""
    material = found.main
    if system.features.frames:
        raise DataError(f"{system.name}: codes are of whole utterances; take frames = 0")
    if any(not len(fold.validation) for fold in material.table.folds):
        raise DataError(
            f"{system.name}: nobody validates in this protocol, and the classifier on codes is "
            "chosen on validation speakers: give validation speakers"
        )
    if system.codes == "gmm-aae":
        for size in system.sizes:
            system.config(1, len(material.labels), size).mixture.require_room()
    if system.codes in ("gmm-aae", "lda"):
        for fold in material.table.folds:
            count = Counter(material.truth[material.rows(fold.train)].tolist())
            place, least = min(count.items(), key=lambda item: item[1])
            if least * system.labelled < FEWEST:
                raise DataError(
                    f"fold {fold.name}: {least} training utterances of "
                    f"{material.labels[place]}, of whose labels {system.labelled:g} are used: "
                    f"fewer than {FEWEST} can't be matched with a component; leave the class out "
                    "with labels = [...], or raise labelled"
                )
    if system.synthetic is not None:
        _require_maker(recipe, system)
    if system.weights:
        _require_strangers(recipe, found, system)


def _require_maker(recipe: CodesRecipe, system: CodeSystem) -> None:
    assert system.synthetic is not None
    before = recipe.systems[: recipe.systems.index(system)]
    maker = next((s for s in before if s.name == system.synthetic.of), None)
    if maker is None or maker.codes != "gmm-aae" or maker.features != system.features:
        raise DataError(
            f"{system.name}: synthetic.of = {system.synthetic.of!r} has to be an earlier system "
            'with codes = "gmm-aae" and the same features'
        )
    if system.codes != "raw":
        raise DataError(
            f'{system.name}: synthetic samples are features: take codes = "raw" with them'
        )


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
    if system.codes == "gmm-aae":
        said.append(f"radius={system.radius:g}, SD={system.radial:g} and {system.tangential:g}")
    if system.stretch:
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
    truth, classes = work.data.truth[:, 0], work.data.classes[0]
    report = ProgressLines(f"{system.name}: folds and seeds")
    done = 0
    for group, scaling, _ in work.groups():
        for index, job in enumerate(group):
            x = _heard(work, scaling.alone(index))
            if system.weights:
                codes = _codes_of_others(work, job, x)
            else:
                codes = {
                    s: reference_codes(system, s, x, truth, job, classes) for s in system.sizes
                }
            made = None if system.synthetic is None else _synthetic(work, job)
            _score(work, job, codes, made)
            done += 1
            report(done, len(work.missing))


def _codes_of_others(work: Work, job: Job, x: Floats) -> dict[int, Floats]:
    """Codes `[n, size]` by the network of another run, and what is told of them."""
    net = read_codes_checkpoint(_weights_path(work.system, job.seed)).net
    with torch.no_grad():
        codes = net.encode(torch.from_numpy(x)[None])[0].numpy()
    mixture = net.config.mixture
    held = job.validation
    exact = codes.astype(np.float64)
    stretched = stretch(exact, exact[held], _truth(work, held), mixture).astype(np.float32)
    arrays = {"codes": codes, "stretched": stretched}
    told = {name: values[job.test] for name, values in arrays.items()}
    _write(work, job, "codes", told | {"truth": _truth(work, job.test)})
    return {mixture.size: stretched if work.system.stretch else codes}


def _weights_path(system: CodeSystem, seed: int) -> Path:
    """Weights of the one fold of another run.

    Raises:
        DataError: none of this seed, or of several folds.
    """
    found = sorted((Path(system.weights) / "checkpoints").glob(f"*-{seed}.safetensors"))
    if len(found) != 1:
        raise DataError(
            f"{system.weights}: {len(found)} networks of seed {seed}; weights names "
            'OUT/TARGET/SYSTEM of a run with one fold and checkpoints = "all"; train it first'
        )
    return found[0]


def _require_strangers(recipe: CodesRecipe, found: Sources, system: CodeSystem) -> None:
    """That the network of another run fits, and was trained on nobody who is heard here.

    Raises:
        DataError: it doesn't, or it was.
    """
    if system.codes != "gmm-aae":
        raise DataError(f'{system.name}: weights make codes of codes = "gmm-aae" only')
    learnt = {
        key
        for fold in read_folds(Path(system.weights) / "folds.json").folds
        for key in (*fold.train, *fold.validation)
    }
    known = [u.id for u in found.main.utterances if u.id in learnt]
    if known:
        raise DataError(
            f"{system.name}: the network of {system.weights} has learnt from {known[0]}, who is "
            "tested in some fold; take weights of other corpora"
        )
    for seed in recipe.seeds:
        checkpoint = read_codes_checkpoint(_weights_path(system, seed))
        if checkpoint.labels != (found.main.labels,) or checkpoint.features != system.features:
            raise DataError(
                f"{system.weights}: a network for {', '.join(checkpoint.labels[0])} on "
                f"{checkpoint.features.name}, {checkpoint.features.normalise}; {system.name} has "
                f"{', '.join(found.main.labels)} on {system.features.name}, "
                f"{system.features.normalise}: choose the same"
            )


def _heard(work: Work, scaling: Scaling) -> Floats:
    """Normalised features of every utterance `[n, features]`."""
    every = torch.arange(len(work.data.truth))[None].to(work.data.values.device)
    return np.asarray(batch(work.data.values, scaling, every)[0][0].cpu().numpy())


def _synthetic(work: Work, job: Job) -> Made:
    """Samples by the network of the same fold and seed.

    Raises:
        DataError: its weights are gone.
    """
    choice = work.system.synthetic
    maker = work.folders[0].path.parent / choice.of
    part = work.folders[0].part("checkpoints", work.fold(job), job.seed, "safetensors")
    net = read_codes_checkpoint(maker / part.parent.name / part.name).net
    counts = wanted(choice, work.data.truth[job.labelled, 0], work.data.classes[0])
    return made_up(net, counts, [job.seed, job.fold])


def _train_networks(work: Work) -> None:
    """Autoencoders, all replicas of a group at once, then their classifiers."""
    system: CodeSystem = work.system
    for group, scaling, progress in work.groups():
        coded: list[dict[int, Coded]] = [{} for _ in group]
        for place, size in enumerate(system.sizes):
            part = _part(progress, place, len(system.sizes))
            with threads(work.recipe.jobs):
                fitted = fit_codes(work.data, group, scaling, system, size, work.steps, part)
            for job, found, one in zip(group, coded, fitted, strict=True):
                found[size] = one
                if one.diverged:
                    _checkpoint(work, job, size, one)
            refuse_diverged(work.folders[0], group, fitted)
        report = ProgressLines(f"{system.name}: classifiers")
        for done, (job, found) in enumerate(zip(group, coded, strict=True), 1):
            _keep(work, job, found)
            report(done, len(group))


def _part(progress: Progress, before: int, parts: int) -> Progress:
    return lambda done, of: progress(before * of + done, of * parts)


def _keep(work: Work, job: Job, found: dict[int, Coded]) -> None:
    """Score one replica, and write what is kept of it; predictions last."""
    system: CodeSystem = work.system
    codes = {size: one.codes for size, one in found.items()}
    adversarial = system.codes == "gmm-aae"
    stretched = {s: _stretched(work, job, s, c) for s, c in codes.items()} if adversarial else {}
    used = stretched if system.stretch and adversarial else codes
    outcome, size = _outcome(work, job, used, None)
    one = found[size]
    _write(
        work,
        job,
        "codes",
        {"codes": codes[size][job.test], "truth": _truth(work, job.test)}
        | ({"stretched": stretched[size][job.test]} if adversarial else {}),
    )
    if one.snapshots and job.seed == work.recipe.seeds[0]:
        part = np.zeros(len(one.codes), dtype=np.int8)
        part[job.validation], part[job.test] = 1, 2
        used_rows = np.concatenate([job.training, job.validation, job.test])
        shown = np.intersect1d(used_rows, np.arange(len(work.found.main.utterances)))
        _write(
            work,
            job,
            "snapshots",
            {
                "epochs": np.array([epoch for epoch, _ in one.snapshots]),
                "codes": np.stack([c[shown] for _, c in one.snapshots]),
                "truth": _truth(work, shown),
                "part": part[shown],
            },
        )
    needed = any(s.synthetic and s.synthetic.of == system.name for s in work.recipe.systems)
    if needed or work.wants_checkpoint(job):
        _checkpoint(work, job, size, one)
    work.write_curves(job, one)
    _predict(work, job, outcome)


def _truth(work: Work, rows: Any) -> Any:
    return work.data.truth[rows, 0]


def _stretched(work: Work, job: Job, size: int, codes: Floats) -> Floats:
    mixture = work.system.config(1, work.data.classes[0], size).mixture
    held = job.validation
    exact = codes.astype(np.float64)
    found = stretch(exact, exact[held], _truth(work, held), mixture)
    return np.asarray(found, dtype=np.float32)


def _write(work: Work, job: Job, kind: str, arrays: dict[str, Any]) -> None:
    path = work.folders[0].part(kind, work.fold(job), job.seed, "npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}.npz")
    np.savez_compressed(unfinished, allow_pickle=False, **arrays)
    unfinished.replace(path)


def _checkpoint(work: Work, job: Job, size: int, one: Coded) -> None:
    name = work.fold(job)
    write_checkpoint(
        work.folders[0].part("checkpoints", name, job.seed, "safetensors"),
        one.state,
        config=work.system.config(work.data.values.x.shape[-1], work.data.classes[0], size),
        labels=[work.found.main.labels],
        features=work.system.features,
        fold=name,
        seed=job.seed,
    )


def _outcome(work: Work, job: Job, codes: dict[int, Floats], made: Made | None) -> Any:
    truth, classes = work.data.truth[:, 0], work.data.classes[0]
    return read_out(work.system, codes, truth, classes, job, made)


def _score(work: Work, job: Job, codes: dict[int, Floats], made: Made | None) -> None:
    _predict(work, job, _outcome(work, job, codes, made)[0])


def _predict(work: Work, job: Job, outcome: Any) -> None:
    name, material = work.fold(job), work.found.main
    meta = {**work.meta[0], "chosen": json.dumps(outcome.chosen)}
    table = material.predictions(
        job.test, outcome.scores, name, job.seed, meta, probabilities=outcome.probabilities
    )
    work.folders[0].keep(name, job.seed, table)


def convergence(recipe: SystemsRecipe, system: CodeSystem, folder: RunFolder) -> dict[str, Any]:
    """Where the losses ended; and of a mixture, whether codes of strangers match it.

    The test utterances of all folds are pooled, each coded by the network that has not met its
    speaker; one match per seed, of which the mean is told.
    """
    mean = {k: round(float(np.mean(v)), 4) for k, v in last_epochs(folder, recipe.seeds).items()}
    told: dict[str, Any] = {"last_epoch": mean, "cautions": []}
    if system.codes != "gmm-aae":
        return told
    for kind in ("codes", "stretched"):
        found = list(_matches(recipe, system, folder, kind))
        if found:
            told[f"match_{kind}"] = _verdict(found)
    used = told.get("match_stretched" if system.stretch else "match_codes")
    if used is not None:
        told["cautions"] = used["cautions"]
    told["facts"] = {
        name: match_words(told[kind])
        for kind, name in (
            ("match_codes", "match of strangers' codes with the mixture"),
            ("match_stretched", "the same, stretched on validation speakers"),
        )
        if kind in told
    }
    return told


def match_words(found: Mapping[str, Any]) -> str:
    """AUC of telling codes from samples: all together, and of each component."""
    each = ", ".join(f"{label} {auc:.2f}" for label, auc in found["components"].items())
    result = "failed" if found["fails"] else "held"
    return f"AUC {found['auc']:.2f}, limit {found['limit']:.2f}: {result} (components: {each})"


def _verdict(found: Sequence[Match]) -> dict[str, Any]:
    """The mean over seeds, and what is to be said of it."""
    mean = Match(
        float(np.mean([m.auc for m in found])),
        {k: float(np.nanmean([m.components[k] for m in found])) for k in found[0].components},
        float(np.mean([m.mean_distance for m in found])),
        float(np.mean([m.prior_distance for m in found])),
    )
    return {**asdict(mean), "fails": mean.fails, "cautions": cautions(mean)}


def _matches(
    recipe: SystemsRecipe, system: CodeSystem, folder: RunFolder, kind: str
) -> Iterator[Match]:
    """One per seed; none where codes are gone, or of another size in another fold."""
    for seed in recipe.seeds:
        names = [fold.name for fold in folder.table.folds]
        paths = [folder.part("codes", name, seed, "npz") for name in names]
        if not all(path.exists() for path in paths):
            return
        parts = [np.load(path, allow_pickle=False) for path in paths]
        if len({p[kind].shape[1] for p in parts}) > 1:
            return
        codes = np.concatenate([p[kind] for p in parts]).astype(np.float64)
        truth = np.concatenate([p["truth"] for p in parts])
        labels = read_predictions(folder.predictions_path(names[0], seed)).labels
        mixture = system.config(1, len(labels), codes.shape[1]).mixture
        yield match(codes, truth, labels, mixture, seed)
