"""Parts of the speaker-aware transformer: layers, pooling, heads, and the ways a speaker comes in.

Padding is kept out of every sum, and nothing normalises over a batch: what an utterance gives does
not depend on what lies beside it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.models.conformer import split_heads

NEVER = -1e4
"""Added to the scores of what must not be attended to."""


def sinusoids(count: int, width: int, like: Tensor) -> Tensor:
    """Positions `[count, width]` as sines and cosines (Vaswani et al., NeurIPS 2017, section 3.5),
    of the type and on the device of `like`."""
    place = torch.arange(count, device=like.device)[:, None]
    steps = torch.arange(0, width, 2, device=like.device)
    angle = place * torch.exp(steps * (-math.log(10_000.0) / width))
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(like.dtype)


def barred(real: Tensor) -> Tensor:
    """What is added to attention's scores `[B, 1, 1, n]`, from `real` `[B, n]`, 1 or 0."""
    return ((1.0 - real) * NEVER)[:, None, None, :]


def attended(query: Tensor, keys: Tensor, values: Tensor, bar: Tensor | None) -> Tensor:
    """Scaled dot-product attention of heads `[B, heads, n, d]` to others `[B, heads, l, d]` →
    `[B, n, heads d]`.

    Networks that are batched by `torch.func.vmap` on a processor need torch's `SDPBackend.MATH`
    for it: the quicker kernel can't be batched over networks.
    """
    found = F.scaled_dot_product_attention(query, keys, values, attn_mask=bar)
    return found.transpose(1, 2).flatten(2)


def hidden(known: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """`known` `[B]` with some of its ones made 0, so that what stands in for them is learned.

    Args:
        known: 1 or 0.
        rate: share of rows that are hidden, 0 to 1.
        generator: of the draws, on the processor.
    """
    kept = torch.rand(len(known), generator=generator) >= rate
    return known * kept.to(known.device, known.dtype)


class Norm(nn.Module):
    """Layer normalisation, whose scale and shift a speaker may move.

    FiLM (Perez et al., AAAI 2018) on a layer norm, as adaptive speech synthesis conditions it
    (Chen et al., AdaSpeech, ICLR 2021). The speaker's part starts at zero: it changes nothing yet.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.film: nn.Linear | None = None

    def condition(self) -> None:
        """Let the speaker in."""
        width = self.norm.normalized_shape[0]
        self.film = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, voice: Tensor | None) -> Tensor:
        """`[B, n, width]` and the speaker `[B, tokens, width]` → the shape of x."""
        y: Tensor = self.norm(x)
        if self.film is None or voice is None:
            return y
        scale, shift = self.film(voice[:, :1]).chunk(2, dim=2)
        moved: Tensor = y * (1.0 + scale) + shift
        return moved


class Layer(nn.Module):
    """Self-attention and feed-forward, each behind a norm (pre-norm: Xiong et al., ICML 2020)."""

    def __init__(self, width: int, heads: int, expand: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = Norm(width), Norm(width)
        self.triple = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.expand = nn.Linear(width, expand * width)
        self.contract = nn.Linear(expand * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bar: Tensor, voice: Tensor | None = None) -> Tensor:
        """`[B, n, width]`, what `barred` gives, and the speaker → the shape of x."""
        query, keys, values = (
            split_heads(self.heads, y) for y in self.triple(self.before(x, voice)).chunk(3, dim=2)
        )
        x = x + self.dropout(self.out(attended(query, keys, values, bar)))
        y = self.expand(self.between(x, voice))
        y = self.contract(self.dropout(F.gelu(y)))
        out: Tensor = x + self.dropout(y)
        return out


class Attend(nn.Module):
    """Attention from one sequence to another, added to the first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.pair = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, other: Tensor, bar: Tensor | None = None) -> Tensor:
        """`[B, n, width]` attends to `other` `[B, l, width]` but for what `bar` hides."""
        query = split_heads(self.heads, self.query(self.norm(x)))
        keys, values = (split_heads(self.heads, y) for y in self.pair(other).chunk(2, dim=2))
        out: Tensor = x + self.dropout(self.out(attended(query, keys, values, bar)))
        return out


