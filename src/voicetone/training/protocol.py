"""Which speakers train, validate and test: fold tables as data, with a hash.

A table names utterances, not rows, so that it means the same on any machine. Every table is
checked for speakers on two sides before it is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.types import Utterance


@dataclass(frozen=True, slots=True)
class Fold:
    """One split. Each field holds utterance ids."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoldTable:
    """The folds of a protocol; predictions of their test parts are pooled before scoring."""

    protocol: str
    folds: tuple[Fold, ...]

    @property
    def hash(self) -> str:
        """SHA-256 of the table; it stands in every report."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def leave_one_speaker_out(manifest: Manifest) -> FoldTable:
    """Each speaker tests once; the next one, in the order of their ids, validates."""
    return speaker_groups(manifest, len(manifest.speakers), 1, "leave one speaker out")


def speaker_groups(
    manifest: Manifest, groups: int, validation: int, protocol: str | None = None
) -> FoldTable:
    """Speakers in the order of their ids, cut into equal consecutive groups that test in turn.

    Args:
        manifest: the corpus; every utterance needs a speaker.
        groups: number of folds.
        validation: how many speakers after the test group validate (wrapping round).
        protocol: a name for reports.

    Raises:
        DataError: too few speakers, or an utterance without one.
    """
    speakers = manifest.speakers
    if any(u.speaker is None for u in manifest):
        raise DataError(f"{manifest.corpus}: an utterance has no speaker; speaker folds need one")
    if (
        groups < 2
        or len(speakers) < groups
        or validation >= len(speakers) - len(speakers) // groups
    ):
        raise DataError(
            f"{manifest.corpus}: {len(speakers)} speakers can't make {groups} folds with "
            f"{validation} validation speakers; use fewer"
        )
    bounds = [len(speakers) * g // groups for g in range(groups + 1)]
    folds = []
    for group in range(groups):
        test = speakers[bounds[group] : bounds[group + 1]]
        after = (*speakers[bounds[group + 1] :], *speakers[: bounds[group]])
        folds.append(_fold(manifest, f"{manifest.corpus} {_span(test)}", test, after[:validation]))
    name = f"{manifest.corpus}: {protocol or f'{groups} groups of speakers'}"
    table = FoldTable(name, tuple(folds))
    check_disjoint(table, manifest.utterances)
    return table


def merge(tables: Sequence[FoldTable], utterances: Sequence[Utterance]) -> FoldTable:
    """Several corpora's tables as one: fold `i` holds out what each table's fold `i` does.

    A corpus whose table has no fold `i`, or that has no table, trains whole.

    Args:
        tables: at least one; each about a corpus of its own.
        utterances: of all corpora.

    Raises:
        DataError: no table, or a leak between the parts.
    """
    if not tables:
        raise DataError("no corpus is folded: give at least one a number of folds")
    folds = []
    for index in range(max(len(t.folds) for t in tables)):
        parts = [t.folds[index] for t in tables if index < len(t.folds)]
        validation = tuple(key for f in parts for key in f.validation)
        test = tuple(key for f in parts for key in f.test)
        held_out = {*validation, *test}
        train = tuple(u.id for u in utterances if u.id not in held_out)
        folds.append(Fold(" + ".join(f.name for f in parts), train, validation, test))
    merged = FoldTable(" + ".join(t.protocol for t in tables), tuple(folds))
    check_disjoint(merged, utterances)
    return merged


def _span(speakers: Sequence[str]) -> str:
    names = [s.rsplit("/", 1)[-1] for s in speakers]
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"


def _fold(manifest: Manifest, name: str, test: Sequence[str], validation: Sequence[str]) -> Fold:
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for u in manifest:
        part = "test" if u.speaker in test else "validation" if u.speaker in validation else "train"
        parts[part].append(u.id)
    return Fold(name, *(tuple(parts[p]) for p in ("train", "validation", "test")))


def check_disjoint(table: FoldTable, utterances: Sequence[Utterance]) -> None:
    """Make sure that no speaker stands on two sides of any fold.

    Raises:
        DataError: a leak (fold, speaker and the two sides named), an id that no utterance has,
            or an utterance that two folds test.
    """
    speaker = {u.id: u.speaker for u in utterances}
    tested: dict[str, str] = {}
    for fold in table.folds:
        seen: dict[str | None, str] = {}
        for part in ("train", "validation", "test"):
            for key in getattr(fold, part):
                if key not in speaker:
                    raise DataError(f"fold {fold.name}: no utterance {key}; make the table again")
                first = seen.setdefault(speaker[key], part)
                if first != part:
                    raise DataError(
                        f"fold {fold.name}: speaker {speaker[key]} leaks from {first} to {part} "
                        f"(utterance {key}); keep each speaker on one side"
                    )
        for key in fold.test:
            if key in tested:
                raise DataError(f"{key} is tested by folds {tested[key]} and {fold.name}")
            tested[key] = fold.name
