"""The results of a run as JSON lines: the `--jsonl` output, and what a killed run goes on from.

Results live here and not in memory, so that a folder of any size needs little of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from voicetone.cli.output import OutputError, atomic
from voicetone.errors import UsageError
from voicetone.types import FileResult

START = b'{"file":'  # of every line


def fingerprint(path: Path, settings: str) -> str | None:
    """Changes when the file (size, time of change) or the settings do; None if there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    text = f"{stat.st_size} {stat.st_mtime_ns} {settings}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_line(data: dict[str, Any]) -> bytes:
    """One JSON object on one line, UTF-8."""
    return to_json(data) + b"\n"


def to_json(data: dict[str, Any], indent: int | None = None) -> bytes:
    """UTF-8 JSON. A file name that is not UTF-8 comes back the same from its escapes."""
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        text = json.dumps(
            data, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
        )
        return text.encode()
    except UnicodeEncodeError:
        text = json.dumps(data, allow_nan=False, indent=indent, separators=separators)
        return text.encode()


def from_line(line: bytes) -> dict[str, Any]:
    """The object again.

    Raises:
        ValueError: it is no JSON object of a result.
    """
    data = json.loads(line)
    if not isinstance(data, dict) or not isinstance(data.get("file"), str):
        raise ValueError("no result")
    return data


class Journal:
    """Results on disk, one JSON object a line, found again by the name of their file.

    Args:
        path: where; None keeps the lines in an unnamed temporary file.
        temporary: remove the file once the run is complete.
        fresh: forget what an earlier run left there.

    Raises:
        UsageError: the file holds something else than results, or another run writes to it.
        OutputError: it can't be opened.
    """

    def __init__(self, path: Path | None, *, temporary: bool = False, fresh: bool = False) -> None:
        self.path = path
        self.temporary = temporary
        self._at: dict[str, tuple[int, int]] = {}  # file → offset and length of its line
        self._prints: dict[str, str | None] = {}
        self._out: IO[bytes] = self._open(fresh)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._out.close()

    def _open(self, fresh: bool) -> IO[bytes]:
        if self.path is None:
            return tempfile.TemporaryFile()
        try:
            with ExitStack() as stack:
                out = stack.enter_context(self.path.open("a+b"))
                _lock(out, self.path)
                if fresh:
                    out.truncate(0)
                end = self._read(out)
                if end < out.seek(0, os.SEEK_END):
                    out.truncate(end)  # the half line of a killed run
                stack.pop_all()
        except OSError as error:
            raise OutputError(
                f"{self.path}: can't be written ({error.strerror or error}): choose another place"
            ) from error
        return out

    def _read(self, out: IO[bytes]) -> int:
        out.seek(0)
        at = 0
        for line in out:
            if line.endswith(b"\n"):
                try:
                    data = from_line(line)
                except ValueError:
                    raise UsageError(
                        f"{self.path}: holds something else than results: "
                        "choose another path, or replace it with --force"
                    ) from None
                self._note(data, at, len(line))
                at += len(line)
            elif at == 0 and not line.startswith(START[: len(line)]):
                raise UsageError(
                    f"{self.path}: holds something else than results: "
                    "choose another path, or replace it with --force"
                )
        return at

    def _note(self, data: dict[str, Any], at: int, length: int) -> None:
        self._at.pop(data["file"], None)  # the newest line of a file counts, in its own place
        self._at[data["file"]] = (at, length)
        self._prints[data["file"]] = data.get("fingerprint")

    def holds(self, file: str, print_: str | None) -> bool:
        """Is there a result of this file, as it is now and with these settings?"""
        return print_ is not None and file in self._at and self._prints[file] == print_

    def add(self, data: dict[str, Any]) -> None:
        """Append a result; it survives the end of this process.

        Raises:
            OutputError: the disk is full, or worse.
        """
        line = to_line(data)
        try:
            at = self._out.seek(0, os.SEEK_END)
            self._out.write(line)
            self._out.flush()
        except OSError as error:
            raise OutputError(
                f"{self.path or 'temporary file'}: can't be written ({error.strerror or error})"
            ) from error
        self._note(data, at, len(line))

    def line(self, file: str) -> bytes:
        """The line of a file's newest result."""
        at, length = self._at[file]
        self._out.seek(at)
        return self._out.read(length)

    def data(self, file: str) -> dict[str, Any]:
        """The JSON object of a file's newest result."""
        return from_line(self.line(file))

    def results(self, files: Sequence[str]) -> Iterator[FileResult]:
        """The results of these files, one at a time; files without one are passed over."""
        for file in files:
            if file in self._at:
                yield FileResult.from_dict(self.data(file))

    def finish(self, files: Sequence[str]) -> None:
        """Close a complete run: one line per file, in the order of the inputs, others first.

        Raises:
            OutputError: it can't be written.
        """
        if self.path is None:
            return
        if self.temporary:
            with suppress(OSError):
                self.path.unlink()
            return
        mine = set(files)
        order = [f for f in self._at if f not in mine] + [f for f in files if f in self._at]
        if self._is_tidy(order):
            return
        with atomic(self.path) as out:
            for file in order:
                out.write(self.line(file))

    def _is_tidy(self, order: Sequence[str]) -> bool:
        at = 0
        for file in order:
            if self._at[file][0] != at:
                return False
            at += self._at[file][1]
        return at == self._out.seek(0, io.SEEK_END)


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