class Voice(nn.Module):
    """A speaker's embedding → tokens of the network's width; a learned one for an unknown speaker.

    Embeddings are brought to a root mean square of 1 first, whatever their encoder's scale; zeros
    stay zeros.

    Args:
        size: values of an embedding.
        width: of a token.
        tokens: how many are made of it.
    """

    def __init__(self, size: int, width: int, tokens: int) -> None:
        super().__init__()
        self.size, self.width, self.tokens = size, width, tokens
        self.project = nn.Linear(size, tokens * width)
        # As large as what known speakers give at the start.
        self.unknown = nn.Parameter(torch.randn(tokens, width) / math.sqrt(3.0))

    def forward(self, speaker: Tensor, known: Tensor) -> Tensor:
        """`[B, size]` and `[B]`, 1 where there is an embedding → `[B, tokens, width]`."""
        there = known[:, None] > 0
        speaker = torch.where(there, speaker, torch.zeros_like(speaker))
        unit = F.normalize(speaker, dim=1) * math.sqrt(self.size)
        found = self.project(unit).reshape(-1, self.tokens, self.width)
        return torch.where(there[:, :, None], found, self.unknown)


class Concatenation(nn.Module):
    """The speaker beside every frame, and both back to the width.

    The frames' part starts as the identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * width, width)
        with torch.no_grad():
            self.mix.weight[:, :width] = torch.eye(width)

    def forward(self, x: Tensor, voice: Tensor) -> Tensor:
        """`[B, n, width]` and `[B, 1, width]` → the shape of x."""
        return torch.as_tensor(self.mix(torch.cat([x, voice.expand_as(x)], dim=2)))


class Addition(nn.Module):
    """The speaker added to every frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.turn = nn.Linear(width, width)

    def forward(self, x: Tensor, voice: Tensor) -> Tensor:
        """`[B, n, width]` and `[B, 1, width]` → the shape of x."""
        out: Tensor = x + self.turn(voice)
        return out


class Pooling(nn.Module):
    """Attentive statistics (Okabe et al., Interspeech 2018) of a sequence → one vector.

    Args:
        width: of sequence and vector.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(
            nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False)
        )
        self.mix = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """`[B, n, width]` and `[B, n]`, 1 or 0 → `[B, width]`; without a one, as of zeros."""
        score = self.attend(x).squeeze(2) + (1.0 - real) * NEVER
        share = (torch.softmax(score, dim=1) * real)[:, :, None]
        mean = (share * x).sum(dim=1)
        spread = (share * (x - mean[:, None]) ** 2).sum(dim=1)
        return F.gelu(self.mix(torch.cat([mean, (spread + 1e-5).sqrt()], dim=1)))


class Context(nn.Module):
    """The vectors of the utterances before this one in a dialogue, attended to by its own.

    Args:
        width: of a vector.
        count: utterances at most; the last one is the one just before.
        heads: of the attention.
        dropout: of what is added.
    """

    def __init__(self, width: int, count: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.count = count
        self.place = nn.Parameter(0.02 * torch.randn(count, width))
        self.attend = Attend(width, heads, dropout)

    def forward(self, vector: Tensor, before: Tensor, real: Tensor) -> Tensor:
        """`[B, width]` with the vectors before it `[B, k, width]`, `real` `[B, k]` → `[B, width]`.

        Where no utterance came before, the vector stays what it is.
        """
        real = (real > 0).to(vector.dtype)
        before = torch.where(real[:, :, None] > 0, before, torch.zeros_like(before))
        before = before + self.place[self.count - before.shape[1] :]
        told = self.attend(vector[:, None], before, barred(real))[:, 0]
        return torch.where(real.amax(dim=1, keepdim=True) > 0, told, vector)


class Heads(nn.Module):
    """A vector → logits of each label space, and dimensions between 0 and 1.

    Args:
        width: of the vector.
        classes: of each label space.
        dimensions: how many.
        dropout: before the outputs.
    """

    def __init__(
        self, width: int, classes: Mapping[str, int], dimensions: int, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.spaces = nn.ModuleDict({name: nn.Linear(width, n) for name, n in classes.items()})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element")  # classes alone
            self.dimensions = nn.Linear(width, dimensions)

    def forward(self, vector: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """`[B, width]` → logits `[B, classes]` by space, and `[B, dimensions]`."""
        vector = self.dropout(vector)
        logits = {name: layer(vector) for name, layer in self.spaces.items()}
        return logits, torch.sigmoid(self.dimensions(vector))


def reversed_gradient(x: Tensor, strength: float) -> Tensor:
    """x as it is, whose gradient comes back turned round and times `strength`: the reversal layer
    of Ganin et al., JMLR 17, 2016."""
    return (1.0 + strength) * x.detach() - strength * x


class Adversary(nn.Module):
    """A speaker classifier that the network is trained to fool.

    Args:
        width: of the vector it sees.
        speakers: of the training set.
    """

    def __init__(self, width: int, speakers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, speakers))

    def forward(self, vector: Tensor, strength: float) -> Tensor:
        """`[B, width]` → logits of the speakers `[B, speakers]`."""
        return torch.as_tensor(self.layers(reversed_gradient(vector, strength)))
