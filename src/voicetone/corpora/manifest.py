"""Utterances with where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import compress
from typing import Literal

from voicetone.errors import DataError
from voicetone.types import Utterance

MOST_NAMED = 3  # problems in the one line of an error


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where.

    Attributes:
        place: file and line, or the utterance's id where there is no file.
        text: what is wrong and what to do.
        severity: an error makes the manifest unusable, a warning is to be known.
    """

    place: str
    text: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A corpus's utterances and its provenance.

    `rule` names the label rule that gave each utterance its `label`; `places` say, per utterance,
    the file and line that it was read from.
    """

    corpus: str
    version: str
    licence: str
    citation: str
    utterances: tuple[Utterance, ...]
    rule: str = ""
    places: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def where(self, keep: Callable[[Utterance], bool]) -> Manifest:
        """The manifest with only the utterances that `keep` accepts."""
        kept = [keep(u) for u in self.utterances]
        utterances = tuple(compress(self.utterances, kept))
        return replace(self, utterances=utterances, places=tuple(compress(self.places, kept)))

    @property
    def speakers(self) -> tuple[str, ...]:
        """Speaker ids, sorted."""
        return tuple(sorted({u.speaker for u in self.utterances if u.speaker is not None}))

    @property
    def hash(self) -> str:
        """SHA-256 of all but where the audio lies: the same corpus read anywhere has the same."""
        digest = hashlib.sha256()
        head = [self.corpus, self.version, self.licence, self.citation, self.rule]
        digest.update(json.dumps(head).encode())
        for utterance in self.utterances:
            record = asdict(utterance)
            record["audio"] = utterance.audio.name
            digest.update(json.dumps(record, sort_keys=True).encode())
        return digest.hexdigest()

    def place(self, index: int) -> str:
        """Where utterance number `index` was read, or its id."""
        return self.places[index] if self.places else self.utterances[index].id

    def validate(self, *, contents: bool = True) -> tuple[Problem, ...]:
        """Every problem, each with its file and line.

        Args:
            contents: also compare what the files hold, by SHA-256, which reads them all unless
                the manifest says their hashes.
        """
        from voicetone.corpora.validation import problems_of

        return tuple(problems_of(self, contents=contents))

    def require_valid(self, *, contents: bool = True) -> Manifest:
        """The manifest itself, if nothing is wrong with it.

        Raises:
            DataError: at least one problem that is an error.
        """
        refuse(self.validate(contents=contents))
        return self


def refuse(problems: Iterable[Problem]) -> None:
    """Raise the errors among these as one line; do nothing if there are none.

    Raises:
        DataError: the first few problems, and how many there are.
    """
    errors = [p for p in problems if p.severity == "error"]
    if not errors:
        return
    named = "; ".join(str(p) for p in errors[:MOST_NAMED])
    more = len(errors) - MOST_NAMED
    if more > 0:
        raise DataError(
            f"{named}; and {more} problems more, which voicetone corpus check lists all"
        )
    raise DataError(named)
