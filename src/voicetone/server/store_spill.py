"""Where events wait on disk while the database is away, and after the process ended meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEGMENT = 5000
"""Events in one file."""
CHIME = "chime"
"""Type of an item that is a whole event of the Chime-compatible interface."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something to be stored: an event of a call, or one for targets only.

    Args:
        call: its id.
        seq: of the call's event; None for one for targets only.
        key: names it among its call's deliveries.
        time: seconds since 1970.
        type: of the event.
        channel: that it is about.
        body: ready for JSON.
    """

    call: str
    seq: int | None
    key: str
    time: float
    type: str
    channel: int | None
    body: Mapping[str, Any]


def to_line(item: Item) -> str:
    """An item as one line of JSON."""
    parts = [item.call, item.seq, item.key, item.time, item.type, item.channel, item.body]
    return json.dumps(parts, allow_nan=False) + "\n"


def from_line(line: bytes) -> Item | None:
    """An item again, or None for a line that was torn when the machine stopped."""
    try:
        call, seq, key, time, type, channel, body = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(body, dict) or not isinstance(call, str):
        return None
    return Item(call, seq, key, time, type, channel, body)


class Spill:
    """A queue on disk: files of up to `SEGMENT` events each, oldest first.

    Each file is locked by the process that has it. What a process left behind is free and taken
    over by another, or by the next one.

    Args:
        folder: made when needed, for this user alone.
        most: bytes that may lie in it; more is refused.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._files: list[tuple[Path, int, int]] = []  # path, its locked descriptor, events
        self._made = 0

    @property
    def events(self) -> int:
        """How many wait."""
        return sum(count for _, _, count in self._files)

    def adopt(self) -> None:
        """Take over the files that no process has, before what is there already."""
        mine = {path for path, _, _ in self._files}
        found = []
        try:
            paths = sorted(self._folder.glob("*.jsonl"), key=_age)
        except OSError:  # one that its owner removed just now: next time
            return
        for path in paths:
            if path not in mine and (descriptor := _locked(path)) is not None:
                count = path.read_bytes().count(b"\n")
                found.append((path, descriptor, count))
        self._files = found + self._files

    def add(self, items: Sequence[Item]) -> int:
        """Write items behind all others.

        Returns:
            How many of the first of them are written; fewer than all when the room is used up.

        Raises:
            OSError: nothing of this call is kept.
        """
        if not self._files:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        room = self._most - sum(os.fstat(descriptor).st_size for _, descriptor, _ in self._files)
        data, count = bytearray(), 0
        for item in items[:SEGMENT]:
            line = _line(item)
            if len(data) + len(line) > room:
                break
            data += line
            count += 1
        if not count:
            return 0
        self._made += 1
        path = self._folder / f"{os.getpid()}-{self._made:06}-{secrets.token_hex(4)}.jsonl"
        self._files.append((path, _write(path, bytes(data)), count))
        return count

    def oldest(self) -> list[Item]:
        """The items of the oldest file; those that can't be read are left out."""
        path, _, _ = self._files[0]
        found = (from_line(line) for line in path.read_bytes().splitlines())
        return [item for item in found if item is not None]

    def done(self) -> None:
        """The oldest file's items are stored: remove it."""
        path, descriptor, _ = self._files.pop(0)
        path.unlink(missing_ok=True)
        os.close(descriptor)

    def __bool__(self) -> bool:
        return bool(self._files)

    def close(self) -> None:
        """Leave the files to whoever comes next."""
        for _, descriptor, _ in self._files:
            os.close(descriptor)
        self._files = []


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name  # names of one process count up


def _line(item: Item) -> bytes:
    try:
        return to_line(item).encode()
    except (ValueError, TypeError, RecursionError):
        return b"\n"  # nothing that could ever be stored


def _locked(path: Path) -> int | None:
    """A descriptor that has the file alone, or None if another process has it."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:  # else its owner was done with it just now
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _write(path: Path, data: bytes) -> int:
    """Write a new file through to the disk and keep it locked; all of it or nothing."""
    partial = path.with_suffix(".part")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        partial.rename(path)
    except OSError:
        os.close(descriptor)
        partial.unlink(missing_ok=True)
        raise
    return descriptor


def split(items: Iterable[Item], size: int) -> list[list[Item]]:
    """Items in lists of at most `size`."""
    rest = list(items)
    return [rest[at : at + size] for at in range(0, len(rest), size)]
