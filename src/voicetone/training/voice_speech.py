"""Who may be learnt from in which stage of a voice tone model, and who is kept for testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voicetone.corpora.manifest import Manifest
from voicetone.corpora.prepared import read_prepared
from voicetone.errors import DataError
from voicetone.training.protocol import FoldTable, speaker_groups
from voicetone.training.voice_recipe import VoiceRecipe
from voicetone.types import Utterance


@dataclass(frozen=True)
class Speech:
    """What the stages learn from: rows of a store, and who may be learnt from in which fold."""

    utterances: tuple[Utterance, ...]
    """Those with labels first, then those of words alone, as in the store."""
    labelled: int
    """How many have labels."""
    table: FoldTable
    """The folds of those with labels."""
    held: tuple[frozenset[str], ...]
    """Of words alone: the ids whose speakers a fold holds out."""


def read_words(recipe: VoiceRecipe) -> tuple[Manifest, ...]:
    """The corpora of words.

    Raises:
        DataError: see `read_prepared`.
    """
    found = []
    for part in recipe.stages.words:
        manifest = read_prepared(part.name, licence=part.licence, words=True)
        # An emotion that stands there is not asked for; sentiments are, such as pseudo-labels.
        plain = tuple(replace(u, emotion=None, label_raw=None) for u in manifest)
        found.append(replace(manifest, utterances=plain))
    return tuple(found)


def speech_of(
    recipe: VoiceRecipe,
    table: FoldTable,
    labelled: Sequence[Utterance],
    words: Sequence[Manifest],
) -> Speech:
    """Who is held out of the stages of which fold.

    Raises:
        DataError: too few speakers for the folds of a corpus of words, or sentences to be withheld
            of a corpus that has none.
    """
    held: list[set[str]] = [set() for _ in table.folds]
    for manifest, part in zip(words, recipe.stages.words, strict=True):
        if part.folds:
            groups = speaker_groups(manifest, part.folds, 0)
            for index, fold in enumerate(groups.folds[: len(held)]):
                held[index].update(fold.test)
    utterances = (*labelled, *(u for m in words for u in m))
    for choice in recipe.stages.withheld:
        if not any(u.corpus == choice.corpus and u.sentence for u in utterances):
            raise DataError(
                f"{recipe.name}: no sentences of {choice.corpus!r} can be withheld: none of its "
                "utterances names one; mend stages.withheld"
            )
    return Speech(utterances, len(labelled), table, tuple(frozenset(ids) for ids in held))


def withheld(
    recipe: VoiceRecipe, utterances: Sequence[Utterance], index: int | None
) -> NDArray[np.bool_]:
    """Whose sentence fold `index` withholds `[n]`; the final model, None, withholds none."""
    out = np.zeros(len(utterances), dtype=bool)
    if index is None:
        return out
    for choice in recipe.stages.withheld:
        mine = [u.sentence for u in utterances if u.corpus == choice.corpus and u.sentence]
        order = {name: k for k, name in enumerate(sorted(set(mine), key=_natural))}
        for row, u in enumerate(utterances):
            if u.corpus == choice.corpus and u.sentence:
                out[row] |= order[u.sentence] % choice.groups == index % choice.groups
    return out


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (1 << 30, name)


def parts_of(recipe: VoiceRecipe, speech: Speech, index: int | None) -> NDArray[np.str_]:
    """What each utterance is to the stages of a fold `[n]`.

    `train` and `validation` may be learnt from and chosen by; `new speaker` is of speakers who are
    held out, `new sentence` of others' sentences that are, `known speaker` of the part of a corpus
    of words that it calls test; what is empty does nothing.

    Args:
        recipe: the settings.
        speech: the utterances.
        index: of the fold; None is the final model, which holds only `known speaker` out.
    """
    part = np.full(len(speech.utterances), "", dtype="<U16")
    fold = None if index is None else speech.table.folds[index]
    unseen = withheld(recipe, speech.utterances, index)
    if fold is not None:
        names = (("train", fold.train), ("validation", fold.validation), ("new speaker", fold.test))
        said = {key: name for name, keys in names for key in keys}
        for row, u in enumerate(speech.utterances):
            part[row] = said.get(u.id, "")
        part[(part == "train") & unseen] = "new sentence"
        part[(part == "validation") & unseen] = ""
    else:
        part[: speech.labelled] = "train"
    for row in range(speech.labelled, len(speech.utterances)):
        u = speech.utterances[row]
        if index is not None and u.id in speech.held[index]:
            part[row] = "new speaker"
        elif unseen[row]:
            part[row] = "new sentence"
        else:
            part[row] = "known speaker" if (u.partition or "").lower() == "test" else "train"
    return part
