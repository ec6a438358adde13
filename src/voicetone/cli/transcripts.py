"""`--transcript`: what is said in a recording, for a model that reads words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicetone.cli.enrolling import SOLE, parted
from voicetone.errors import DataError, UsageError

if TYPE_CHECKING:
    from voicetone.inference.words import Transcripts
    from voicetone.types import Said

MOST_BYTES = 64 << 20
MOST_LINES = 200_000


@dataclass(frozen=True, slots=True)
class Heard:
    """The transcripts of a run."""

    transcripts: Transcripts
    fingerprint: str = ""
    """Changes with the content of the files."""


def files_of(
    given: Sequence[str] | None, names: tuple[str, ...] | None, *, split: bool = False
) -> tuple[tuple[int, Path], ...]:
    """The files that the options name, by channel from 1, or `SOLE`.

    Args:
        given: each FILE or CHANNEL=FILE.
        names: of the channels.
        split: whether a channel is split by speaker.

    Raises:
        UsageError: no file; several of one channel; files with and without a channel; transcripts
            of parties that are not known beforehand.
    """
    found: dict[int, Path] = {}
    for text in given or ():
        channel, path = parted(text, names)
        if path in ("", "-"):
            raise UsageError(f"--transcript {text[:80]!r}: name a file")
        if channel in found:
            raise UsageError("--transcript: two files of one channel: join them into one")
        found[channel] = Path(path)
    if found and split:
        raise UsageError(
            "--transcript and --split-speakers: nobody knows beforehand which party said what: "
            "give one of them"
        )
    if SOLE in found and len(found) > 1:
        raise UsageError(
            "--transcript: files with and without a channel: say of each whose it is, such as "
            "1=FILE"
        )
    return tuple(sorted(found.items()))


def heard(files: Sequence[tuple[int, Path]], recordings: int) -> Heard:
    """The transcripts of a run.

    Args:
        files: as `files_of` gives them.
        recordings: that are analysed.

    Raises:
        UsageError: more than one recording.
        DataError: a file that can't be read, or is none.
    """
    if not files:
        return Heard(None)
    if recordings != 1:
        raise UsageError(
            f"--transcript is what is said in one recording, and these are {recordings:,}: "
            "analyse them one by one"
        )
    digest = hashlib.sha256()
    found = {}
    for channel, path in files:
        data = _bytes(path)
        found[channel] = read_transcript(path, data)
        digest.update(f"{channel} {hashlib.sha256(data).hexdigest()}\n".encode())
    transcripts: Transcripts = found.get(SOLE, found)
    return Heard(transcripts, f"said {digest.hexdigest()}")


def read_transcript(path: Path, data: bytes) -> list[Said]:
    """What a transcript of JSON lines says.

    Args:
        path: of the file, for messages.
        data: its bytes.

    Raises:
        DataError: a line that is no object with `start`, `end` and `text`, times or words that
            can't be, or too many lines.
    """
    lines = data.split(b"\n")
    if len(lines) > MOST_LINES:
        raise DataError(
            f"{path}: a transcript of over {MOST_LINES:,} lines: join words to sentences"
        )
    return [_said(path, i, line) for i, line in enumerate(lines, start=1) if line.strip()]


def _said(path: Path, number: int, line: bytes) -> Said:
    from voicetone.inference.words import require_said
    from voicetone.types import Said

    where = f"{path}:{number}"
    try:
        found: Any = json.loads(line)
        start, end, text = (found[key] for key in ("start", "end", "text"))
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        raise DataError(
            f'{where}: no line of a transcript: give {{"start": 0.5, "end": 2.1, "text": "…"}}, '
            "times in seconds"
        ) from None
    if not (_number(start) and _number(end) and isinstance(text, str)):
        raise DataError(
            f"{where}: start and end of a transcript must be numbers, and text a text: correct it"
        )
    said = Said(float(start), float(end), text)
    try:
        require_said(said)
    except UsageError as error:
        raise DataError(f"{where}: {error}") from None
    return said


def _number(value: object) -> bool:
    """Whether it is a number that a time may be."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DataError: it can't be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"{path}: a transcript that can't be read ({reason}): check the path"
        ) from None
    if len(data) > MOST_BYTES:
        raise DataError(f"{path}: a transcript of over {MOST_BYTES >> 20} MiB: part it")
    return data
