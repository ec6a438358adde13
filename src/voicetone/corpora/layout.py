"""What readers share: finding recordings and tables in a corpus's folder."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from voicetone.audio.find import AUDIO_SUFFIXES, natural_key
from voicetone.corpora.words import sentiment_of
from voicetone.errors import DataError
from voicetone.types import Utterance

ENCODINGS = ("utf-8-sig", "utf-16", "gb18030")  # in this order; the last one reads nearly anything


def recordings(folder: Path) -> list[Path]:
    """Sound files below a folder, in natural order; hidden files and folders are left out.

    Files such as `._a.wav` come with archives that were made on a Mac.
    """
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Recordings by name without ending.

    Raises:
        DataError: a name that is there twice.
    """
    found: dict[str, Path] = {}
    for path in paths:
        before = found.setdefault(path.stem, path)
        if before is not path:
            raise DataError(f"{path}: the same recording as {before}, by its name; remove one copy")
    return found


def named(folder: Path, pattern: str, example: str, title: str) -> list[tuple[Path, re.Match[str]]]:
    """The recordings below a folder, each with the match of its name.

    Args:
        folder: searched to the bottom.
        pattern: regular expression of the whole name without ending.
        example: a name, for messages.
        title: the corpus, for messages.

    Raises:
        DataError: no recordings, a name that doesn't match or that is there twice.
    """
    found = by_stem(recordings(folder))
    if not found:
        raise nothing(folder, example, title)
    matches = []
    for stem, path in found.items():
        match = re.fullmatch(pattern, stem)
        if match is None:
            raise DataError(
                f"{path}: not a name of {title}, whose recordings are named like {example}; "
                "move it elsewhere"
            )
        matches.append((path, match))
    return matches


def nothing(folder: Path, example: str, title: str) -> DataError:
    """The error for a folder without what a reader looks for."""
    return DataError(f"{folder}: no {example} below it; give the folder that holds {title}")


def only(folder: Path, names: Sequence[str], title: str) -> Path:
    """The first of these files or folders that is there, in the folder or just below it.

    Raises:
        DataError: none is there.
    """
    for pattern in ("", "*/", "*/*/"):
        for name in names:
            for path in sorted(folder.glob(f"{pattern}{name}")):
                if not path.name.startswith("."):
                    return path
    raise nothing(folder, names[0], title)


def missing(table: Path, names: Sequence[str]) -> None:
    """Complain about recordings that a table names and that are not there.

    Raises:
        DataError: if there are any: the first one, and how many.
    """
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise DataError(
            f"{table}: it names {names[0]}{more}, which is not there; complete the copy"
        )


def text_of(path: Path) -> str:
    """A text file in one of the encodings that corpora come in."""
    data = path.read_bytes()
    for encoding in ENCODINGS:
        if encoding == "utf-16" and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            continue
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def table_rows(
    path: Path, columns: Sequence[str], delimiter: str = ",", *, quoted: bool = True
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells, stripped, of each row of a table that has at least these columns.

    Raises:
        DataError: a column is missing, or a row ends early.
    """
    # Rows end where CSV says so: cells hold U+0085 and U+2028, which str.splitlines ends lines at.
    lines = io.StringIO(text_of(path), newline="")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.DictReader(lines, delimiter=delimiter, quoting=quoting)
    header = reader.fieldnames or ()
    for column in columns:
        if column not in header:
            raise DataError(f"{path}:1: no column {column!r}; this is not the table of the release")
    for row in reader:
        if any(row[column] is None for column in columns):
            raise DataError(f"{path}:{reader.line_num}: the row ends early; get the table again")
        cells = {k: v.strip() for k, v in row.items() if isinstance(k, str) and v is not None}
        yield reader.line_num, cells


def utterance(
    corpus: str, path: Path, speaker: str | None, raw: str, emotion: str | None, **fields: object
) -> Utterance:
    """An utterance that is one whole file."""
    fields.setdefault("sentiment", sentiment_of(emotion))
    return Utterance(
        id=f"{corpus}/{fields.pop('key', path.stem)}",
        audio=path,
        corpus=corpus,
        speaker=None if speaker is None else f"{corpus}/{speaker}",
        emotion=emotion,
        label_raw=raw,
        **fields,  # type: ignore[arg-type]
    )


def scaled(value: float | None, lowest: float, highest: float) -> float | None:
    """A rating from a scale such as 1 to 5, in [0, 1]."""
    return None if value is None else (value - lowest) / (highest - lowest)
