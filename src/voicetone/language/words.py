"""Transcripts as words of a known list: how they are cut, for training and for bundles alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple

WORDS: Final = "words-1"
"""Names how words are cut and read."""
MOST_CHARACTERS = 64
"""Per token that is read: what lies behind is not even cut into tokens."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


class Cut(NamedTuple):
    """A transcript as places of words."""

    ids: list[int]
    """From 1; 0 is padding."""
    shorter: bool
    """Whether words at the end were left out."""
    unknown: int
    """Words that are not in the list."""


def words_of(text: str) -> list[str]:
    """Letters and digits in one piece, in small letters."""
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [word.replace("’", "'") for word in found]


class Cutter:
    """Cuts transcripts into the words of a list; others are left out.

    Args:
        known: the words.
        limit: words of a transcript at most.
    """

    def __init__(self, known: Sequence[str], limit: int) -> None:
        self.known, self.limit = tuple(known), limit
        self._place = {word: place for place, word in enumerate(self.known, start=1)}

    def cut(self, text: str) -> Cut:
        """The known words of a text, from its start."""
        head = text[: MOST_CHARACTERS * self.limit]
        found = words_of(head)
        row = [self._place[word] for word in found if word in self._place]
        shorter = len(row) > self.limit or len(head) < len(text)
        return Cut(row[: self.limit], shorter, len(found) - len(row))
