"""Self-supervised pretraining of the front end with a random-projection quantiser (BEST-RQ).

After Chiu et al., ICML 2022 (arXiv 2202.01855): a frozen random projection and a frozen random
codebook name each frame of audio, stretches of the audio are replaced by noise, and the network is
to say what the names of the hidden frames were. Nothing of the quantiser is learnt, so the targets
can't collapse.

The front end is causal, so on its own it would have to foretell a hidden stretch from what came
before. The published encoder looks to both sides; here that is the part of a small context network
on top, which is thrown away afterwards: what comes after a gap then teaches the front end, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.models.conformer import Conformer, ConformerConfig
from voicetone.models.front import Front

Context = Literal["none", "gru", "conformer"]


@dataclass(frozen=True)
class BestRqConfig:
    """What is hidden, what is to be named, and who guesses."""

    codes: int = 256
    """Entries of a codebook."""
    codebooks: int = 4
    """Projections and codebooks side by side, each with a guess of its own (as in USM, Zhang et
    al., arXiv 2303.01037)."""
    dimension: int = 16
    """Of the projection."""
    pitch: bool = False
    """Whether the codes also hear the pitch map; otherwise the mel bands alone."""
    mask_chance: float = 0.12
    """Chance of each 31.25 ms frame that a hidden stretch begins there."""
    mask_span: int = 4
    """Frames of a hidden stretch."""
    noise: float = 0.1
    """SD of what stands in its place, in features of SD 1."""
    context: Context = "gru"
    """Network between the front end and the guesses: none, a bidirectional GRU, or a causal
    Conformer."""
    context_layers: int = 1
    context_width: int = 96
    """Units of the GRU in each direction, or of the Conformer; of this a multiple of 4."""


class Quantiser(nn.Module):
    """Frames `[B, n, inputs]` → their codes `[B, n, codebooks]`; frozen from the start.

    Args:
        inputs: values per frame.
        config: sizes.
        generator: what projections (Xavier) and codebooks (normal) are drawn from.
        whitening: `[inputs, k]`, applied before the projections; see `whitening_of`.
    """

    projection: Tensor
    codebook: Tensor

    def __init__(
        self,
        inputs: int,
        config: BestRqConfig,
        generator: torch.Generator,
        whitening: Tensor | None = None,
    ) -> None:
        super().__init__()
        entering = inputs if whitening is None else whitening.shape[1]
        bound = math.sqrt(6.0 / (entering + config.dimension))
        shape = (config.codebooks, entering, config.dimension)
        projection = (torch.rand(shape, generator=generator) * 2.0 - 1.0) * bound
        if whitening is not None:
            projection = whitening @ projection
        shape = (config.codebooks, config.codes, config.dimension)
        codebook = torch.randn(shape, generator=generator)
        self.register_buffer("projection", projection)
        self.register_buffer("codebook", F.normalize(codebook, dim=2))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """The nearest entry of each codebook, both sides of length 1 (Chiu et al., eq. 1)."""
        projected = F.normalize(torch.einsum("bni,kid->bnkd", x, self.projection), dim=3)
        # Between vectors of length 1 the nearest is the one with the largest inner product.
        near: Tensor = torch.einsum("bnkd,kcd->bnkc", projected, self.codebook)
        return near.argmax(3)


def whitening_of(covariance: Tensor, components: int) -> Tensor:
    """`[inputs, components]`: what takes frames of this covariance `[inputs, inputs]` to their
    first principal components, each of SD 1.

    Neighbouring mel bands and frames say much the same: nine tenths of what normalised frames
    differ in is a few directions, loudness first, and so most of them would share a few codes.
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    kept = min(components, len(values))
    values, vectors = values.flip(0)[:kept].clamp_min(1e-6), vectors.flip(1)[:, :kept]
    scaled: Tensor = vectors / values.sqrt()
    return scaled.float()


