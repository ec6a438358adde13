"""The adversarial autoencoder whose codes match a mixture of Gaussians.

S. Sahu, R. Gupta, G. Sivaraman, W. AbdAlmageed, C. Espy-Wilson: Adversarial Auto-encoders for
Speech Based Emotion Recognition, Interspeech 2017. x → encoder → code → decoder → x̂; the prior of
the code is a mixture with one component per class. The discriminator, which tells samples of the
prior from codes, also gets the class as a one-hot vector, after Makhzani et al. (2015, section
2.3): so each class's codes go to its own component. Utterances without a label have a place of
their own in the one-hot vector, and the whole mixture as their prior.

Encoder, decoder, discriminator and losses are those of `voicetone.models.aae`, with replicas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.errors import DataError
from voicetone.models.aae import AaeConfig, Decoder, Discriminator, Encoder
from voicetone.models.replicas import Draws

Doubles = NDArray[np.float64]
_APART = 2.0  # tangential SDs from a component's axis to the border with its neighbour
_NEAR = 1.0  # radial SDs towards the middle, where neighbours are nearer


@dataclass(frozen=True)
class Mixture:
    """One Gaussian per class on a circle, long along the radius and narrow across it.

    Defaults are read off the paper's figure of the code plane.
    """

    classes: int
    size: int = 2
    """Dimensions of a code. The circle lies in the first two; in the others every component has
    mean 0 and the tangential SD. With one dimension the means are evenly spaced on a line."""
    radius: float = 9.0
    radial: float = 3.0
    """SD along the radius."""
    tangential: float = 0.7
    """SD across it."""

    @property
    def most(self) -> int:
        """How many classes the plane holds apart.

        One radial SD towards the middle (five in six samples of a component lie farther out) the
        borders between neighbours still have to be two tangential SDs from the axes. By default 13
        classes have that room.
        """
        if self.size == 1:
            return 2
        inner = max(self.radius - _NEAR * self.radial, 1e-9)
        if inner <= _APART * self.tangential:
            return 1
        return int(math.pi / math.asin(_APART * self.tangential / inner) + 1e-9)

    def require_room(self) -> None:
        """Check that the classes have room.

        Raises:
            DataError: more classes than the plane can hold apart.
        """
        if self.size == 1 and self.classes > self.most:
            raise DataError(
                f"{self.classes} classes on a line: one dimension holds {self.most} apart; take "
                "size = 2"
            )
        if self.classes > self.most:
            raise DataError(
                f"{self.classes} classes on a circle of radius {self.radius:g} overlap: a plane "
                f"with SDs of {self.radial:g} along the radius and {self.tangential:g} across it "
                f"holds {self.most} apart; leave classes out, raise radius or lower the SDs"
            )

    @property
    def directions(self) -> Doubles:
        """Unit vectors from the middle to the means `[classes, size]`."""
        out = np.zeros((self.classes, self.size))
        if self.size == 1:
            out[:, 0] = np.linspace(1, -1, self.classes)
            return out
        angle = 2 * math.pi * np.arange(self.classes) / self.classes
        out[:, 0], out[:, 1] = np.cos(angle), np.sin(angle)
        return out

    @property
    def means(self) -> Doubles:
        """`[classes, size]`."""
        return self.radius * self.directions

    @property
    def covariances(self) -> Doubles:
        """`[classes, size, size]`."""
        u = self.directions
        along = u[:, :, None] * u[:, None, :]
        plain = np.eye(self.size)[None]
        return self.tangential**2 * plain + (self.radial**2 - self.tangential**2) * along

    def place(self, normal: Tensor, classes: Tensor) -> Tensor:
        """Samples of the components of `classes`.

        Args:
            normal: standard normal draws `[..., size]`.
            classes: places of the classes `[...]`.
        """
        u = torch.from_numpy(self.directions).to(normal)[classes]
        along = (normal * u).sum(-1, keepdim=True)
        narrow = self.tangential * (normal - along * u)
        return narrow + (self.radius + self.radial * along) * u

    def sample(self, classes: NDArray[np.int64], seed: Sequence[int]) -> Doubles:
        """Samples of the components of `classes` `[n]`: `[n, size]`."""
        normal = np.random.default_rng(list(seed)).standard_normal((len(classes), self.size))
        return self.place(torch.from_numpy(normal), torch.from_numpy(classes)).numpy()

    def posterior(self, codes: Doubles, weights: Doubles) -> Doubles:
        """Probability of each component `[n, classes]` of codes `[n, size]`.

        Args:
            codes: where.
            weights: of the components `[classes]`.
        """
        apart = codes[:, None] - self.means
        inverse = np.linalg.inv(self.covariances)
        log = -0.5 * np.einsum("nki,kij,nkj->nk", apart, inverse, apart)
        log += np.log(np.maximum(weights, 1e-12))
        log -= log.max(1, keepdims=True)
        density = np.exp(log)
        return np.asarray(density / density.sum(1, keepdims=True))


@dataclass(frozen=True)
class GmmConfig:
    """Sizes; defaults are the paper's."""

    inputs: int
    mixture: Mixture
    hidden: Sequence[int] = (1000, 1000)
    """Of encoder, decoder and discriminator each."""
    dropout: float = 0.5
    """Between the layers of encoder and decoder."""
    adversarial: bool = True
    """Without, a plain autoencoder, for which only the mixture's size counts."""

    @property
    def autoencoder(self) -> AaeConfig:
        """The same as an encoder with z alone."""
        return AaeConfig(
            self.inputs, (), self.mixture.size, hidden=self.hidden, dropout=self.dropout
        )


class GmmAae(nn.Module):
    """Encoder, decoder, and the discriminator that is told the class."""

    def __init__(self, config: GmmConfig, draws: Draws) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.autoencoder, draws)
        self.decoder = Decoder(config.autoencoder, draws)
        told = config.mixture.size + config.mixture.classes + 1
        self.discriminator = (
            Discriminator(told, config.hidden, 0.0, draws) if config.adversarial else None
        )

    def encode(self, x: Tensor) -> Tensor:
        """`[R, B, inputs]` → codes `[R, B, size]`."""
        z = self.encoder(x)[1]
        assert z is not None
        return torch.as_tensor(z)

    def decode(self, codes: Tensor) -> Tensor:
        """`[R, B, size]` → `[R, B, inputs]`."""
        return torch.as_tensor(self.decoder([], codes))

    def judge(self, codes: Tensor, truth: Tensor) -> Tensor:
        """Logits `[R, B]` that codes are samples of the prior.

        Args:
            codes: `[R, B, size]`.
            truth: places of their classes `[R, B]`, -1 without a label.
        """
        assert self.discriminator is not None
        count = self.config.mixture.classes
        told = F.one_hot(torch.where(truth < 0, count, truth), count + 1).to(codes.dtype)
        return torch.as_tensor(self.discriminator(torch.cat([codes, told], 2)))
