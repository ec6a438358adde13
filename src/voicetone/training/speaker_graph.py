"""The speaker-aware transformer as an ONNX graph: from features as extracted to logits."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from voicetone.models.speaker_aware import SpeakerAware
from voicetone.training.speaker_checkpoint import SpeakerCheckpoint
from voicetone.training.tone_export import exported

Told = Literal["nothing", "voice", "frames"]
"""What a graph takes of the speaker: nothing, an embedding, or the statistics that normalise."""


class SpeakerClassifier(nn.Module):
    """Normalisation and network of a checkpoint, for one utterance at a time.

    The normalisation is in double precision: features whose mean is far from zero would lose their
    digits in single. A network with embeddings that is told nothing takes its learnt stand-in.

    Args:
        checkpoint: without context.
        mean: of the features as extracted `[values]`; with `frames`, that of nobody in particular.
        scale: `[values]`.
        told: what of the speaker.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, checkpoint: SpeakerCheckpoint, mean: Tensor, scale: Tensor, told: Told
    ) -> None:
        super().__init__()
        self.net = checkpoint.net
        (self.space,) = checkpoint.config.classes
        self.limit = checkpoint.features.limit
        self.told = told
        self.register_buffer("mean", mean.double())
        self.register_buffer("scale", scale.double())

    def forward(
        self,
        features: Tensor,
        mask: Tensor,
        voice: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Logits `[1, classes]`.

        Args:
            features: as extracted `[1, frames, values]`.
            mask: `[1, frames]`.
            voice: `[1, size]`: an embedding, or mean and deviation of each feature.
            known: `[1]`, 1 where there is a voice.
        """
        mean, scale = self.mean, self.scale
        if self.told == "frames" and voice is not None and known is not None:
            there = known[:, None] > 0
            first, second = voice.double().chunk(2, dim=1)
            mean, scale = torch.where(there, first, mean), torch.where(there, second, scale)
        x = ((features.double() - mean) / scale).clamp(-self.limit, self.limit)
        x = x.float() * mask[:, :, None]
        if self.told != "voice" and self.net.config.takes_speaker:
            voice, known = torch.zeros(1, self.net.config.speaker), torch.zeros(1)
        elif self.told != "voice":
            voice = known = None
        return torch.as_tensor(self.net(x, mask, voice, known).logits[self.space])

    @property
    def parameters_count(self) -> int:
        """Trained numbers, without those that were there for the training alone."""
        own = (p.numel() for n, p in self.net.named_parameters() if not n.startswith("adversary."))
        return sum(own)


def example(classifier: SpeakerClassifier, frames: int, size: int) -> tuple[Tensor, ...]:
    """What a graph takes.

    Args:
        classifier: the network.
        frames: of an utterance.
        size: values of a voice; 0 if none is taken.
    """
    inputs = torch.zeros(1, frames, classifier.net.config.inputs), torch.ones(1, frames)
    return (*inputs, torch.ones(1, size), torch.ones(1)) if size else inputs


def graph(classifier: SpeakerClassifier, frames: int, size: int, output: str) -> bytes:
    """`classifier.onnx`, for one utterance at a time.

    Args:
        classifier: the network.
        frames: of an utterance.
        size: values of a voice; 0 if none is taken.
        output: name of the logits.
    """
    names = ("features", "mask", "voice", "known")
    inputs = example(classifier, frames, size)
    axes: dict[str, dict[int, str]] = {name: {} for name in names[: len(inputs)]}
    return exported(classifier, inputs, axes, {output: {}})


@torch.no_grad()
def multiply_adds(net: SpeakerAware, frames: int) -> int:
    """Multiply-adds of one utterance, without its features: layers, and attention among frames."""
    config, total = net.config, [0]

    def count(layer: nn.Module, taken: tuple[Tensor, ...], given: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            total[0] += given.numel() * layer.in_features
        elif isinstance(layer, nn.Conv1d):
            total[0] += given.numel() * layer.in_channels * layer.kernel_size[0]

    part = (m for n, m in net.named_modules() if not n.startswith("adversary"))
    hooks = [m.register_forward_hook(count) for m in part if isinstance(m, (nn.Linear, nn.Conv1d))]
    try:
        voice = torch.zeros(1, max(config.speaker, 1))
        net(torch.zeros(1, frames, config.inputs), torch.ones(1, frames), voice)
    finally:
        for hook in hooks:
            hook.remove()
    steps = -(-frames // config.subsample) + (config.integration == "prefix")
    return total[0] + config.layers * 2 * steps**2 * config.width
