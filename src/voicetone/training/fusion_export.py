"""A trained fusion as two ONNX graphs: tokens to vectors, and features with vectors to logits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from voicetone.errors import DataError
from voicetone.models.fusion import Audio, Text
from voicetone.models.fusion_text import TextEncoder, Tokens
from voicetone.pretrained.runtime import open_graph, run_graph
from voicetone.training.fusion_checkpoint import FusionCheckpoint
from voicetone.training.fusion_words import Words
from voicetone.training.tone_export import exported

TOLERANCE = 1e-4
"""How far logits of the graphs may be from the network's."""


class FusionGraphs(NamedTuple):
    """Two ONNX files, as bytes.

    - `text` takes `ids` and `mask` `[B, l]` and gives `vectors` `[B, l, size]`.
    - `classifier` takes one utterance: `features` as extracted `[1, n, values]` and `mask`
      `[1, n]`, `heard` `[1]`, `tokens` `[1, l, size]` and `token_mask` `[1, l]`, `read` `[1]`, and
      where the speaker comes in `voice` `[1, size]` and `known` `[1]`; it gives `logits`.
    """

    text: bytes
    classifier: bytes


class FusedClassifier(nn.Module):
    """Normalisation and network of a checkpoint, for one utterance at a time.

    Args:
        kept: of both modalities, normalised by the training set.

    Raises:
        DataError: it is none of these.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, kept: FusionCheckpoint) -> None:
        super().__init__()
        if kept.reader is None or not kept.hears:
            raise DataError(
                "a network of voice or words alone has no graphs of a fusion: train early, late, "
                "gated or cross-attention"
            )
        if len(kept.mean) > 1:
            raise DataError(
                "features that are normalised by groups can't be in the graphs of a fusion: train "
                'with normalise = "global"'
            )
        self.net, self.limit = kept.net, kept.features.limit
        (self.space,) = kept.net.acoustic.config.classes
        self.takes_speaker = kept.net.acoustic.config.takes_speaker
        self.register_buffer("mean", kept.mean[0].double())
        self.register_buffer("scale", kept.scale[0].double())

    def forward(
        self,
        features: Tensor,
        mask: Tensor,
        heard: Tensor,
        tokens: Tensor,
        token_mask: Tensor,
        read: Tensor,
        voice: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Logits `[1, classes]`; see `FusionGraphs` for the inputs."""
        x = ((features.double() - self.mean) / self.scale).clamp(-self.limit, self.limit)
        audio = Audio(x.float() * mask[:, :, None], mask, heard, voice, known)
        found = self.net(audio, Text(tokens, token_mask, read))
        return torch.as_tensor(found.logits[self.space])

    def example(self, frames: int, words: int) -> tuple[Tensor, ...]:
        """What it takes, of so many frames and words."""
        config, one = self.net.acoustic.config, torch.ones(1)
        out = (
            self.mean.float().expand(1, frames, -1).clone(),
            torch.ones(1, frames),
            one,
            torch.ones(1, words, self.net.config.text),
            torch.ones(1, words),
            one.clone(),
        )
        return (*out, torch.ones(1, config.speaker), one.clone()) if self.takes_speaker else out


_NAMES = ("features", "mask", "heard", "tokens", "token_mask", "read", "voice", "known")
_LONG = {"features": "frames", "mask": "frames", "tokens": "words", "token_mask": "words"}


def fusion_graphs(kept: FusionCheckpoint) -> FusionGraphs:
    """The graphs of a trained fusion.

    Raises:
        DataError: a network of one modality, or normalised by groups.
    """
    classifier = FusedClassifier(kept)
    assert kept.reader is not None
    text = text_graph(kept.reader)
    inputs = classifier.example(kept.features.frames, 3)
    axes = {n: {1: _LONG[n]} if n in _LONG else {} for n in _NAMES[: len(inputs)]}
    return FusionGraphs(text, exported(classifier, inputs, axes, {"logits": {}}))


def text_graph(reader: Words | TextEncoder) -> bytes:
    """What reads words, as a graph of any number of texts of any length."""
    tokens = reader.tokens([None])
    long = {0: "batch", 1: "words"}
    ids, mask = tokens.ids.expand(2, 3).clone(), torch.ones(2, 3)
    return exported(reader, (ids, mask), {"ids": long, "mask": long}, {"vectors": long})


@torch.no_grad()
def off(kept: FusionCheckpoint, graphs: FusionGraphs, tokens: Tokens, given: list[Tensor]) -> float:
    """How far the graphs' logits are from the network's on one utterance.

    Args:
        kept: the network.
        graphs: made of it.
        tokens: of its transcript, one row.
        given: features, their mask, heard; and voice and known where the speaker comes in.
    """
    classifier = FusedClassifier(kept).eval()
    assert kept.reader is not None
    vectors = kept.reader(tokens.ids, tokens.mask)
    whole = [*given[:3], vectors, tokens.mask, tokens.known, *given[3:]]
    expected = classifier(*whole).numpy()
    fed = {"ids": tokens.ids.numpy(), "mask": tokens.mask.numpy()}
    (read,) = run_graph(open_graph(graphs.text, 1), fed, ["vectors"])
    inputs = {name: part.numpy() for name, part in zip(_NAMES, whole, strict=False)}
    inputs["tokens"] = read
    (found,) = run_graph(open_graph(graphs.classifier, 1), inputs, ["logits"])
    return float(np.abs(found - expected).max())
