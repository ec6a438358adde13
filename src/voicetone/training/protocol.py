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
    unknown = [manifest.place(i) for i, u in enumerate(manifest) if u.speaker is None]
    if unknown:
        raise DataError(
            f"{unknown[0]}: no speaker, and folds by speaker need one; {len(unknown)} of "
            f"{len(manifest)} utterances lack it: fill it in or drop their rows"
        )
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
    check_disjoint(table, manifest.utterances, places_of(manifest))
    return table


def places_of(manifest: Manifest) -> dict[str, str]:
    """File and line of each utterance by its id."""
    return {u.id: manifest.place(i) for i, u in enumerate(manifest)}


def merge(
    tables: Sequence[FoldTable], utterances: Sequence[Utterance], whole: Sequence[Utterance] = ()
) -> FoldTable:
    """Several corpora's tables as one: fold `i` is what each table's fold `i` is.

    All that a table names trains where that table has no fold `i`. What no table names, as
    partitions that were not asked for, does nothing. The result is not checked for leaks.

    Args:
        tables: at least one; each about a corpus of its own.
        utterances: of all corpora, in the order in which they train.
        whole: those of corpora without a table, which train in each fold.

    Raises:
        DataError: no table.
    """
    if not tables:
        raise DataError("no corpus is folded: give at least one a number of folds")
    always = {u.id for u in whole}
    folds = []
    for index in range(max(len(t.folds) for t in tables)):
        parts = [t.folds[index] for t in tables if index < len(t.folds)]
        learnt = always.union(*(f.train for f in parts))
        learnt.update(
            key
            for table in tables
            if index >= len(table.folds)
            for f in table.folds
            for key in (*f.train, *f.validation, *f.test)
        )
        validation = tuple(key for f in parts for key in f.validation)
        test = tuple(key for f in parts for key in f.test)
        train = tuple(u.id for u in utterances if u.id in learnt)
        folds.append(Fold(" + ".join(f.name for f in parts), train, validation, test))
    return FoldTable(" + ".join(t.protocol for t in tables), tuple(folds))


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
                        f"(utterance {at(key, places)}); keep each speaker on one side"
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
    for index, u in enumerate(manifest):
        if u.session is None or u.speaker is None:
            raise DataError(
                f"{manifest.place(index)}: no session or no speaker; folds by session need both"
            )
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
    check_disjoint(table, manifest.utterances, places_of(manifest))
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
        check_disjoint(table, manifest.utterances, places_of(manifest), unknown_apart=True)
    return table


def _require_partitions(manifest: Manifest, names: Sequence[str]) -> None:
    there = sorted({u.partition for u in manifest if u.partition})
    for name in names:
        if name.lower() not in {word.lower() for word in there}:
            raise DataError(
                f"{manifest.corpus}: no partition {name}; there are: {', '.join(there) or 'none'}"
            )


def across(
    train: Sequence[Manifest], test: Sequence[Manifest], validation: int | Sequence[int] = 0
) -> FoldTable:
    """Train on some corpora, test on others: one fold per test corpus.

    Args:
        train: corpora that train.
        test: corpora that are only tested on.
        validation: the last so many speakers of each training corpus validate; one number for
            all, or one for each.

    Raises:
        DataError: no corpus on a side, too few speakers, or a speaker on both sides.
    """
    if not train or not test:
        raise DataError("train on A, test on B: give at least one corpus for each side")
    training: list[str] = []
    validating: list[str] = []
    counts = [validation] * len(train) if isinstance(validation, int) else validation
    for manifest, count in zip(train, counts, strict=True):
        if count and count >= len(manifest.speakers):
            raise DataError(
                f"{manifest.corpus}: {count} of {len(manifest.speakers)} speakers can't "
                "validate: none would train"
            )
        held = set(manifest.speakers[-count:]) if count else set()
        for u in manifest:
            (validating if u.speaker in held else training).append(u.id)
    from_ = " + ".join(m.corpus for m in train)
    folds = tuple(
        Fold(m.corpus, tuple(training), tuple(validating), tuple(u.id for u in m)) for m in test
    )
    table = FoldTable(f"train on {from_}, test on {' and '.join(m.corpus for m in test)}", folds)
    everyone = [u for m in (*train, *test) for u in m]
    places = {key: place for m in (*train, *test) for key, place in places_of(m).items()}
    check_disjoint(table, everyone, places, unknown_apart=True)
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
        name = str(data.get("protocol") or protocol or path.stem)
    except OSError as error:
        raise DataError(f"{path}: no fold table can be read here ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no fold table ({type(error).__name__}: {error}); it holds folds with name, "
            "train, validation and test"
        ) from error
    if not folds:
        raise DataError(f"{path}: no fold in it; a fold table holds at least one")
    return FoldTable(name, folds)


def at(key: str, places: Mapping[str, str] | None) -> str:
    """An utterance with its file and line, where these are known."""
    place = (places or {}).get(key, key)
    return key if place == key else f"{place} ({key})"
