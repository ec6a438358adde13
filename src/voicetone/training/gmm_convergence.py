"""Where the training of codes on a mixture ended, and whether codes of strangers match it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from voicetone.errors import DataError
from voicetone.evaluation.table import read_predictions
from voicetone.training.gmm_checks import weights_path
from voicetone.training.gmm_match import REACHED, Match, cautions, match
from voicetone.training.gmm_recipe import CodeSystem
from voicetone.training.replica_checkpoint import read_codes_checkpoint
from voicetone.training.runs import RunFolder
from voicetone.training.systems_recipe import SystemsRecipe
from voicetone.training.systems_run import adversarial_cautions, last_epochs


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
    plain = told.get("match_codes")
    told["cautions"] = [] if used is None else list(used["cautions"])
    if used is None:
        told["cautions"].append(
            "whether codes of strangers follow the mixture is not known: codes are gone, or folds "
            "chose other sizes"
        )
    elif not used["fails"] and plain is not None and plain["fails"]:
        told["cautions"].append(
            f"stretched codes follow the mixture; as they are, they failed, with an AUC of "
            f"{plain['auc']:.2f} all together and {plain['within']:.2f} within the classes"
        )
    if "discriminator" in mean:
        told["cautions"] += adversarial_cautions("code", mean["discriminator"])
    empty = _empty(recipe, folder)
    told["not_reached"] = empty
    of = len(recipe.seeds) * len(folder.table.folds)
    told["cautions"] += [
        f"in {len(places)} of {of} networks most training utterances of {label} are not in its "
        f"component, the first {places[0]}: samples of it are not of that class"
        for label, places in empty.items()
    ]
    told["facts"] = {
        name: match_words(told[kind])
        for kind, name in (
            ("match_codes", "match of strangers' codes with the mixture"),
            ("match_stretched", "the same, stretched on validation speakers"),
        )
        if kind in told
    }
    return told


def _empty(recipe: SystemsRecipe, folder: RunFolder) -> dict[str, list[str]]:
    """Class → networks (fold, seed) whose component most of its training utterances miss."""
    found: dict[str, list[str]] = {}
    for seed in recipe.seeds:
        for fold in folder.table.folds:
            path = folder.part("codes", fold.name, seed, "npz")
            if not path.exists():
                continue
            shares = read_arrays(path).get("reached", [])
            labels = read_predictions(folder.predictions_path(fold.name, seed)).labels
            for label, share in zip(labels, shares, strict=False):
                if share < REACHED:
                    found.setdefault(label, []).append(f"fold {fold.name}, seed {seed}")
    return found


def match_words(found: Mapping[str, Any]) -> str:
    """AUC of telling codes from samples: all together, and of each component."""
    each = ", ".join(
        f"{label} {'too few' if auc is None else f'{auc:.2f}'}"
        for label, auc in found["components"].items()
    )
    if found["auc"] is None:
        return f"too few codes to tell (components: {each})"
    result = "failed" if found["fails"] else "held"
    within = "–" if found["within"] is None else f"{found['within']:.2f}"
    return (
        f"AUC {found['auc']:.2f} all together, {within} within the classes, limit "
        f"{found['limit']:.2f}: {result} (components: {each})"
    )


def _verdict(found: Sequence[Match]) -> dict[str, Any]:
    """The mean over seeds, and what is to be said of it."""
    mean = Match(
        _mean([m.auc for m in found]),
        {k: _mean([m.components[k] for m in found]) for k in found[0].components},
        float(np.mean([m.mean_distance for m in found])),
        float(np.mean([m.prior_distance for m in found])),
        within=_mean([m.within for m in found]),
    )
    told = asdict(mean)
    told["auc"], told["within"] = _known(mean.auc), _known(mean.within)
    told["components"] = {k: _known(auc) for k, auc in mean.components.items()}
    return {**told, "fails": mean.fails, "cautions": cautions(mean)}


def _mean(values: Sequence[float]) -> float:
    """Of what is known; NaN if nothing is."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def read_arrays(path: Path) -> dict[str, Any]:
    """What a run keeps of its codes.

    Raises:
        DataError: a damaged file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise DataError(
            f"{path}: no codes of a run ({error}); delete it and the predictions of the same name, "
            "and train again"
        ) from error


def _matches(
    recipe: SystemsRecipe, system: CodeSystem, folder: RunFolder, kind: str
) -> Iterator[Match]:
    """One per seed; none where codes are gone, or of another size in another fold."""
    for seed in recipe.seeds:
        names = [fold.name for fold in folder.table.folds]
        paths = [folder.part("codes", name, seed, "npz") for name in names]
        if not all(path.exists() for path in paths):
            continue
        parts = [read_arrays(path) for path in paths]
        if not all(kind in p and "truth" in p for p in parts):
            continue
        if len({p[kind].shape[1] for p in parts}) > 1:
            continue
        codes = np.concatenate([p[kind] for p in parts]).astype(np.float64)
        truth = np.concatenate([p["truth"] for p in parts])
        labels = read_predictions(folder.predictions_path(names[0], seed)).labels
        if system.weights:
            path = weights_path(system, seed)
            mixture = read_codes_checkpoint(path).config.mixture
        else:
            mixture = system.config(1, len(labels), codes.shape[1]).mixture
        yield match(codes, truth, labels, mixture, seed)
