"""A trained run of autoencoders, read back: its data as they were, its networks, their codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.evaluation.table import read_predictions
from voicetone.features.normalise import group_statistics
from voicetone.models.aae import Aae, AaeConfig
from voicetone.training.aae_fit import encode
from voicetone.training.aae_recipe import AaeRecipe
from voicetone.training.classifier_data import read_corpus
from voicetone.training.classifier_recipe import CorpusChoice
from voicetone.training.replica_checkpoint import Checkpoint, read_checkpoint
from voicetone.training.replica_data import Rows, Scaling, Values, batch
from voicetone.training.replica_fit import Examples
from voicetone.training.systems_data import examples, labelled_part, sources
from voicetone.training.systems_trained import (
    OpenedRun,
    TrainedNetwork,
    changed,
    open_folder,
    placed,
)
from voicetone.types import Floats

_SAME_Y = 0.01  # probabilities further apart than this are not rounding


Network = TrainedNetwork[Checkpoint[Aae, AaeConfig]]


@dataclass(frozen=True)
class TrainedRun(OpenedRun[AaeRecipe, Checkpoint[Aae, AaeConfig]]):
    """One system on one target, with the networks of one seed."""

    targets: tuple[str, ...]
    """Names of the y: one, but for `joint = true`."""


@dataclass(frozen=True)
class Codes:
    """What one network makes of every utterance of the run's corpora."""

    network: Network
    ys: list[Floats]
    """`[n, classes]` each."""
    z: Floats | None
    """`[n, style]`; a baseline has none."""
    train: Rows
    validation: Rows
    test: Rows


def open_run(
    path: Path, *, fold: str = "", seed: int | None = None, data: Sequence[Path] = ()
) -> TrainedRun:
    """Read a run back and make sure that its data are still what it learnt from.

    Args:
        path: `OUT/TARGET/SYSTEM` of a run of `kind = "aae"`.
        fold: take only this fold's network.
        seed: whose networks; the lowest that there is if not given.
        data: where corpora lie that `VOICETONE_DATA` does not hold: their folders or manifests, or
            folders that hold them.

    Raises:
        UsageError: a fold or seed that the run does not have.
        DataError: no such run, no weights in it, or corpora that are gone or have changed.
    """
    opened = open_folder(path, AaeRecipe, "aae", read_checkpoint, fold=fold, seed=seed, data=data)
    settings = opened.settings
    return TrainedRun(
        **vars(opened), targets=tuple(settings.get("joint_targets", [settings["target"]["name"]]))
    )


def unlabelled_of(run: TrainedRun, data: Sequence[Path] = ()) -> list[Manifest]:
    """The corpora whose audio alone the networks learnt from.

    Args:
        run: the run; its `found` has none of them.
        data: see `open_run`.

    Raises:
        DataError: one that is gone, or whose audio has changed.
    """
    system = run.recipe.systems[0]
    if not system.unlabelled or system.network == "base":
        return []
    choices = TypeAdapter(tuple[CorpusChoice, ...]).validate_python(run.settings["unlabelled"])
    there_now = tuple(placed(choice, data) for choice in choices)
    there = sources(replace(run.recipe, unlabelled=there_now), run.recipe.targets).foreign_hash
    if there != run.settings.get("unlabelled_data", there):
        raise DataError(
            f"{run.path}: its unlabelled corpora have other audio now than when it was trained; "
            "point --data at those it learnt from, or train again"
        )
    return [read_corpus(choice) for choice in there_now]


def labelled_ids(run: TrainedRun, network: Network) -> frozenset[str]:
    """The training utterances whose labels a network learnt."""
    material, folds = run.material, run.material.table.folds
    rows = material.rows(network.fold.train)
    share = run.recipe.systems[0].labelled
    drawn = (run.seed, folds.index(network.fold))
    kept = labelled_part(rows, material.truth[rows], share, drawn)
    return frozenset(material.utterances[i].id for i in kept.tolist())


