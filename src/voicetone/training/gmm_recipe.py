"""The recipe of codes on a mixture of Gaussians, of the codes they are compared with, and of
classifiers on all of them."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.models.gmm_aae import GmmConfig, Mixture
from voicetone.training.classifier_recipe import LinearSvm, RbfSvm
from voicetone.training.systems_recipe import SystemFeatures, SystemsRecipe

_STRICT = ConfigDict(extra="forbid")
Size = Annotated[int, Field(ge=1, le=512)]
Width = Annotated[int, Field(ge=1, le=16_384)]
Svm = Annotated[LinearSvm | RbfSvm, Field(discriminator="name")]
NETWORKS = ("gmm-aae", "autoencoder")


@dataclass(frozen=True, config=_STRICT)
class Synthetic:
    """Training samples that a trained network makes up: draws of its mixture, decoded."""

    of: str
    """An earlier `gmm-aae` system of the recipe, with the same features."""
    per_class: Literal["balanced"] | Annotated[int, Field(ge=1, le=100_000)] = 100
    """`balanced` fills every class up to the largest one's number."""
    real: bool = True
    """Whether the real training utterances are there too."""


@dataclass(frozen=True, config=_STRICT)
class CodeSystem:
    """One kind of codes and the classifiers on them."""

    name: str
    codes: Literal["gmm-aae", "autoencoder", "lda", "pca", "raw"] = "gmm-aae"
    """`autoencoder` is the same network without mixture and discriminator; `raw` takes the
    features themselves."""
    size: Size | Annotated[tuple[Size, ...], Field(min_length=1)] = 2
    """Dimensions of a code; of several the one is taken that does best on validation speakers."""
    features: SystemFeatures = field(default_factory=lambda: SystemFeatures(name="IS10"))
    """1,582 functionals in the paper; say the `name` whenever you say anything here."""
    hidden: tuple[Width, ...] = Field(default=(1000, 1000), min_length=1, max_length=8)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    radius: float = Field(default=9.0, gt=0)
    radial: float = Field(default=3.0, gt=0)
    tangential: float = Field(default=0.7, gt=0)
    discriminator_rate: float = Field(default=1.0, ge=0)
    """Learning rate of the discriminator as a multiple of `rate`."""
    noise: float = Field(default=0.0, ge=0)
    """SD of the Gaussian noise on the codes that the discriminator sees."""
    stretch: bool = False
    """Map the codes' distances from the middle so that those of the validation speakers are
    distributed as the mixture's."""
    rate: float = Field(default=1e-3, gt=0)
    epochs: int = Field(default=500, ge=1)
    batch: int = Field(default=64, ge=2)
    clip: float = Field(default=0.0, ge=0)
    labelled: float = Field(default=1.0, gt=0, le=1)
    """Share of the training utterances whose labels are used; the others stay, unlabelled."""
    unlabelled: bool = False
    """Whether the networks learn from the recipe's unlabelled corpora too."""
    readout: tuple[Svm, ...] = Field(
        default=(
            LinearSvm("linear-svm", C=(1e-4, 1e-3, 1e-2, 1e-1), balanced=True),
            RbfSvm("rbf-svm", C=(1.0, 10.0), gamma="scale", balanced=True),
        ),
        min_length=1,
    )
    """Kernels and constants, chosen on validation speakers, whom no code was fitted to."""
    refit: bool = True
    """Once chosen, the classifier is trained on the validation speakers too; codes never are. Not
    with `labelled` below 1, or made-up samples alone."""
    synthetic: Synthetic | None = None
    weights: str = ""
    """`OUT/TARGET/SYSTEM` of a `gmm-aae` run with one fold: its network of the same seed makes the
    codes, and only the classifier is trained here."""

    @property
    def trains_network(self) -> bool:
        """Whether its codes come from a network that is trained here."""
        return self.codes in NETWORKS and not self.weights

    @property
    def labels_only(self) -> bool:
        """Whether it has no use for utterances without a label."""
        return self.codes == "lda"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Every size that is tried."""
        return self.size if isinstance(self.size, tuple) else (self.size,)

    def config(self, inputs: int, classes: int, size: int) -> GmmConfig:
        """Of its network."""
        mixture = Mixture(classes, size, self.radius, self.radial, self.tangential)
        return GmmConfig(inputs, mixture, self.hidden, self.dropout, self.codes == "gmm-aae")


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class CodesRecipe(SystemsRecipe):
    """Codes of every kind on every target, and classifiers on them."""

    kind: Literal["gmm-aae"]
    systems: tuple[CodeSystem, ...] = Field(min_length=1)
    joint: Literal[False] = False
