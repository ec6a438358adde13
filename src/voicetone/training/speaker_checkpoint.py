"""Weights of one speaker-aware transformer on disk: safetensors, and all that is needed to use
them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from voicetone.errors import DataError
from voicetone.models.speaker_aware import SpeakerAware, SpeakerAwareConfig
from voicetone.training.systems_recipe import SystemFeatures
from voicetone.training.written import whole

_KEY, _VERSION = "speaker-aware", "1"
_MOST_BYTES = 2_000_000_000


@dataclass(frozen=True)
class SpeakerCheckpoint:
    """A trained network, in evaluation mode, and what it takes."""

    net: SpeakerAware
    labels: tuple[str, ...]
    features: SystemFeatures
    encoder: str
    """The id of what computes its speaker embeddings; empty where it takes none."""
    fold: str
    seed: int
    mean: Tensor
    """Normalisation of the features as extracted `[groups, values]`: one group where it is the
    training set's."""
    scale: Tensor

    @property
    def config(self) -> SpeakerAwareConfig:
        """Sizes of the network."""
        return self.net.config


def write_speaker_checkpoint(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    config: SpeakerAwareConfig,
    labels: tuple[str, ...],
    features: SystemFeatures,
    encoder: str,
    fold: str,
    seed: int,
) -> None:
    """Write a network's weights, `mean` and `scale` among them, whole or not at all."""
    from safetensors.torch import save_file

    facts = {
        "version": _VERSION,
        "config": asdict(config),
        "labels": labels,
        "features": asdict(features),
        "encoder": encoder,
        "fold": fold,
        "seed": seed,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous() for key, value in state.items()}
    with whole(path) as unfinished:
        save_file(tensors, unfinished, {_KEY: json.dumps(facts)})


def read_speaker_checkpoint(path: Path) -> SpeakerCheckpoint:
    """Read what `write_speaker_checkpoint` wrote.

    Raises:
        DataError: no such file, or none of such a network.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"over {_MOST_BYTES / 1e9:g} GB")
        with safe_open(path, "pt") as file:
            facts: Any = json.loads((file.metadata() or {})[_KEY])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = TypeAdapter(SpeakerAwareConfig).validate_python(facts["config"])
        features = TypeAdapter(SystemFeatures).validate_python(facts["features"])
        labels = tuple(str(word) for word in facts["labels"])
        mean, scale = state.pop("mean"), state.pop("scale")
        _require_fitting(config, labels, mean, scale)
        with torch.random.fork_rng(devices=[]):  # building it draws nothing from anybody's numbers
            net = SpeakerAware(config)
        net.load_state_dict(state)
        encoder, fold, seed = str(facts["encoder"]), str(facts["fold"]), int(facts["seed"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: no weights of a speaker-aware transformer ({error})") from error
    net.eval()
    return SpeakerCheckpoint(net, labels, features, encoder, fold, seed, mean, scale)


def _require_fitting(
    config: SpeakerAwareConfig, labels: tuple[str, ...], mean: Tensor, scale: Tensor
) -> None:
    """That labels and normalisation are those of the network.

    Raises:
        ValueError: they are not.
    """
    if list(config.classes.values()) != [len(labels)]:
        raise ValueError("other labels than classes")
    if mean.shape != scale.shape or mean.shape[1:] != (config.inputs,) or not (scale > 0).all():
        raise ValueError("a normalisation that is not of its features")
