"""The classifier of an autoencoder as an ONNX graph: from features as extracted to a y's logits."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from voicetone.models.aae import KERNEL, Aae, AaeConfig
from voicetone.training.replica_checkpoint import Checkpoint
from voicetone.training.tone_export import exported


class Classifier(nn.Module):
    """Normalisation, body of the encoder and one y of a checkpoint, for one utterance at a time.

    Decoder, z and discriminators are left behind. The normalisation is in double precision:
    features whose mean is far from zero would lose their digits in single.

    Args:
        checkpoint: normalised with statistics of its training set, not of groups.
        index: which y.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, checkpoint: Checkpoint[Aae, AaeConfig], index: int) -> None:
        super().__init__()
        encoder = checkpoint.net.encoder
        self.body, self.y = encoder.body, encoder.y[index]
        self.limit = checkpoint.features.limit
        self.register_buffer("mean", checkpoint.mean[0].double())
        self.register_buffer("scale", checkpoint.scale[0].double())

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features `[1, features]`, or `[1, frames, features]` with their mask `[1, frames]`."""
        x = ((features.double() - self.mean) / self.scale).clamp(-self.limit, self.limit)
        x = x.float()[None]
        if mask is None:
            return torch.as_tensor(self.y(self.body(x)))[0]
        mask = mask[None]
        return torch.as_tensor(self.y(self.body(x * mask[..., None], mask)))[0]

    @property
    def parameters_count(self) -> int:
        """Trained numbers."""
        return sum(p.numel() for p in self.parameters())


def graph(classifier: Classifier, config: AaeConfig, output: str) -> bytes:
    """`classifier.onnx`, for one utterance at a time.

    Args:
        classifier: the network.
        config: its sizes.
        output: name of the logits.
    """
    if not config.frames:
        features = torch.zeros(1, config.inputs)
        return exported(classifier, (features,), {"features": {}}, {output: {}})
    inputs = torch.zeros(1, config.frames, config.inputs), torch.ones(1, config.frames)
    return exported(classifier, inputs, {"features": {}, "mask": {}}, {output: {}})


def multiply_adds(config: AaeConfig, classes: int) -> int:
    """Multiply-adds of one window, without its features."""
    first, total = config.inputs, 0
    if config.frames:
        sizes = (config.inputs, *config.channels)
        at, first = config.frames, config.channels[-1]
        for (inputs, outputs), pool in zip(pairwise(sizes), config.pools, strict=True):
            total += KERNEL * inputs * outputs * at
            at //= pool
        total += KERNEL * first**2
    return total + sum(math.prod(pair) for pair in pairwise((first, *config.hidden, classes)))
