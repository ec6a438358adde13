"""Native calls of one worker and the connections that hear of them; a cut one may come back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from voicetone.server.call import LiveCall
from voicetone.server.events import CallEvent
from voicetone.server.hub import Hub
from voicetone.server.keys import Bucket
from voicetone.server.refusal import RefusedError
from voicetone.server.settings import Settings

Out = CallEvent | Mapping[str, Any]
"""An event of the call, or a message about the connection only."""


class Line:
    """What waits to be sent on one connection.

    Args:
        call: whose events these are.
        missed: those that come first.
        most: events that may wait besides.
    """

    def __init__(self, call: str, missed: Sequence[Out], most: int) -> None:
        self.call = call
        self.live = True
        """False once another connection has the call."""
        self._out: deque[Out] = deque(missed)
        self._most = most + len(missed)
        self._some = asyncio.Event()
        self.cut = asyncio.Event()
        """Set when nothing more may be sent: the reader is too slow, or was replaced."""
        if missed:
            self._some.set()

    @property
    def slow(self) -> bool:
        """Whether the reader did not keep up."""
        return self.live and self.cut.is_set()

    def put(self, out: Out) -> None:
        """Send this when it is its turn. A line that is full is cut instead."""
        if self.cut.is_set():
            return
        if len(self._out) >= self._most:
            self._out.clear()
            self.cut.set()
            return
        self._out.append(out)
        self._some.set()

    def replaced(self) -> None:
        """Another connection has the call."""
        self.live = False
        self._out.clear()
        self.cut.set()

    async def next(self) -> Out:
        """What is to be sent next."""
        while not self._out:
            self._some.clear()
            await self._some.wait()
        return self._out.popleft()


class Desk:
    """Holds calls for clients whose connection was cut.

    Args:
        hub: the calls; `told` must be its subscriber.
        settings: for how long, and how many events may wait.
    """

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._hub, self._settings = hub, settings
        self._lines: dict[str, Line] = {}
        self._held: dict[str, asyncio.TimerHandle] = {}
        self._ended: dict[str, list[CallEvent]] = {}
        self._native: set[str] = set()
        self._updates: dict[str, Bucket] = {}
        self.restored: set[str] = set()
        """Calls that were taken over from a worker that died; none is taken over twice."""

    def told(self, event: CallEvent) -> None:
        """A subscriber of the hub."""
        line = self._lines.get(event.call)
        if line is not None:
            line.put(event)
        if event.type == "session.closed" and event.call in self._native:
            self._over(event)

    def attach(self, call: LiveCall, last_seq: int, before: Sequence[Out] = ()) -> Line:
        """Connect a client to its call; whoever was connected is cut off.

        Args:
            call: in progress.
            last_seq: number of the newest event that the client has.
            before: what is sent before all else.

        Returns:
            The line, with the events that the client missed in it.
        """
        old = self._lines.pop(call.id, None)
        if old is not None:
            old.replaced()
        self._drop(call.id)
        self._native.add(call.id)
        missed = [*before, *(event for event in call.backlog if event.seq > last_seq)]
        line = self._lines[call.id] = Line(call.id, missed, self._settings.outgoing)
        return line

    def update(self, call: LiveCall) -> None:
        """Count a change of what is known of a call.

        Raises:
            RefusedError: there have been too many.
        """
        bucket = self._updates.get(call.id)
        if bucket is None:
            bucket = self._updates[call.id] = updates(self._hub)
        if (wait := bucket.take()) > 0:
            said = f"more than {self._hub.limits.updates} updates of a call in a minute: wait"
            raise RefusedError("rate_limited", said, round(wait, 1))

    def detach(self, line: Line) -> None:
        """The connection is gone; its call waits for it to come back, if it goes on."""
        if self._lines.get(line.call) is not line:
            return
        del self._lines[line.call]
        call = self._hub.calls.get(line.call)
        if call is None:
            self._native.discard(line.call)
        elif not call.closing:
            wait = self._settings.resume_seconds
            self._held[line.call] = asyncio.get_running_loop().call_later(wait, self._gone, call)

    def ended(self, call: str, last_seq: int) -> list[CallEvent] | None:
        """What a client missed of a call that has just ended; None for any other."""
        events = self._ended.get(call)
        return None if events is None else [e for e in events if e.seq > last_seq]

    def _gone(self, call: LiveCall) -> None:
        self._held.pop(call.id, None)
        call.close("gone")

    def _drop(self, call: str) -> None:
        held = self._held.pop(call, None)
        if held is not None:
            held.cancel()

    def _over(self, event: CallEvent) -> None:
        """Keep the end of a call as long as a client might come back for it."""
        self._drop(event.call)
        self._native.discard(event.call)
        self._updates.pop(event.call, None)
        call = self._hub.calls.get(event.call)  # the hub forgets it after its subscribers
        if call is not None and self._settings.resume_seconds:
            self._ended[event.call] = list(call.backlog)
            wait = self._settings.resume_seconds
            loop = asyncio.get_running_loop()
            loop.call_later(wait, self._ended.pop, event.call, None)


def updates(hub: Hub) -> Bucket:
    """Lets so many updates of one call through."""
    return Bucket(hub.limits.updates / 60, hub.limits.updates, hub.clock)
