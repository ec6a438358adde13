"""The convolutional baseline on frames (Parthasarathy et al., ICASSP 2019, "FR + Base").

Conv1D {4, 128, max-pool 4} twice, {4, 256, max-pool 4} twice, Conv1D {4, 256}, Dense 256 twice,
softmax. Four pools make ×256; the lone convolution is "valid" and turns 4 steps into 1, so that
1,024 frames (10.24 s) close exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 4
POOL = 4


@dataclass(frozen=True)
class CnnConfig:
    """Sizes."""

    inputs: int
    """Features per frame; 65 in the paper."""
    classes: int
    channels: Sequence[int] = (128, 128, 256, 256)
    """Of the blocks with pooling."""
    last: int = 256
    """Channels of the lone convolution."""
    dense: Sequence[int] = (256, 256)
    dropout: float = 0.0
    """Between the dense layers; the paper names none."""

    @property
    def frames(self) -> int:
        """Frames of an input: what leaves exactly one step."""
        return int(KERNEL * POOL ** len(self.channels))


class Cnn(nn.Module):
    """Frames of fixed number → one logit per class."""

    def __init__(self, config: CnnConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.inputs, *config.channels)
        self.blocks = nn.ModuleList(nn.Conv1d(a, b, KERNEL) for a, b in pairwise(sizes))
        self.lone = nn.Conv1d(sizes[-1], config.last, KERNEL)
        layers: list[nn.Module] = []
        size = config.last
        for index, width in enumerate(config.dense):
            if index and config.dropout:
                layers.append(nn.Dropout(config.dropout))
            layers += [nn.Linear(size, width), nn.ReLU()]
            size = width
        self.dense = nn.Sequential(*layers, nn.Linear(size, config.classes))

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`[B, frames, inputs]` → logits `[B, classes]`.

        Args:
            features: fewer frames than `config.frames` are followed by zeros, of more the middle
                is taken.
            lengths: of each row; only the padding that the caller added lies beyond, and zeros
                are what it is here too.
        """
        x = fitted(features, self.config.frames).transpose(1, 2)
        for block in self.blocks:
            x = F.pad(x, ((KERNEL - 1) // 2, KERNEL // 2))  # "same" for an even kernel
            x = F.max_pool1d(F.relu(block(x)), POOL)
        x = F.relu(self.lone(x)).squeeze(2)
        return torch.as_tensor(self.dense(x))


def fitted(features: Tensor, frames: int) -> Tensor:
    """`[B, n, F]` → `[B, frames, F]`: zeros after the end, or the middle."""
    have = features.shape[1]
    if have >= frames:
        start = (have - frames) // 2
        return features[:, start : start + frames]
    return F.pad(features, (0, 0, 0, frames - have))
