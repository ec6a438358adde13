"""All calls in progress of one process: admission, time-outs, and who is told of what."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.errors import AudioError, DataError, UsageError
from voicetone.inference.enrolment import Speakers
from voicetone.server.call import CallStart, LiveCall, Publish, Watch
from voicetone.server.clock import Clock, SystemClock
from voicetone.server.engine import Engine
from voicetone.server.events import CallEvent
from voicetone.server.lawful import lawful_channels
from voicetone.server.refusal import RefusedError

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Limits:
    """What a process takes on.

    Args:
        channels: analysed ones at once.
        busy: share of time that the model may work before no new call is taken.
        idle: seconds without audio after which a call is ended.
        longest: seconds that a call may last.
        updates: of what is known of a call in a minute, by whichever connections; each is an event
            that is stored.
        transcripts: of a call that are read in a minute.
        staff_reason: why the staff's channel may be analysed, too; None forbids it.
    """

    channels: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    busy: Annotated[float, Field(gt=0, le=1)] = 0.85
    idle: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    longest: Annotated[float, Field(gt=0, le=7 * 86_400)] = 4 * 3600.0
    updates: Annotated[int, Field(ge=1, le=1_000_000)] = 30
    transcripts: Annotated[int, Field(ge=1, le=1_000_000)] = 120
    staff_reason: Annotated[str, Field(min_length=3)] | None = None


class Hub:
    """The calls of one process. Used from the event loop only.

    Args:
        engine: runs the model; started and stopped with the hub.
        limits: what is taken on.
        clock: the time.
        watch: makes what looks for alerts in a call.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits | None = None,
        clock: Clock | None = None,
        watch: Callable[[CallStart], Watch] | None = None,
    ) -> None:
        self.engine = engine
        self.limits = limits or Limits()
        self.clock = clock or SystemClock()
        self.calls: dict[str, LiveCall] = {}
        self.draining = False
        self.refused = 0
        """Calls that were turned down for want of room."""
        self._watch = watch
        self._told: list[Publish] = []
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to run; in the loop that uses it."""
        self.engine.start()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep(), name="sweeper")

    async def stop(self) -> None:
        """Stop at once; `drain` first to let calls end well."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await self.engine.stop()

    async def drain(self, seconds: float) -> None:
        """Take no new calls; wait for those in progress, then end what is left."""
        self.draining = True
        calls = list(self.calls.values())
        waits = [asyncio.create_task(call.ended()) for call in calls]
        if waits:
            await asyncio.wait(waits, timeout=seconds)
        for call in calls:
            call.close("draining")
        if waits:
            await asyncio.wait(waits, timeout=5.0)
        for wait in waits:
            wait.cancel()

    def subscribe(self, told: Publish) -> Callable[[], None]:
        """Have every event of every call told, in the loop; `told` must not wait or raise.

        Returns:
            What ends it.
        """
        self._told.append(told)
        return lambda: self._told.remove(told)

    def open(
        self, start: CallStart, id: str | None = None, speakers: Speakers = "auto"
    ) -> LiveCall:
        """Take on a call.

        Args:
            start: what the route knows of it.
            id: of a call that goes on after its worker died; a new one by default.
            speakers: whose voices are known.

        Raises:
            RefusedError: no room, no consent, or settings that can't be.
        """
        self._require_room(start)
        if not start.consent:
            raise RefusedError(
                "consent_required",
                "no consent: start a call with consent = true once those who are heard know that "
                "their voice's tone is analysed and agree, or set it for the credential",
            )
        try:
            reason = self.limits.staff_reason
            analysed = lawful_channels(start.channels, start.names, start.analysed, reason)
        except UsageError as error:
            raise RefusedError("bad_request", str(error)) from error
        start = replace(start, analysed=analysed)
        id = id or secrets.token_urlsafe(12)
        if id in self.calls:
            raise RefusedError("conflict", "this call is in progress already")
        watch = None if self._watch is None else self._watch(start)
        try:
            call = LiveCall(id, start, self.engine, self.clock, self._publish, watch, speakers)
        except AudioError as error:
            raise RefusedError("unsupported_media", str(error)) from error
        except UsageError as error:
            raise RefusedError("bad_request", str(error)) from error
        except DataError as error:  # a voice that was enrolled for another model
            raise RefusedError("conflict", str(error)) from error
        self.calls[id] = call
        call.begin()
        return call

    def find(self, external: str) -> LiveCall | None:
        """The call in progress that a telephone system calls so."""
        for call in self.calls.values():
            if call.start.external == external:
                return call
        return None

    @property
    def channels(self) -> int:
        """Analysed channels of the calls in progress."""
        return sum(len(call.session.channels) for call in self.calls.values())

    @property
    def busy(self) -> bool:
        """Whether the model works as much as it may; an idle worker takes a first call anyhow."""
        return bool(self.calls) and self.engine.busy > self.limits.busy

    @property
    def room(self) -> int:
        """Channels that could be taken on now."""
        if self.draining or self.busy:
            return 0
        return max(self.limits.channels - self.channels, 0)

    def _require_room(self, start: CallStart) -> None:
        said: RefusedError | None = None
        if self.draining:
            said = RefusedError("draining", "the server is going down: try again shortly", 5.0)
        elif self.channels + start.channels > self.limits.channels:
            said = RefusedError("too_many_calls", "all lines are busy: try again later", 10.0)
        elif self.busy:
            said = RefusedError("overloaded", "the server is working at its limit: try again", 10.0)
        if said is not None:
            self.refused += 1
            raise said

    def _publish(self, event: CallEvent) -> None:
        for told in list(self._told):
            try:
                told(event)
            except Exception:  # who listens must not end the call
                logger.exception("a listener failed")
        if event.type == "session.closed":
            self.calls.pop(event.call, None)

    async def _sweep(self) -> None:
        """End calls that nobody speaks in, or that last too long."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def sweep(self) -> None:
        """Look once at all calls."""
        now = self.clock.steady()
        for call in list(self.calls.values()):
            if call.closing:
                continue
            if call.position - call.start.offset > self.limits.longest:
                call.abort("call_too_long", "the call is longer than this server allows")
            elif now - call.heard > self.limits.idle:
                call.tell("error", _IDLE)
                call.close("idle_timeout")


_IDLE = {
    "code": "idle_timeout",
    "message": "no audio came for too long: the call is ended",
    "fatal": True,
}
