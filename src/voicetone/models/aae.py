"""The adversarial autoencoder with an emotion latent y and a style latent z.

S. Parthasarathy, V. Rozgic, M. Sun, C. Wang: Improving Emotion Classification through Variational
Inference of Latent Variables, ICASSP 2019. x → encoder → (y, z) → decoder → x̂; y is a softmax over
the classes and is the classifier, z is a style vector. Two discriminators tell samples of the
priors, categorical and standard normal, from the codes.

Every network here is a stack of replicas, see `voicetone.models.replicas`; losses are one number
per replica `[R]`, and their sum trains each as if it were alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.errors import DataError
from voicetone.models.replicas import BatchNorm, Conv, Dense, Draws, head

KERNEL = 4
SAME = ((KERNEL - 1) // 2, KERNEL // 2)
CHANCE = math.log(2)
"""Loss of a discriminator that can't tell: where an adversarial training settles."""


@dataclass(frozen=True)
class AaeConfig:
    """Sizes and the ingredients of "optimized"."""

    inputs: int
    """Features per utterance (6,373 in the paper), or per frame (65)."""
    classes: Sequence[int]
    """Of each y; the paper trains one network per attribute, so one y."""
    style: int = 100
    """Of z; 0 leaves the autoencoder and the discriminators away: the baseline."""
    frames: int = 0
    """Frames of an input; 0 is the utterance level. 1,024 (10.24 s) in the paper."""
    hidden: Sequence[int] = (256, 256)
    channels: Sequence[int] = (128, 128, 256, 256)
    """Of the convolutions that are followed by pooling (frame level)."""
    dropout: float = 0.5
    """Between the hidden layers of encoder and decoder at the utterance level."""
    batch_norm: bool = False
    """On all layers, the outputs of encoder and decoder included."""
    discriminator_dropout: float = 0.0

    @property
    def pools(self) -> tuple[int, ...]:
        """Factors of the poolings, the largest first: all 4 at 1,024 frames.

        Raises:
            DataError: the frames are no product of such factors and the last kernel.
        """
        left, found = divmod(self.frames, KERNEL)[0], []
        for _ in self.channels:
            factor = next(f for f in (4, 3, 2, 1) if left % f == 0)
            found.append(factor)
            left //= factor
        if left != 1 or self.frames % KERNEL:
            raise DataError(
                f"frames = {self.frames} can't be pooled to one step: take 4 times a product of "
                f"{len(self.channels)} factors up to 4, such as 128, 256, 384 or 1024"
            )
        return tuple(found)


