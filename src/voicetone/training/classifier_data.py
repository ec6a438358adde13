"""What a classifier is trained and tested on; every check of it comes before any training."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voicetone.corpora.manifest import Manifest
from voicetone.corpora.prepared import CORPORA as PREPARED
from voicetone.corpora.prepared import read_prepared
from voicetone.corpora.provenance import machine_note
from voicetone.corpora.registry import CORPORA
from voicetone.corpora.rules import RULES, apply_rule
from voicetone.corpora.tables import SUFFIXES, read_manifest
from voicetone.corpora.validation import misspelt
from voicetone.corpora.words import sentiment_of
from voicetone.errors import DataError
from voicetone.evaluation.table import PredictionTable, groups_of
from voicetone.training.classifier_recipe import CorpusChoice, ProtocolChoice
from voicetone.training.leaks import Heard, Overlap, check_heard, check_names, sentence_overlap
from voicetone.training.protocol import (
    FoldTable,
    across,
    check_disjoint,
    leave_one_session_out,
    leave_one_speaker_out,
    merge,
    official,
    places_of,
    read_folds,
    speaker_dependent,
    speaker_groups,
)
from voicetone.training.sounds import listen
from voicetone.types import EMOTIONS, SENTIMENTS, Floats, Utterance

MOST_NAMED = 3  # files in the one line of an error


@dataclass(frozen=True)
class Material:
    """All that the folds of a run share. Arrays are in the order of `utterances`."""

    utterances: tuple[Utterance, ...]
    truth: NDArray[np.int64]
    """Places in `labels` `[n]`."""
    labels: tuple[str, ...]
    rule: str
    table: FoldTable
    overlap: Overlap
    notes: tuple[str, ...] = ()
    """What was left out and what was taken for granted, a line each."""
    heard: Mapping[str, Heard] = field(default_factory=dict)
    """What is in each utterance, by its id."""
    places: Mapping[str, str] = field(default_factory=dict)
    """File and line of each utterance, by its id."""

    @property
    def hash(self) -> str:
        """SHA-256 of all that is learnt from: labels, speakers, and what is heard."""
        rows = [
            [u.id, int(truth), u.speaker, astuple(self.heard[u.id])]
            for u, truth in zip(self.utterances, self.truth, strict=True)
        ]
        return hashlib.sha256(json.dumps([self.labels, rows]).encode()).hexdigest()

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Places of utterances."""
        place = {u.id: i for i, u in enumerate(self.utterances)}
        return np.array([place[key] for key in ids], dtype=np.int64)

    def predictions(
        self,
        rows: NDArray[np.int64],
        scores: Floats,
        fold: str,
        seed: int,
        meta: Mapping[str, str],
        *,
        probabilities: bool,
    ) -> PredictionTable:
        """A fold's test predictions with all that is known of each utterance."""
        tested = [self.utterances[i] for i in rows]

        def column(values: Sequence[object]) -> NDArray[np.str_]:
            return np.array(["" if v is None else str(v) for v in values], dtype=np.str_)

        return PredictionTable(
            id=column([u.id for u in tested]),
            truth=column([self.labels[self.truth[i]] for i in rows]),
            labels=self.labels,
            scores=scores,
            speaker=column([u.speaker for u in tested]),
            corpus=column([u.corpus for u in tested]),
            fold=column([fold] * len(tested)),
            seed=np.full(len(tested), seed),
            probabilities=probabilities,
            groups=groups_of(tested),
            audio=column([_audio(u) for u in tested]),
            votes=_votes(tested, self.labels),
            meta=meta,
        )


class Request(Protocol):
    """What a recipe says of its data."""

    @property
    def name(self) -> str: ...
    @property
    def corpora(self) -> tuple[CorpusChoice, ...]: ...
    @property
    def protocol(self) -> ProtocolChoice: ...
    @property
    def target(self) -> str: ...
    @property
    def rule(self) -> str: ...


