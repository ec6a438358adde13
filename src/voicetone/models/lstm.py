"""The recurrent baseline on frames: a bidirectional LSTM, mean over time, one dense layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LstmConfig:
    """Sizes."""

    inputs: int
    """Features per frame."""
    classes: int
    hidden: int = 128
    """Of each direction."""
    stride: int = 4
    """Frames averaged into one step, 4 of 10 ms; recurrence is slow."""
    dropout: float = 0.5
    """Before the dense layer."""


class Lstm(nn.Module):
    """Frames of any number → one logit per class."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(config.inputs, config.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(2 * config.hidden, config.classes)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """`[B, frames, inputs]` with their `lengths` `[B]` → logits `[B, classes]`.

        What lies beyond a row's length has no influence.
        """
        stride = self.config.stride
        real = torch.arange(features.shape[1])[None, :] < lengths.cpu()[:, None]
        real = real.to(features.device)
        x, weight = features * real[..., None], real.to(features.dtype)
        rest = -features.shape[1] % stride
        x, weight = F.pad(x, (0, 0, 0, rest)), F.pad(weight, (0, rest))
        weight = weight.reshape(len(weight), -1, stride).sum(2)
        x = x.reshape(len(x), -1, stride, x.shape[2]).sum(2) / weight.clamp(min=1)[..., None]
        steps = -(-lengths.cpu() // stride)
        packed = nn.utils.rnn.pack_padded_sequence(x, steps, batch_first=True, enforce_sorted=False)
        hidden, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        mean = hidden.sum(1) / steps.to(hidden.device)[:, None]  # padding comes back as zeros
        return torch.as_tensor(self.dense(self.dropout(mean)))
