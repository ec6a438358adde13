"""What is read from the store, and what is deleted from it; each in one transaction."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa

from voicetone.server.archive import StoredCall, summarise
from voicetone.server.events import iso
from voicetone.server.refusal import RefusedError
from voicetone.server.store_tables import (
    NAME_LENGTH,
    Database,
    calls,
    deleted,
    deliveries,
    events,
    lanes,
    lock,
    revive,
)

MOST = 5000
"""Rows that one question gets."""
PURGE = 200
"""Calls deleted in one transaction, so that no writer waits long."""
LOST_SECONDS = 3600.0
"""A call without an event for so long, and without its last one, has died with its worker."""

log = logging.getLogger(__name__)

Row = dict[str, Any]


def _call(row: sa.RowMapping) -> Row:
    described = json.loads(row["described"])
    kept = {k: v for k, v in row.items() if k not in ("described", "tone")}
    return {
        **kept,
        "cursor": f"{row['began']!r}~{row['id']}",
        "channels": described.get("channels"),
        "names": described.get("names"),
        "analysed": described.get("analysed", []),
        "metadata": described.get("metadata", {}),
        "tone": json.loads(row["tone"] or "[]"),
    }


def _span(since: float | None, until: float | None, queue: str | None) -> list[Any]:
    """Conditions on calls."""
    where: list[Any] = []
    if since is not None:
        where.append(calls.c.began >= since)
    if until is not None:
        where.append(calls.c.began < until)
    if queue is not None:
        where.append(calls.c.queue == queue)
    return where


def find_calls(
    connection: sa.Connection,
    limit: int,
    before: str | None,
    queue: str | None,
    external: str | None,
    since: float | None,
    until: float | None,
) -> list[Row]:
    """Calls, newest first.

    Raises:
        RefusedError: a cursor that no answer had.
    """
    where = _span(since, until, queue)
    if external is not None:
        where.append(calls.c.external == external)
    if before is not None:
        began, _, id = before.partition("~")
        try:
            at = float(began)
        except ValueError:
            said = "before: not the cursor of a call: take it from an answer"
            raise RefusedError("bad_request", said) from None
        where.append(sa.or_(calls.c.began < at, sa.and_(calls.c.began == at, calls.c.id < id)))
    order = (calls.c.began.desc(), calls.c.id.desc())
    chosen = sa.select(calls).where(*where).order_by(*order).limit(_bounded(limit))
    return [_call(row) for row in connection.execute(chosen).mappings()]


def find_call(connection: sa.Connection, id: str) -> Row | None:
    """A call, or None."""
    row = connection.execute(sa.select(calls).where(calls.c.id == id)).mappings().first()
    return None if row is None else _call(row)


def find_events(
    connection: sa.Connection, id: str, after: int, limit: int, types: Collection[str] | None
) -> list[Row]:
    """A call's events as clients get them, by number."""
    where = [events.c.call == id, events.c.seq > after]
    if types is not None:
        where.append(events.c.type.in_(list(types)))
    chosen = sa.select(events).where(*where).order_by(events.c.seq).limit(_bounded(limit))
    found = []
    for row in connection.execute(chosen):
        head = {"type": row.type, "call": row.call, "seq": row.seq, "time": iso(row.time)}
        if row.channel is not None:
            head["channel"] = row.channel
        found.append({**head, **json.loads(row.body)})
    return found


def find_last(connection: sa.Connection, id: str) -> tuple[int, float] | None:
    """Highest number of a call's events and the end of its last window, s; None if unknown."""
    top = connection.scalar(sa.select(sa.func.max(events.c.seq)).where(events.c.call == id))
    if top is None:
        return None
    where = sa.and_(events.c.call == id, events.c.type == "window")
    newest = sa.select(events.c.body).where(where).order_by(events.c.seq.desc()).limit(8)
    ends = [float(json.loads(body)["end"]) for body in connection.scalars(newest)]
    return int(top), max(ends, default=0.0)


def summary(
    connection: sa.Connection, since: float | None, until: float | None, queue: str | None
) -> Row:
    """The archive by day and queue; of calls that have ended."""
    chosen = sa.select(calls.c.began, calls.c.queue, calls.c.duration, calls.c.tone).where(
        calls.c.tone.is_not(None), *_span(since, until, queue)
    )

    def each() -> Iterator[StoredCall]:
        for row in connection.execute(chosen.execution_options(yield_per=1000)):
            yield StoredCall(row.began, row.queue, row.duration or 0.0, json.loads(row.tone))

    return summarise(each())


