"""The store: every call's events, for as long as the operator keeps them, and no audio.

`Store.told` is given to the hub and never waits. One thread writes, a few read, one or more per
target send.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from sqlalchemy.exc import SQLAlchemyError

from voicetone.errors import UsageError
from voicetone.server import store_queries as queries
from voicetone.server.clock import Clock, SystemClock
from voicetone.server.events import CallEvent
from voicetone.server.outbox import Sender
from voicetone.server.refusal import RefusedError
from voicetone.server.store_spill import CHIME, Item, Spill
from voicetone.server.store_tables import Database, open_database, parse_url
from voicetone.server.store_voices import purge_voices
from voicetone.server.store_writer import Writer, brief
from voicetone.server.targets import AnyTarget, Counts, WebhookSettings, check_targets

DAY = 86400.0
READERS = 4
READY_SECONDS = 2.0
ASK_SECONDS = 40.0
"""That anybody waits for the database; longer than it gives to a statement of its own."""
HUNG_SECONDS = 1.0
"""When all readers have been at work for so long, nobody else waits for them."""
QUEUE_SECONDS = 5.0
"""A question that waited so long for a reader is not asked any more."""

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StoreSettings:
    """Where events are kept, and for how long."""

    url: str = "sqlite:///voicetone.db"
    """`sqlite:///FILE` or `postgresql+psycopg://USER@HOST/NAME`; empty for no store."""
    retention_days: Annotated[float, Field(gt=0, le=3650)] = 7.0
    """A call is deleted when its last event is so old."""
    memory_events: Annotated[int, Field(ge=100, le=1_000_000)] = 50_000
    """Events of a worker that wait in memory while the database is away; older ones go to disk."""
    spill: Path | None = None
    """Folder for those; by default beside SQLite's file, else `voicetone-spill` where it runs."""
    spill_megabytes: Annotated[float, Field(ge=0, le=1_000_000)] = 1000.0
    """Room for them, for each worker."""


class StoreAwayError(RefusedError):
    """The database can't be reached now."""

    def __init__(self) -> None:
        super().__init__("overloaded", "the store can't be reached now: try again shortly", 5.0)


def make_store(
    settings: StoreSettings,
    targets: Sequence[AnyTarget] = (),
    clock: Clock | None = None,
    worker: int = 0,
) -> Store | None:
    """The store that an operator asks for, or None for none.

    Args:
        settings: where.
        targets: where events go besides.
        clock: the time.
        worker: number of the process, for logs.

    Raises:
        UsageError, MissingExtraError: what can't be, and why.
    """
    if not settings.url:
        if targets:
            raise UsageError("targets need the store, where events wait for them: set store.url")
        return None
    return Store(settings, clock or SystemClock(), targets, worker)


