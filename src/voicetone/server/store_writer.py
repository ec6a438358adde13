"""The one thread that writes a process's events to the database.

The event loop only puts them into a queue. While the database is away they wait in memory, and
beyond a bound in files; they go in when it is back, in order and each once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, StatementError

from voicetone.server.archive import call_tone
from voicetone.server.clock import Clock
from voicetone.server.store_spill import SEGMENT, Item, Spill, split
from voicetone.server.store_tables import (
    Database,
    calls,
    clean,
    create,
    deleted,
    deliveries,
    events,
    lock,
    revive,
    upsert,
)

FLUSH_SECONDS = 0.2
BATCH = 500
"""Events of one transaction."""
LONGEST_WAIT = 5.0
"""Seconds between tries while the database is away."""
HOUSEKEEPING_SECONDS = 3600.0
FIRST_HOUSEKEEPING = 300.0
JUMP_SECONDS = 600.0
"""The two clocks may differ by this much in an hour before the wall clock is not believed."""

log = logging.getLogger(__name__)

Wants = Callable[[Item], Sequence[str]]
"""Names of the targets that an item goes to."""


class Housekeeper:
    """Says when it is time to delete what is old, by a wall clock that may jump.

    The wall clock is believed once it has kept pace with the steady one since it was last looked
    at, so that a clock set wrong for a while deletes nothing.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall, self._steady = clock.wall(), clock.steady()
        self._next = self._steady + FIRST_HOUSEKEEPING

    def due(self) -> float | None:
        """Seconds since 1970 if it is time, else None."""
        wall, steady = self._clock.wall(), self._clock.steady()
        if steady < self._next:
            return None
        jumped = abs((wall - self._wall) - (steady - self._steady)) > JUMP_SECONDS
        self._wall, self._steady = wall, steady
        self._next = steady + HOUSEKEEPING_SECONDS
        return None if jumped else wall


