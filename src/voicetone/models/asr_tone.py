"""Speech recognition with a token of sentiment: what the tone encoder is trained by.

A front end that is held fixed, a streaming Conformer, and on it an attention decoder that gives
`<sentiment> transcript`, so that one loss scores label and words, as Amazon describes its voice
tone analysis. CTC on the transcript is learnt beside it (Watanabe et al., IEEE JSTSP 2017), which
ties the encoder's frames to the words in order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.errors import DataError
from voicetone.language.tokens import EOS, FIRST, PAD, SENTIMENT_TOKENS, SOS, UNK, UNKNOWN
from voicetone.models.conformer import Conformer, ConformerConfig, split_heads
from voicetone.models.front import Front
from voicetone.types import SENTIMENTS

SENTIMENT_IDS = tuple(SENTIMENT_TOKENS[name] for name in SENTIMENTS)
_IGNORED = -100
_NEVER = -1e4  # added to what can't be said or heard


@dataclass(frozen=True)
class AsrConfig:
    """Sizes of the network and shares of its loss."""

    vocabulary: int
    """Tokens, specials included."""
    conformer: ConformerConfig = field(default_factory=ConformerConfig)
    layers: int = 1
    """Of the attention decoder."""
    width: int = 144
    """Of the attention decoder; even."""
    heads: int = 4
    expand: int = 4
    dropout: float = 0.1
    """Of the decoder; the encoder has its own."""
    ctc_share: float = 0.3
    """Of CTC in the loss; the rest is attention's. From 0 to 1."""
    sentiment_weight: float = 1.0
    """Of the token of sentiment, against one token of text."""
    smoothing: float = 0.1
    """Of the attention decoder's labels."""
    front_trainable: bool = False
    """Whether the front end learns, too."""


