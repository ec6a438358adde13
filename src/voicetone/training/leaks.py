"""What a fold's training and test sets must not share, and what may be shared but must be known."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from voicetone.errors import DataError
from voicetone.training.protocol import Fold, FoldTable, at
from voicetone.types import Utterance

PARTS = ("train", "validation", "test")
SHARED = 0.5
"""Segments of one recording that share more than this of the shorter one are the same speech; less
is people who talk at once."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is heard in an utterance.

    Attributes:
        sound: a hash of the recording's samples, whatever file format holds them.
        start: seconds in the recording.
        end: the same.
        channel: from 1; None mixes all.
    """

    sound: str
    start: float
    end: float
    channel: int | None = None

    def shares(self, other: Heard) -> bool:
        """Whether both are the same speech for the most part."""
        if None not in (self.channel, other.channel) and self.channel != other.channel:
            return False
        common = min(self.end, other.end) - max(self.start, other.start)
        return common > SHARED * min(self.end - self.start, other.end - other.start)


def check_heard(
    table: FoldTable, heard: Mapping[str, Heard], places: Mapping[str, str] | None = None
) -> None:
    """Make sure that no speech is on two sides of a fold under two names.

    Args:
        table: the folds.
        heard: per utterance id.
        places: file and line of each id, for the message.

    Raises:
        DataError: the first such pair, both named.
    """
    pairs = list(_same(heard))
    for fold in table.folds if pairs else ():
        side = {key: part for part in PARTS for key in getattr(fold, part)}
        for one, other in pairs:
            first, second = side.get(one), side.get(other)
            if first is None or second is None or first == second:
                continue
            if PARTS.index(first) > PARTS.index(second):
                first, second, one, other = second, first, other, one
            raise DataError(
                f"{at(other, places)}: the same recording as {at(one, places)}, or most of it, "
                f"which is in {first} where this one is in {second} of fold {fold.name}; drop one"
            )


def _same(heard: Mapping[str, Heard]) -> Iterator[tuple[str, str]]:
    """Pairs of utterances that are the same speech."""
    by_sound: dict[str, list[str]] = {}
    for key, one in heard.items():
        by_sound.setdefault(one.sound, []).append(key)
    for keys in by_sound.values():
        keys.sort(key=lambda key: heard[key].start)
        for i, first in enumerate(keys):
            for second in keys[i + 1 :]:
                if heard[second].start >= heard[first].end:
                    break
                if heard[first].shares(heard[second]):
                    yield first, second


def check_names(
    table: FoldTable,
    utterances: Sequence[Utterance],
    known: Collection[str],
    places: Mapping[str, str] | None = None,
    *,
    other_people: bool = False,
) -> str:
    """Look for speakers of one name in several corpora, on two sides of a fold.

    A table's speakers belong to its corpus, which is its file's name where it says none: of
    `train.csv` and `test.csv` nobody knows whether their speaker 01 is one person.

    Args:
        table: the folds.
        utterances: of all folds.
        known: corpora whose speakers are certainly other people than those of any other.
        places: file and line of each id, for the message.
        other_people: somebody has said that equal names are other people.

    Returns:
        A line about the names that are taken for other people's; empty where there are none.

    Raises:
        DataError: such a name in two corpora neither of which is known.
    """
    found: set[str] = set()
    who = {u.id: u for u in utterances}
    several = len({u.corpus for u in utterances}) > 1
    for fold in table.folds if several else ():
        seen: dict[str, dict[str, str]] = {}
        for part in PARTS:
            for key in getattr(fold, part):
                u = who[key]
                if u.speaker is None:
                    continue
                name = u.speaker.rpartition("/")[2]
                corpora = seen.setdefault(name, {})
                for corpus, side in corpora.items():
                    if corpus == u.corpus or side == part:
                        continue
                    found.add(name)
                    if not other_people and not {corpus, u.corpus} & set(known):
                        raise DataError(
                            f"{at(key, places)}: a speaker {name} is in {part} of fold "
                            f"{fold.name}, and one of the same name in {corpus} is in {side}: "
                            "name the corpus of both in a column corpus if they are one person, "
                            "or say protocol.other_people = true"
                        )
                corpora.setdefault(u.corpus, part)
    if not found:
        return ""
    return (
        f"speaker names on two sides of a fold, in different corpora: {len(found)} "
        f"({', '.join(sorted(found)[:3])}{', …' if len(found) > 3 else ''}); taken for other people"
    )


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many of the tested sentences a model has learnt from, spoken by somebody else."""

    sentences: int
    """Different sentences of the test sets."""
    shared: int
    """Of these, those that are in their fold's training set too."""
    share: float
    """Of the tested utterances whose sentence is known, those whose sentence trained."""
    unknown: int
    """Tested utterances without sentence or transcript."""

    def __str__(self) -> str:
        if not self.sentences:
            return "sentences: unknown, so their overlap between training and test is too"
        rest = f"; {self.unknown} utterances of unknown sentence" if self.unknown else ""
        return (
            f"sentences: {self.shared} of {self.sentences} tested ones are also in training "
            f"({self.share:.0%} of the tested utterances){rest}"
        )


def sentence_overlap(
    table: FoldTable, utterances: Sequence[Utterance], *, refit: bool = False
) -> Overlap:
    """Sentences or transcripts in both what is learnt and the test set of a fold.

    Acted corpora speak the same sentences everywhere: then a model may know the words of what it
    is tested on, which is to be reported, not forbidden. Names of sentences count within a corpus,
    transcripts in all of them, whatever their case and punctuation.

    Args:
        table: the folds.
        utterances: of all folds.
        refit: whether the validation set is learnt too.
    """
    said = {u.id: _said(u) for u in utterances}
    tested: set[tuple[str, ...]] = set()
    both: set[tuple[str, ...]] = set()
    known = trained = unknown = 0
    for fold in table.folds:
        learnt = {name for key in _learnt(fold, refit) for name in said[key]}
        for key in fold.test:
            if not said[key]:
                unknown += 1
                continue
            known += 1
            tested.add(said[key][0])
            if not learnt.isdisjoint(said[key]):
                trained += 1
                both.add(said[key][0])
    return Overlap(len(tested), len(both), trained / known if known else 0.0, unknown)


def _learnt(fold: Fold, refit: bool) -> tuple[str, ...]:
    return (*fold.train, *fold.validation) if refit else fold.train


def _said(u: Utterance) -> list[tuple[str, ...]]:
    """What is said under each of its names; the first one counts it."""
    words = "".join(c if c.isalnum() else " " for c in (u.transcript or "").casefold())
    names: list[tuple[str, ...]] = [(u.corpus, u.sentence)] if u.sentence else []
    return [*names, (" ".join(words.split()),)] if words.strip() else names