def gather(recipe: Request, *, refit: bool = False) -> Material:
    """Read the corpora and fold them, with every check.

    Args:
        recipe: says what is wanted.
        refit: whether the validation sets are learnt in the end, too.

    Raises:
        DataError: a manifest that is not in order, by file and line; a speaker or a recording on
            two sides of a fold; a label without utterances; too few speakers for the protocol.
    """
    target = "label" if recipe.rule else recipe.target
    notes: list[str] = []
    manifests = [_labelled(choice, target, recipe.rule, notes.append) for choice in recipe.corpora]
    utterances = [u for m in manifests for u in m]
    places = {key: place for m in manifests for key, place in places_of(m).items()}
    if len(places) < len(utterances):
        twice = Counter(u.id for u in utterances).most_common(1)[0][0]
        raise DataError(f"{twice}: two corpora have this id; leave one of them out")
    table = _table(recipe, manifests)
    notes += _check(table, recipe.protocol, utterances, places)
    used = {k for f in table.folds for p in (f.train, f.validation, f.test) for k in p}
    notes += _unused(manifests, used)
    utterances = [u for u in utterances if u.id in used]
    heard = listen(utterances, places)
    check_heard(table, heard, places)
    seen = {str(_label(u, target)) for u in utterances}
    order = RULES[recipe.rule].labels if recipe.rule else (*EMOTIONS, *SENTIMENTS)
    tested = {k for f in table.folds for k in f.test}
    field = "emotion" if target == "label" else target  # which rules are read from
    if note := machine_note([u for u in utterances if u.id in tested], field):
        notes.append(note)
    labels = tuple(dict.fromkeys([*(w for w in order if w in seen), *sorted(seen)]))
    if len(labels) < 2:
        raise DataError(
            f"{recipe.name}: one label only, {labels[0]}; there is nothing to tell apart"
        )
    return Material(
        utterances=tuple(utterances),
        truth=np.array([labels.index(str(_label(u, target))) for u in utterances]),
        labels=labels,
        rule=_rule(target, manifests, labels),
        table=table,
        overlap=sentence_overlap(table, utterances, refit=refit),
        notes=(*notes, *_other_votes(utterances, labels)),
        heard=heard,
        places=places,
    )


