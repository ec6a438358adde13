"""Layers of many independent networks at once: every tensor has a leading replica dimension.

Folds, seeds and targets are independent small networks on the same data. Trained as one program
with stacked weights they keep the processor busy where one after another they would not. Nothing
passes between replicas: a replica's numbers are those it would have alone, up to rounding.

Activations are `[R, B, features]`, or `[B, R * channels, T]` between convolutions, which is what a
grouped convolution takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM = 0.1
EPSILON = 1e-5


class Draws:
    """Random numbers of R replicas, each from a generator of its own.

    Args:
        seeds: one per replica; equal seeds give equal numbers whatever the other replicas are.
        device: where they are wanted.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(int(s)) for s in seeds]

    @property
    def replicas(self) -> int:
        """How many."""
        return len(self.generators)

    def uniform(self, *shape: int) -> Tensor:
        """From 0 to 1, `[R, *shape]`."""
        out = torch.empty(self.replicas, *shape, device=self.device)
        for row, generator in zip(out, self.generators, strict=True):
            row.uniform_(generator=generator)
        return out

    def normal(self, *shape: int) -> Tensor:
        """Mean 0, SD 1, `[R, *shape]`."""
        out = torch.empty(self.replicas, *shape, device=self.device)
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator)
        return out

    def one_hot(self, probabilities: Tensor, count: int) -> Tensor:
        """Draws of a class as one-hot vectors `[R, count, classes]`.

        Args:
            probabilities: `[R, classes]`, each row sums to one.
            count: draws per replica.
        """
        edges = probabilities.cumsum(1)[:, None]
        place = (self.uniform(count, 1) > edges).sum(2).clamp(max=probabilities.shape[1] - 1)
        return F.one_hot(place, probabilities.shape[1]).to(probabilities.dtype)


class Linear(nn.Module):
    """`[R, B, inputs]` → `[R, B, outputs]`, initialised as `torch.nn.Linear` is."""

    def __init__(self, inputs: int, outputs: int, draws: Draws) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter((2 * draws.uniform(inputs, outputs) - 1) * bound)
        self.bias = nn.Parameter((2 * draws.uniform(1, outputs) - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class Conv(nn.Module):
    """One convolution over time of stride 1, `[B, R * inputs, T]` → `[B, R * outputs, T']`.

    Args:
        inputs, outputs: channels of each replica.
        kernel: frames.
        padding: zeros before and after. A transposed convolution of stride 1 is a convolution with
            other padding: "same" with the two swapped, and "valid" with `kernel - 1` on both sides.
        draws: of the weights.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, padding: tuple[int, int], draws: Draws
    ) -> None:
        super().__init__()
        self.padding = padding
        bound = 1 / math.sqrt(inputs * kernel)
        self.weight = nn.Parameter((2 * draws.uniform(outputs, inputs, kernel) - 1) * bound)
        self.bias = nn.Parameter((2 * draws.uniform(outputs) - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, self.padding) if any(self.padding) else x
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten()
        return F.conv1d(padded, weight, bias, groups=len(self.weight))


class BatchNorm(nn.Module):
    """Batch normalisation of each replica.

    Args:
        features: of each replica.
        draws: says how many replicas.
        frames: whether it takes `[B, R * features, T]` instead of `[R, B, features]`.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, draws: Draws, frames: bool = False) -> None:
        super().__init__()
        self.frames = frames
        shape = (draws.replicas, features)
        self.weight = nn.Parameter(torch.ones(shape, device=draws.device))
        self.bias = nn.Parameter(torch.zeros(shape, device=draws.device))
        self.register_buffer("running_mean", torch.zeros(shape, device=draws.device))
        self.register_buffer("running_var", torch.ones(shape, device=draws.device))

    def forward(self, x: Tensor) -> Tensor:
        if self.frames:
            return self._normalised(x)
        rows = x.transpose(0, 1).flatten(1)
        return self._normalised(rows).view(-1, *self.weight.shape).transpose(0, 1)

    def _normalised(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x,
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.flatten(),
            self.bias.flatten(),
            self.training,
            MOMENTUM,
            EPSILON,
        )


class Dropout(nn.Module):
    """Dropout of `[R, B, features]` with each replica's own draws."""

    def __init__(self, rate: float, draws: Draws) -> None:
        super().__init__()
        self.rate, self.draws = rate, draws

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        kept = self.draws.uniform(*x.shape[1:]) >= self.rate
        return x * kept / (1 - self.rate)


class Dense(nn.Module):
    """Hidden layers with ReLU and dropout between them.

    Args:
        inputs: features.
        hidden: of each layer.
        dropout: between the layers: before none, after the last none.
        batch_norm: before each ReLU.
        draws: of weights and dropout.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], dropout: float, batch_norm: bool, draws: Draws
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = inputs
        for index, width in enumerate(hidden):
            if index:
                layers.append(Dropout(dropout, draws))
            layers.append(Linear(size, width, draws))
            if batch_norm:
                layers.append(BatchNorm(width, draws))
            layers.append(nn.ReLU())
            size = width
        self.layers = nn.Sequential(*layers)
        self.outputs = size

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.layers(x))


def head(inputs: int, outputs: int, batch_norm: bool, draws: Draws) -> nn.Sequential:
    """A linear output, batch-normalised or not."""
    linear = Linear(inputs, outputs, draws)
    return nn.Sequential(linear, BatchNorm(outputs, draws)) if batch_norm else nn.Sequential(linear)


def replica_state(net: nn.Module, index: int) -> dict[str, Tensor]:
    """One replica's parameters and statistics, its leading dimension kept, copied to the CPU."""
    return {k: v[index : index + 1].detach().cpu().clone() for k, v in net.state_dict().items()}
