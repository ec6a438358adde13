"""Targets on disk: JSON lines by day, and Parquet files by day and queue."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from voicetone.errors import MissingExtraError
from voicetone.server.targets import Delivery, Failed, JsonlSettings, ParquetSettings

if TYPE_CHECKING:
    import pyarrow

NO_QUEUE = "__HIVE_DEFAULT_PARTITION__"
"""What tools that read such folders take for null."""
LONGEST_NAME = 150


def day_of(time: float) -> str:
    """The day of a moment in UTC, `YYYY-MM-DD`."""
    return datetime.fromtimestamp(time, UTC).date().isoformat()


class JsonLines:
    """Appends to `events-YYYY-MM-DD.jsonl`, then `-2`, `-3`, ... as files fill.

    Several processes may append to the same file: each holds it alone while it writes, and what a
    crash left of a line is cut off.

    Args:
        settings: of the target.
    """

    batch = 500
    whole = True
    linger = 0.0
    longest = 60.0

    def __init__(self, settings: JsonlSettings) -> None:
        self._folder, self._fsync = settings.folder, settings.fsync
        self._most = round(settings.megabytes * 1e6)

    def send(self, deliveries: Sequence[Delivery]) -> list[Failed | None]:
        """All lines of a day are written, or none."""
        self._folder.mkdir(parents=True, exist_ok=True)
        days: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            days[day_of(delivery.time)].append(delivery)
        said: dict[int, Failed | None] = {}
        for day, some in days.items():
            lines = "".join(delivery.body + "\n" for delivery in some).encode()
            try:
                self._append(day, lines)
                why = None
            except OSError as error:
                why = Failed(f"{self._folder}: {error.strerror}")
            said.update((delivery.id, why) for delivery in some)
        return [said[delivery.id] for delivery in deliveries]

    def close(self) -> None:
        """No file is open between batches."""

    def _append(self, day: str, lines: bytes) -> None:
        part = 1
        while True:
            tail = "" if part == 1 else f"-{part}"
            path = self._folder / f"events-{day}{tail}.jsonl"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                size = _mended(descriptor)
                if size and size + len(lines) > self._most:
                    part += 1
                    continue
                self._write(descriptor, size, lines)
                return
            finally:
                os.close(descriptor)

    def _write(self, descriptor: int, size: int, lines: bytes) -> None:
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(descriptor, view) :]
            if self._fsync:
                os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise


def _mended(descriptor: int) -> int:
    """The size of a file of lines, once what a crash left of its last line is cut off."""
    size = os.fstat(descriptor).st_size
    end = size
    while end:
        start = max(end - 65536, 0)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)
    return end


class ParquetLake:
    """Writes `date=YYYY-MM-DD/queue=NAME/part-*.parquet`, each file whole or not at all.

    Args:
        settings: of the target.

    Raises:
        MissingExtraError: no pyarrow.
    """

    whole = True
    longest = 120.0

    def __init__(self, settings: ParquetSettings) -> None:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("a target of kind parquet", "data") from error
        self._folder = settings.folder
        self.batch, self.linger = settings.rows, settings.seconds

    def send(self, deliveries: Sequence[Delivery]) -> list[Failed | None]:
        """One file for each day and queue among them."""
        parts: dict[Path, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            parts[partition(delivery.time, delivery.queue)].append(delivery)
        said: dict[int, Failed | None] = {}
        for part, some in parts.items():
            try:
                self._write(self._folder / part, some)
                why = None
            except OSError as error:
                why = Failed(f"{self._folder}: {error.strerror}")
            said.update((delivery.id, why) for delivery in some)
        return [said[delivery.id] for delivery in deliveries]

    def close(self) -> None:
        """No file is open between batches."""

    def _write(self, folder: Path, deliveries: Sequence[Delivery]) -> None:
        from pyarrow import parquet

        folder.mkdir(parents=True, exist_ok=True)
        name = f"part-{deliveries[0].id:012}-{secrets.token_hex(6)}.parquet"
        partial = folder / f".{name}.partial"  # a leading dot: readers skip it
        try:
            parquet.write_table(table_of(deliveries), partial, compression="zstd")
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.rename(folder / name)
        finally:
            partial.unlink(missing_ok=True)


def partition(time: float, queue: str | None) -> Path:
    """The folder of an event; no name of a queue leads out of it."""
    name = NO_QUEUE if queue is None else quote(queue, safe=" ")
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name[:LONGEST_NAME].rpartition('%')[0] or name[:LONGEST_NAME]}-{digest}"
    return Path(f"date={day_of(time)}") / f"queue={name}"


def table_of(deliveries: Sequence[Delivery]) -> pyarrow.Table:
    """One row for each event: what is often asked in columns, all of it in `body`."""
    import pyarrow as pa

    schema = pa.schema(
        [
            ("call", pa.string()),
            ("seq", pa.int64()),
            ("time", pa.timestamp("ms", tz="UTC")),
            ("type", pa.string()),
            ("channel", pa.int32()),
            ("end", pa.float64()),
            ("label", pa.string()),
            ("positive", pa.float64()),
            ("neutral", pa.float64()),
            ("negative", pa.float64()),
            ("overall_label", pa.string()),
            ("overall_negative", pa.float64()),
            ("speech_seconds", pa.float64()),
            ("body", pa.string()),
        ]
    )
    return pa.Table.from_pylist([_row(delivery) for delivery in deliveries], schema=schema)


def _row(delivery: Delivery) -> dict[str, Any]:
    event = json.loads(delivery.body)
    current = event.get("current") or {}
    overall = event.get("overall") or {}
    sentiment = current.get("sentiment") or event.get("sentiment") or {}
    return {
        "call": delivery.call,
        "seq": event.get("seq"),
        "time": round(delivery.time * 1000),
        "type": event.get("type") or event.get("detail-type"),
        "channel": event.get("channel"),
        "end": event.get("end"),
        "label": current.get("label"),
        **{name: sentiment.get(name) for name in ("positive", "neutral", "negative")},
        "overall_label": overall.get("label"),
        "overall_negative": (overall.get("sentiment") or {}).get("negative"),
        "speech_seconds": event.get("speech_seconds", overall.get("speech_seconds")),
        "body": delivery.body,
    }