class FrameBody(nn.Module):
    """The convolutional stack of Table 2: `[R, B, frames, inputs]` → `[R, B, 256]`.

    Frames beyond an utterance's end are zero at the input and after every block, so that what
    follows the end is the same for all.
    """

    def __init__(self, config: AaeConfig, draws: Draws) -> None:
        super().__init__()
        sizes = (config.inputs, *config.channels)
        self.pools = config.pools
        self.blocks = nn.ModuleList(Conv(a, b, KERNEL, SAME, draws) for a, b in pairwise(sizes))
        last = sizes[-1]
        self.lone = Conv(last, last, KERNEL, (0, 0), draws)
        norms = [*config.channels, last] if config.batch_norm else []
        self.norms = nn.ModuleList(BatchNorm(n, draws, frames=True) for n in norms)
        self.dense = Dense(last, config.hidden, 0.0, config.batch_norm, draws)
        self.outputs = self.dense.outputs

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`mask` is `[R, B, frames]`, one where there is speech to hear."""
        replicas = len(x)
        h = x.permute(1, 0, 3, 2).flatten(1, 2)
        keep = mask.transpose(0, 1)
        for index, (block, pool) in enumerate(zip(self.blocks, self.pools, strict=True)):
            h = self._normed(block(h), index)
            keep = keep[..., ::pool]
            h = F.max_pool1d(F.relu(h), pool)
            h = (h.view(len(h), replicas, -1, h.shape[2]) * keep[:, :, None]).flatten(1, 2)
        h = F.relu(self._normed(self.lone(h), len(self.blocks)))
        return torch.as_tensor(self.dense(h.view(len(h), replicas, -1).transpose(0, 1)))

    def _normed(self, h: Tensor, index: int) -> Tensor:
        return torch.as_tensor(self.norms[index](h)) if len(self.norms) else h


class Encoder(nn.Module):
    """x → logits of each y, and z."""

    def __init__(self, config: AaeConfig, draws: Draws) -> None:
        super().__init__()
        self.body: nn.Module
        if config.frames:
            self.body = FrameBody(config, draws)
            size = self.body.outputs
        else:
            self.body = Dense(
                config.inputs, config.hidden, config.dropout, config.batch_norm, draws
            )
            size = self.body.outputs
        self.framewise = bool(config.frames)
        norm = config.batch_norm
        self.y = nn.ModuleList(head(size, count, norm, draws) for count in config.classes)
        self.z = head(size, config.style, norm, draws) if config.style else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[list[Tensor], Tensor | None]:
        """Logits `[R, B, classes]` of each y, and z `[R, B, style]` or None.

        Args:
            x: `[R, B, inputs]`, or `[R, B, frames, inputs]`.
            mask: with frames: which of them are there `[R, B, frames]`.
        """
        h = self.body(x, mask) if self.framewise else self.body(x)
        return [layer(h) for layer in self.y], None if self.z is None else self.z(h)


class FrameDecoder(nn.Module):
    """The mirror of `FrameBody`, with the projection to the features that Table 2 omits."""

    def __init__(self, config: AaeConfig, inputs: int, draws: Draws) -> None:
        super().__init__()
        self.dense = Dense(inputs, config.hidden, 0.0, config.batch_norm, draws)
        widths = config.channels[::-1]
        self.unpools = config.pools[::-1]
        whole = (KERNEL - 1, KERNEL - 1)
        self.first = Conv(self.dense.outputs, widths[0], KERNEL, whole, draws)
        sizes = (widths[0], *widths)
        self.blocks = nn.ModuleList(
            Conv(a, b, KERNEL, SAME[::-1], draws) for a, b in pairwise(sizes)
        )
        norms = [widths[0], *widths] if config.batch_norm else []
        self.norms = nn.ModuleList(BatchNorm(n, draws, frames=True) for n in norms)
        self.out = Conv(widths[-1], config.inputs, 1, (0, 0), draws)
        self.out_norm = BatchNorm(config.inputs, draws, frames=True) if config.batch_norm else None

    def forward(self, codes: Tensor) -> Tensor:
        replicas = len(codes)
        h = self.dense(codes).transpose(0, 1).flatten(1)[..., None]
        h = F.relu(self._normed(self.first(h), 0))
        for index, (block, factor) in enumerate(zip(self.blocks, self.unpools, strict=True), 1):
            h = F.relu(self._normed(block(h), index)).repeat_interleave(factor, dim=2)
        h = self.out(h)
        h = h if self.out_norm is None else self.out_norm(h)
        return torch.as_tensor(h).view(len(h), replicas, -1, h.shape[2]).permute(1, 0, 3, 2)

    def _normed(self, h: Tensor, index: int) -> Tensor:
        return torch.as_tensor(self.norms[index](h)) if len(self.norms) else h


class Decoder(nn.Module):
    """Codes (all y, then z) `[R, B, codes]` → x̂ in the shape of x."""

    def __init__(self, config: AaeConfig, draws: Draws) -> None:
        super().__init__()
        inputs = sum(config.classes) + config.style
        self.net: nn.Module
        if config.frames:
            self.net = FrameDecoder(config, inputs, draws)
        else:
            dense = Dense(inputs, config.hidden, config.dropout, config.batch_norm, draws)
            out = head(dense.outputs, config.inputs, config.batch_norm, draws)
            self.net = nn.Sequential(dense, out)

    def forward(self, ys: Sequence[Tensor], z: Tensor) -> Tensor:
        return torch.as_tensor(self.net(torch.cat([*ys, z], dim=2)))


class Discriminator(nn.Module):
    """`[R, B, inputs]` → logit that it is a sample of the prior `[R, B]`."""

    def __init__(self, inputs: int, hidden: Sequence[int], dropout: float, draws: Draws) -> None:
        super().__init__()
        self.body = Dense(inputs, hidden, dropout, False, draws)
        self.out = head(self.body.outputs, 1, False, draws)

    def forward(self, codes: Tensor) -> Tensor:
        return torch.as_tensor(self.out(self.body(codes))).squeeze(2)


class Aae(nn.Module):
    """Encoder, decoder and a discriminator for z and for each y; without style, the encoder only.

    The baseline of equal capacity is this with `style=0`: the same encoder without z.
    """

    def __init__(self, config: AaeConfig, draws: Draws) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, draws)
        self.decoder = Decoder(config, draws) if config.style else None
        sizes = [*config.classes, config.style] if config.style else []
        self.discriminators = nn.ModuleList(
            Discriminator(size, config.hidden, config.discriminator_dropout, draws)
            for size in sizes
        )


def reconstruction_loss(x: Tensor, found: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error `[R]`, over the frames that `mask` `[R, B, frames]` has."""
    error = (found - x).square()
    if mask is None:
        return error.flatten(1).mean(1)
    kept = error.mean(3) * mask
    return kept.flatten(1).sum(1) / mask.flatten(1).sum(1)


def discriminator_loss(prior: Tensor, codes: Tensor) -> Tensor:
    """Cross-entropy `[R]` of telling samples of the prior from codes, by their logits `[R, B]`."""
    return (F.softplus(-prior).mean(1) + F.softplus(codes).mean(1)) / 2


def generator_loss(codes: Tensor) -> Tensor:
    """Cross-entropy `[R]` of codes being taken for samples of the prior, by their logits."""
    return F.softplus(-codes).mean(1)


def classification_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy `[R]` over the examples that have a label.

    Args:
        logits: `[R, B, classes]`.
        truth: places of the classes `[R, B]`, -1 for an example without a label.
    """
    each = F.cross_entropy(logits.transpose(1, 2), truth, ignore_index=-1, reduction="none")
    return each.sum(1) / (truth >= 0).sum(1).clamp(min=1)
