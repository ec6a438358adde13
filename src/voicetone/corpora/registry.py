"""The corpora that can be read, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from voicetone.corpora import (
    cremad,
    emodb,
    esd,
    iemocap,
    meld,
    msp_improv,
    msp_podcast,
    nemo,
    ravdess,
    savee,
    tess,
)
from voicetone.corpora.corpus import Corpus
from voicetone.corpora.manifest import Manifest
from voicetone.corpora.words import hint
from voicetone.errors import UsageError

_MODULES = (
    cremad, emodb, esd, iemocap, meld, msp_improv, msp_podcast, nemo, ravdess, savee, tess,
)  # fmt: skip
CORPORA: Mapping[str, Corpus] = {m.CORPUS.name: m.CORPUS for m in _MODULES}


def corpus(name: str) -> Corpus:
    """A corpus by its name.

    Raises:
        UsageError: no such name.
    """
    if name not in CORPORA:
        raise UsageError(f"{name}: no corpus of this name; {hint(name, CORPORA)}")
    return CORPORA[name]


def read_corpus(name: str, folder: Path) -> Manifest:
    """The manifest of a corpus's folder.

    Raises:
        UsageError: no such name.
        DataError: the folder is not laid out as that corpus is.
    """
    return corpus(name).manifest(folder)
