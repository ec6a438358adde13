"""Which speakers train, validate and test: fold tables as data, with a hash.

A table names utterances, not rows, so that it means the same on any machine. Every table is
checked for speakers on two sides before it is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError
from voicetone.types import Utterance

VALIDATION = ("validation", "development", "dev", "valid")
"""What corpora call the partition that validates."""


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
        or validation >= len(speakers) + -len(speakers) // groups
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


def check_disjoint(
    table: FoldTable,
    utterances: Sequence[Utterance],
    places: Mapping[str, str] | None = None,
    *,
    unknown_apart: bool = False,
) -> None:
    """Make sure that no speaker stands on two sides of any fold.

    Args:
        table: the folds.
        utterances: of all folds.
        places: file and line of each id, for the message.
        unknown_apart: an utterance without a speaker is nobody's; otherwise all such are one
            speaker's.

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
                if speaker[key] is None and unknown_apart:
                    continue
                first = seen.setdefault(speaker[key], part)
                if first != part:
                    raise DataError(
                        f"fold {fold.name}: speaker {speaker[key]} leaks from {first} to {part} "
                        f"(utterance {_at(key, places)}); keep each speaker on one side"
                    )
        for key in fold.test:
            if key in tested:
                raise DataError(f"{key} is tested by folds {tested[key]} and {fold.name}")
            tested[key] = fold.name


def leave_one_session_out(manifest: Manifest, *, mutual: bool = True) -> FoldTable:
    """Each session is left out in turn; the others train.

    Args:
        manifest: every utterance needs a session and a speaker.
        mutual: of the left-out session each speaker tests once while its others validate, as in
            Parthasarathy et al. (ICASSP 2019): 10 folds of IEMOCAP's 5 sessions of 2. Otherwise
            the whole session tests and the next one validates.

    Raises:
        DataError: an utterance without session or speaker, fewer than two sessions (three if not
            mutual), or, if mutual, a session of one speaker.
    """
    sessions: dict[str, set[str]] = {}
    for u in manifest:
        if u.session is None or u.speaker is None:
            raise DataError(f"{u.id}: no session or no speaker; folds by session need both")
        sessions.setdefault(u.session, set()).add(u.speaker)
    names = sorted(sessions)
    if len(names) < (2 if mutual else 3):
        raise DataError(f"{manifest.corpus}: {len(names)} sessions are too few to leave one out")
    folds = []
    for index, name in enumerate(names):
        if not mutual:
            after = sessions[names[(index + 1) % len(names)]]
            folds.append(
                _fold(manifest, f"{manifest.corpus} {name}", list(sessions[name]), [*after])
            )
            continue
        if len(sessions[name]) < 2:
            raise DataError(
                f"{manifest.corpus}: session {name} has one speaker; mutual folds need one to "
                "test and one to validate"
            )
        for speaker in sorted(sessions[name]):
            others = sorted(sessions[name] - {speaker})
            fold = f"{manifest.corpus} {name} {_span([speaker])}"
            folds.append(_fold(manifest, fold, [speaker], others))
    how = "validation and test speakers swapped" if mutual else "next session validates"
    table = FoldTable(f"{manifest.corpus}: leave one session out, {how}", tuple(folds))
    check_disjoint(table, manifest.utterances)
    return table


def official(
    manifest: Manifest,
    test: Sequence[str] = ("test",),
    *,
    validation: Sequence[str] = VALIDATION,
    train: Sequence[str] = ("train",),
    shared_speakers: bool = False,
) -> FoldTable:
    """The corpus's own partitions as one fold.

    Args:
        manifest: utterances in other partitions, or in none, are left out.
        test: the partitions that test, by their names whatever the case; each must be there.
        validation: the same; of `VALIDATION`, those that are there, and where none is, ESD's
            `evaluation` unless it tests.
        train: as `test`.
        shared_speakers: accept that speakers stand on several sides, as in MELD; the protocol's
            name then says that it is speaker-dependent. Utterances without a speaker are beyond
            any check, and the name says how many there are.

    Raises:
        DataError: a named partition without utterances, or a speaker on two sides.
    """
    there = {u.partition.lower() for u in manifest if u.partition}
    if tuple(validation) == VALIDATION:
        usual = [word for word in VALIDATION if word in there]
        validation = usual or [word for word in ("evaluation",) if word in there]
    _require_partitions(manifest, (*train, *validation, *test))
    sides = (("train", train), ("validation", validation), ("test", test))
    side = {word.lower(): name for name, words in sides for word in words}
    found: dict[str, list[str]] = {name: [] for name, _ in sides}
    for u in manifest:
        name = side.get((u.partition or "").lower())
        if name:
            found[name].append(u.id)
    fold = Fold(" + ".join(test), *(tuple(found[p]) for p in ("train", "validation", "test")))
    used = {key for keys in found.values() for key in keys}
    unknown = sum(u.speaker is None for u in manifest if u.id in used)
    said = [f"{manifest.corpus}: official partitions, test on {' + '.join(test)}"]
    if shared_speakers:
        said.append("speaker-dependent")
    if unknown:
        said.append(f"{unknown} utterances of unknown speakers")
    table = FoldTable(", ".join(said), (fold,))
    if not shared_speakers:
        check_disjoint(table, manifest.utterances, unknown_apart=True)
    return table