class Writer:
    """Takes items from any thread, stores them in its own.

    Args:
        database: to write to; connected to when first needed.
        spill: where items wait on disk.
        memory: items that wait in memory before older ones go to disk.
        wants: which targets an item goes to.
        keep_house: called with the time when old rows are to be deleted.
        clock: the time.
    """

    def __init__(
        self,
        database: Database,
        spill: Spill,
        memory: int,
        wants: Wants,
        keep_house: Callable[[float], None],
        clock: Clock,
    ) -> None:
        self._database, self._spill, self._memory = database, spill, memory
        self._wants, self._keep_house, self._clock = wants, keep_house, clock
        self._queue: deque[Item] = deque()
        self._pending: list[Item] = []
        self._from_spill: deque[list[Item]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._ready = False  # tables are there
        self._tries = 0
        self._retry_at = 0.0
        self._housekeeper = Housekeeper(clock)
        self.counts: Counter[str] = Counter()
        """`stored`, `lost` (no room anywhere) and `bad` (no database would take it) items."""

    @property
    def away(self) -> bool:
        """Whether the database didn't answer last time."""
        return self._tries > 0

    @property
    def queued(self) -> int:
        """Items in memory."""
        return len(self._queue) + len(self._pending)

    @property
    def spilled(self) -> int:
        """Items on disk."""
        return self._spill.events

    def put(self, item: Item) -> None:
        """Take an item; never waits. With no room in memory or on disk it is lost, and counted."""
        if len(self._queue) >= 4 * self._memory:
            self.counts["lost"] += 1
            return
        self._queue.append(item)
        if len(self._queue) >= BATCH:
            self._wake.set()

    def start(self) -> None:
        """Begin to write, first what earlier processes left."""
        self._spill.adopt()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Write what waits, or leave it on disk for the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():  # a database that hangs: the thread spills when it returns
                log.warning("the store did not stop in %g s: what waits goes to disk", timeout)

    def hurry(self) -> None:
        """Try again at once."""
        self._retry_at = 0.0
        self._wake.set()

    # -- inside, in the writer's thread ----------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            self._round()
        self._round()
        self._leave()

    def _round(self) -> None:
        if self._clock.steady() >= self._retry_at:
            self._flush()
        if self.away:
            self._to_disk(self._memory)
        elif (now := self._housekeeper.due()) is not None:
            self._spill.adopt()
            try:
                self._keep_house(now)
            except Exception as error:
                log.warning("old rows could not be deleted (%s): next hour", brief(error))

    def _flush(self) -> None:
        """Store all that waits, or find the database away."""
        try:
            if not self._ready:
                create(self._database)
                self._ready = True
            while self._next():
                self._store(self._pending)
                self._pending = []
                self._back()
                if len(self._queue) > self._memory:
                    self._to_disk(self._memory)
            self._back()
        except Exception as error:  # whatever it is, events are kept and tried again
            if not self._tries:
                log.warning("the database is away (%s): events are kept", brief(error))
            self._tries += 1
            wait = min(FLUSH_SECONDS * 2**self._tries, LONGEST_WAIT)
            self._retry_at = self._clock.steady() + wait

    def _back(self) -> None:
        """The database took what it was given."""
        if self._tries:
            log.warning("the database is back")
        self._tries = 0

    def _next(self) -> bool:
        """Fill what is stored next, oldest first: what is pending, then the disk, then memory."""
        while not self._pending and (self._spill or self._from_spill):
            if not self._from_spill:
                self._from_spill.extend(split(self._spill.oldest(), BATCH))
                self._from_spill.append([])  # its end
            self._pending = self._from_spill.popleft()
            if not self._pending:
                self._spill.done()
        if self._pending:
            return True
        while self._queue and len(self._pending) < BATCH:
            self._pending.append(self._queue.popleft())
        return bool(self._pending)

    def _store(self, items: list[Item]) -> None:
        """Store items; one that no database would take is left out and counted."""
        try:
            with self._database.write.begin() as connection:
                store_items(connection, items, self._wants, self._clock.wall())
            self.counts["stored"] += len(items)
        except (DataError, StatementError, ValueError, TypeError) as error:
            if isinstance(error, DBAPIError) and not isinstance(error, DataError):
                raise
            if len(items) == 1:
                self.counts["bad"] += 1
                log.warning("an event can't be stored (%s)", brief(error))
                return
            half = len(items) // 2
            self._store(items[:half])
            self._store(items[half:])

    def _to_disk(self, keep: int) -> None:
        """Move the oldest items from memory to disk until `keep` are left there."""
        while len(self._queue) > keep:
            some = [self._queue.popleft() for _ in range(min(len(self._queue), SEGMENT))]
            try:
                written = self._spill.add(some)
            except OSError as error:
                log.warning("events can't be kept on disk (%s): memory holds them", error.strerror)
                written = 0
            if written < len(some):
                self._queue.extendleft(reversed(some[written:]))
                return

    def _leave(self) -> None:
        """At the end, what could not be stored stays on disk; what came from there is there."""
        if self._pending and not self._from_spill:
            self._queue.extendleft(reversed(self._pending))
            self._pending = []
        self._to_disk(0)
        self.counts["lost"] += len(self._queue)
        self._spill.close()


def brief(error: Exception) -> str:
    """An error in a few words, without the values that it was about."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, ValueError | TypeError):
        return type(cause).__name__
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0][:200]}" if lines else type(cause).__name__


def store_items(connection: sa.Connection, items: Sequence[Item], wants: Wants, now: float) -> None:
    """Store items, what follows from them for their calls, and what targets are to get.

    Those that are there already, and those of deleted calls, are left out.

    Args:
        connection: in a transaction of the writing engine.
        items: in order.
        wants: names of the targets of each.
        now: seconds since 1970.
    """
    lock(connection)
    ids = list({item.call for item in items})
    gone = set(connection.scalars(sa.select(deleted.c.call).where(deleted.c.call.in_(ids))))
    fresh = _new(connection, [item for item in items if item.call not in gone])
    if not fresh:
        return
    rows = [
        {
            "call": item.call,
            "seq": item.seq,
            "time": item.time,
            "type": item.type,
            "channel": item.channel,
            "body": json.dumps(item.body, allow_nan=False),
        }
        for item in fresh
        if item.seq is not None
    ]
    if rows:
        connection.execute(sa.insert(events), rows)
    queues = _change_calls(connection, fresh)
    _address(connection, fresh, queues, wants, now)


def _new(connection: sa.Connection, items: Sequence[Item]) -> list[Item]:
    """The items that are not stored, each once."""
    by_key = {(item.call, item.key): item for item in reversed(items)}
    unique = list(reversed(by_key.values()))
    keys = [(item.call, item.seq) for item in unique if item.seq is not None]
    if not keys:
        return unique
    where = sa.tuple_(events.c.call, events.c.seq).in_(keys)
    there = {
        tuple(row)
        for row in connection.execute(sa.select(events.c.call, events.c.seq).where(where))
    }
    return [item for item in unique if (item.call, item.seq) not in there]


def _change_calls(connection: sa.Connection, items: Sequence[Item]) -> Mapping[str, str | None]:
    """Bring the rows of the items' calls up to date.

    Returns:
        Call → queue.
    """
    ids = list({item.call for item in items})
    found = connection.execute(sa.select(calls).where(calls.c.id.in_(ids)).with_for_update())
    rows = {row["id"]: dict(row) for row in found.mappings()}
    for item in items:
        if item.seq is not None:
            row = rows.setdefault(item.call, _blank(item))
            _change(row, item)
            if item.type == "session.closed":
                row["tone"] = json.dumps(_tone(connection, item.call))
    names = [c.name for c in calls.columns if c.name != "id"]
    change: dict[str, Any] = {name: sa.literal_column(f"excluded.{name}") for name in names}
    upsert(connection, calls, sorted(rows.values(), key=lambda row: str(row["id"])), change)
    return {id: row["queue"] for id, row in rows.items()}


def _blank(item: Item) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(column.name for column in calls.columns)
    return {
        **row,
        "id": item.call,
        "began": item.time,
        "seen": item.time,
        "last_seq": 0,
        "alerts": 0,
        "described": "{}",
    }


def _change(row: dict[str, Any], item: Item) -> None:
    """What an event changes of its call's row."""
    body = item.body
    row["seen"] = max(row["seen"], item.time)
    row["last_seq"] = max(row["last_seq"], item.seq or 0)
    if item.type in ("session.created", "session.updated"):
        for name in ("route", "external", "queue", "model"):
            if name in body:
                row[name] = clean(body[name])
        kept = {k: body[k] for k in ("channels", "names", "analysed", "metadata") if k in body}
        row["described"] = json.dumps({**json.loads(row["described"]), **kept})
        row["ended"] = row["reason"] = None
    elif item.type == "alert":
        row["alerts"] += 1
    elif item.type == "session.closed":
        row["ended"], row["reason"] = item.time, clean(body.get("reason"))
        row["duration"] = body.get("duration")


def _tone(connection: sa.Connection, call: str) -> list[dict[str, Any]]:
    """What a call's tone came to, from its stored events."""
    where = sa.and_(events.c.call == call, events.c.type == "tone")
    found = connection.execute(
        sa.select(events.c.channel, events.c.body).where(where).order_by(events.c.seq)
    )
    return [tone.to_dict() for tone in call_tone((c, json.loads(body)) for c, body in found)]


def _address(
    connection: sa.Connection,
    items: Sequence[Item],
    queues: Mapping[str, str | None],
    wants: Wants,
    now: float,
) -> None:
    """Write down what targets are to get of the items."""
    rows: list[dict[str, Any]] = []
    for item in items:
        names = wants(item)
        if not names:
            continue
        body = json.dumps(_wire(item), allow_nan=False)
        common = {"call": item.call, "key": item.key, "queue": queues.get(item.call)}
        state = {"time": item.time, "body": body, "dead": False, "tries": 0, "error": None}
        rows += [{"target": name, **common, **state} for name in names]
    upsert(connection, deliveries, rows)
    revive(connection, {(row["target"], row["call"]) for row in rows}, now)


def _wire(item: Item) -> Mapping[str, Any]:
    """What a target gets of an item."""
    from voicetone.server.events import CallEvent

    if item.seq is None:
        return item.body
    event = CallEvent(item.call, item.seq, item.time, item.type, item.channel, item.body)  # type: ignore[arg-type]
    return event.to_dict()
