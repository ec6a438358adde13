"""Parts of self-supervised front ends: padding that is not heard, and masked spans."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voicetone.features.ssl import EPSILON


class MaskedGroupNorm(nn.Module):
    """Group normalisation with one channel a group, over an utterance's own frames only.

    The library's takes the padding into its mean and variance, so that an utterance would sound
    otherwise beside a longer one. Its weights keep their names.

    Args:
        norm: whose weights it takes.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.lengths: Tensor | None = None
        """Frames of each utterance `[B]`; to be set before each call."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, t]`, normalised, 0 where no frame is an utterance's own."""
        assert self.lengths is not None
        own = before(self.lengths, x.shape[2])[:, None].to(x.dtype)
        count = self.lengths.to(x.dtype)[:, None, None]
        apart = (x - (x * own).sum(2, keepdim=True) / count) * own
        scale = torch.rsqrt((apart**2).sum(2, keepdim=True) / count + self.eps)
        return (apart * scale * self.weight[:, None] + self.bias[:, None]) * own


def before(lengths: Tensor, count: int) -> Tensor:
    """Which of so many places are before each length: `[B, count]`."""
    return torch.arange(count, device=lengths.device) < lengths[:, None]


def normalised(samples: Tensor, lengths: Tensor) -> Tensor:
    """Each utterance with mean 0 and variance 1, and zeros beyond its end.

    Args:
        samples: `[B, n]`, zeros beyond each utterance's end.
        lengths: `[B]` samples.
    """
    own = before(lengths, samples.shape[1]).to(samples.dtype)
    count = lengths.to(samples.dtype)[:, None]
    apart = (samples - samples.sum(1, keepdim=True) / count) * own
    return apart * torch.rsqrt((apart**2).sum(1, keepdim=True) / count + EPSILON)


def spans(
    lengths: Sequence[int],
    total: int,
    share: float,
    span: int,
    least: int,
    generator: torch.Generator,
) -> Tensor:
    """Masked places: spans whose starts are drawn without replacement, and which may overlap.

    As many as make the share if none overlapped, rounded up or down by chance (Park et al.,
    Interspeech 2019; Baevski et al., NeurIPS 2020, section 3.1, and as `transformers` does it).

    Args:
        lengths: places of each row.
        total: of the longest.
        share: of a row's places.
        span: places that are masked together.
        least: spans at least, where they have room.
        generator: of the draws.

    Returns:
        `[B, total]`.
    """
    masked = torch.zeros(len(lengths), total, dtype=torch.bool)
    for row, length in zip(masked, lengths, strict=True):
        drawn = float(torch.rand((), generator=generator))
        count = min(max(int(share * length / span + drawn), least), length // span)
        if share == 0.0 or count == 0:
            continue
        starts = torch.randperm(length - span + 1, generator=generator)[:count]
        row[(starts[:, None] + torch.arange(span)).flatten()] = True
    return masked
