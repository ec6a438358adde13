"""The fully connected baseline on functionals (Parthasarathy et al., ICASSP 2019, "UTT + Base")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class MlpConfig:
    """Sizes."""

    inputs: int
    """Features per utterance; 6,373 in the paper."""
    classes: int
    hidden: Sequence[int] = (256, 256)
    dropout: float = 0.5
    """After each hidden layer but the last, and before none: between them."""


class Mlp(nn.Module):
    """Hidden layers with ReLU and dropout between them, then one logit per class."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = config.inputs
        for index, width in enumerate(config.hidden):
            if index:
                layers.append(nn.Dropout(config.dropout))
            layers += [nn.Linear(size, width), nn.ReLU()]
            size = width
        self.layers = nn.Sequential(*layers, nn.Linear(size, config.classes))

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`[B, inputs]` → logits `[B, classes]`; `lengths` has no meaning here."""
        return torch.as_tensor(self.layers(features))
