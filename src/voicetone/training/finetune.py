"""Training that goes on from a network that is there already, on few clips.

The head learns first. The layers of the encoder follow from the top, each at a lower rate than the
one above it (discriminative rates and gradual unfreezing: Howard and Ruder, ACL 2018). The
encoder's batch normalisations keep their statistics throughout: those of a batch of few clips are
poor, and weights that come from a bundle have theirs folded into the convolutions.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.corpora.prepared import data_root
from voicetone.errors import DataError
from voicetone.features.spectral import SpectralConfig
from voicetone.models.tone import ToneNet, ToneTargets, tone_loss
from voicetone.training.bundle_weights import Parent, child, read_parent
from voicetone.training.tone_batches import Batches, Labels
from voicetone.training.tone_data import ClipStore
from voicetone.training.tone_fit import descend
from voicetone.training.tone_recipe import FineTune, Network, ToneRecipe
from voicetone.training.tone_tables import FoldPredictions
from voicetone.types import Floats

UNKNOWN = -1e4
"""Logit of an emotion that a network has no output for."""
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)


def parent_of(recipe: ToneRecipe) -> Parent | None:
    """What a recipe starts from; None if it trains from scratch.

    Raises:
        BundleError: `init_from` names no bundle, or one that is damaged.
        DataError: a bundle or run that training can't go on from, or settings that don't go with
            `init_from`.
    """
    if not recipe.init_from:
        if recipe.finetune != FineTune():
            raise DataError(
                f"{recipe.name}: [finetune] without a model to start from; give one, as in "
                'init_from = "tone-small", or leave [finetune] out'
            )
        return None
    if recipe.kind != "tone":
        raise DataError(
            f"{recipe.name}: a recipe of kind {recipe.kind!r} makes its own encoder; use "
            'kind = "tone" with init_from, or leave init_from out'
        )
    if replace(recipe.network, dropout=Network.dropout) != Network():
        raise DataError(
            f"{recipe.name}: sizes of the network come from init_from = {recipe.init_from!r}; "
            "leave all but dropout out of [network]"
        )
    parent = read_parent(recipe.init_from)
    if parent.spec.spectral != SpectralConfig():
        raise DataError(
            f"{recipe.init_from}: it hears other features than training computes; start from "
            "another bundle"
        )
    return parent


@dataclass(frozen=True)
class SoundFolders:
    """Where measured noises and rooms lie, and which of them are there."""

    root: Path
    noises: bool
    rooms: bool


def sound_folders(recipe: ToneRecipe) -> SoundFolders:
    """Noises and rooms for a recipe: needed from scratch, welcome with `init_from`.

    Raises:
        DataError: `VOICETONE_DATA` is needed and unset, or names no folder.
    """
    if not recipe.init_from:
        return SoundFolders(data_root(), noises=True, rooms=True)
    if not os.environ.get("VOICETONE_DATA"):
        return SoundFolders(Path(), noises=False, rooms=False)
    root = data_root()
    noises, rooms = ((root / name / "manifest.csv").is_file() for name in ("noise_esc10", "rir"))
    return SoundFolders(root, noises, rooms)


@dataclass(frozen=True)
class Layer:
    """Modules of the encoder that begin to learn together, at one rate."""

    part: str
    """A field of `FrozenUntil`."""
    modules: tuple[nn.Module, ...]
    rate: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What of it learns."""
        return [p for module in self.modules for p in module.parameters()]


def layers_of(net: ToneNet, settings: FineTune) -> list[Layer]:
    """The encoder's layers from the top, without the speech classifier.

    What gives the head its damping of pauses belongs to the uppermost layer, the normalisation
    that ends the front end to the uppermost of its blocks.
    """
    encoder = net.encoder
    found: list[tuple[str, list[nn.Module]]] = []
    if encoder.conformer is not None:
        found += [("conformer", [block]) for block in reversed(encoder.conformer.blocks)]
        found[-1][1].append(encoder.conformer.enter)
    blocks: list[tuple[str, list[nn.Module]]] = [
        ("blocks", [block]) for block in reversed(encoder.front.blocks)
    ]
    blocks[0][1].append(encoder.front.out_norm)
    found += [*blocks, ("stem", [encoder.front.stem])]
    found[0][1].append(encoder.speech)
    return [
        Layer(part, tuple(modules), settings.rate * settings.layer_decay**depth)
        for depth, (part, modules) in enumerate(found)
    ]


