"""A small text encoder that knows the words of a training set and nothing else.

It is what can be had without weights from elsewhere: a vector per word that the training
transcripts hold, sinusoidal positions, and a transformer layer or two. Words that training never
had are not read, so it says nothing of sentences made of them; a pretrained encoder would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voicetone.errors import DataError
from voicetone.language.words import WORDS, Cutter, words_of
from voicetone.models.fusion_text import Tokens
from voicetone.models.speaker_aware_parts import Layer, barred, sinusoids

__all__ = ["WORDS", "Words", "vocabulary", "words_of"]


def vocabulary(texts: Sequence[str | None], most: int) -> tuple[str, ...]:
    """The most frequent words of transcripts; equally frequent ones by alphabet."""
    counts = Counter(word for text in texts for word in words_of(text or ""))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:most])


class Words(nn.Module):
    """Words → a vector each. It is used as `voicetone.models.fusion_text.TextEncoder` is.

    Args:
        known: the words.
        width: of the vectors, even.
        layers: of the transformer.
        heads: of its attention.
        dropout: in it.
        limit: words of a transcript at most.

    Raises:
        DataError: sizes that don't go together.
    """

    def __init__(
        self,
        known: Sequence[str],
        *,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        limit: int,
    ) -> None:
        super().__init__()
        if width % 2 or width % heads:
            raise DataError(
                f"text.width = {width} can't be split into {heads} heads: choose others"
            )
        self.known, self.size, self.limit = tuple(known), width, limit
        self._cutter = Cutter(self.known, limit)
        self.embedding = nn.Embedding(len(self.known) + 1, width, padding_idx=0)
        self.layers = nn.ModuleList(Layer(width, heads, 2, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def tokens(self, texts: Sequence[str | None]) -> Tokens:
        """Transcripts as words; None is a missing one, as is one of unknown words only.

        A missing row holds one token of padding that is marked as real.
        """
        rows, cut, unknown = [], [], []
        for text in texts:
            row, shorter, strange = self._cutter.cut(text or "")
            unknown.append(strange)
            cut.append(shorter)
            rows.append(row)
        longest = max((len(row) for row in rows), default=1) or 1
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask = torch.zeros(len(rows), longest)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row, dtype=torch.int64)
            mask[place, : max(len(row), 1)] = 1.0
        known = torch.tensor([float(bool(row)) for row in rows])
        return Tokens(ids, mask, known, tuple(cut), tuple(unknown))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Vectors of words `[B, l, size]`, zeros for padding.

        Args:
            ids: `[B, l]`.
            mask: `[B, l]`, 1 for a word and 0 for padding behind it.
        """
        x = self.embedding(ids)
        x = self.dropout(x + sinusoids(x.shape[1], self.size, x))
        for layer in self.layers:
            x = layer(x, barred(mask))
        return torch.where(mask[:, :, None] > 0, x, torch.zeros_like(x))
