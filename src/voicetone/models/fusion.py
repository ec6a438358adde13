"""Words and voice together: the speaker-aware transformer and a transcript's tokens.

The words come as vectors of any text encoder, computed here or kept from before. A missing
modality has a learned stand-in, and modality dropout in training teaches the network to do without;
each modality can be left out of any network to see what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.errors import DataError
from voicetone.models.speaker_aware import Scores, SpeakerAware
from voicetone.models.speaker_aware_parts import Attend, Heads, Pooling, barred, hidden

FUSIONS = ("early", "late", "gated", "cross-attention")
"""How the two come together.

- `early`: the two pooled vectors side by side, before the heads.
- `late`: the mean of both modalities' log-probabilities (a product of experts: Hinton, Neural
  Computation 14, 2002), by one learned weight for each output.
- `gated`: the gated multimodal unit (Arevalo et al., ICLR 2017 workshop, equation 3).
- `cross-attention`: steps of the voice attend to tokens, tokens to steps, and what is pooled of
  them stands side by side (Tsai et al., ACL 2019, section 3.1, with one layer each).
"""


@dataclass(frozen=True)
class FusionConfig:
    """How words and voice come together; the acoustic network has sizes of its own."""

    text: int
    """Values of a token's vector."""
    fusion: str = "gated"
    """One of `FUSIONS`."""
    heads: int = 4
    """Of the cross-attention."""
    expand: int = 2
    """Expansion of the feed-forward steps behind it."""
    dropout: float = 0.1
    drop_audio: float = 0.0
    """Share of training utterances whose voice is hidden."""
    drop_text: float = 0.2
    """Share of training utterances whose words are hidden."""

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise DataError(
                f"fusion {self.fusion[:40]!r} is not known: choose of {', '.join(FUSIONS)}"
            )
        for name in ("text", "heads", "expand"):
            if getattr(self, name) < 1:
                raise DataError(
                    f"{name} = {getattr(self, name)} can't be: give a size of 1 or more"
                )
        for name in ("dropout", "drop_audio", "drop_text"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise DataError(
                    f"{name} = {getattr(self, name):g} is no share that can be hidden: give 0 to "
                    "less than 1"
                )


class Audio(NamedTuple):
    """The voices of a batch, as `SpeakerAware` takes them."""

    frames: Tensor
    """`[B, n, inputs]`."""
    mask: Tensor
    """`[B, n]`, 1 for a frame and 0 for padding behind the utterance."""
    known: Tensor | None = None
    """`[B]`, 1 where there is a recording; all if None."""
    speaker: Tensor | None = None
    """Embeddings `[B, S]`."""
    speaker_known: Tensor | None = None
    """`[B]`, 1 where there is an embedding; all if None."""


class Text(NamedTuple):
    """The words of a batch."""

    tokens: Tensor
    """Vectors `[B, l, text]`, l of 1 at least."""
    mask: Tensor
    """`[B, l]`, 1 for a token and 0 for padding."""
    known: Tensor | None = None
    """`[B]`, 1 where there are words; all if None. A row without a token has none in any case."""


class _Cross(nn.Module):
    """One sequence that attends to the other, and a feed-forward step."""

    def __init__(self, width: int, heads: int, expand: int, dropout: float) -> None:
        super().__init__()
        self.attend = Attend(width, heads, dropout)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expand * width)
        self.contract = nn.Linear(expand * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, other: Tensor, real: Tensor) -> Tensor:
        """`[B, n, width]`, and the other `[B, l, width]` with its mask `[B, l]`."""
        x = self.attend(x, other, barred(real))
        y = self.contract(self.dropout(F.gelu(self.expand(self.norm(x)))))
        out: Tensor = x + self.dropout(y)
        return out


