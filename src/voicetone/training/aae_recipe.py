"""The recipe of the adversarial autoencoder: targets, systems, and the data that they share."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.features.normalise import Normalisation
from voicetone.training.classifier_recipe import CorpusChoice, ProtocolChoice, Seeds

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Target:
    """What y stands for."""

    name: str
    """Part of the folder's name."""
    target: Literal["emotion", "sentiment", "label"] = "emotion"
    rule: str = ""
    """A label rule (`voicetone corpus list`) whose classes are the target instead."""


@dataclass(frozen=True, config=_STRICT)
class AaeFeatures:
    """What a network hears."""

    name: str = "ComParE_2016"
    frames: int = Field(default=0, ge=0)
    """Length of a frame-level input, 4 times a product of four factors up to 4; 0 takes
    functionals. Shorter utterances are followed by zeros, of longer ones the middle is heard."""
    step: int = Field(default=1, ge=1)
    """Frame level: so many frames of 10 ms become one, their mean."""
    cut_seconds: float | None = None
    """Hear only so many seconds from the start."""
    normalise: Normalisation = "global"
    """`speaker` uses the unlabelled audio of test speakers."""
    limit: float = Field(default=10.0, gt=0)
    """Normalised values beyond so many SDs are cut to it: functionals have outliers, and a
    stranger's can lie thousands of SDs off."""


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
    features: AaeFeatures = field(default_factory=AaeFeatures)
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


@dataclass(frozen=True, config=_STRICT)
class AaeRecipe:
    """Every system on every target: one folder with a run for each, and their table."""

    kind: Literal["aae"]
    name: str
    corpora: tuple[CorpusChoice, ...]
    protocol: ProtocolChoice
    systems: tuple[System, ...] = Field(min_length=1)
    targets: tuple[Target, ...] = Field(default=(Target("emotion"),), min_length=1)
    joint: bool = False
    """One network with a y for each target, each of which every utterance must have; else a
    network per target, as in the paper."""
    unlabelled: tuple[CorpusChoice, ...] = ()
    """Corpora whose audio alone is used, by systems that say `unlabelled = true`."""
    seeds: Seeds = (0,)
    checkpoints: Literal["none", "first", "all"] = "first"
    """Whose weights are kept: of the first seed's folds, of all, or of none."""
    out: str = ""
    """Run folder; `runs/NAME` if empty."""
    at_once: int = Field(default=40, ge=1)
    """Replicas (folds and seeds) that are trained as one program."""
    jobs: int = 0
    """Threads; 0 is one per core."""