def dead_letters(connection: sa.Connection, target: str | None, limit: int) -> list[Row]:
    """Deliveries that no try could make, oldest first."""
    where: list[Any] = [deliveries.c.dead]
    if target is not None:
        where.append(deliveries.c.target == target)
    chosen = sa.select(deliveries).where(*where).order_by(deliveries.c.id).limit(_bounded(limit))
    names = ("id", "target", "call", "time", "tries", "error")
    return [
        {**{name: row[name] for name in names}, "body": json.loads(row["body"])}
        for row in connection.execute(chosen).mappings()
    ]


def ready(connection: sa.Connection) -> bool:
    """Whether it answers."""
    return connection.scalar(sa.select(1)) == 1


def _bounded(limit: int) -> int:
    return min(max(limit, 1), MOST)


# -- what changes it -----------------------------------------------------------------------------


def delete_call(database: Database, id: str, now: float) -> bool:
    """Delete all rows of a call, and let none of it in that is still on its way.

    Returns:
        Whether anything was there.
    """
    if len(id) > NAME_LENGTH:
        return False
    with database.write.begin() as connection:
        lock(connection, alone=True)
        there = _delete(connection, [id])
        connection.execute(sa.delete(deleted).where(deleted.c.call == id))
        connection.execute(sa.insert(deleted).values(call=id, time=now))
    shorten(database)
    return there


def _delete(connection: sa.Connection, ids: list[str]) -> bool:
    tables = ((events, "call"), (deliveries, "call"), (lanes, "call"), (calls, "id"))
    counts = [
        connection.execute(sa.delete(table).where(table.c[name].in_(ids))).rowcount
        for table, name in tables
    ]
    return any(counts)


def shorten(database: Database) -> None:
    """Empty SQLite's log of changes, which still holds what was deleted; if nobody reads now.

    The store's housekeeping does it again, so that what a reader was in the way of is done later.
    """
    if database.postgres:
        return
    raw = database.write.raw_connection()
    try:
        busy = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            log.info("the write-ahead log could not be emptied now: somebody reads")
    except Exception as error:
        log.info("the write-ahead log could not be emptied now (%s)", type(error).__name__)
    finally:
        raw.close()


def delete_old(database: Database, before: float) -> int:
    """Delete the calls whose newest event is older, with all that belongs to them.

    Args:
        database: to delete from.
        before: seconds since 1970.

    Returns:
        How many calls.
    """
    count = 0
    while True:
        with database.write.begin() as connection:
            lock(connection, alone=True)
            old = sa.select(calls.c.id).where(calls.c.seen < before).limit(PURGE)
            ids = list(connection.scalars(old))
            if ids:
                _delete(connection, ids)
                count += len(ids)
                continue
            # What has no call's row: for targets only, or of calls deleted by name.
            connection.execute(sa.delete(deliveries).where(deliveries.c.time < before))
            connection.execute(sa.delete(deleted).where(deleted.c.time < before))
            return count


def end_lost(database: Database, now: float) -> None:
    """Give calls an end whose worker died and that nobody went on with."""
    with database.write.begin() as connection:
        lock(connection)
        lost = sa.and_(calls.c.ended.is_(None), calls.c.seen < now - LOST_SECONDS)
        change = {"ended": calls.c.seen, "reason": "lost"}
        connection.execute(sa.update(calls).where(lost).values(change))


def retry(database: Database, ids: Collection[int] | None, target: str | None, now: float) -> int:
    """Put dead letters back: they are sent again, as new ones.

    Args:
        database: that has them.
        ids: which; None for all.
        target: of this target only.
        now: seconds since 1970.

    Returns:
        How many.
    """
    where: list[Any] = [deliveries.c.dead]
    if ids is not None:
        where.append(deliveries.c.id.in_(list(ids)))
    if target is not None:
        where.append(deliveries.c.target == target)
    with database.write.begin() as connection:
        lock(connection)
        pairs = connection.execute(
            sa.select(deliveries.c.target, deliveries.c.call).where(*where).distinct()
        ).all()
        fresh = {"dead": False, "tries": 0, "error": None}
        count = connection.execute(sa.update(deliveries).where(*where).values(fresh)).rowcount
        revive(connection, [tuple(pair) for pair in pairs], now)
    return int(count)
