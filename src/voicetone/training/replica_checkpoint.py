"""Weights of one autoencoder on disk: safetensors, with all that is needed to use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from torch import Tensor

from voicetone.errors import DataError
from voicetone.models.aae import Aae, AaeConfig
from voicetone.models.gmm_aae import GmmAae, GmmConfig
from voicetone.models.replicas import Draws
from voicetone.training.systems_recipe import SystemFeatures
from voicetone.training.weights_file import read_weights, write_weights

_KEY, _VERSION = "aae", "1"


Net = TypeVar("Net", Aae, GmmAae)
Config = TypeVar("Config", AaeConfig, GmmConfig)


@dataclass(frozen=True)
class Checkpoint(Generic[Net, Config]):
    """A trained autoencoder, as a stack of one replica in evaluation mode."""

    net: Net
    """Without discriminators' training: they are as initialised."""
    config: Config
    labels: tuple[tuple[str, ...], ...]
    """Of each y."""
    features: SystemFeatures
    fold: str
    seed: int
    mean: Tensor
    """Normalisation `[groups, features]`: one group where it is the training set's."""
    scale: Tensor


def write_checkpoint(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    config: AaeConfig | GmmConfig,
    labels: Sequence[Sequence[str]],
    features: SystemFeatures,
    fold: str,
    seed: int,
) -> None:
    """Write a replica's weights, whole or not at all."""
    facts = {
        "version": _VERSION,
        "config": asdict(config),
        "labels": labels,
        "features": asdict(features),
        "fold": fold,
        "seed": seed,
    }
    write_weights(path, _KEY, state, facts)


def read_checkpoint(path: Path) -> Checkpoint[Aae, AaeConfig]:
    """Read what `write_checkpoint` wrote of an autoencoder with y and z.

    Raises:
        DataError: no such file, or none of such an autoencoder.
    """
    return _read(path, AaeConfig, Aae)


def read_codes_checkpoint(path: Path) -> Checkpoint[GmmAae, GmmConfig]:
    """Read what `write_checkpoint` wrote of an autoencoder with codes alone.

    Raises:
        DataError: no such file, or none of such an autoencoder.
    """
    return _read(path, GmmConfig, GmmAae)


def _read(
    path: Path, kind: type[Config], build: Callable[[Config, Draws], Net]
) -> Checkpoint[Net, Config]:
    def made(facts: Any, state: dict[str, Tensor]) -> Checkpoint[Net, Config]:
        config = TypeAdapter(kind).validate_python(facts["config"])
        features = TypeAdapter(SystemFeatures).validate_python(facts["features"])
        mean, scale = state.pop("mean"), state.pop("scale")
        net = build(config, Draws([0]))
        lacking, unknown = net.load_state_dict(state, strict=False)
        labels = tuple(tuple(str(word) for word in part) for part in facts["labels"])
        fold, seed = str(facts["fold"]), int(facts["seed"])
        _require_fitting(config, labels, mean, scale)
        if unknown or any(not key.startswith("discriminator") for key in lacking):
            raise DataError(f"{path}: weights of another network; train again")
        net.eval()
        return Checkpoint(net, config, labels, features, fold, seed, mean, scale)

    return read_weights(path, _KEY, "an autoencoder", made)


def _require_fitting(
    config: AaeConfig | GmmConfig, labels: Sequence[Sequence[str]], mean: Tensor, scale: Tensor
) -> None:
    """That labels and normalisation are those of the network.

    Raises:
        ValueError: they are not.
    """
    classes = [config.mixture.classes] if isinstance(config, GmmConfig) else list(config.classes)
    if [len(part) for part in labels] != classes:
        raise ValueError("other labels than classes")
    if mean.shape != scale.shape or mean.shape[-1:] != (config.inputs,) or not (scale > 0).all():
        raise ValueError("a normalisation that is not of its features")
