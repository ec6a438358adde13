"""Weights of one network of voice and words on disk: safetensors, and all that is needed to use
them. A given text encoder that stayed as it was is named, not copied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from voicetone.models.fusion import Fusion, FusionConfig
from voicetone.models.fusion_text import TextEncoder
from voicetone.models.speaker_aware import SpeakerAware, SpeakerAwareConfig
from voicetone.training.fusion_fit import Together, small_encoder
from voicetone.training.fusion_recipe import TextChoice
from voicetone.training.fusion_words import Words
from voicetone.training.systems_recipe import SystemFeatures
from voicetone.training.weights_file import read_weights, write_weights

_KEY, _VERSION = "fusion", "1"
_MOST_WORDS = 200_000


@dataclass(frozen=True)
class FusionCheckpoint:
    """A trained network, in evaluation mode, and what it takes."""

    net: Fusion
    reader: Words | TextEncoder | None
    """What reads its words; none of a network that only hears."""
    labels: tuple[str, ...]
    features: SystemFeatures
    hears: bool
    """Whether the voice was learnt."""
    encoder: str
    """The id of what computes its speaker embeddings; empty where it takes none."""
    fold: str
    seed: int
    mean: Tensor
    """Normalisation of the features as extracted `[groups, values]`."""
    scale: Tensor


def write_fusion_checkpoint(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    config: SpeakerAwareConfig,
    fusion: FusionConfig,
    text: TextChoice | None,
    digest: str,
    words: tuple[str, ...],
    hears: bool,
    labels: tuple[str, ...],
    features: SystemFeatures,
    encoder: str,
    fold: str,
    seed: int,
) -> None:
    """Write a network's weights, `mean` and `scale` among them, whole or not at all.

    Args:
        path: of the file.
        state: its tensors.
        config: of its acoustic part.
        fusion: of the rest.
        text: what reads; None if nothing does.
        digest: SHA-256 of a given text encoder's folder, if it is one.
        words: that a small text encoder knows.
        hears: whether the voice comes in.
        labels: its classes.
        features: its frames.
        encoder: of speakers.
        fold: its name.
        seed: of its training.
    """
    facts = {
        "version": _VERSION,
        "config": asdict(config),
        "fusion": asdict(fusion),
        "text": None if text is None else asdict(text),
        "text_sha256": digest,
        "words": words,
        "hears": hears,
        "labels": labels,
        "features": asdict(features),
        "encoder": encoder,
        "fold": fold,
        "seed": seed,
    }
    write_weights(path, _KEY, state, facts)


def read_fusion_checkpoint(path: Path, text_model: str = "") -> FusionCheckpoint:
    """Read what `write_fusion_checkpoint` wrote.

    Args:
        path: of the file.
        text_model: where a given text encoder lies, if not where it lay in training.

    Raises:
        DataError: no such file, none of such a network, or another text encoder.
    """

    def make(facts: Any, state: dict[str, Tensor]) -> FusionCheckpoint:
        return _made(facts, state, text_model)

    made = read_weights(path, _KEY, "a fusion", make)
    made.net.eval()
    if made.reader is not None:
        made.reader.eval()
    return made


def _made(facts: Mapping[str, Any], state: dict[str, Tensor], text_model: str) -> FusionCheckpoint:
    """The network that a file tells of.

    Raises:
        ValueError: facts that do not go together.
    """
    config = TypeAdapter(SpeakerAwareConfig).validate_python(facts["config"])
    fusion = TypeAdapter(FusionConfig).validate_python(facts["fusion"])
    labels = tuple(str(word) for word in facts["labels"])
    mean, scale = state.pop("mean"), state.pop("scale")
    if list(config.classes.values()) != [len(labels)]:
        raise ValueError("other labels than classes")
    if mean.shape != scale.shape or mean.shape[1:] != (config.inputs,) or not (scale > 0).all():
        raise ValueError("a normalisation that is not of its features")
    with torch.random.fork_rng(devices=[]):  # building it draws nothing from anybody's numbers
        net = Fusion(SpeakerAware(config), fusion)
        reader = _reader(facts, fusion, text_model)
    kept = any(key.startswith("reader.") for key in state)
    Together(net, reader if kept else None).load_state_dict(state)
    return FusionCheckpoint(
        net,
        reader,
        labels,
        TypeAdapter(SystemFeatures).validate_python(facts["features"]),
        bool(facts["hears"]),
        str(facts["encoder"]),
        str(facts["fold"]),
        int(facts["seed"]),
        mean,
        scale,
    )


def _reader(
    facts: Mapping[str, Any], fusion: FusionConfig, text_model: str
) -> Words | TextEncoder | None:
    """What reads the words.

    Raises:
        ValueError: it does not fit.
        DataError: a text encoder that is gone, or another one.
    """
    if facts["text"] is None:
        return None
    choice = TypeAdapter(TextChoice).validate_python(facts["text"])
    if choice.model:
        choice = replace(choice, model=text_model or choice.model)
        if choice.decisive().get("sha256", "") != facts["text_sha256"]:
            raise ValueError(f"{choice.model} is another text encoder than in training")
        reader: Words | TextEncoder = choice.encoder()
    else:
        words = tuple(str(word) for word in facts["words"])
        if len(words) > _MOST_WORDS:
            raise ValueError(f"over {_MOST_WORDS} words")
        reader = small_encoder(choice, words, fusion.dropout)
    if reader.size != fusion.text:
        raise ValueError(f"words of {reader.size} values, and it takes {fusion.text}")
    return reader
