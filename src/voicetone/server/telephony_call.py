"""One call of a telephone system: does to the hub what its protocol asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from voicetone.server.call import SAMPLE_BYTES, LiveCall
from voicetone.server.desk import updates
from voicetone.server.hub import Hub
from voicetone.server.refusal import RefusedError
from voicetone.server.telephony import (
    Alive,
    Audio,
    End,
    Hole,
    Lost,
    Open,
    Update,
)

PIECE_SECONDS = 5.0
"""Silence for lost audio is analysed in pieces of this, so that a long hole fills no memory."""

ToDo = Open | Audio | Lost | Hole | Update | Alive | End


class Runner:
    """Carries out a protocol's actions.

    Args:
        hub: takes the call.
        bad: messages that may be wrong in a minute before the call is ended.
    """

    def __init__(self, hub: Hub, bad: int = 20) -> None:
        self.call: LiveCall | None = None
        self._hub, self._most = hub, bad
        self._bad: list[float] = []
        self._updates = updates(hub)

    @property
    def running(self) -> bool:
        """Whether the call has begun and takes audio."""
        return self.call is not None and not self.call.closing

    async def do(self, actions: Iterable[ToDo]) -> None:
        """Carry out actions in order. What comes for a call that has ended is left out.

        Raises:
            RefusedError: the call can't begin, or its audio can't be.
        """
        for action in actions:
            if isinstance(action, Open):
                self.call = self._hub.open(action.start)
            elif self.call is not None and not self.call.closing:
                await self._one(self.call, action)

    def wrong(self, error: RefusedError) -> None:
        """A message was wrong: the call goes on, unless there are too many."""
        call = self.call
        if call is None or call.closing:
            return
        now = self._hub.clock.steady()
        self._bad = [*(then for then in self._bad if then > now - 60.0), now]
        if len(self._bad) > self._most:
            call.abort("bad_request", "too many messages that can't be: the call is ended")
        else:
            call.tell("error", {**error.to_dict(), "fatal": False})

    def failed(self, error: RefusedError) -> None:
        """The connection is of no more use."""
        if self.call is not None and not self.call.closing:
            self.call.abort(error.code, str(error))

    async def ended(self, seconds: float) -> None:
        """Wait until the call has been analysed to its end, but no longer than this."""
        if self.call is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.call.ended(), seconds)

    async def _one(self, call: LiveCall, action: ToDo) -> None:
        match action:
            case Audio(data):
                call.audio(data)
                await call.room()
            case Lost(seconds, reason):
                await self._fill(call, seconds, reason)
            case Hole(channel, start, end, reason):
                call.tell("gap", _gap(start, end, reason), channel)
            case Update(body):
                if self._updates.take() == 0:  # more are answered, but told to nobody
                    call.tell("session.updated", dict(body))
            case Alive():
                call.heard = self._hub.clock.steady()
            case End(reason):
                call.close(reason)

    async def _fill(self, call: LiveCall, seconds: float, reason: str) -> None:
        """Silence for audio that never came; a long one in pieces, as the model catches up."""
        if seconds <= PIECE_SECONDS:
            call.lost(seconds, reason)
            await call.room()
            return
        start, rate = call.start, call.start.sample_rate
        call.tell("gap", _gap(call.position, call.position + seconds, reason))
        left, piece = round(seconds * rate), round(PIECE_SECONDS * rate)
        byte = b"\xff" if start.encoding == "mulaw" else b"\0"
        width = SAMPLE_BYTES[start.encoding] * start.channels
        while left > 0 and not call.closing:
            count = min(left, piece)
            call.audio(byte * (count * width))
            left -= count
            await call.room()


def _gap(start: float, end: float, reason: str) -> dict[str, Any]:
    return {"start": round(start, 3), "end": round(end, 3), "reason": reason}
