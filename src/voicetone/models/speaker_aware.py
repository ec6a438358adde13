"""A transformer over an utterance's frames that may know who speaks.

Frames of any kind (log-mel energies, low-level descriptors, hidden states of a self-supervised
model) go through a strided convolution and a pre-norm transformer with sinusoidal positions;
attentive statistics make one vector of them, and linear heads logits and dimensions. The speaker,
an embedding of any encoder, comes in by one of `INTEGRATIONS`; everything else stays the same, and
starts from the same weights under one seed, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.errors import DataError
from voicetone.models.speaker_aware_parts import (
    Addition,
    Adversary,
    Attend,
    Concatenation,
    Context,
    Heads,
    Layer,
    Norm,
    Pooling,
    Voice,
    barred,
    sinusoids,
)

INTEGRATIONS = (
    "none",
    "concatenation",
    "addition",
    "prefix",
    "conditional-norm",
    "cross-attention",
    "gradient-reversal",
)
"""How the speaker comes in.

- `none`: not at all; also with features that are normalised per speaker.
- `concatenation`: beside every frame at the chosen places (as Saon et al., ASRU 2013, give
  acoustic models i-vectors).
- `addition`: added to every frame at the chosen places (as BERT's segments, Devlin et al., NAACL
  2019, section 3).
- `prefix`: a token before the frames, which they attend to (Li and Liang, ACL 2021).
- `conditional-norm`: moves scale and shift of the layer norms (FiLM, Perez et al., AAAI 2018).
- `cross-attention`: frames attend to tokens made of it (Vaswani et al., NeurIPS 2017, 3.2.3).
- `gradient-reversal`: the opposite: a classifier of the training speakers whose gradient is turned
  round (Ganin et al., JMLR 2016), so that the vector tells little of them. No embedding.
"""
_PLACED = ("concatenation", "addition", "conditional-norm", "cross-attention")


@dataclass(frozen=True)
class SpeakerAwareConfig:
    """Sizes of the network."""

    inputs: int
    """Values per frame."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """Of each label space."""
    dimensions: int = 0
    """Outputs between 0 and 1, such as arousal, valence and dominance."""
    width: int = 64
    """Even, and a multiple of the heads."""
    layers: int = 2
    heads: int = 4
    expand: int = 4
    """Expansion of the feed-forward steps."""
    dropout: float = 0.1
    subsample: int = 4
    """Frames per step of the transformer."""
    max_frames: int = 6000
    """Of an utterance; attention needs the square of them."""
    integration: str = "none"
    """One of `INTEGRATIONS`."""
    speaker: int = 0
    """Values of a speaker's embedding."""
    places: tuple[int, ...] = ()
    """Where the speaker comes in: i is before layer i (its norms, of conditional-norm) and `layers`
    behind the last (the closing norm). Empty: everywhere. Nothing to choose for the others."""
    tokens: int = 4
    """Made of an embedding for cross-attention; with one there would be nothing to choose from."""
    speakers: int = 0
    """Of the training set, for gradient-reversal."""
    reversal: float = 0.1
    """Strength of the reversed gradient."""
    context: int = 0
    """Utterances before this one that are attended to; 0 for none."""

    @property
    def takes_speaker(self) -> bool:
        """Whether embeddings are inputs."""
        return self.integration not in ("none", "gradient-reversal")

    @property
    def at(self) -> tuple[int, ...]:
        """The places, those by default written out."""
        if self.integration not in _PLACED:
            return ()
        return self.places or tuple(range(self.layers + 1))

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require_integration(self)


class Scores(NamedTuple):
    """What a batch gives."""

    logits: dict[str, Tensor]
    """`[B, classes]` of each label space."""
    dimensions: Tensor
    """`[B, dimensions]`, between 0 and 1."""
    vector: Tensor
    """The utterance `[B, width]`, before context: what later utterances take as theirs."""
    speakers: Tensor | None = None
    """Logits of the training speakers `[B, speakers]`, behind the reversal."""
    text_share: Tensor | None = None
    """How much the words counted `[B]`, 0 to 1, of a fusion that says so."""


