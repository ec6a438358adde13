"""The prepared folders: 16 kHz audio and one `manifest.csv` each (see `docs/training.md`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from voicetone.corpora.layout import table_rows
from voicetone.corpora.manifest import Manifest, Problem, refuse
from voicetone.corpora.tables import inspect_manifest
from voicetone.errors import DataError
from voicetone.types import EMOTIONS

_EXTRAS = ("complete", "origin", "intensity")


@dataclass(frozen=True, slots=True)
class _Corpus:
    version: str
    licence: str
    citation: str


CORPORA: Mapping[str, _Corpus] = {
    "emodb": _Corpus(
        "1.3",
        "CC0 or CC BY 4.0 by later listings; published as freely usable",
        "Burkhardt et al., Interspeech 2005",
    ),
    "ravdess": _Corpus(
        "speech, actors 01-16",
        "CC BY-NC-SA 4.0",
        "Livingstone and Russo, PLoS ONE 13(5), 2018, e0196391",
    ),
    "nemo": _Corpus("3 of 9 speakers", "CC BY-NC-SA 4.0", "Christop, LREC-COLING 2024"),
}
WORDS: Mapping[str, _Corpus] = {
    "fsdd": _Corpus("1.0.10", "CC BY-SA 4.0", "Jackson et al., Free Spoken Digit Dataset"),
}
"""Corpora of spoken words without labels."""


def data_root() -> Path:
    """The folder of the prepared corpora, from `VOICETONE_DATA`.

    Raises:
        DataError: the variable is unset or names no folder.
    """
    root = os.environ.get("VOICETONE_DATA")
    if not root or not Path(root).is_dir():
        raise DataError(
            "VOICETONE_DATA names no folder: set it to the folder that holds the prepared corpora"
        )
    return Path(root).resolve()


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a folder's `manifest.csv`, with `path` added, of noises and rooms.

    Raises:
        DataError: no such table, no column `file`, or a file that is gone.
    """
    table = folder / "manifest.csv"
    if not table.is_file():
        raise DataError(f"{table}: no such manifest; give a prepared corpus folder")
    out = []
    for line, row in table_rows(table, ("file",)):
        path = folder / row["file"]
        if not path.is_file():
            raise DataError(f"{table}:{line}: {row['file']} is gone; restore it or drop the row")
        out.append({**row, "path": str(path)})
    return out


def read_prepared(
    name: str, root: Path | None = None, *, licence: str = "", words: bool = False
) -> Manifest:
    """A corpus in the prepared layout: one of the known ones, or anybody's folder.

    Its table is read as any manifest is, but every row must have a speaker and one of the nine
    emotions or a sentiment, and every recording must be there.

    Args:
        name: `emodb`, `ravdess` or `nemo`, or the path of a folder with `manifest.csv`, whose
            columns `file`, `speaker` and `label` or `sentiment` are needed and others taken where
            known.
        root: the folder that holds the known corpora; `VOICETONE_DATA` if not given.
        licence: of a folder of one's own; it goes into what is made from it.
        words: transcripts are wanted and no labels; then `fsdd` is known, too.

    Raises:
        DataError: no such corpus, an own folder without a licence, or problems of its table, by
            file and line.
    """
    known = {**CORPORA, **WORDS} if words else CORPORA
    if name in known:
        folder, facts = (root or data_root()) / name, known[name]
    else:
        folder = Path(name)
        if not folder.is_dir():
            raise DataError(
                f"{name}: no such corpus folder; give a folder's path or one of {', '.join(known)}"
            )
        if not licence:
            raise DataError(
                f'{name}: say under what licence it is: licence = "..." in the recipe, --licence '
                "for voicetone corpus prepare"
            )
        facts = _Corpus("as of its manifest", licence, "own recordings")
    manifest, problems = inspect_manifest(
        folder / "manifest.csv", corpus=folder.resolve().name, extras=_EXTRAS, labelled=not words
    )
    refuse(problems)
    lacking = _lacking(manifest, words)
    refuse([*lacking, *manifest.validate(contents=False)])
    return replace(manifest, version=facts.version, licence=facts.licence, citation=facts.citation)


def _lacking(manifest: Manifest, words: bool) -> Iterator[Problem]:
    for index, u in enumerate(manifest):
        labelled = words or u.label_raw or u.sentiment
        for column, value in (("label", labelled), ("speaker", u.speaker)):
            if not value:
                text = f"no {column}; give every row one in a column {column!r}"
                yield Problem(manifest.place(index), text)
        if not words and u.label_raw and u.emotion is None and u.sentiment is None:
            text = f"label {u.label_raw!r} is none of {', '.join(EMOTIONS)}; drop the row"
            yield Problem(manifest.place(index), text)
