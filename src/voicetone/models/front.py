"""The compact streaming front end: spectral features in, one vector per 31.25 ms frame out.

It is causal, and its left context is explicit state, so that each second is heard once. The blocks
are depth-wise convolutions with a pointwise bottleneck in the manner of ConvNeXt (Liu et al., CVPR
2022), with batch normalisation so that they fold at inference.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.types import Floats


@dataclass(frozen=True)
class FrontConfig:
    """Sizes of the front end."""

    mels: int = 64
    """Mel bands at the front of a feature frame; a multiple of 4."""
    lags: int = 40
    """Values of the pitch map behind them."""
    stem: tuple[int, int] = (16, 32)
    """Channels of the two time-frequency convolutions."""
    width: int = 192
    """Channels of the encoder."""
    expand: int = 2
    """Pointwise expansion inside a block."""
    kernel: int = 7
    """Frames seen by a depth-wise convolution."""
    dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    """One block per entry."""
    dropout: float = 0.2

    @property
    def features(self) -> int:
        """Values per feature frame."""
        return self.mels + self.lags

    @property
    def state_sizes(self) -> list[int]:
        """The parts of the state: past feature frames, past stem frames, past block inputs."""
        blocks = [self.width * (self.kernel - 1) * d for d in self.dilations]
        return [2 * self.features, 2 * self.stem[0] * (self.mels // 2), *blocks]

    @property
    def state_size(self) -> int:
        """Numbers of carried state per stream."""
        return sum(self.state_sizes)


class Block(nn.Module):
    """Depth-wise causal convolution, then a pointwise bottleneck, with a residual path."""

    def __init__(self, config: FrontConfig, dilation: int) -> None:
        super().__init__()
        self.past = (config.kernel - 1) * dilation
        width = config.width
        self.depthwise = nn.Conv1d(
            width, width, config.kernel, dilation=dilation, groups=width, bias=False
        )
        self.norm = nn.BatchNorm1d(width)
        self.expand = nn.Conv1d(width, width * config.expand, 1)
        self.contract = nn.Conv1d(width * config.expand, width, 1)
        # Whole channels of a clip: element-wise masks cost a third of a training step on a CPU.
        self.dropout = nn.Dropout1d(config.dropout)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`x` `[B, C, n]` and the `past` inputs `[B, C, p]` → outputs and the new past."""
        seen = torch.cat([past, x], dim=2)
        y = self.norm(self.depthwise(seen))
        y = self.contract(self.dropout(F.relu(self.expand(y))))
        return x + y, seen[:, :, -self.past :]


class Stem(nn.Module):
    """Two causal time-frequency convolutions on the mel bands, joined by the pitch map.

    Local filters that slide along the mel axis carry what they learn of one voice's harmonics
    and formants to a higher or lower voice. Time is halved, the mel axis quartered.
    """

    def __init__(self, config: FrontConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.stem
        self.conv1 = nn.Conv2d(1, first, (4, 5), stride=2, padding=(0, 2), bias=False)
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, (3, 5), stride=(1, 2), padding=(0, 2), bias=False)
        self.norm2 = nn.BatchNorm2d(second)
        joined = second * (config.mels // 4) + 2 * config.lags
        self.join = nn.Conv1d(joined, config.width, 1, bias=False)
        self.norm = nn.BatchNorm1d(config.width)
        self.dropout = nn.Dropout2d(config.dropout / 2)

    def forward(self, x: Tensor, past1: Tensor, past2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x` `[B, 2n, F]`, past features `[B, 2, F]` and past maps `[B, C1, 2, mels / 2]` →
        `[B, width, n]` and the new pasts."""
        mels = self.config.mels
        seen = torch.cat([past1, x], dim=1)
        y = F.relu(self.norm1(self.conv1(seen[:, :, :mels].unsqueeze(1))))
        maps = torch.cat([past2, y], dim=2)
        z = self.dropout(F.relu(self.norm2(self.conv2(maps))))  # [B, C2, n, mels / 4]
        z = z.transpose(2, 3).flatten(1, 2)
        pitch = x[:, :, mels:].reshape(x.shape[0], -1, 2 * self.config.lags).transpose(1, 2)
        out = F.relu(self.norm(self.join(torch.cat([z, pitch], dim=1))))
        return out, seen[:, -2:], maps[:, :, -2:]


class Front(nn.Module):
    """Features `[B, 2n, F]` → frames `[B, width, n]`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: FrontConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))
        self.stem = Stem(config)
        self.blocks = nn.ModuleList(Block(config, d) for d in config.dilations)
        self.out_norm = nn.BatchNorm1d(config.width)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One stretch of a stream.

        Args:
            features: `[B, 2n, F]`.
            state: `[B, state_size]`, zeros at the start.

        Returns:
            frames `[B, width, n]`, state `[B, state_size]`.
        """
        return self.from_normalised((features - self.mean) * self.scale, state)

    def from_normalised(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The same from features of mean 0 and SD 1."""
        config = self.config
        frames_past, maps_past, *pasts = torch.split(state, config.state_sizes, dim=1)
        x, frames_new, maps_new = self.stem(
            x,
            frames_past.reshape(x.shape[0], 2, config.features),
            maps_past.reshape(x.shape[0], config.stem[0], 2, config.mels // 2),
        )
        news = [frames_new.flatten(1), maps_new.flatten(1)]
        for block, past in zip(self.blocks, pasts, strict=True):
            x, new = block(x, past.reshape(x.shape[0], config.width, -1))
            news.append(new.flatten(1))
        return self.out_norm(x), torch.cat(news, dim=1)

    def normalise(self, mean: Floats, spread: Floats) -> None:
        """Hear features of this mean and standard deviation `[F]` as of mean 0 and SD 1."""
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(1.0 / spread))

    def start(self, batch: int) -> Tensor:
        """The state before the first frame `[B, state_size]`."""
        return self.mean.new_zeros(batch, self.config.state_size)
