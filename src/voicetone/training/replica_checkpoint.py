"""Weights of one autoencoder on disk: safetensors, with all that is needed to use them."""

from __future__ import annotations

import json
import uuid
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

_VERSION = "1"


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
    from safetensors.torch import save_file

    facts = {
        "version": _VERSION,
        "config": asdict(config),
        "labels": labels,
        "features": asdict(features),
        "fold": fold,
        "seed": seed,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}")
    save_file({k: v.contiguous() for k, v in state.items()}, unfinished, {"aae": json.dumps(facts)})
    unfinished.replace(path)


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
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts: Any = json.loads((file.metadata() or {})["aae"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = TypeAdapter(kind).validate_python(facts["config"])
        features = TypeAdapter(SystemFeatures).validate_python(facts["features"])
        mean, scale = state.pop("mean"), state.pop("scale")
        net = build(config, Draws([0]))
        lacking, unknown = net.load_state_dict(state, strict=False)
        labels = tuple(tuple(str(word) for word in part) for part in facts["labels"])
        fold, seed = str(facts["fold"]), int(facts["seed"])
        _require_fitting(config, labels, mean, scale)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: no weights of an autoencoder ({error})") from error
    if unknown or any(not key.startswith("discriminator") for key in lacking):
        raise DataError(f"{path}: weights of another network; train again")
    net.eval()
    return Checkpoint(net, config, labels, features, fold, seed, mean, scale)


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
