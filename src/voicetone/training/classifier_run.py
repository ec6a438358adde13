"""A classifier's run: checks, features, folds, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.corpora.manifest import Problem, refuse
from voicetone.corpora.validation import uneven_cuts
from voicetone.errors import DataError
from voicetone.evaluation.report_files import write_report
from voicetone.evaluation.scores import headline
from voicetone.evaluation.table import CAUTIONS, PredictionTable, concatenate
from voicetone.features.extract import extract
from voicetone.features.normalise import NOTES
from voicetone.features.sets import OPENSMILE, SSL, FeatureConfig
from voicetone.features.ssl_source import source
from voicetone.features.workers import ProgressLines, cores, starts, worker_pool
from voicetone.training.classifier_data import Material, gather
from voicetone.training.classifier_fit import Examples, Outcome, Settings, run_fold
from voicetone.training.classifier_recipe import ClassifierRecipe, FeatureChoice, NetworkChoice
from voicetone.training.runs import RunFolder

PACKAGES = ("numpy", "scikit-learn", "torch", "opensmile", "transformers")


def run_classifier(recipe: ClassifierRecipe) -> Path:
    """Train and score a classifier, or go on where its run stopped.

    Everything about the data is checked before anything is trained. Folds whose predictions are
    in the run's folder already are not trained again.

    Returns:
        The run's folder.

    Raises:
        DataError: data that is not in order, settings that can't be, or a folder of another run.
    """
    config = feature_config(recipe)
    material = gather(recipe, refit=_refits(recipe))
    folder = RunFolder(
        Path(recipe.out or f"runs/{recipe.name}"), resolved(recipe, material), material.table
    )
    folder.require_own()
    missing = folder.missing(recipe.seeds)
    examples = _examples(recipe, config, material) if missing else None
    folder.start(PACKAGES)
    folder.log(
        f"{recipe.name}: {len(material.utterances)} utterances, {material.rule}; "
        f"{material.table.protocol}, {len(material.table.folds)} folds"
    )
    for line in (str(material.overlap), *material.notes, *cautions(recipe, material)):
        folder.log(line)
    if recipe.features.normalise == "speaker":
        folder.log(NOTES["speaker"])
    if examples is not None:
        _train(recipe, examples, material, folder, missing)
    tables = folder.tables(recipe.seeds)
    metrics = summary(facts(recipe, material, folder), material, folder, tables)
    folder.write("metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False))
    write_report(concatenate(tables), folder.path, title=recipe.name)
    score = metrics["uar"]
    folder.log(f"{recipe.name}: UAR {score['mean']:.3f}, WA {metrics['wa']['mean']:.3f}")
    return folder.path


def _refits(recipe: ClassifierRecipe) -> bool:
    return recipe.refit and not isinstance(recipe.model, NetworkChoice)


def cautions(recipe: ClassifierRecipe, material: Material) -> list[str]:
    """What makes a score say something else than it seems to."""
    if recipe.features.cut_seconds is not None:
        return []
    heard = [material.heard[u.id] for u in material.utterances]
    lengths = [
        replace(u, duration=h.end - h.start)
        for u, h in zip(material.utterances, heard, strict=True)
    ]
    caution = uneven_cuts(lengths, [material.labels[i] for i in material.truth])
    return [caution] if caution else []


def resolved(recipe: Any, material: Material) -> dict[str, Any]:
    """The settings that make a run what it is, and what it learns from.

    Paths count by their last part only: on another machine the data lie elsewhere.

    Args:
        recipe: a dataclass with `corpora` and `protocol`.
        material: what it trains and tests on.
    """
    settings = asdict(recipe)
    for part in settings["corpora"]:
        part["name"] = Path(part["name"]).name
        if not part["emotions"]:
            del part["emotions"]
    settings["protocol"]["file"] = Path(settings["protocol"]["file"]).name
    settings["labelled_data"] = material.hash
    if isinstance(recipe, ClassifierRecipe):
        _resolve_features(recipe.features, settings)
    return settings


def _resolve_features(choice: FeatureChoice, settings: dict[str, Any]) -> None:
    """What decides the features beyond their names, if anything."""
    if choice.name in OPENSMILE:
        settings["opensmile"] = opensmile_version()
    if choice.name != SSL:
        del settings["features"]["model"], settings["features"]["layer"]
        return
    settings["features"]["model"] = Path(choice.model).name
    settings["ssl_weights"] = source(Path(choice.model)).digest


def opensmile_version() -> str:
    """Of the installed package; empty without one."""
    try:
        return version("opensmile")
    except PackageNotFoundError:
        return ""


def feature_config(recipe: ClassifierRecipe) -> FeatureConfig:
    """The features of a recipe.

    Raises:
        DataError: features that do not exist, or that its model can't take.
    """
    choice = recipe.features
    config = FeatureConfig(
        choice.name, choice.level, choice.cut_seconds, choice.model, choice.layer
    )
    framewise = isinstance(recipe.model, NetworkChoice) and recipe.model.name != "mlp"
    if framewise == config.functionals:
        wanted = "frames" if framewise else "functionals"
        raise DataError(
            f"{recipe.model.name} takes {wanted}, not {config}: change features.level or "
            "features.name"
        )
    return config


def facts(recipe: ClassifierRecipe, material: Material, folder: RunFolder) -> dict[str, str]:
    """What stands in every table of predictions."""
    config = feature_config(recipe)
    return {
        "name": recipe.name,
        "recipe": folder.recipe_hash,
        "folds": material.table.hash,
        "protocol": material.table.protocol,
        "label_rule": material.rule,
        "features": f"{config}; {NOTES[recipe.features.normalise]}",
        "model": model_words(recipe.model),
        "selection": _selection_words(recipe),
        "refit": "yes" if _refits(recipe) else "no",
        "sentence_overlap": str(material.overlap),
        CAUTIONS: "; ".join([*cautions(recipe, material), *material.notes]),
    }


def _selection_words(recipe: ClassifierRecipe) -> str:
    """Who chooses settings and epochs."""
    on = recipe.selection.on
    inner = f"{recipe.selection.inner} groups of training speakers"
    chosen = {"inner": inner, "validation": "validation speakers"}
    return chosen.get(on, f"validation speakers, else {inner}")


def model_words(model: Any) -> str:
    """A model and its settings, as in `linear-svm (C=0.0001)`."""
    said = []
    for f in fields(model):
        value = getattr(model, f.name)
        if f.name == "name" or value is False:
            continue
        text = (
            f"one of {', '.join(f'{v:g}' for v in value)}"
            if isinstance(value, tuple)
            else (f"{value:g}" if isinstance(value, float) else str(value))
        )
        said.append(f.name if value is True else f"{f.name}={text}")
    return f"{model.name} ({'; '.join(said)})"


def summary(
    found: Mapping[str, str],
    material: Material,
    folder: RunFolder,
    tables: Sequence[PredictionTable],
) -> dict[str, Any]:
    """`metrics.json`: scores of the pooled predictions, and what they are scores of.

    Args:
        found: what stands in every table of predictions.
        material: what it was trained and tested on.
        folder: the run.
        tables: of all folds and seeds.
    """
    table = concatenate(tables)
    cases = np.unique(table.select(table.seed == table.seeds[0]).truth, return_counts=True)[1]
    return {
        **{name: asdict(score) for name, score in headline(table).items()},
        "majority_rate": float(cases.max() / cases.sum()),
        "name": found["name"],
        "corpus": ", ".join(sorted(set(table.corpus.tolist()))),
        "labels": list(material.labels),
        "label_rule": material.rule,
        "protocol": material.table.protocol,
        "folds": len(material.table.folds),
        "fold_hash": material.table.hash,
        "recipe_hash": folder.recipe_hash,
        "features": found["features"],
        "model": found["model"],
        "seeds": list(table.seeds),
        "utterances": len(np.unique(table.id)),
        "speakers": len(table.speakers),
        "sentence_overlap": asdict(material.overlap),
        "cautions": found.get(CAUTIONS, ""),
        "chosen": {
            f"{t.fold[0]}, seed {t.seed[0]}": json.loads(t.meta["chosen"])
            for t in tables
            if "chosen" in t.meta
        },
    }


_worker: dict[str, Any] = {}


def _start(examples: Examples, settings: Settings) -> None:
    _worker.update(examples=examples, settings=settings)


def _work(parts: tuple[NDArray[np.int64], ...], seed: int) -> Outcome:
    train, validation, test = parts
    return run_fold(_worker["examples"], _worker["settings"], (train, validation, test), seed)


def _examples(recipe: ClassifierRecipe, config: FeatureConfig, material: Material) -> Examples:
    """Features and labels of all utterances.

    Raises:
        DataError: recordings that give no features, by file and line.
    """
    features = extract(material.utterances, config, jobs=recipe.jobs or None)
    refuse([Problem(material.places.get(k, k), text) for k, text in features.failures.items()])
    return Examples(
        [features.values[u.id] for u in material.utterances],
        material.truth,
        len(material.labels),
        [u.speaker for u in material.utterances],
        [u.corpus for u in material.utterances],
    )


def _train(
    recipe: ClassifierRecipe,
    examples: Examples,
    material: Material,
    folder: RunFolder,
    missing: list[tuple[int, int]],
) -> None:
    settings = Settings((recipe.model,), recipe.selection, recipe.features.normalise, recipe.refit)
    meta = facts(recipe, material, folder)
    report = ProgressLines(f"{recipe.name}: folds")

    kept = count(1)

    def keep(index: int, seed: int, outcome: Outcome) -> None:
        fold = material.table.folds[index]
        told = {**meta, "chosen": json.dumps(outcome.chosen)} if outcome.chosen else meta
        table = material.predictions(
            material.rows(fold.test),
            outcome.scores,
            fold.name,
            seed,
            told,
            probabilities=outcome.probabilities,
        )
        folder.keep(fold.name, seed, table)
        report(next(kept), len(missing))

    jobs = {
        (index, seed): (_parts(material, index), seed * 1000 + index) for index, seed in missing
    }
    _run(jobs, examples, settings, min(recipe.jobs or cores(), len(jobs)), keep)


def _run(
    jobs: Mapping[tuple[int, int], tuple[tuple[NDArray[np.int64], ...], int]],
    examples: Examples,
    settings: Settings,
    workers: int,
    keep: Callable[[int, int, Outcome], None],
) -> None:
    """Train folds side by side; in this process if there is one job, a GPU, or no other way."""
    with ExitStack() as stack:
        pool = None
        if workers > 1 and not _on_gpu(settings):
            pool = stack.enter_context(worker_pool(workers, _start, (examples, settings)))
            pool = pool if starts(pool) else None
        if pool is None:
            _start(examples, settings)
            for (index, seed), job in jobs.items():
                keep(index, seed, _work(*job))
            return
        running = {pool.submit(_work, *job): key for key, job in jobs.items()}
        try:
            for finished in as_completed(running):
                keep(*running[finished], finished.result())
        except BrokenProcessPool as error:
            raise DataError(
                "a training process died, often for lack of memory: the same command goes on; "
                "with jobs=1 it needs less"
            ) from error


def _on_gpu(settings: Settings) -> bool:
    if not any(isinstance(model, NetworkChoice) for model in settings.models):
        return False
    from voicetone.training.device import device_of_choice

    return device_of_choice().type == "cuda"


def _parts(material: Material, index: int) -> tuple[NDArray[np.int64], ...]:
    fold = material.table.folds[index]
    return tuple(material.rows(keys) for keys in (fold.train, fold.validation, fold.test))