class Thaw:
    """Lets the parts of a network learn when their time comes, and no others.

    What is frozen is as it is at inference. Of what learns, dropout drops; only the head's
    normalisation takes the statistics of its batches.

    Args:
        net: the network.
        settings: when which part begins.
    """

    def __init__(self, net: ToneNet, settings: FineTune) -> None:
        self.net, self.until = net, settings.frozen_until
        self.layers = layers_of(net, settings)
        net.eval().requires_grad_(requires_grad=False)
        net.head.requires_grad_(requires_grad=True).train()
        self.thawed: set[str] = set()

    def __call__(self, step: int) -> bool:
        """Before a step, counted from 1: whether anything of the encoder learns in it."""
        for layer in self.layers:
            if layer.part not in self.thawed and step > getattr(self.until, layer.part):
                self._release(layer.part)
        return bool(self.thawed)

    def _release(self, part: str) -> None:
        self.thawed.add(part)
        for layer in self.layers:
            if layer.part != part:
                continue
            for module in layer.modules:
                module.requires_grad_(requires_grad=True)
                for inner in module.modules():
                    if isinstance(inner, _DROPOUTS):
                        inner.train()


def fit_from(
    parent: Parent,
    recipe: ToneRecipe,
    store: ClipStore,
    labels: Labels,
    train: NDArray[np.int64],
    seed: int,
    progress: Callable[[int, float], None],
    device: torch.device,
) -> ToneNet:
    """Train on from a parent on the clips `train` and the store's noise.

    The speech classifier stays the parent's. Once the encoder learns, a loss keeps what the
    classifier says of the clips and noises near to what the parent says of them.

    Args:
        parent: the network to start from.
        recipe: the settings.
        store: clips in the order of `labels`, then noise.
        labels: of all clips.
        train: indices of the clips that may be learnt from.
        seed: of new outputs, batches and masks.
        progress: called after each step with its number and loss.
        device: where to.

    Returns:
        The running average of the weights, in evaluation mode, on the CPU.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = child(parent, labels.emotions, recipe.network.dropout, seed).to(device)
    average, teacher = copy.deepcopy(net), copy.deepcopy(net.encoder).eval()
    settings = recipe.finetune
    thaw = Thaw(net, settings)
    mean: Floats = parent.net.encoder.front.mean.numpy().astype(np.float32)
    batches = Batches(store, labels, train, recipe, SpectralConfig(), mean)

    def loss_of(step: int, features: Tensor, weight: Tensor, targets: ToneTargets) -> Tensor:
        learning = thaw(step)
        start = features.new_zeros(len(features), net.config.state_size)
        frames, heard, _ = net.encoder(features, start)
        sentiment, emotion = net.head(frames, weight)
        loss = tone_loss(sentiment, emotion, frames[..., -1], targets, smoothing=recipe.smoothing)
        if not learning or not settings.keep_speech:
            return loss
        with torch.no_grad():
            known = teacher(features, start)[1]
        apart = F.binary_cross_entropy(heard, known, reduction="none")
        return loss + settings.keep_speech * (apart * weight).sum() / weight.sum()

    groups = [{"params": list(net.head.parameters()), "lr": settings.head_rate}]
    groups += [{"params": layer.parameters, "lr": layer.rate} for layer in thaw.layers]
    descend(net, average, groups, recipe, lambda: batches.draw(rng, device), loss_of, progress)
    return average.cpu().eval()


def in_labels(said: FoldPredictions, parent: Parent, emotions: tuple[str, ...]) -> FoldPredictions:
    """What a parent says, calibrated by its own temperatures, in the emotions of a child."""
    temperature = parent.spec.temperature
    rows = {name: place for place, name in enumerate(parent.emotions)}
    emotion = np.full((len(said.emotion), len(emotions)), UNKNOWN, dtype=np.float32)
    for place, name in enumerate(emotions):
        if name in rows:
            emotion[:, place] = said.emotion[:, rows[name]] / temperature.emotion
    sentiment = (said.sentiment / temperature.sentiment).astype(np.float32)
    return replace(said, sentiment=sentiment, emotion=emotion)
