"""Every answer on disk as it comes, one JSON object a line: the provenance, and what a killed run
goes on from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from voicetone.errors import DataError, UsageError

START = b'{"id":'  # of every line


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer to one question.

    Attributes:
        id: the utterance's.
        field: what was asked for.
        source: provider, model and version.
        input: a hash of what was asked, so that other words or audio are another question.
        value: the answer; None if there is none.
        confidence: in [0, 1], where the provider tells it.
        scores: of all labels, where there are any.
        problem: why there is no value.
        failed: something went wrong; the next run asks again.
        date: ISO 8601, UTC.
    """

    id: str
    field: str
    source: str
    input: str
    value: str | None = None
    confidence: float | None = None
    scores: Mapping[str, float] | None = None
    problem: str = ""
    failed: bool = False
    date: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two questions the same."""
        return (self.id, self.field, self.source, self.input)


NAMES = {field.name for field in fields(Entry)}


class Journal:
    """The answers of this run and of earlier ones.

    Args:
        path: where; made if it is not there.

    Raises:
        UsageError: the file holds something else, or another run writes to it.
        DataError: it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, str, str, str], Entry] = {}
        self._out = self._open()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._out.close()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, id: str, field: str, source: str, input: str) -> Entry | None:
        """The newest answer to a question, unless it was that something went wrong."""
        entry = self._known.get((id, field, source, input))
        return None if entry is None or entry.failed else entry

    def add(self, entry: Entry) -> None:
        """Append an answer; it survives the end of this process.

        Raises:
            DataError: the disk is full, or worse.
        """
        line = _line(entry)
        try:
            self._out.write(line)
            self._out.flush()
        except OSError as error:
            raise self._unwritten(error) from error
        self._known[entry.key] = entry

    def _open(self) -> IO[bytes]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            out = self.path.open("a+b")
        except OSError as error:
            raise self._unwritten(error) from error
        try:
            _lock(out, self.path)
            end = self._read(out)
            if end < out.seek(0, os.SEEK_END):
                out.truncate(end)  # the half line of a killed run
        except BaseException:
            out.close()
            raise
        return out

    def _read(self, out: IO[bytes]) -> int:
        out.seek(0)
        at = 0
        for line in out:
            if not line.endswith(b"\n"):
                if not line.startswith(START[: len(line)]):
                    raise self._foreign()
                break
            entry = _entry(line)
            if entry is None:
                raise self._foreign()
            self._known[entry.key] = entry
            at += len(line)
        return at

    def _foreign(self) -> UsageError:
        return UsageError(
            f"{self.path}: holds something else than pseudo-labels: choose another --out, or "
            "move the file away"
        )

    def _unwritten(self, error: OSError) -> DataError:
        return DataError(
            f"{self.path}: can't be written ({error.strerror or error}): choose another --out"
        )


def _line(entry: Entry) -> bytes:
    """UTF-8 to be read; a name that is no UTF-8 comes back the same from its escapes."""
    data = asdict(entry)
    try:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        text = json.dumps(data, separators=(",", ":")).encode()
    return text + b"\n"


def _entry(line: bytes) -> Entry | None:
    try:
        data: Any = json.loads(line)
        if not isinstance(data, dict) or not {"id", "field", "source", "input"} <= set(data):
            return None
        return Entry(**{name: value for name, value in data.items() if name in NAMES})
    except (ValueError, TypeError):
        return None


def _lock(out: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system: two runs into one file are then the user's to avoid
        return
    try:
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{path}: another run is writing to it: wait, or choose another") from None
    except OSError:  # a file system without locks
        return