@dataclass(frozen=True)
class Guesses:
    """What is said of the hidden frames, and what they were."""

    logits: Tensor
    """`[hidden, codebooks, codes]`."""
    truth: Tensor
    """`[hidden, codebooks]`."""
    codes: Tensor
    """Of all frames `[B, n, codebooks]`."""

    @property
    def loss(self) -> Tensor:
        """Cross-entropy over the hidden frames, mean over codebooks, in nats."""
        return F.cross_entropy(self.logits.flatten(0, 1), self.truth.flatten())


class BestRq(nn.Module):
    """The front end with all that pretraining puts around it.

    Args:
        front: with its normalisation set; trained in place.
        config: sizes.
        generator: what the quantiser is drawn from.
        whitening: `[inputs, k]` for the quantiser, if wanted.
    """

    def __init__(
        self,
        front: Front,
        config: BestRqConfig,
        generator: torch.Generator,
        whitening: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config, self.front = config, front
        heard = front.config.features if config.pitch else front.config.mels
        self.quantiser = Quantiser(2 * heard, config, generator, whitening)
        width = front.config.width
        if config.context == "gru":
            self.context: nn.Module = nn.GRU(
                width,
                config.context_width,
                config.context_layers,
                batch_first=True,
                bidirectional=True,
            )
            width = 2 * config.context_width
        elif config.context == "conformer":
            self.context = Conformer(
                ConformerConfig(width, config.context_width, config.context_layers)
            )
            width = config.context_width
        else:
            self.context = nn.Identity()
        self.heads = nn.Linear(width, config.codebooks * config.codes)

    def forward(self, features: Tensor, hidden: Tensor, noise: Tensor) -> Guesses:
        """Guesses of the hidden frames.

        Args:
            features: `[B, 2n, F]`.
            hidden: `[B, n]`, true where frames are hidden.
            noise: `[B, 2n, F]` of SD 1, which takes their place.
        """
        front = self.front
        x = (features - front.mean) * front.scale
        codes = self.codes(x)
        covered = hidden.repeat_interleave(2, dim=1)[:, :, None]
        x = torch.where(covered, noise * self.config.noise, x)
        frames, _ = front.from_normalised(x, front.start(len(x)))
        seen = self._context(frames)[hidden]
        logits = self.heads(seen).reshape(-1, self.config.codebooks, self.config.codes)
        return Guesses(logits, codes[hidden], codes)

    def codes(self, x: Tensor) -> Tensor:
        """Codes `[B, n, codebooks]` of normalised features `[B, 2n, F]`: the two feature frames
        of a frame side by side."""
        heard = x if self.config.pitch else x[:, :, : self.front.config.mels]
        found: Tensor = self.quantiser(heard.reshape(len(x), x.shape[1] // 2, -1))
        return found

    def _context(self, frames: Tensor) -> Tensor:
        """Frames `[B, width, n]` → what the guesses are made from `[B, n, w]`."""
        out = frames.transpose(1, 2)
        if isinstance(self.context, Conformer):
            out = self.context(frames, self.context.start(len(frames)))[0]
        elif isinstance(self.context, nn.GRU):
            out = self.context(out)[0]
        return out


def hidden_frames(
    rng: np.random.Generator, rows: int, frames: int, chance: float, span: int
) -> NDArray[np.bool_]:
    """Which frames of a batch are hidden `[rows, frames]`: stretches of `span` frames, each
    beginning at a frame with `chance`, overlapping as they fall, cut at the end.

    Where none would be hidden, one stretch of the first row is: a step needs something to guess.
    """
    begun = np.cumsum(rng.random((rows, frames)) < chance, axis=1)
    hidden = begun > np.pad(begun, ((0, 0), (span, 0)))[:, :frames]
    if not hidden.any():
        at = int(rng.integers(frames))
        hidden[0, at : at + span] = True
    return np.asarray(hidden, dtype=bool)
