"""The corpora of a tone run: read, folded, and checked for leaks before anything is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path

from voicetone.corpora.manifest import Manifest
from voicetone.corpora.prepared import read_prepared
from voicetone.errors import DataError
from voicetone.training.leaks import Heard, check_heard
from voicetone.training.protocol import (
    FoldTable,
    across,
    check_disjoint,
    merge,
    official,
    places_of,
    speaker_groups,
)
from voicetone.training.sounds import listen
from voicetone.training.tone_recipe import ToneRecipe
from voicetone.types import Utterance


def read_corpora(recipe: ToneRecipe) -> tuple[Manifest, ...]:
    """The recipe's corpora, cut to the emotions it takes."""
    manifests = []
    for part in recipe.corpora:
        manifest = read_prepared(part.name, licence=part.licence)
        if part.emotions:
            wanted = set(part.emotions)
            manifest = manifest.where(lambda u, wanted=wanted: u.emotion in wanted)  # type: ignore[misc]
        if not len(manifest):
            raise DataError(f"{part.name}: none of its utterances has {', '.join(part.emotions)}")
        manifests.append(manifest)
    return tuple(manifests)


def fold_table(recipe: ToneRecipe, manifests: Sequence[Manifest]) -> FoldTable:
    """The joint folds: the first folds of each corpus's own table side by side.

    Where corpora are only to be tested on, each of them is a fold, and the others train.
    """
    if any(part.side == "test" for part in recipe.corpora):
        return _across(recipe, manifests)
    parts = list(zip(manifests, recipe.corpora, strict=True))
    for part in recipe.corpora:
        if part.official and part.folds:
            raise DataError(
                f"{recipe.name}: {part.name} has official = true and folds: leave one of them out"
            )
    tables = [
        official(manifest)
        if part.official
        else speaker_groups(manifest, part.folds, part.validation)
        for manifest, part in parts
        if part.folds or part.official
    ]
    utterances = [u for m in manifests for u in m]
    whole = [u for m, part in parts if not (part.folds or part.official) for u in m]
    table = merge(tables, utterances, whole)
    check_disjoint(table, utterances)
    if not recipe.first_folds:
        return table
    some = table.folds[: recipe.first_folds]
    return replace(table, protocol=f"{table.protocol}; first folds: {len(some)}", folds=some)


def check_heard_once(
    table: FoldTable, manifests: Sequence[Manifest], words: Sequence[Manifest] = ()
) -> str:
    """Make sure that no recording stands on two sides of a fold, under whatever name.

    Args:
        table: the folds.
        manifests: the corpora with labels.
        words: corpora of words alone; none of their speakers and recordings may be among those.

    Returns:
        SHA-256 of all that is learnt from: labels, speakers, words and what is heard.

    Raises:
        DataError: a recording that can't be read, by file and line, or a leak.
    """
    places = {key: place for m in (*manifests, *words) for key, place in places_of(m).items()}
    everyone = [u for m in (*manifests, *words) for u in m]
    twice = len(everyone) - len({u.id for u in everyone})
    if twice:
        raise DataError(f"{twice} utterances of two corpora have one id; leave a corpus out")
    heard = listen(everyone, places)
    check_heard(table, heard, places)
    _check_words(manifests, words, heard, places)
    rows = []
    for u in everyone:
        said = asdict(replace(u, audio=Path()))
        del said["audio"]
        rows.append([said, astuple(heard[u.id])])
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _check_words(
    manifests: Sequence[Manifest],
    words: Sequence[Manifest],
    heard: Mapping[str, Heard],
    places: Mapping[str, str],
) -> None:
    """Make sure that nobody of the labelled corpora is heard in those of words, and that no
    recording of words stands on two of their sides."""
    speakers = {u.speaker for m in manifests for u in m}
    known: dict[str, list[Utterance]] = {}
    for u in (u for m in manifests for u in m):
        known.setdefault(heard[u.id].sound, []).append(u)
    labelled = {u.id for m in manifests for u in m}
    for u in (u for m in words for u in m):
        for other in known.get(heard[u.id].sound, ()):
            if not heard[u.id].shares(heard[other.id]):
                continue
            if other.id in labelled:
                raise DataError(_apart(u, places))
            if (other.speaker, other.partition) != (u.speaker, u.partition):
                raise DataError(
                    f"{places[u.id]}: the same recording as {other.id}, of another speaker or "
                    "part: leave one of them out of stages.words"
                )
        if u.speaker in speakers:
            raise DataError(_apart(u, places))
        known.setdefault(heard[u.id].sound, []).append(u)


def _apart(u: Utterance, places: Mapping[str, str]) -> str:
    return (
        f"{places[u.id]}: {u.id} is of a speaker or a recording of the labelled corpora, who is "
        "tested in some fold; leave it out of stages.words"
    )


def _across(recipe: ToneRecipe, manifests: Sequence[Manifest]) -> FoldTable:
    sides: dict[bool, list[Manifest]] = {True: [], False: []}
    for manifest, part in zip(manifests, recipe.corpora, strict=True):
        sides[part.side == "test"].append(manifest)
        if part.folds or part.official:
            raise DataError(
                f"{recipe.name}: {part.name} can't be folded where a corpus has side = 'test': "
                "leave folds and official out"
            )
    if recipe.final:
        raise DataError(
            f"{recipe.name}: a corpus has side = 'test', and the final model learns from all: "
            "final=false"
        )
    held = [part.validation for part in recipe.corpora if part.side != "test"]
    return across(sides[False], sides[True], held)