def several(lines: Sequence[str]) -> str:
    """The first few of several problems as one line."""
    more = len(lines) - MOST_NAMED
    return "; ".join(lines[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def read_corpus(choice: CorpusChoice) -> Manifest:
    """A corpus as its manifest has it, less other emotions than those that are wanted.

    Raises:
        DataError: a manifest that is not in order, by file and line; no utterance is left.
    """
    path = Path(choice.name)
    if path.suffix in SUFFIXES:
        manifest = read_manifest(path, licence=choice.licence).require_valid(contents=False)
    else:
        manifest = read_prepared(choice.name, licence=choice.licence)
    if not choice.emotions:
        return manifest
    if unknown := set(choice.emotions) - {u.emotion for u in manifest}:
        raise DataError(
            f"{choice.name}: no utterance has the emotion {', '.join(sorted(unknown))}; "
            "mend emotions in the recipe"
        )
    return manifest.where(lambda u: u.emotion in choice.emotions)


def _labelled(
    choice: CorpusChoice, target: str, rule: str, note: Callable[[str], None]
) -> Manifest:
    """The utterances that have a class, with the raters' votes for classes."""
    whole = read_corpus(choice)
    manifest = apply_rule(whole, rule) if rule else whole
    wanted = set(choice.labels)
    if unknown := wanted - {str(_label(u, target)) for u in manifest}:
        raise DataError(
            f"{choice.name}: no utterance has the {target} {', '.join(sorted(unknown))}; "
            "mend labels in the recipe"
        )
    if target == "label" and not wanted and (doubtful := list(misspelt(manifest, "label"))):
        raise DataError(
            f"{doubtful[0]} Mend it, or name the classes that are wanted: labels = [...] of the "
            "recipe's corpus"
        )
    has_label = manifest.where(lambda u: _label(u, target) is not None)
    if len(has_label) < len(whole):
        kept_ids = {u.id for u in has_label}
        words = Counter(u.label_raw or "empty" for u in whole if u.id not in kept_ids)
        note(
            f"{words.total()} of {len(whole)} utterances of {whole.corpus} are left out: no "
            f"{rule or target} ({_counted(words)})"
        )
    kept = has_label.where(lambda u: not wanted or _label(u, target) in wanted)
    if not len(kept):
        raise DataError(
            f"{choice.name}: no utterance has a label of the target {target}; choose another target"
        )
    voted = _vote_rule(kept, target)
    return replace(kept, utterances=tuple(replace(u, votes=voted(u.votes)) for u in kept))


Votes = Mapping[str, float] | None


def _vote_rule(manifest: Manifest, target: str) -> Callable[[Votes], Votes]:
    """How votes for the raters' own words become votes for classes."""
    if target == "label" and manifest.rule in RULES:
        return RULES[manifest.rule].votes
    if target == "emotion":
        return RULES["emotion"].votes
    if target == "sentiment":
        derived = all(u.sentiment in (None, sentiment_of(u.emotion)) for u in manifest)
        return RULES["sentiment" if derived else "sentiment-given"].votes
    classes = {u.label for u in manifest}
    return lambda votes: votes if votes is not None and set(votes) <= classes else None


def _counted(words: Counter[str]) -> str:
    said = [f"{word}: {n}" for word, n in words.most_common(MOST_NAMED)]
    return ", ".join(said) + (", …" if len(words) > MOST_NAMED else "")


def _unused(manifests: Sequence[Manifest], used: set[str]) -> Iterator[str]:
    """What is in no part of any fold, and which partitions that is."""
    for manifest in manifests:
        parts = Counter(u.partition or "none" for u in manifest if u.id not in used)
        if parts:
            yield (
                f"{parts.total()} of {len(manifest)} utterances of {manifest.corpus} are left out: "
                f"in no part of any fold (partition {_counted(parts)})"
            )


def _other_votes(utterances: Sequence[Utterance], labels: Sequence[str]) -> Iterator[str]:
    """How many votes are for none of the classes, and how many utterances have no other."""
    voted = [u.votes for u in utterances if u.votes]
    other = sum(n for v in voted for word, n in v.items() if word not in labels)
    if other:
        every = sum(n for v in voted for n in v.values())
        none = sum(not any(v.get(label) for label in labels) for v in voted)
        yield (
            f"{other:g} of {every:g} votes of raters are for none of the classes and don't count; "
            f"utterances with only such votes: {none}"
        )


def _label(utterance: Utterance, target: str) -> str | None:
    value = getattr(utterance, target)
    return None if value is None else str(value)


def _table(recipe: Request, manifests: Sequence[Manifest]) -> FoldTable:
    protocol = recipe.protocol
    if protocol.name == "table":
        table = read_folds(Path(protocol.file))
        if protocol.shared_speakers:
            table = replace(table, protocol=f"{table.protocol}, speaker-dependent")
        return table
    if protocol.name == "across":
        sides: dict[str, list[Manifest]] = {"train": [], "test": [], "both": []}
        for choice, manifest in zip(recipe.corpora, manifests, strict=True):
            sides[choice.side].append(manifest)
        if sides["both"]:
            raise DataError(
                f'{sides["both"][0].corpus}: say which side it is on: side = "train" or "test"'
            )
        return across(sides["train"], sides["test"], protocol.validation)
    tables = [_one_table(protocol, manifest) for manifest in manifests]
    if len(tables) == 1 or protocol.name == "dependent":
        return tables[0] if len(tables) == 1 else _refuse_several(protocol)
    return merge(tables, [u for m in manifests for u in m])


def _refuse_several(protocol: ProtocolChoice) -> FoldTable:
    raise DataError(f"the protocol {protocol.name!r} is for one corpus at a time")


def _one_table(protocol: ProtocolChoice, manifest: Manifest) -> FoldTable:
    if protocol.name == "speakers":
        return leave_one_speaker_out(manifest)
    if protocol.name == "groups":
        return speaker_groups(manifest, protocol.groups, protocol.validation)
    if protocol.name == "sessions":
        return leave_one_session_out(manifest, mutual=protocol.mutual)
    if protocol.name == "official":
        return official(
            manifest,
            protocol.test,
            validation=protocol.validate,
            shared_speakers=protocol.shared_speakers,
        )
    return speaker_dependent(manifest, protocol.groups)


def _check(
    table: FoldTable,
    protocol: ProtocolChoice,
    utterances: Sequence[Utterance],
    places: Mapping[str, str],
) -> list[str]:
    """Refuse what can't be measured honestly; lines on what is taken for granted."""
    if protocol.name != "table":
        return _check_folds(table, protocol, utterances, places)
    try:
        return _check_folds(table, protocol, utterances, places)
    except DataError as error:
        raise DataError(f"{protocol.file}: {error}") from error


def _check_folds(
    table: FoldTable,
    protocol: ProtocolChoice,
    utterances: Sequence[Utterance],
    places: Mapping[str, str],
) -> list[str]:
    names = [fold.name for fold in table.folds]
    if len(set(names)) < len(names):
        raise DataError(f"{table.protocol}: two folds have one name; rename one")
    for fold in table.folds:
        if not fold.train or not fold.test:
            raise DataError(f"fold {fold.name}: nothing to train or to test on; mend the protocol")
    if protocol.name == "dependent" or protocol.shared_speakers:
        alone = [replace(u, speaker=u.id) for u in utterances]  # an id on two sides stays an error
        check_disjoint(table, alone, places)
        return []
    apart = protocol.name in ("official", "across")
    check_disjoint(table, utterances, places, unknown_apart=apart)
    known = {*CORPORA, *PREPARED}
    said = check_names(table, utterances, known, places, other_people=protocol.other_people)
    return [said] if said else []


def _rule(target: str, manifests: Sequence[Manifest], labels: Sequence[str]) -> str:
    rules = [*dict.fromkeys(m.rule for m in manifests if m.rule)]
    said = [f"label rule {' and '.join(rules)}"] if target == "label" and rules else [target]
    return ", ".join([*said, f"{len(labels)} classes ({', '.join(labels)})"])


def _audio(u: Utterance) -> str:
    if not u.start and u.end is None:
        return str(u.audio)
    return f"{u.audio}#t={u.start:g}" + ("" if u.end is None else f",{u.end:g}")


def _votes(tested: Sequence[Utterance], labels: Sequence[str]) -> Floats | None:
    if not any(u.votes for u in tested):
        return None
    votes = [[float((u.votes or {}).get(label, 0.0)) for label in labels] for u in tested]
    return np.array(votes, dtype=np.float32)
