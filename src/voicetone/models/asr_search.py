"""From the encoder's frames to text: greedy CTC, and beam search over the attention decoder.

The search may score each hypothesis by CTC as well (Watanabe et al., IEEE JSTSP 2017, section
II-C): the probability that what CTC hears begins with it, and at its end, that it is all of it.
Padded batches give what single clips give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from voicetone.language.tokens import EOS, PAD, SOS, UNK, UNKNOWN
from voicetone.models.asr_tone import SENTIMENT_IDS, TEXTLESS, AsrTone

_NEVER = -1e9  # a log-probability of nothing that does no harm in sums
_DEAD = -1e30  # the score of a place in the beam that holds no hypothesis


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How text is looked for."""

    beam: int = 1
    """Hypotheses kept; 1 is greedy."""
    ctc_share: float = 0.0
    """Of CTC's prefix score in a hypothesis's score; the rest is attention's."""
    bonus: float = 0.0
    """Added to the score for each token of text."""
    longest: float = 1.5
    """Most tokens of text per encoder frame of 31.25 ms."""
    condition: Literal["decoded", "unknown"] = "decoded"
    """Words are looked for after the most probable sentiment, or after `<unknown>`."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was heard in one clip.

    `score` is the weighted log-probability of the text; `sentiment` the probabilities of positive,
    neutral and negative, None without audio.
    """

    tokens: tuple[int, ...]
    score: float
    sentiment: tuple[float, float, float] | None


@torch.no_grad()
def greedy_ctc(net: AsrTone, frames: Tensor, real: Tensor) -> list[tuple[int, ...]]:
    """The most probable token of each frame, repetitions joined and blanks dropped.

    Args:
        net: in evaluation mode.
        frames: of the encoder `[B, n, width]`.
        real: `[B, n]`, 1 for audio and 0 for padding.

    Returns:
        The tokens of text of each clip.
    """
    best = torch.where(real > 0, net.ctc_scores(frames).argmax(dim=2), PAD)
    texts = []
    for row in best.tolist():
        changes = [t for t, before in zip(row, [PAD, *row], strict=False) if t != before]
        texts.append(tuple(t for t in changes if t not in (PAD, UNK)))
    return texts


@torch.no_grad()
def sentiments(net: AsrTone, frames: Tensor, real: Tensor) -> Tensor:
    """Probabilities of positive, neutral and negative after `sos` `[B, 3]`."""
    decoder = net.decoder
    start = torch.full((len(frames), 1), SOS, device=frames.device)
    past, heard = decoder.start(len(frames)), decoder.heard(frames)
    logits, _ = decoder(start, past, heard, real)
    return torch.softmax(logits[:, 0, list(SENTIMENT_IDS)], dim=1)


@torch.no_grad()
def search(net: AsrTone, frames: Tensor, real: Tensor, settings: SearchSettings) -> list[Found]:
    """The best text of each clip.

    A wider beam doesn't score below a greedy one: the greedy answer is looked for, too, and the
    better of both is given.

    Args:
        net: in evaluation mode.
        frames: of the encoder `[B, n, width]`.
        real: `[B, n]`, 1 for audio and 0 for padding.
        settings: of the search.

    Returns:
        One answer for each clip; an empty text without audio.
    """
    found = [Found((), 0.0, None)] * len(frames)
    rows = torch.nonzero(real.sum(dim=1) > 0)[:, 0]
    if not len(rows):
        return found
    frames, real = frames[rows], real[rows]
    shares = sentiments(net, frames, real)
    best = _Search(net, frames, real, shares, settings, settings.beam).run()
    if settings.beam > 1:
        greedy = _Search(net, frames, real, shares, settings, 1).run()
        best = [max(pair, key=lambda f: f[1]) for pair in zip(best, greedy, strict=True)]
    for row, (tokens, score), share in zip(rows.tolist(), best, shares.tolist(), strict=True):
        found[row] = Found(tokens, score, (share[0], share[1], share[2]))
    return found