class DecoderLayer(nn.Module):
    """Self-attention, attention to the encoder's frames, feed-forward, each behind a norm."""

    def __init__(self, config: AsrConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.self_norm = nn.LayerNorm(width)
        self.triple = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.pair = nn.Linear(config.conformer.width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, config.expand * width)
        self.contract = nn.Linear(config.expand * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def heard(self, memory: Tensor) -> Tensor:
        """Frames `[B, n, w]` → their keys and values `[2, B, heads, n, d]`."""
        return torch.stack([split_heads(self.heads, x) for x in self.pair(memory).chunk(2, dim=2)])

    def forward(
        self, x: Tensor, past: Tensor, heard: Tensor, bars: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Tokens after those of the past.

        Args:
            x: `[B, l, width]`.
            past: keys and values of the tokens before `[2, B, heads, k, d]`.
            heard: keys and values of the frames `[2, B, heads, n, d]`.
            bars: what is added to the scores of tokens `[l, k + l]` and of frames `[B, 1, 1, n]`.

        Returns:
            `[B, l, width]`, and the past with these tokens.
        """
        query, *pair = (
            split_heads(self.heads, y) for y in self.triple(self.self_norm(x)).chunk(3, dim=2)
        )
        past = torch.cat([past, torch.stack(pair)], dim=3)
        x = x + self.dropout(self.self_out(self._attend(query, past, bars[0])))
        query = split_heads(self.heads, self.query(self.cross_norm(x)))
        x = x + self.dropout(self.cross_out(self._attend(query, heard, bars[1])))
        y = self.contract(self.dropout(F.silu(self.expand(self.norm(x)))))
        return x + self.dropout(y), past

    def _attend(self, query: Tensor, pair: Tensor, bar: Tensor) -> Tensor:
        score = query @ pair[0].transpose(2, 3) / math.sqrt(query.shape[3]) + bar
        out: Tensor = self.dropout(torch.softmax(score, dim=3)) @ pair[1]
        return out.transpose(1, 2).flatten(2)


class Decoder(nn.Module):
    """The attention decoder: tokens so far and the encoder's frames → the next token."""

    def __init__(self, config: AsrConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.embed.weight, std=config.width**-0.5)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, config.vocabulary)

    def heard(self, memory: Tensor) -> list[Tensor]:
        """What each layer needs of the frames `[B, n, w]`: `[2, B, heads, n, d]`."""
        return [cast(DecoderLayer, layer).heard(memory) for layer in self.layers]

    def start(self, batch: int) -> list[Tensor]:
        """The past of each layer before the first token `[2, B, heads, 0, d]`."""
        config = self.config
        size = (2, batch, config.heads, 0, config.width // config.heads)
        return [self.out.weight.new_zeros(size) for _ in self.layers]

    def forward(
        self, tokens: Tensor, past: list[Tensor], heard: list[Tensor], real: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Tokens after those of the past.

        Args:
            tokens: `[B, l]`.
            past: of each layer, from `start` or the last call.
            heard: of each layer, from `heard`.
            real: `[B, n]`, 1 for audio and 0 for padding.

        Returns:
            logits of the token after each one `[B, l, vocabulary]`, and the new past.
        """
        before, count = past[0].shape[3], tokens.shape[1]
        x = self.embed(tokens) * math.sqrt(self.config.width)
        x = self.dropout(x + _waves(before, count, self.config.width, x))
        rows = torch.arange(count, device=x.device)[:, None] + before
        later = torch.arange(before + count, device=x.device)[None] > rows
        bars = (later * _NEVER, (1.0 - real)[:, None, None, :] * _NEVER)
        news = []
        for layer, old, pair in zip(self.layers, past, heard, strict=True):
            x, new = layer(x, old, pair, bars)
            news.append(new)
        return self.out(self.norm(x)), news


def _waves(start: int, count: int, width: int, like: Tensor) -> Tensor:
    """Sinusoidal positions `[count, width]` (Vaswani et al., NeurIPS 2017, section 3.5)."""
    place = torch.arange(start, start + count, device=like.device)[:, None]
    steps = torch.arange(0, width, 2, device=like.device)
    angle = place * torch.exp(steps * (-math.log(10_000.0) / width))
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(like.dtype)


@dataclass(frozen=True, slots=True)
class AsrTargets:
    """What a batch should give.

    Args:
        tokens: of the transcripts, `PAD` behind `[B, L]`.
        counts: tokens of each transcript, 0 where there is none `[B]`.
        sentiment: tokens of sentiment, `UNKNOWN` where it is not known `[B]`.
        given: tokens that the decoder is told in the sentiment's place before the words `[B]`.
    """

    tokens: Tensor
    counts: Tensor
    sentiment: Tensor
    given: Tensor

    def to(self, device: torch.device) -> AsrTargets:
        """The same on a device."""
        parts = (self.tokens, self.counts, self.sentiment, self.given)
        return AsrTargets(*(part.to(device) for part in parts))


def asr_targets(
    texts: Sequence[Sequence[int]], sentiments: Sequence[int], given: Sequence[int] | None = None
) -> AsrTargets:
    """Targets of a batch from the tokens of each transcript (none: empty) and sentiment tokens;
    those are also what is given, if not told otherwise.

    Raises:
        DataError: a row with neither transcript nor sentiment.
    """
    longest = max((len(text) for text in texts), default=0)
    tokens = torch.full((len(texts), longest), PAD, dtype=torch.int64)
    for row, (text, sentiment) in enumerate(zip(texts, sentiments, strict=True)):
        if not len(text) and sentiment == UNKNOWN:
            raise DataError(
                f"row {row} of a batch has neither transcript nor sentiment: leave it out"
            )
        tokens[row, : len(text)] = torch.as_tensor(text, dtype=torch.int64)
    return AsrTargets(
        tokens,
        torch.tensor([len(text) for text in texts]),
        torch.tensor(list(sentiments), dtype=torch.int64),
        torch.tensor(list(sentiments if given is None else given), dtype=torch.int64),
    )


@dataclass(frozen=True, slots=True)
class AsrLoss:
    """Losses of a batch, each the mean over its tokens, 0 where there are none."""

    total: Tensor
    sentiment: Tensor
    """Cross-entropy of the sentiment's token."""
    words: Tensor
    """Cross-entropy of the transcript's tokens and of the end."""
    ctc: Tensor
    too_short: int
    """Transcripts that CTC can't fit into their frames: they have no part in its loss."""


class AsrTone(nn.Module):
    """Front end (fixed), Conformer, CTC and attention decoder.

    Raises:
        DataError: sizes that don't go together.
    """

    silent: Tensor

    def __init__(self, front: Front, config: AsrConfig) -> None:
        super().__init__()
        _require_sizes(front, config)
        self.config = config
        self.front = front
        self.conformer = Conformer(config.conformer)
        self.ctc = nn.Linear(config.conformer.width, config.vocabulary)
        self.decoder = Decoder(config)
        # CTC says blanks and text only.
        silent = torch.zeros(config.vocabulary)
        silent[[SOS, EOS, *SENTIMENT_IDS, UNKNOWN]] = _NEVER
        self.register_buffer("silent", silent, persistent=False)
        front.requires_grad_(config.front_trainable)
        self.train()

    def train(self, mode: bool = True) -> AsrTone:
        """As any network, but a fixed front end stays in evaluation mode."""
        super().train(mode)
        if not self.config.front_trainable:
            self.front.eval()
        return self

    def memory(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the encoder makes of clips.

        Args:
            features: `[B, 2n, F]`.
            lengths: feature frames of each clip before its padding, even `[B]`.

        Returns:
            frames `[B, n, width]`, and `[B, n]`, 1 for audio and 0 for padding.
        """
        with torch.set_grad_enabled(self.config.front_trainable and torch.is_grad_enabled()):
            frames, _ = self.front(features, self.front.start(len(features)))
        places = torch.arange(frames.shape[2], device=frames.device)
        real = (places[None] < lengths[:, None] // 2).to(frames.dtype)
        x, _ = self.conformer(frames, self.conformer.start(len(features)), real)
        return x, real

    def ctc_scores(self, frames: Tensor) -> Tensor:
        """Log-probabilities of blank and text by frame `[B, n, vocabulary]`."""
        return torch.log_softmax(self.ctc(frames) + self.silent, dim=2)

    def forward(self, features: Tensor, lengths: Tensor, targets: AsrTargets) -> AsrLoss:
        """The losses of a batch; see `memory` and `AsrTargets` for the arguments."""
        frames, real = self.memory(features, lengths)
        inputs, goals = sequences(targets)
        past, heard = self.decoder.start(len(inputs)), self.decoder.heard(frames)
        logits, _ = self.decoder(inputs, past, heard, real)
        each = F.cross_entropy(
            logits.transpose(1, 2),
            goals,
            ignore_index=_IGNORED,
            reduction="none",
            label_smoothing=self.config.smoothing,
        )
        scored = (goals != _IGNORED).to(each.dtype)
        weight = scored.clone()
        weight[:, 0] *= self.config.sentiment_weight
        attention = _mean(each, weight)
        ctc, too_short = self._ctc_loss(frames, lengths, targets)
        share = self.config.ctc_share
        total = (1.0 - share) * attention + share * ctc
        sentiment, words = _mean(each[:, :1], scored[:, :1]), _mean(each[:, 1:], scored[:, 1:])
        return AsrLoss(total, sentiment.detach(), words.detach(), ctc.detach(), too_short)

    def _ctc_loss(self, frames: Tensor, lengths: Tensor, targets: AsrTargets) -> tuple[Tensor, int]:
        """Per token of the transcripts that fit into their frames, and how many don't."""
        heard = lengths // 2
        fits = frames_needed(targets) <= heard
        rows = torch.nonzero(fits & (targets.counts > 0))[:, 0]
        too_short = int((~fits).sum())
        if not len(rows) or not self.config.ctc_share:
            return frames.sum() * 0.0, too_short
        loss = F.ctc_loss(
            self.ctc_scores(frames[rows]).transpose(0, 1),
            targets.tokens[rows],
            heard[rows],
            targets.counts[rows],
            blank=PAD,
            reduction="sum",
        )
        return loss / targets.counts[rows].sum(), too_short


def sequences(targets: AsrTargets) -> tuple[Tensor, Tensor]:
    """What the decoder is given and what it should say: `sos <sentiment> text` and
    `<sentiment> text eos`, both `[B, L + 2]`, with -100 where nothing is scored."""
    count, tokens = targets.counts, targets.tokens
    known = targets.sentiment != UNKNOWN
    start = torch.full_like(count, SOS)[:, None]
    inputs = torch.cat([start, targets.given[:, None], tokens], dim=1)
    goals = torch.cat([targets.sentiment[:, None], tokens, torch.zeros_like(count)[:, None]], dim=1)
    places = torch.arange(goals.shape[1], device=goals.device)[None]
    goals = torch.where(places == count[:, None] + 1, EOS, goals)
    # Without transcript the end is not known either: a clip may hold words nobody wrote down.
    scored = (places >= 1) & (places <= count[:, None] + 1) & (count > 0)[:, None]
    scored = scored | ((places == 0) & known[:, None])
    return inputs, torch.where(scored, goals, _IGNORED)


def frames_needed(targets: AsrTargets) -> Tensor:
    """The fewest frames in which CTC can say each transcript `[B]`: one for each token and a
    blank between equal neighbours."""
    tokens, count = targets.tokens, targets.counts
    places = torch.arange(1, max(tokens.shape[1], 1), device=tokens.device)[None]
    twice = (tokens[:, 1:] == tokens[:, :-1]) & (places < count[:, None])
    return count + twice.sum(dim=1)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def _require_sizes(front: Front, config: AsrConfig) -> None:
    encoder = config.conformer
    if encoder.inputs != front.config.width:
        raise DataError(
            f"the encoder takes frames of {encoder.inputs} values and the front end gives "
            f"{front.config.width}: make them equal"
        )
    for width, heads in ((config.width, config.heads), (encoder.width, encoder.heads)):
        if width < 2 or width % 2 or heads < 1 or width % heads:
            raise DataError(f"a width of {width} can't be split into {heads} heads: choose others")
    if not 0.0 <= config.ctc_share <= 1.0:
        raise DataError(f"ctc_share of {config.ctc_share:g}: give a share from 0 to 1")
    if config.vocabulary <= FIRST or min(config.layers, encoder.layers) < 1:
        raise DataError("a network without layers or tokens of text: give at least one of each")


TEXTLESS = (PAD, SOS, UNK, *SENTIMENT_IDS, UNKNOWN)
"""Tokens that no decoded text holds."""