class SpeakerAware(nn.Module):
    """Encoder, pooling, heads, and what brings the speaker in.

    With w the width, S the embedding's size, k the places (f: closing norm among them) and T the
    tokens, the integrations add this many parameters (`parameters` counts them):

    - none: 0
    - prefix: v = (S + 2) w
    - addition: v + k (w² + w)
    - concatenation: v + k (2 w² + w)
    - conditional-norm: v + (2k - f) (2 w² + 2 w), since a layer has two norms
    - cross-attention: T v + k (4 w² + 6 w)
    - gradient-reversal: w² + w + (w + 1) speakers, none of which is used afterwards
    """

    def __init__(self, config: SpeakerAwareConfig) -> None:
        super().__init__()
        self.config = config
        width, step = config.width, config.subsample
        # As many steps as frames / step, rounded up, each centred on its first frame.
        self.convolution = nn.Conv1d(config.inputs, width, 2 * step - 1, step, padding=step - 1)
        self.enter = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            Layer(width, config.heads, config.expand, config.dropout) for _ in range(config.layers)
        )
        self.norm = Norm(width)
        self.pooling = Pooling(width)
        self.context = (
            Context(width, config.context, config.heads, config.dropout) if config.context else None
        )
        self.heads = Heads(width, config.classes, config.dimensions, config.dropout)
        self.reversal = config.reversal
        """Strength of the reversed gradient, which training may raise step by step."""
        # Drawn last, so that all integrations start from the same rest.
        self.voice: Voice | None = None
        self.adversary: Adversary | None = None
        self.places = nn.ModuleDict()
        self._integrate()

    def _integrate(self) -> None:
        config, width = self.config, self.config.width
        if config.integration == "gradient-reversal":
            self.adversary = Adversary(width, config.speakers)
        if not config.takes_speaker:
            return
        tokens = config.tokens if config.integration == "cross-attention" else 1
        self.voice = Voice(config.speaker, width, tokens)
        for place in config.at:
            if config.integration == "conditional-norm":
                for norm in self._norms(place):
                    norm.condition()
            elif config.integration == "concatenation":
                self.places[str(place)] = Concatenation(width)
            elif config.integration == "addition":
                self.places[str(place)] = Addition(width)
            else:
                self.places[str(place)] = Attend(width, config.heads, config.dropout)

    def _norms(self, place: int) -> list[Norm]:
        if place == self.config.layers:
            return [self.norm]
        layer = self.layers[place]
        assert isinstance(layer, Layer)
        return [layer.before, layer.between]

    def forward(
        self,
        frames: Tensor,
        mask: Tensor,
        speaker: Tensor | None = None,
        known: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Scores:
        """Utterances of a batch.

        Args:
            frames: `[B, n, inputs]`; what lies beyond an utterance's end is not heard.
            mask: `[B, n]`, 1 for a frame of the utterance and 0 for padding behind it.
            speaker: `[B, S]`, for an integration that takes embeddings; others do not look at it.
            known: `[B]`, 1 where there is an embedding, else a learned one stands in; all ones if
                not given. In training, `speaker_aware_parts.hidden` hides some.
            context: vectors of the utterances before, the nearest last `[B, k, width]`, with k up
                to `context` of the configuration; none if not given.
            context_mask: `[B, k]`, 1 where there is such an utterance; all ones if not given.

        Raises:
            DataError: embeddings missing or of another size, other features, too many frames or
                utterances before.
        """
        states, real = self.encode(frames, mask, speaker, known)
        return self.scored(self.pooling(states, real), context, context_mask)

    def encode(
        self, frames: Tensor, mask: Tensor, speaker: Tensor | None, known: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """States `[B, m, width]` and which of them are the utterance's `[B, m]`, 1 or 0.

        Arguments and errors are those of `forward`.
        """
        self._require(frames, speaker)
        voice = None
        if self.voice is not None and speaker is not None:
            voice = self.voice(speaker, torch.ones_like(speaker[:, 0]) if known is None else known)
        mask = (mask > 0).to(frames.dtype)
        x = torch.where(mask[:, :, None] > 0, frames, torch.zeros_like(frames))
        x = self.enter(F.gelu(self.convolution(x.transpose(1, 2))).transpose(1, 2))
        real = mask[:, :: self.config.subsample]
        x = self.dropout(x + sinusoids(x.shape[1], self.config.width, x))
        prefix = self.config.integration == "prefix" and voice is not None
        if prefix:
            assert voice is not None
            x = torch.cat([voice, x], dim=1)
            real = torch.cat([torch.ones_like(real[:, :1]), real], dim=1)
        bar = barred(real)
        for place, layer in enumerate(self.layers):
            x = layer(self._met(x, place, voice), bar, voice)
        x = self.norm(self._met(x, self.config.layers, voice), voice)
        return (x[:, 1:], real[:, 1:]) if prefix else (x, real)

    def _met(self, x: Tensor, place: int, voice: Tensor | None) -> Tensor:
        """Frames that have met the speaker, if here is a place for it."""
        if str(place) not in self.places or voice is None:
            return x
        return torch.as_tensor(self.places[str(place)](x, voice))

    def scored(
        self, vector: Tensor, context: Tensor | None = None, context_mask: Tensor | None = None
    ) -> Scores:
        """What the heads make of vectors `[B, width]` and the utterances before them."""
        told = self.in_context(vector, context, context_mask)
        logits, dimensions = self.heads(told)
        speakers = None if self.adversary is None else self.adversary(vector, self.reversal)
        return Scores(logits, dimensions, vector, speakers)

    def in_context(
        self, vector: Tensor, context: Tensor | None, context_mask: Tensor | None
    ) -> Tensor:
        """Vectors `[B, width]` that know the utterances before them."""
        if self.context is None or context is None:
            return vector
        if not 0 < context.shape[1] <= self.config.context:
            raise DataError(
                f"{context.shape[1]} utterances of context: give 1 to {self.config.context}, the "
                "nearest last"
            )
        real = torch.ones_like(context[:, :, 0]) if context_mask is None else context_mask
        return torch.as_tensor(self.context(vector, context, real))

    def _require(self, frames: Tensor, speaker: Tensor | None) -> None:
        config = self.config
        if frames.shape[2] != config.inputs:
            raise DataError(
                f"frames of {frames.shape[2]} values, and the network takes {config.inputs}: give "
                "it the features that it was made for"
            )
        if not 0 < frames.shape[1] <= config.max_frames:
            raise DataError(
                f"an utterance of {frames.shape[1]} frames, and the network takes 1 to "
                f"{config.max_frames}: cut it, or raise max_frames"
            )
        if not config.takes_speaker:
            return
        if speaker is None:
            raise DataError(
                f"integration {config.integration} needs speaker embeddings: where there is none, "
                "give zeros and known = 0"
            )
        if speaker.shape[1] != config.speaker:
            raise DataError(
                f"speaker embeddings of {speaker.shape[1]} values, and the network takes "
                f"{config.speaker}: use the encoder that it was trained with"
            )


class Parameters(NamedTuple):
    """How many numbers are trained."""

    rest: int
    """Of everything that all integrations have."""
    integration: int
    """That the integration adds."""


def parameters(config: SpeakerAwareConfig) -> Parameters:
    """How many numbers a network of this configuration trains."""
    with torch.random.fork_rng(devices=[]):  # counting draws nothing from anybody's numbers
        net = SpeakerAware(config)
    own = ("voice.", "adversary.", "places.")
    counts = {name: p.numel() for name, p in net.named_parameters()}
    added = sum(n for name, n in counts.items() if name.startswith(own) or ".film." in f".{name}")
    return Parameters(sum(counts.values()) - added, added)


def _require_sizes(config: SpeakerAwareConfig) -> None:
    width, heads = config.width, config.heads
    if width < 2 or width % 2 or heads < 1 or width % heads:
        raise DataError(f"a width of {width} can't be split into {heads} heads: choose others")
    least = {"inputs": 1, "layers": 1, "expand": 1, "subsample": 1, "max_frames": 1, "tokens": 1}
    least |= {"dimensions": 0, "context": 0}
    for name, lowest in least.items():
        if getattr(config, name) < lowest:
            raise DataError(f"{name} = {getattr(config, name)} can't be: give {lowest} or more")
    if not config.classes and not config.dimensions:
        raise DataError("a network without classes or dimensions tells nothing: give it some")
    if any(count < 2 for count in config.classes.values()):
        raise DataError("a label space with fewer than two classes: leave it out")
    if not 0.0 <= config.dropout < 1.0:
        raise DataError(f"dropout = {config.dropout:g} is no share: give 0 to less than 1")


def _require_integration(config: SpeakerAwareConfig) -> None:
    if config.integration not in INTEGRATIONS:
        raise DataError(
            f"integration {config.integration[:40]!r} is not known: choose of "
            f"{', '.join(INTEGRATIONS)}"
        )
    if config.takes_speaker and config.speaker < 1:
        raise DataError(
            f"integration {config.integration} needs the size of the speaker embeddings: give "
            "speaker = 256, or what the encoder has"
        )
    if config.integration == "gradient-reversal" and config.speakers < 2:
        raise DataError(
            "gradient-reversal needs the number of training speakers: give two at least"
        )
    if config.reversal < 0.0:
        raise DataError(
            f"reversal = {config.reversal:g} would help the speaker classifier: give 0 or more"
        )
    if len({*config.places}) < len(config.places) or not all(
        0 <= place <= config.layers for place in config.places
    ):
        raise DataError(
            f"places {list(config.places)} can't be: give different ones from 0 to {config.layers}"
        )