class Store:
    """The events of all calls; one in each worker process, on one database.

    Args:
        settings: where.
        clock: the time.
        targets: where events go besides.
        worker: number of the process, for logs.

    Raises:
        UsageError, MissingExtraError: what can't be, and why. A database that is away is none.
    """

    def __init__(
        self,
        settings: StoreSettings,
        clock: Clock,
        targets: Sequence[AnyTarget] = (),
        worker: int = 0,
    ) -> None:
        self.settings, self.worker = settings, worker
        url = parse_url(settings.url)
        check_targets(targets)
        self._clock, self._targets = clock, tuple(targets)
        self._database = open_database(url)
        spill = Spill(_spill_folder(settings, url), round(settings.spill_megabytes * 1e6))
        self._writer = Writer(
            self._database, spill, settings.memory_events, self._wants, self._keep_house, clock
        )
        self._counts = {target.name: Counts() for target in targets}
        self._senders = [
            Sender(self._database, target, self._counts[target.name], clock)
            for target in targets
            for _ in range(target.senders if isinstance(target, WebhookSettings) else 1)
        ]
        self._asked: dict[Future[Any], float] = {}
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    def start(self) -> None:
        """Begin to write and to send."""
        self._writer.start()
        for sender in self._senders:
            sender.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Write what waits, or leave it on disk; up to `timeout` seconds, so not in the loop."""
        for sender in self._senders:
            sender.ask_to_stop()
        self._writer.stop(timeout)
        for sender in self._senders:
            sender.join(0.2)
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._database.close()

    # -- what comes in; never waits --------------------------------------------------------------

    def told(self, event: CallEvent) -> None:
        """Take an event; given to `Hub.subscribe`."""
        item = Item(
            event.call,
            event.seq,
            str(event.seq),
            event.time,
            event.type,
            event.channel,
            event.body,
        )
        self._writer.put(item)

    def told_chime(self, call: str, event: Mapping[str, Any]) -> None:
        """Take an event of the Chime-compatible interface, for the targets with that format."""
        if any(target.format == "chime" for target in self._targets):
            key = str(event.get("id") or uuid4())
            self._writer.put(Item(call, None, key, self._clock.wall(), CHIME, None, event))

    # -- what is asked; in the store's threads ---------------------------------------------------

    async def calls(
        self,
        limit: int = 50,
        before: str | None = None,
        queue: str | None = None,
        external: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[dict[str, Any]]:
        """Calls, newest first.

        Args:
            limit: how many.
            before: `cursor` of the last one of the page before.
            queue: those of this queue only.
            external: those that their caller calls so.
            since: began at or after, seconds since 1970.
            until: began before.

        Raises:
            RefusedError: no such cursor.
            StoreAwayError: the database is away.
        """
        return await self._read(
            lambda c: queries.find_calls(c, limit, before, queue, external, since, until)
        )

    async def call(self, id: str) -> dict[str, Any] | None:
        """A call as `calls` gives it, or None."""
        return await self._read(lambda c: queries.find_call(c, id))

    async def events(
        self, id: str, after: int = 0, limit: int = 1000, types: Collection[str] | None = None
    ) -> list[dict[str, Any]]:
        """A call's events as its client got them, by number, those after `after`."""
        return await self._read(lambda c: queries.find_events(c, id, after, limit, types))

    async def last(self, id: str) -> tuple[int, float] | None:
        """Highest number of a call's stored events, and the end of its last window in seconds."""
        return await self._read(lambda c: queries.find_last(c, id))

    async def summary(
        self, since: float | None = None, until: float | None = None, queue: str | None = None
    ) -> dict[str, Any]:
        """Calls that have ended, by day and queue: `archive.summarise`."""
        return await self._read(lambda c: queries.summary(c, since, until, queue))

    async def dead_letters(
        self, target: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """What could not be delivered, oldest first."""
        return await self._read(lambda c: queries.dead_letters(c, target, limit))

    async def ready(self) -> bool:
        """Whether the database answers within two seconds."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                return await self._read(queries.ready)
        except (StoreAwayError, TimeoutError):
            return False

    async def delete_call(self, id: str) -> bool:
        """Delete all that is stored of a call; what is still on its way is dropped, too.

        Returns:
            Whether anything was there.
        """
        there = await self._do(lambda: queries.delete_call(self._database, id, self._clock.wall()))
        self._writer.hurry()  # what lies on disk of it goes the same way
        return there

    async def retry(self, ids: Collection[int] | None = None, target: str | None = None) -> int:
        """Send again what could not be delivered; how many events that are."""
        return await self._do(
            lambda: queries.retry(self._database, ids, target, self._clock.wall())
        )

    async def ask(self, question: Callable[[sa.Connection], T]) -> T:
        """What a question to the database gives.

        Raises:
            StoreAwayError: the database is away.
        """
        return await self._read(question)

    async def change(self, work: Callable[[Database], T]) -> T:
        """What something gives that changes the database, by transactions of its own.

        Raises:
            StoreAwayError: the database is away.
        """
        return await self._do(lambda: work(self._database))

    def health(self) -> dict[str, Any]:
        """How it goes, without asking the database."""
        writer, targets = self._writer, self._counts.items()
        return {
            "away": writer.away,
            "queued": writer.queued,
            "spilled": writer.spilled,
            **{name: writer.counts[name] for name in ("stored", "lost", "bad")},
            "sent": {name: counts.sent for name, counts in targets},
            "failed": {name: counts.failed for name, counts in targets},
            "dead": {name: counts.dead for name, counts in targets},
        }

    # -- inside ----------------------------------------------------------------------------------

    def _wants(self, item: Item) -> list[str]:
        return [target.name for target in self._targets if target.wants(item)]

    def _keep_house(self, now: float) -> None:
        """Once an hour, in the writer's thread."""
        queries.end_lost(self._database, now)
        count = queries.delete_old(self._database, now - self.settings.retention_days * DAY)
        if count:
            log.info("%d calls older than %g days deleted", count, self.settings.retention_days)
        gone = purge_voices(self._database, now)
        if gone:
            log.info("%d expired voices deleted", gone)
        queries.shorten(self._database)

    async def _read(self, ask: Callable[[sa.Connection], T]) -> T:
        def work() -> T:
            with self._database.read.connect() as connection:
                return ask(connection)

        return await self._do(work)

    async def _do(self, work: Callable[[], T]) -> T:
        """Have a reader do something.

        A database that hangs holds its readers for as long as it likes: then nobody else waits.
        """
        asked = time.monotonic()
        if sum(asked - then > HUNG_SECONDS for then in list(self._asked.values())) >= READERS:
            raise StoreAwayError

        def in_time() -> T:
            if time.monotonic() - asked > QUEUE_SECONDS:
                raise StoreAwayError
            return work()

        future = self._readers.submit(in_time)
        self._asked[future] = asked
        future.add_done_callback(lambda done: self._asked.pop(done, None))
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await asyncio.wrap_future(future)
        except (SQLAlchemyError, TimeoutError) as error:
            log.warning("the database could not be asked (%s)", brief(error))
            raise StoreAwayError from error


def _spill_folder(settings: StoreSettings, url: sa.URL) -> Path:
    if settings.spill is not None:
        return settings.spill
    if url.get_backend_name() == "sqlite":
        return Path(f"{url.database}.spill")
    return Path("voicetone-spill")