class PrefixScores:
    """CTC's log-probabilities that a text begins with given prefixes.

    The recursions over frames of Watanabe et al. 2017, algorithm 2, are linear, so each is a
    cumulative sum of logarithms and needs no loop.
    """

    def __init__(self, scores: Tensor, real: Tensor) -> None:
        """Log-probabilities `[B, n, V]` by frame, and `[B, n]`, 0 for padding."""
        # Padding says blank for certain, so it changes no probability.
        padded = torch.full_like(scores[0, 0], _NEVER / 1e5, dtype=torch.float64)
        padded[PAD] = 0.0
        # Frames last: what is summed over lies together. [B, V, n]
        self.scores = torch.where(real[:, :, None] > 0, scores.double(), padded).transpose(1, 2)

    def start(self) -> Tensor:
        """The state of the empty prefix `[B, 1, 2, n + 1]`: log-probabilities of having said it
        and ended, after each number of frames, in a token of text or in a blank."""
        blank = torch.cumsum(self.scores[:, PAD], dim=1)
        blank = torch.nn.functional.pad(blank, (1, 0))
        return torch.stack([torch.full_like(blank, _NEVER), blank], dim=1)[:, None]

    def whole(self, state: Tensor) -> Tensor:
        """That the prefixes are all that is said `[B, K]`."""
        return torch.logsumexp(state[..., -1], dim=2)

    def extended(self, state: Tensor, last: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Each prefix followed by each of some tokens.

        Args:
            state: of the prefixes `[B, K, 2, n + 1]`.
            last: their last tokens, `PAD` for the empty one `[B, K]`.
            tokens: to follow `[B, K, C]`.

        Returns:
            log-probabilities that the text begins so `[B, K, C]`, and their states
            `[B, K, C, 2, n + 1]`.
        """
        batch, beam, count = tokens.shape
        index = tokens.reshape(batch, -1, 1).expand(-1, -1, self.scores.shape[2])
        said = self.scores.gather(1, index).reshape(batch, beam, count, -1)  # [B, K, C, n]
        text, blank = state[:, :, None, 0, :-1], state[:, :, None, 1, :-1]
        # After its own last token a text can't say the same again without a blank between.
        again = (tokens == last[:, :, None])[..., None]
        before = torch.where(again, blank, torch.logaddexp(text, blank))  # [B, K, C, n]
        ends = torch.logsumexp(before + said, dim=3)
        sums = torch.cumsum(said, dim=3)
        in_text = sums + torch.logcumsumexp(before - (sums - said), dim=3)
        pauses = torch.cumsum(self.scores[:, PAD], dim=1)[:, None, None]
        earlier = torch.nn.functional.pad(in_text[..., :-1], (1, 0), value=_NEVER)
        quiet = pauses - self.scores[:, PAD][:, None, None]
        in_blank = pauses + torch.logcumsumexp(earlier - quiet, dim=3)
        made = torch.stack([in_text, in_blank], dim=3)
        return ends, torch.nn.functional.pad(made, (1, 0), value=_NEVER)


class _Search:
    """One beam search over a batch."""

    def __init__(
        self,
        net: AsrTone,
        frames: Tensor,
        real: Tensor,
        shares: Tensor,
        settings: SearchSettings,
        beam: int,
    ) -> None:
        self.net, self.settings, self.beam = net, settings, beam
        batch, device = len(frames), frames.device
        self.batch, self.device = batch, device
        names = torch.tensor(SENTIMENT_IDS, device=device)[shares.argmax(dim=1)]
        if settings.condition == "unknown":
            names = torch.full_like(names, UNKNOWN)
        self.heard = [pair.repeat_interleave(beam, 1) for pair in net.decoder.heard(frames)]
        self.real = real.repeat_interleave(beam, 0)
        start = torch.stack([torch.full_like(names, SOS), names], dim=1)
        self.next = start.repeat_interleave(beam, 0)  # [B · K, 2], afterwards [B · K, 1]
        self.past = net.decoder.start(batch * beam)
        self.attention = torch.zeros(batch, beam, dtype=torch.float64, device=device)
        self.running = torch.full_like(self.attention, _DEAD)
        self.running[:, 0] = 0.0
        self.texts = torch.zeros(batch, beam, 0, dtype=torch.int64, device=device)
        self.most = (real.sum(dim=1) * settings.longest).ceil().long()
        self.prefixes: PrefixScores | None = None
        if settings.ctc_share:
            self.prefixes = PrefixScores(net.ctc_scores(frames), real)
            self.state = self.prefixes.start().expand(-1, beam, -1, -1)
        self.best: list[tuple[tuple[int, ...], float]] = [((), _DEAD)] * batch

    def run(self) -> list[tuple[tuple[int, ...], float]]:
        """The best text of each clip with its score."""
        while bool((self.running > _DEAD).any()):
            self._step()
        return self.best

    def _step(self) -> None:
        """Every hypothesis is ended or followed by a token, and the best are kept."""
        logits, self.past = self.net.decoder(self.next, self.past, self.heard, self.real)
        scores = torch.log_softmax(logits[:, -1].double(), dim=1).reshape(self.batch, self.beam, -1)
        share, length = self.settings.ctc_share, self.texts.shape[2]
        ended = (1.0 - share) * (self.attention + scores[..., EOS])
        scores[..., [*TEXTLESS, EOS]] = _DEAD
        count = min(scores.shape[2], max(8, 2 * self.beam))
        words, tokens = scores.topk(count, dim=2)  # [B, K, C]
        attention = self.attention[:, :, None] + words
        followed = (1.0 - share) * attention + self.settings.bonus * (length + 1)
        states = None
        if self.prefixes is not None:
            ended = ended + share * self.prefixes.whole(self.state)
            last = self.texts[:, :, -1] if length else torch.zeros_like(tokens[:, :, 0])
            begun, states = self.prefixes.extended(self.state, last, tokens)
            followed = followed + share * begun
        ended = ended + self.settings.bonus * length
        alive = self.running > _DEAD
        full = (self.most <= length)[:, None]
        # Where no token of text is left (or none may follow) the text ends.
        followed = torch.where(alive[..., None] & ~full[..., None], followed, _DEAD)
        followed = torch.where(words > _DEAD / 2, followed, _DEAD)
        ended = torch.where(alive, ended, _DEAD)
        both = torch.cat([followed.flatten(1), ended], dim=1)
        kept, places = both.topk(self.beam, dim=1)
        self._end(kept, places - followed[0].numel())
        going = (places < followed[0].numel()) & (kept > _DEAD)
        self.running = torch.where(going, kept, _DEAD)
        self._drop_beaten()
        places = places.clamp(max=followed[0].numel() - 1)
        self._follow(places, tokens, attention, states)

    def _end(self, scores: Tensor, parents: Tensor) -> None:
        """Keep the texts that ended, where they are the best of their clip."""
        for row, place in torch.nonzero((parents >= 0) & (scores > _DEAD)).tolist():
            if float(scores[row, place]) > self.best[row][1]:
                text = self.texts[row, int(parents[row, place])].tolist()
                self.best[row] = (tuple(text), float(scores[row, place]))

    def _drop_beaten(self) -> None:
        """Stop what can't win any more: scores fall with each token, but for the bonus."""
        length = self.texts.shape[2] + 1
        rest = (self.most - length).clamp(min=0)[:, None] * max(self.settings.bonus, 0.0)
        best = torch.tensor([b for _, b in self.best], dtype=torch.float64, device=self.device)
        self.running = torch.where(self.running + rest > best[:, None], self.running, _DEAD)

    def _follow(
        self, places: Tensor, tokens: Tensor, attention: Tensor, states: Tensor | None
    ) -> None:
        """Make the hypotheses at these places `[B, K]` of the flat `[B, K · C]` the beam."""
        parents = places // tokens.shape[2]
        added = tokens.flatten(1).gather(1, places)
        self.attention = attention.flatten(1).gather(1, places)
        if states is not None:
            flat = states.flatten(1, 2)
            index = places[:, :, None, None].expand(-1, -1, *flat.shape[2:])
            self.state = flat.gather(1, index)
        kept = self.texts.gather(1, parents[:, :, None].expand(-1, -1, self.texts.shape[2]))
        self.texts = torch.cat([kept, added[:, :, None]], dim=2)
        first = torch.arange(self.batch, device=self.device)[:, None] * self.beam
        order = (first + parents).flatten()
        self.past = [pair[:, order] for pair in self.past]
        self.next = added.reshape(-1, 1)
