"""A streaming Conformer encoder over the frames of a front end.

The blocks are those of Gulati et al., Interspeech 2020 (half a feed-forward step, self-attention,
convolution, half a feed-forward step), made causal: a frame attends to itself and to a fixed number
of frames before it, and the convolution looks back only. What it looks back on is explicit state,
so each second is encoded once and any chunking of a stream gives the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_UNHEARD = -1e4  # added to the scores of frames before the stream began


@dataclass(frozen=True)
class ConformerConfig:
    """Sizes of the encoder."""

    inputs: int = 160
    """Values per frame of the front end."""
    width: int = 144
    layers: int = 4
    heads: int = 4
    expand: int = 4
    """Expansion of the feed-forward steps."""
    kernel: int = 15
    """Frames seen by the convolution of a block."""
    past: int = 64
    """Frames before its own that a frame attends to; 64 are 2 s."""
    dropout: float = 0.1

    @property
    def state_sizes(self) -> list[int]:
        """Which past frames there are, and for each block past inputs of attention and
        convolution."""
        block = [self.past * self.width, (self.kernel - 1) * self.width]
        return [self.past, *(block * self.layers)]

    @property
    def state_size(self) -> int:
        """Numbers of carried state per stream."""
        return sum(self.state_sizes)


def split_heads(heads: int, x: Tensor) -> Tensor:
    """`[B, n, width]` → `[B, heads, n, width / heads]`."""
    batch, count, width = x.shape
    return x.reshape(batch, count, heads, width // heads).transpose(1, 2)


class FeedForward(nn.Module):
    """The half step of a block."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, config.expand * config.width)
        self.contract = nn.Linear(config.expand * config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, n, width]` → the same."""
        y = self.dropout(F.silu(self.expand(self.norm(x))))
        y = self.dropout(self.contract(y))
        out: Tensor = x + 0.5 * y
        return out


class Attention(nn.Module):
    """Self-attention over a fixed number of past frames, with a learned bias per distance."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.past, self.heads = config.past, config.heads
        self.norm = nn.LayerNorm(config.width)
        self.query = nn.Linear(config.width, config.width)
        self.pair = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.distance = nn.Parameter(torch.zeros(config.heads, config.past + 1))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, before: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """One stretch.

        Args:
            x: `[B, n, width]`.
            before: normalised inputs of the frames before `[B, past, width]`.
            heard: 1 for frames of the stream, 0 for those before it began and for padding
                `[B, past + n]`.

        Returns:
            `[B, n, width]`, and the new `before`.
        """
        batch, count, width = x.shape
        seen = torch.cat([before, self.norm(x)], dim=1)
        query = split_heads(self.heads, self.query(seen[:, self.past :]))
        keys, values = self.pair(seen).chunk(2, dim=2)
        keys, values = split_heads(self.heads, keys), split_heads(self.heads, values)
        score = query @ keys.transpose(2, 3) / math.sqrt(width // self.heads)
        # Row i stands at place past + i: keys from i to past + i are within reach.
        rows = torch.arange(count, device=x.device)[:, None] + self.past
        back = rows - torch.arange(seen.shape[1], device=x.device)[None, :]
        reach = (back >= 0) & (back <= self.past)
        bias = self.distance[:, back.clamp(0, self.past)]
        score = score + bias + torch.where(reach, 0.0, _UNHEARD)
        score = score + (1.0 - heard)[:, None, None, :] * _UNHEARD
        share = self.dropout(torch.softmax(score, dim=3))
        y = (share @ values).transpose(1, 2).reshape(batch, count, width)
        return x + self.dropout(self.out(y)), seen[:, -self.past :]


class Convolution(nn.Module):
    """The causal depth-wise convolution of a block, between two pointwise steps."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.past = config.kernel - 1
        width = config.width
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, config.kernel, groups=width)
        self.inner = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, before: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """`x` `[B, n, width]`, the inputs `before` `[B, past, width]`, `real` `[B, n]` (0 for
        padding) → the same shape as x, and the new `before`."""
        y = F.glu(self.gate(self.norm(x)), dim=2) * real[:, :, None]
        seen = torch.cat([before, y], dim=1)
        y = self.depthwise(seen.transpose(1, 2)).transpose(1, 2)
        y = self.out(F.silu(self.inner(y)))
        return x + self.dropout(y), seen[:, -self.past :]


class ConformerBlock(nn.Module):
    """Feed-forward, attention, convolution, feed-forward."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.first = FeedForward(config)
        self.attention = Attention(config)
        self.convolution = Convolution(config)
        self.second = FeedForward(config)
        self.norm = nn.LayerNorm(config.width)

    def forward(
        self, x: Tensor, attended: Tensor, convolved: Tensor, heard: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One stretch and its two pasts → outputs and the new pasts."""
        x, attended = self.attention(self.first(x), attended, heard)
        x, convolved = self.convolution(x, convolved, heard[:, -x.shape[1] :])
        return self.norm(self.second(x)), attended, convolved


class Conformer(nn.Module):
    """Frames of a front end `[B, inputs, n]` → frames `[B, n, width]`."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Linear(config.inputs, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.layers))

    def forward(
        self, frames: Tensor, state: Tensor, real: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One stretch of a stream.

        Args:
            frames: `[B, inputs, n]`.
            state: `[B, state_size]`, zeros at the start.
            real: `[B, n]`, 1 for audio and 0 for padding, which no frame attends to; all ones if
                not given.

        Returns:
            frames `[B, n, width]`, state `[B, state_size]`.
        """
        x = self.dropout(self.enter(frames.transpose(1, 2)))
        batch, config = x.shape[0], self.config
        known, *pasts = torch.split(state, config.state_sizes, dim=1)
        heard = torch.cat([known, torch.ones_like(x[:, :, 0]) if real is None else real], dim=1)
        news = [heard[:, -config.past :]]
        for index, block in enumerate(self.blocks):
            attended = pasts[2 * index].reshape(batch, config.past, config.width)
            convolved = pasts[2 * index + 1].reshape(batch, config.kernel - 1, config.width)
            x, attended, convolved = block(x, attended, convolved, heard)
            news += [attended.flatten(1), convolved.flatten(1)]
        return x, torch.cat(news, dim=1)

    def start(self, batch: int) -> Tensor:
        """The state before the first frame `[B, state_size]`."""
        return self.enter.weight.new_zeros(batch, self.config.state_size)