def has_predictions(run: TrainedRun, network: Network) -> bool:
    """Whether a network's training came to its end: one that diverged has weights only."""
    return run.folder.predictions_path(network.fold.name, run.seed).is_file()


def heard(run: TrainedRun, jobs: int = 0) -> Examples:
    """Features of all utterances as the networks' settings have them, from the cache.

    Raises:
        DataError: a recording without features.
        MissingExtraError: openSMILE is not installed.
    """
    checkpoint = run.networks[0].checkpoint
    device = torch.device("cpu")
    found = examples(run.found, checkpoint.features, jobs, device)
    return replace(found, classes=tuple(len(labels) for labels in checkpoint.labels))


def scaling_of(checkpoint: Checkpoint[Any, Any], values: Values, run: TrainedRun) -> Scaling:
    """The normalisation that a network was trained with, for these values."""
    choice = checkpoint.features
    group, _, _ = group_statistics(
        values.raw,
        np.ones(len(values.raw), dtype=bool),
        choice.normalise,
        speakers=[u.speaker for u in run.material.utterances],
        corpora=[u.corpus for u in run.material.utterances],
    )
    shift, spread = torch.from_numpy(values.shift), torch.from_numpy(values.spread)
    mean = ((checkpoint.mean - shift) / spread).float()
    scale = (checkpoint.scale / spread).float()
    place = torch.arange(len(group))[None]
    return Scaling(place, torch.from_numpy(group)[None], mean[None], scale[None], choice.limit)


def codes_of(run: TrainedRun, network: Network, data: Examples) -> tuple[Codes, Scaling]:
    """y and z of every utterance, training speakers included; and the normalisation.

    Raises:
        DataError: labels, or y of the test utterances, are not what the run's predictions say.
    """
    scaling = scaling_of(network.checkpoint, data.values, run)
    every = np.arange(len(run.material.utterances))
    ys, zs = encode(network.checkpoint.net, data, scaling, [every])
    fold, rows = network.fold, run.material.rows
    codes = Codes(
        network,
        [y[0] for y in ys],
        None if zs is None else zs[0],
        rows(fold.train),
        rows(fold.validation),
        rows(fold.test),
    )
    if has_predictions(run, network):
        _require_same(run, codes, run.folder.predictions_path(fold.name, run.seed))
    return codes, scaling


def _require_same(run: TrainedRun, codes: Codes, path: Path) -> None:
    """That labels and y of the test utterances are those of the run's predictions."""
    table, material = read_predictions(path), run.material
    rows = material.rows(table.id.tolist())
    if table.labels != material.labels or any(
        material.labels[material.truth[row]] != truth
        for row, truth in zip(rows.tolist(), table.truth.tolist(), strict=True)
    ):
        raise changed(run.path)
    scores = codes.ys[run.targets.index(run.settings["target"]["name"])]
    apart = float(np.abs(scores[rows] - table.scores).max())
    if not apart <= _SAME_Y:
        raise DataError(
            f"{path}: the weights give other probabilities now, by up to {apart:.2f}; the audio or "
            "openSMILE has changed since: train again"
        )


def inputs(
    values: Values, scaling: Scaling, rows: Rows
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What the network hears `[1, n, ...]`, and the mask of its frames."""
    return batch(values, scaling, torch.from_numpy(rows)[None])


def summed(x: torch.Tensor, mask: torch.Tensor | None) -> Floats:
    """One vector per utterance: of frames, mean and SD over those that are there.

    Args:
        x: `[1, n, features]` or `[1, n, frames, features]`.
        mask: with frames `[1, n, frames]`.
    """
    if mask is None:
        return np.asarray(x[0].numpy(), dtype=np.float32)
    kept = mask[0][..., None]
    count = kept.sum(1).clamp(min=1)
    mean = (x[0] * kept).sum(1) / count
    deviation = ((x[0] - mean[:, None]).square() * kept).sum(1) / count
    return np.asarray(torch.cat([mean, deviation.sqrt()], 1).numpy(), dtype=np.float32)