def _require_partitions(manifest: Manifest, names: Sequence[str]) -> None:
    there = sorted({u.partition for u in manifest if u.partition})
    for name in names:
        if name.lower() not in {word.lower() for word in there}:
            raise DataError(
                f"{manifest.corpus}: no partition {name}; there are: {', '.join(there) or 'none'}"
            )


def across(train: Sequence[Manifest], test: Sequence[Manifest], validation: int = 0) -> FoldTable:
    """Train on some corpora, test on others: one fold per test corpus.

    Args:
        train: corpora that train.
        test: corpora that are only tested on.
        validation: the last so many speakers of each training corpus validate.

    Raises:
        DataError: no corpus on a side, too few speakers, or a speaker on both sides.
    """
    if not train or not test:
        raise DataError("train on A, test on B: give at least one corpus for each side")
    training: list[str] = []
    validating: list[str] = []
    for manifest in train:
        if validation and validation >= len(manifest.speakers):
            raise DataError(
                f"{manifest.corpus}: {validation} of {len(manifest.speakers)} speakers can't "
                "validate: none would train"
            )
        held = set(manifest.speakers[-validation:]) if validation else set()
        for u in manifest:
            (validating if u.speaker in held else training).append(u.id)
    from_ = " + ".join(m.corpus for m in train)
    folds = tuple(
        Fold(m.corpus, tuple(training), tuple(validating), tuple(u.id for u in m)) for m in test
    )
    table = FoldTable(f"train on {from_}, test on {' and '.join(m.corpus for m in test)}", folds)
    everyone = [u for m in (*train, *test) for u in m]
    check_disjoint(table, everyone, unknown_apart=True)
    return table


def speaker_dependent(manifest: Manifest, folds: int, seed: int = 0) -> FoldTable:
    """Utterances in random folds, each speaker on every side: numbers that are too good.

    It exists to compare with published results of this kind; its name goes into every report.
    Each fold tests in turn and the next one validates.

    Raises:
        DataError: fewer than three folds, or more than utterances.
    """
    if not 3 <= folds <= len(manifest):
        raise DataError(
            f"{folds} random folds of {len(manifest)} utterances can't be: give 3 or more"
        )
    order = np.random.default_rng(seed).permutation(len(manifest))
    parts = [[manifest.utterances[i].id for i in sorted(order[f::folds])] for f in range(folds)]
    made = []
    for index in range(folds):
        after = (index + 1) % folds
        rest = [k for p, keys in enumerate(parts) if p not in (index, after) for k in keys]
        name = f"{manifest.corpus} random {index}"
        made.append(Fold(name, tuple(rest), tuple(parts[after]), tuple(parts[index])))
    return FoldTable(f"{manifest.corpus}: speaker-dependent, {folds} random folds", tuple(made))


def check_contents(
    table: FoldTable, contents: Mapping[str, str], places: Mapping[str, str] | None = None
) -> None:
    """Make sure that no recording is on two sides of a fold under two names.

    Args:
        table: the folds.
        contents: a hash of what is heard, per utterance id.
        places: file and line of each id, for the message.

    Raises:
        DataError: the first such pair, both named.
    """
    for fold in table.folds:
        seen: dict[str, tuple[str, str]] = {}
        for part in ("train", "validation", "test"):
            for key in getattr(fold, part):
                if key not in contents:
                    continue
                first, other = seen.setdefault(contents[key], (part, key))
                if first != part:
                    raise DataError(
                        f"{_at(key, places)}: the same recording as {_at(other, places)}, which is "
                        f"in {first} where this one is in {part} of fold {fold.name}; drop one"
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


def sentence_overlap(table: FoldTable, utterances: Sequence[Utterance]) -> Overlap:
    """Sentences (else transcripts) in both the training and the test set of a fold.

    Acted corpora speak the same sentences everywhere: then a model may know the words of what it
    is tested on, which is to be reported, not forbidden.
    """
    said = {u.id: (u.corpus, u.sentence or u.transcript) for u in utterances}
    tested: set[tuple[str, str | None]] = set()
    both: set[tuple[str, str | None]] = set()
    known = trained = unknown = 0
    for fold in table.folds:
        learnt = {said[key] for key in fold.train}
        for key in fold.test:
            if said[key][1] is None:
                unknown += 1
                continue
            known += 1
            tested.add(said[key])
            if said[key] in learnt:
                trained += 1
                both.add(said[key])
    return Overlap(len(tested), len(both), trained / known if known else 0.0, unknown)


def read_folds(path: Path, protocol: str = "") -> FoldTable:
    """A fold table from a run's `folds.json`, or one's own in that form.

    Args:
        path: JSON with `folds`, each with `name`, `train`, `validation` and `test` (ids).
        protocol: its name, if the file has none.

    Raises:
        DataError: no such file, or not of that form. It is not checked for leaks here.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        folds = tuple(
            Fold(str(f["name"]), *(tuple(map(str, f[p])) for p in ("train", "validation", "test")))
            for f in data["folds"]
        )
        return FoldTable(str(data.get("protocol") or protocol or path.stem), folds)
    except OSError as error:
        raise DataError(f"{path}: no fold table can be read here ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no fold table ({type(error).__name__}: {error}); it holds folds with name, "
            "train, validation and test"
        ) from error


def _at(key: str, places: Mapping[str, str] | None) -> str:
    place = (places or {}).get(key, key)
    return key if place == key else f"{place} ({key})"
