"""Sends what targets are to get: in order for each call, again until it is taken or given up.

What is to be sent was written in the same transaction as the events. A sender takes a lease on
some calls' lanes, so that no other sends the same meanwhile; a sender that dies leaves leases that
run out. So each event is delivered at least once, seldom twice.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from voicetone.server.clock import Clock
from voicetone.server.store_tables import Database, clean, deliveries, lanes, lock
from voicetone.server.store_writer import LONGEST_WAIT, brief
from voicetone.server.targets import AnyTarget, Counts, Delivery, Failed, Target, make_target

POLL_SECONDS = 0.5
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 300.0
SLACK_SECONDS = 60.0
"""A time further ahead than any wait can be was written before the clock was set back."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A lane that is ours for a while, and the first deliveries in it."""

    call: str
    tries: int
    deliveries: Sequence[Delivery]


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What became of a lane's deliveries.

    Args:
        call: whose lane.
        done: ids of what was taken.
        dead: what is given up: id, why, after how many tries.
        failures: of the tries that failed.
        tries: of what is first now.
        wait: seconds until it is tried.
    """

    call: str
    done: Sequence[int]
    dead: Sequence[tuple[int, Failed, int]]
    failures: Sequence[Failed]
    tries: int
    wait: float


def backoff(tries: int, chance: float) -> float:
    """Seconds to wait after the given number of tries, from half to all of a doubling time.

    Args:
        tries: made so far, from 1.
        chance: from 0 to 1.
    """
    whole = min(FIRST_BACKOFF * 2.0 ** min(tries - 1, 30), LONGEST_BACKOFF)
    return whole * (0.5 + 0.5 * chance)


class Sender:
    """One thread that sends to one target.

    Args:
        database: that has the deliveries.
        settings: of the target.
        counts: where it is counted what became of them.
        clock: the wall clock, which may jump: what waits is late at most, never stuck.
    """

    def __init__(
        self, database: Database, settings: AnyTarget, counts: Counts, clock: Clock
    ) -> None:
        self._database, self._settings, self._clock = database, settings, clock
        self._counts = counts
        self._name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._random = random.Random(self._name)
        self._unnoted: list[_Verdict] = []  # sent, and the database went away
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(
            target=self._run, name=f"target {self._settings.name}", daemon=True
        )
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()

    def join(self, timeout: float) -> None:
        """Wait for what is being sent; what is not done is left for the next start."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        target: Target | None = None
        wait = POLL_SECONDS
        while not self._stopping.wait(wait):
            try:
                target = target or make_target(self._settings)
                while not self._stopping.is_set() and self.once(target):
                    pass
                wait = POLL_SECONDS * (0.75 + 0.5 * self._random.random())
            except Exception as error:  # the database is away, or whatever: go on
                self._counts.last_error = brief(error)
                if wait < 2 * POLL_SECONDS:  # once, not at every try
                    log.info("target %s waits (%s)", self._settings.name, brief(error))
                wait = min(max(wait * 2, 2 * POLL_SECONDS), LONGEST_WAIT)
        if target is not None:
            target.close()

    def once(self, target: Target) -> bool:
        """Send one batch.

        Returns:
            Whether anything was there to send.
        """
        self._note()
        claims = self._claim(target)
        if not claims:
            return False
        some = [delivery for claim in claims for delivery in claim.deliveries]
        try:
            outcomes = target.send(some)
        except Exception as error:
            outcomes = [Failed(brief(error))] * len(some)
        said = dict(zip((delivery.id for delivery in some), outcomes, strict=True))
        self._unnoted = [self._judge(claim, said) for claim in claims]
        self._note()
        return True

    def _claim(self, target: Target) -> list[_Claim]:
        """Take lanes that are due and that nobody has, and read the first deliveries of each."""
        now = self._clock.wall()
        if not self._worth(target, now):
            return []
        with self._database.write.begin() as connection:
            lock(connection)
            mine = lanes.c.target == self._settings.name
            chosen = (
                sa.select(lanes.c.call, lanes.c.tries)
                .where(*self._free(target, now))
                .order_by(lanes.c.due)
                .limit(target.batch)
                .with_for_update(skip_locked=True)
            )
            claims: list[_Claim] = []
            room = target.batch
            for call, tries in connection.execute(chosen).all():
                waiting = self._waiting(connection, call, room if target.whole else 1)
                room -= len(waiting)
                claims.append(_Claim(call, tries, waiting))
                if room <= 0:
                    break
            lease = {"lease_until": now + target.longest, "lease_by": self._name}
            taken = [claim.call for claim in claims]
            if taken:
                where = (mine, lanes.c.call.in_(taken))
                connection.execute(sa.update(lanes).where(*where).values(lease))
        if empty := [claim for claim in claims if not claim.deliveries]:
            self._unnoted = [self._judge(claim, {}) for claim in empty]
            self._note()
        return [claim for claim in claims if claim.deliveries]

    def _free(self, target: Target, now: float) -> list[Any]:
        """Conditions on lanes: ours, due, and nobody's."""
        far = now + LONGEST_BACKOFF + SLACK_SECONDS + target.longest
        until, due = lanes.c.lease_until, lanes.c.due
        free = sa.or_(until <= now, until > far, lanes.c.lease_by == self._name)
        mine = lanes.c.target == self._settings.name
        return [mine, free, sa.or_(due <= now, due > far)]

    def _worth(self, target: Target, now: float) -> bool:
        """Whether enough waits for a batch, or has waited long enough."""
        where = (deliveries.c.target == self._settings.name, ~deliveries.c.dead)
        asked = sa.select(sa.func.count(), sa.func.min(deliveries.c.time)).where(*where)
        with self._database.read.connect() as connection:
            if connection.scalar(sa.select(1).where(*self._free(target, now)).limit(1)) is None:
                return False
            if not target.linger:
                return True
            count, oldest = connection.execute(asked).one()
        age = 0.0 if oldest is None else now - oldest
        return count >= target.batch or age >= target.linger or age < -SLACK_SECONDS

    def _waiting(self, connection: sa.Connection, call: str, limit: int) -> list[Delivery]:
        c = deliveries.c
        chosen = (
            sa.select(c.id, c.call, c.key, c.queue, c.time, c.body)
            .where(c.target == self._settings.name, c.call == call, ~c.dead)
            .order_by(c.id)
            .limit(limit)
        )
        return [Delivery(*row) for row in connection.execute(chosen)]

    def _note(self) -> None:
        """Write down what became of lanes' deliveries; kept for the next time if that fails."""
        if not self._unnoted:
            return
        with self._database.write.begin() as connection:
            lock(connection)
            for verdict in sorted(self._unnoted, key=lambda v: v.call):  # as writers lock lanes
                self._note_one(connection, verdict)
        for verdict in self._unnoted:
            self._counts.sent += len(verdict.done)
            self._counts.dead += len(verdict.dead)
            self._counts.failed += len(verdict.failures)
            for _, said, _ in verdict.dead:
                log.warning("target %s: an event is given up (%s)", self._settings.name, said.why)
        self._unnoted = []

    def _note_one(self, connection: sa.Connection, verdict: _Verdict) -> None:
        lane = (lanes.c.target == self._settings.name, lanes.c.call == verdict.call)
        held = connection.scalar(sa.select(lanes.c.lease_by).where(*lane).with_for_update())
        if verdict.done:
            connection.execute(sa.delete(deliveries).where(deliveries.c.id.in_(verdict.done)))
        for id, said, count in verdict.dead:
            change = {"dead": True, "tries": count, "error": clean(said.why)}
            connection.execute(sa.update(deliveries).where(deliveries.c.id == id).values(change))
        if held != self._name:  # the lease ran out: the lane is another's now
            return
        if self._waiting(connection, verdict.call, 1):
            due = self._clock.wall() + verdict.wait
            state = {"due": due, "lease_until": 0.0, "lease_by": None, "tries": verdict.tries}
            connection.execute(sa.update(lanes).where(*lane).values(state))
        else:
            connection.execute(sa.delete(lanes).where(*lane))

    def _judge(self, claim: _Claim, outcomes: Mapping[int, Failed | None]) -> _Verdict:
        """What follows from the outcomes of a lane's first deliveries."""
        done: list[int] = []
        dead: list[tuple[int, Failed, int]] = []
        failures: list[Failed] = []
        tries, wait = claim.tries, 0.0
        for delivery in claim.deliveries:
            said = outcomes[delivery.id]
            if said is None:
                done.append(delivery.id)
                tries = 0
                continue
            if not said.tried:
                break
            tries += 1
            failures.append(said)
            self._counts.last_error = said.why
            if not said.final and tries < self._settings.tries:
                wait = backoff(tries, self._random.random())
                break
            dead.append((delivery.id, said, tries))
            tries = 0
            if not said.final:  # what came after it was not tried
                break
        return _Verdict(claim.call, done, dead, failures, tries, wait)