class Fusion(nn.Module):
    """The acoustic network, the words' way in, and one of `FUSIONS`.

    Args:
        acoustic: its encoder, pooling, context and heads are used.
        config: of the fusion.

    Raises:
        DataError: sizes that don't go together.
    """

    no_audio: Tensor
    no_text: Tensor

    def __init__(self, acoustic: SpeakerAware, config: FusionConfig) -> None:
        super().__init__()
        self.acoustic, self.config = acoustic, config
        width, dropout = acoustic.config.width, config.dropout
        if width % config.heads:
            raise DataError(
                f"a width of {width} can't be split into {config.heads} heads of a fusion: choose "
                "others"
            )
        self.enter = nn.Sequential(nn.LayerNorm(config.text), nn.Linear(config.text, width))
        self.pooling = Pooling(width)
        if config.fusion == "late":
            classes, dimensions = acoustic.config.classes, acoustic.config.dimensions
            self.heads = Heads(width, classes, dimensions, acoustic.config.dropout)
            self.weight = nn.Parameter(torch.zeros(len(classes) + int(dimensions > 0)))
            # A missing opinion counts nothing, so that nothing is to be learned of it.
            self.register_buffer("no_audio", torch.zeros(width), persistent=False)
            self.register_buffer("no_text", torch.zeros(width), persistent=False)
            return
        # As large as a step behind the closing norm, and as a token on its way in.
        self.no_audio = nn.Parameter(torch.randn(width))
        self.no_text = nn.Parameter(torch.randn(width))
        if config.fusion == "gated":
            self.audio_way, self.text_way = nn.Linear(width, width), nn.Linear(width, width)
            self.gate = nn.Linear(2 * width, width)
        else:
            self.mix = nn.Linear(2 * width, width)
        if config.fusion == "cross-attention":
            self.to_text = _Cross(width, config.heads, config.expand, dropout)
            self.to_audio = _Cross(width, config.heads, config.expand, dropout)

    def drop(
        self, audio: Tensor, text: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Modality dropout, as ModDrop (Neverova et al., TPAMI 2016) of whole modalities.

        Args:
            audio: `[B]`, 1 where there is a recording.
            text: `[B]`, 1 where there are words.
            generator: of the draws, on the processor.

        Returns:
            Both with some ones made 0; nobody who had something loses everything.
        """
        a = hidden(audio, self.config.drop_audio, generator)
        b = hidden(text, self.config.drop_text, generator)
        lost = (a + b) == 0
        return torch.where(lost, audio, a), torch.where(lost, text, b)

    def forward(
        self,
        audio: Audio | None,
        text: Text | None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        *,
        use_audio: bool = True,
        use_text: bool = True,
    ) -> Scores:
        """Utterances of a batch.

        A modality that is None or not used is missing for all of them. Where both are missing, all
        classes are alike (logits of 0) and dimensions 0.5.

        Args:
            audio: the voices.
            text: the words.
            context: vectors of the utterances before, see `SpeakerAware.forward`.
            context_mask: which of them there are.
            use_audio: whether voices are heard.
            use_text: whether words are read.

        Raises:
            DataError: nothing is used, or sizes that don't fit.
        """
        audio, text = audio if use_audio else None, text if use_text else None
        if audio is None and text is None:
            raise DataError("neither voice nor words are used: give one of them")
        steps, real, heard = self._steps(audio, text)
        tokens, there, read = self._tokens(text, steps)
        if self.config.fusion == "cross-attention":
            steps, tokens = self.to_text(steps, tokens, there), self.to_audio(tokens, steps, real)
        voice, words = self.acoustic.pooling(steps, real), self.pooling(tokens, there)
        told = 1.0 - (1.0 - heard) * (1.0 - read)
        if self.config.fusion == "late":
            scores = self.acoustic.scored(voice, context, context_mask)
            return _told(self._mean(scores, words, heard, read), told)
        vector, share = self._fused(voice, words)
        scores = self.acoustic.scored(vector, context, context_mask)
        return _told(scores._replace(text_share=share), told)

    def _fused(self, voice: Tensor, words: Tensor) -> tuple[Tensor, Tensor | None]:
        """One vector of both `[B, width]`, and how much the words count in it, if that is said."""
        both = torch.cat([voice, words], dim=1)
        if self.config.fusion != "gated":
            return F.gelu(self.mix(both)), None
        gate = torch.sigmoid(self.gate(both))
        vector = gate * self.audio_way(voice).tanh() + (1.0 - gate) * self.text_way(words).tanh()
        return vector, 1.0 - gate.mean(dim=1)

    def _steps(self, audio: Audio | None, text: Text | None) -> tuple[Tensor, Tensor, Tensor]:
        """Steps of the voices `[B, m, width]`, their mask, and who is heard `[B]`."""
        if audio is None:
            assert text is not None
            rows = torch.ones_like(text.mask[:, :1], dtype=self.no_audio.dtype)
            return rows[:, :, None] * self.no_audio, rows, 0.0 * rows[:, 0]
        mask = (audio.mask > 0).to(audio.frames.dtype)
        if audio.known is not None:
            mask = mask * (audio.known > 0).to(mask.dtype)[:, None]
        steps, real = self.acoustic.encode(audio.frames, mask, audio.speaker, audio.speaker_known)
        return _or_else(steps, real, self.no_audio)

    def _tokens(self, text: Text | None, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of the words `[B, l, width]`, their mask, and who is read `[B]`."""
        if text is None:
            rows = torch.ones_like(steps[:, :1, 0])
            return rows[:, :, None] * self.no_text, rows, 0.0 * rows[:, 0]
        if text.tokens.shape[2] != self.config.text or not text.tokens.shape[1]:
            raise DataError(
                f"{text.tokens.shape[1]} tokens of {text.tokens.shape[2]} values, and the network "
                f"takes 1 or more of {self.config.text}: use the text encoder that it was trained "
                "with"
            )
        real = (text.mask > 0).to(steps.dtype)
        if text.known is not None:
            real = real * (text.known > 0).to(real.dtype)[:, None]
        tokens = torch.where(real[:, :, None] > 0, text.tokens, torch.zeros_like(text.tokens))
        return _or_else(self.enter(tokens), real, self.no_text)

    def _mean(self, scores: Scores, words: Tensor, heard: Tensor, read: Tensor) -> Scores:
        """The weighted mean of both modalities' opinions; a missing one has none."""
        logits, dimensions = self.heads(words)
        voice = torch.sigmoid(-self.weight) * heard[:, None]
        text = torch.sigmoid(self.weight) * read[:, None]
        share = text / (voice + text).clamp(min=1e-6)  # [B, outputs]
        found = {}
        for place, (space, mine) in enumerate(scores.logits.items()):
            part = share[:, place : place + 1]
            first, second = F.log_softmax(mine, dim=1), F.log_softmax(logits[space], dim=1)
            found[space] = (1.0 - part) * first + part * second
        if dimensions.shape[1]:
            dimensions = (1.0 - share[:, -1:]) * scores.dimensions + share[:, -1:] * dimensions
        return scores._replace(logits=found, dimensions=dimensions, text_share=share.mean(dim=1))


def _or_else(sequence: Tensor, real: Tensor, instead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A sequence `[B, n, width]` whose rows without anything in them are a stand-in all along,
    which is pooled and attended to as if it were alone; with its mask, and who is there."""
    known = real.amax(dim=1)
    there = known[:, None] > 0
    sequence = torch.where(there[:, :, None], sequence, instead)
    return sequence, torch.where(there, real, torch.ones_like(real)), known


def _told(scores: Scores, told: Tensor) -> Scores:
    """Scores that say nothing in the rows that `told` `[B]` has 0 for."""
    there = told[:, None] > 0
    logits = {
        name: torch.where(there, found, torch.zeros_like(found))
        for name, found in scores.logits.items()
    }
    half = torch.full_like(scores.dimensions, 0.5)
    return scores._replace(logits=logits, dimensions=torch.where(there, scores.dimensions, half))
