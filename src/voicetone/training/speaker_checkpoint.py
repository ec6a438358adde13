"""Weights of one speaker-aware transformer on disk: safetensors, and all that is needed to use
them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from voicetone.models.speaker_aware import SpeakerAware, SpeakerAwareConfig
from voicetone.training.systems_recipe import SystemFeatures
from voicetone.training.weights_file import read_weights, write_weights

_KEY, _VERSION = "speaker-aware", "1"


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
    facts = {
        "version": _VERSION,
        "config": asdict(config),
        "labels": labels,
        "features": asdict(features),
        "encoder": encoder,
        "fold": fold,
        "seed": seed,
    }
    write_weights(path, _KEY, state, facts)


def read_speaker_checkpoint(path: Path) -> SpeakerCheckpoint:
    """Read what `write_speaker_checkpoint` wrote.

    Raises:
        DataError: no such file, or none of such a network.
    """
    return read_weights(path, _KEY, "a speaker-aware transformer", _made)


def _made(facts: Any, state: dict[str, Tensor]) -> SpeakerCheckpoint:
    config = TypeAdapter(SpeakerAwareConfig).validate_python(facts["config"])
    features = TypeAdapter(SystemFeatures).validate_python(facts["features"])
    labels = tuple(str(word) for word in facts["labels"])
    mean, scale = state.pop("mean"), state.pop("scale")
    _require_fitting(config, labels, mean, scale)
    with torch.random.fork_rng(devices=[]):  # building it draws nothing from anybody's numbers
        net = SpeakerAware(config)
    net.load_state_dict(state)
    encoder, fold, seed = str(facts["encoder"]), str(facts["fold"]), int(facts["seed"])
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
