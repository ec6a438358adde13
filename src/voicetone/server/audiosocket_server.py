"""The TCP port that Asterisk connects to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from voicetone.server.audiosocket import (
    AudioSocketSettings,
    AudioSocketStream,
    Claim,
    Registered,
    not_listened,
)
from voicetone.server.call import LiveCall
from voicetone.server.refusal import RefusedError
from voicetone.server.telephony import Action, Send
from voicetone.server.telephony_call import Runner

if TYPE_CHECKING:
    from voicetone.server.state import ServerState

READ = 65_536
"""Bytes at once."""


def registered(state: ServerState) -> Registered:
    """The calls that this worker expects."""
    found = state.extras.setdefault("audiosocket", Registered())
    assert isinstance(found, Registered)
    return found


async def serve_audiosocket(state: ServerState, settings: AudioSocketSettings) -> asyncio.Server:
    """Listen; close the server to stop. Its calls end with the hub.

    Raises:
        UsageError: the port can't be had.
    """
    seats = _Seats(settings.connections)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        try:
            if peer and settings.allows(str(peer[0])) and seats.take():
                try:
                    await _Connection(state, settings, reader, writer).run()
                finally:
                    seats.give()
        finally:
            writer.close()

    try:
        return await asyncio.start_server(connected, settings.host, settings.port, limit=READ)
    except OSError as error:
        raise not_listened(settings, error) from error


class _Seats:
    """How many more connections there may be."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self) -> bool:
        self._left -= 1
        if self._left < 0:
            self._left += 1
            return False
        return True

    def give(self) -> None:
        self._left += 1


class _Connection:
    """One of Asterisk's."""

    def __init__(
        self,
        state: ServerState,
        settings: AudioSocketSettings,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._state, self._settings = state, settings
        self._reader, self._writer = reader, writer
        self._stream, self._runner = AudioSocketStream(), Runner(state.hub)
        self._until = asyncio.get_running_loop().time() + settings.id_seconds
        self._watch: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Read until it ends."""
        try:
            while not self._stream.over:
                data = await self._read()
                if not data:
                    await self._act(self._stream.gone())
                    break
                await self._act(self._stream.feed(data))
        except RefusedError as error:
            self._runner.failed(error)
            self._state.log.say("audiosocket.refused", code=error.code)
        finally:
            call = self._runner.call
            if call is not None and not call.closing:
                call.close("gone")
            if self._watch is not None:
                self._watch.cancel()

    async def _read(self) -> bytes:
        """The next bytes; none when the other side is gone or says nothing for too long."""
        try:
            async with asyncio.timeout_at(self._until):
                return await self._reader.read(READ)
        except (TimeoutError, OSError):
            return b""

    async def _act(self, actions: Sequence[Action | Claim]) -> None:
        """Carry out what the stream asks for."""
        now = asyncio.get_running_loop().time()
        if self._runner.call is not None:
            self._until = now + self._settings.idle_seconds
        for action in actions:
            if isinstance(action, Claim):
                steady = self._state.clock.steady()
                self._stream.claimed(registered(self._state).take(action.id, steady))
                self._until = now + self._settings.idle_seconds
                await self._act(self._stream.feed(b""))  # what came with it
            elif not isinstance(action, Send):
                await self._runner.do([action])
        call = self._runner.call
        if call is not None and self._watch is None:
            self._watch = asyncio.create_task(_close_after(call, self._writer))


async def _close_after(call: LiveCall, writer: asyncio.StreamWriter) -> None:
    """Hang up once the call has ended, whoever ended it."""
    await call.ended()
    writer.close()
