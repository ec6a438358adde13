"""A trained run of codes on a mixture of Gaussians, read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from voicetone.errors import DataError
from voicetone.models.gmm_aae import GmmAae, GmmConfig
from voicetone.training.gmm_recipe import CodesRecipe
from voicetone.training.replica_checkpoint import Checkpoint, read_codes_checkpoint
from voicetone.training.systems_trained import OpenedRun, TrainedNetwork, open_folder

CodesNetwork = TrainedNetwork[Checkpoint[GmmAae, GmmConfig]]
CodesRun = OpenedRun[CodesRecipe, Checkpoint[GmmAae, GmmConfig]]


def open_codes(
    path: Path, *, fold: str = "", seed: int | None = None, data: Sequence[Path] = ()
) -> CodesRun:
    """Read a run back and make sure that its data are still what it learnt from.

    Args:
        path: `OUT/TARGET/SYSTEM` of a run of `kind = "gmm-aae"`.
        fold: take only this fold's network.
        seed: whose networks; the lowest that there is if not given.
        data: where corpora lie, see `open_folder`.

    Raises:
        UsageError: a fold or seed that the run does not have.
        DataError: no such run, no weights in it, no mixture, or corpora that are gone or have
            changed.
    """
    run = open_folder(
        path, CodesRecipe, "gmm-aae", read_codes_checkpoint, fold=fold, seed=seed, data=data
    )
    if not run.networks[0].checkpoint.config.adversarial:
        raise DataError(
            f'{path}: a plain autoencoder has no mixture; name a system with codes = "gmm-aae"'
        )
    return run
