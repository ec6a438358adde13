"""The recipe of the adversarial autoencoder with emotion and style latents."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.training.systems_recipe import SystemFeatures, SystemsRecipe

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Weights:
    """Of the losses. None is published; 0 leaves a phase, or its part, away."""

    reconstruct: float = Field(default=1.0, ge=0)
    y: float = Field(default=1.0, ge=0)
    """That y fools its discriminator."""
    z: float = Field(default=1.0, ge=0)
    classify: float = Field(default=1.0, ge=0)


@dataclass(frozen=True, config=_STRICT)
class System:
    """One network and how it is trained. Ingredients that are not given are the preset's."""

    name: str
    network: Literal["base", "aae"] = "aae"
    """`base` is the encoder with its softmax alone, trained on labels only."""
    preset: Literal["vanilla", "optimized"] = "vanilla"
    """`optimized`: batch_norm, discriminator_dropout = 0.5, discriminator_rate = 0.1."""
    features: SystemFeatures = field(default_factory=SystemFeatures)
    batch_norm: bool | None = None
    discriminator_dropout: float | None = Field(default=None, ge=0, lt=1)
    discriminator_rate: float | None = Field(default=None, ge=0)
    """Learning rate of the discriminators as a multiple of `rate`."""
    style: int = Field(default=100, ge=1)
    prior: Literal["uniform", "training"] = "uniform"
    """Of y: classes equally likely as in the paper, or as often as among the labelled."""
    true_labels_to_decoder: bool = False
    """Where the label is known, the decoder gets it instead of y."""
    noise: float = Field(default=0.0, ge=0)
    """SD of the Gaussian noise on what the discriminators see."""
    weights: Weights = field(default_factory=Weights)
    optimiser: Literal["", "adam", "nadam"] = ""
    """Empty: Nadam for `base` as in the paper, Adam (beta1 0.5) for `aae`."""
    rate: float = Field(default=1e-4, gt=0)
    epochs: int = Field(default=40, ge=1)
    batch: int = Field(default=64, ge=2)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    clip: float = Field(default=0.0, ge=0)
    """Largest norm of a replica's gradient in a phase; 0 does not clip."""
    labelled: float = Field(default=1.0, gt=0, le=1)
    """Share of the training utterances whose labels are used; the others stay, unlabelled."""
    unlabelled: bool = False
    """Whether the recipe's unlabelled corpora join the first two phases."""

    @property
    def labels_only(self) -> bool:
        """Whether it has no use for utterances without a label."""
        return self.network == "base"

    @property
    def ingredients(self) -> tuple[bool, float, float]:
        """Batch normalisation, and dropout and relative rate of the discriminators."""
        optimized = self.preset == "optimized"
        norm = optimized if self.batch_norm is None else self.batch_norm
        dropout = self.discriminator_dropout
        rate = self.discriminator_rate
        return (
            norm,
            (0.5 if optimized else 0.0) if dropout is None else dropout,
            (0.1 if optimized else 1.0) if rate is None else rate,
        )


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class AaeRecipe(SystemsRecipe):
    """Adversarial autoencoders and their baselines."""

    kind: Literal["aae"]
    systems: tuple[System, ...] = Field(min_length=1)
    joint: bool = False
    """One network with a y for each target, each of which every utterance must have; else a
    network per target, as in the paper."""
