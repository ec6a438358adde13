"""Utterances with where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from voicetone.types import Utterance


@dataclass(frozen=True, slots=True)
class Manifest:
    """A corpus's utterances and its provenance."""

    corpus: str
    version: str
    licence: str
    citation: str
    utterances: tuple[Utterance, ...]

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def where(self, keep: Callable[[Utterance], bool]) -> Manifest:
        """The manifest with only the utterances that `keep` accepts."""
        chosen = tuple(u for u in self.utterances if keep(u))
        return Manifest(self.corpus, self.version, self.licence, self.citation, chosen)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Speaker ids, sorted."""
        return tuple(sorted({u.speaker for u in self.utterances if u.speaker is not None}))
