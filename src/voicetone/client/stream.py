"""One call streamed to a server, from asyncio; a cut connection is taken up again by itself."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from voicetone.client.connect import connected, failure, first_message
from voicetone.client.errors import ConnectionLostError, ServerError, said
from voicetone.client.events import (
    Closed,
    Created,
    Event,
    Missed,
    Problem,
    WindowTone,
    number_of,
    parse,
)
from voicetone.client.settings import Encoding, Sound, Speaker, Start, stream_address
from voicetone.client.tape import Tape
from voicetone.errors import UsageError, VoicetoneError

if TYPE_CHECKING:
    from types import TracebackType

    from websockets.asyncio.client import ClientConnection

KEEP_SECONDS = 60.0
LEAST_KEPT = 15.0
"""Less would not hold the audio that the server has and has not told a window of."""
PIECE_SECONDS = 1.0
"""Longest audio in one message."""
PIECE_BYTES = 256 << 10
MOST_WAITING = 1000
"""Transcripts whose audio has not been sent."""
UNREAD = 100_000
"""Events that may wait to be read, those of more than a day."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
SLACK = 0.001
"""Seconds that an event's times are rounded to."""

AGAIN = frozenset(
    {"overloaded", "draining", "too_many_calls", "rate_limited", "internal", "conflict"}
)
"""Refusals after which a cut call is tried once more. A conflict is one with an earlier attempt of
our own, which the server took for lost too late: nobody else has the token."""
RESUMABLE = frozenset({"too_slow", "draining", "conflict"})
"""Fatal errors of a connection whose call goes on."""


class AsyncStream:
    """A call in progress. Made by `open`; an asynchronous context manager, which ends the call.

    Audio is kept until the server has told a window of it, so that what was on its way when a
    connection broke is sent again; no event is given twice. Iterate over it for events; they are
    received whether or not somebody waits for them.
    """

    created: Created
    """What the server said at the start."""

    def __init__(
        self, url: str, start: Start, key: str | None, keep_seconds: float, patience: float | None
    ) -> None:
        if keep_seconds < LEAST_KEPT:
            raise UsageError(f"keep_seconds {keep_seconds:g}: keep {LEAST_KEPT:g} s or more")
        self.resumed = 0
        """How often a cut connection was taken up again."""
        self.connection: ClientConnection | None = None
        """The newest WebSocket; None before the first."""
        self._url, self._start, self._key = stream_address(url), start, key
        self._tape = Tape(start.frame_bytes, round(keep_seconds * start.sample_rate))
        self._patience = patience
        self._token = ""
        self._told: dict[int, float] = {}
        self._sent = 0  # samples that this connection has sent, or that need not be sent
        self._last_seq = 0
        self._events: deque[Event] = deque()
        self._some, self._more, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._updates: deque[dict[str, Any]] = deque()
        self._words: deque[dict[str, Any]] = deque()
        self._closing = False
        self._closed: Closed | None = None
        self._fatal: ServerError | None = None
        self._failure: VoicetoneError | None = None
        self._done = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        sample_rate: int,
        consent: bool,
        key: str | None = None,
        encoding: Encoding = "s16le",
        channels: int = 1,
        channel_names: Sequence[str] | None = None,
        analyse: Sequence[int] | None = None,
        call: str | None = None,
        queue: str | None = None,
        metadata: Mapping[str, str] | None = None,
        speaker: Speaker | None = None,
        keep_seconds: float = KEEP_SECONDS,
        patience: float | None = None,
    ) -> AsyncStream:
        """Begin a call.

        Args:
            url: of the server, such as `https://tone.example` or `ws://127.0.0.1:8765`.
            sample_rate: of the audio to come, 8000 to 48000 Hz.
            consent: that those who are heard know that their voice's tone is analysed and agree.
            key: the credential; none for a server on this machine that asks for none.
            encoding: of the bytes to come; arrays are brought to it.
            channels: 1 or 2, interleaved.
            channel_names: one per channel, such as `["agent", "customer"]`.
            analyse: channels to analyse, from 1; by default what the names tell.
            call: your own id of the call.
            queue: where it came in.
            metadata: short words that come back with the call.
            speaker: whose voice it is, for models that take one: `auto` (the call's own first
                seconds, which is the default), `none`, the id of an enrolled voice, or ids by
                channel.
            keep_seconds: audio that is kept for a cut connection; `send` waits beyond it.
            patience: seconds for which a cut connection is tried again; by default as long as
                the server holds the call.

        Raises:
            ServerError: the server says no; `code` and `retry_after` tell why and until when.
            ConnectionLostError: it can't be reached.
            UsageError: settings that can't be.
            MissingExtraError: websockets is not installed.
        """
        start = Start(
            sample_rate, consent, encoding, channels, channel_names, analyse, call, queue,
            dict(metadata or {}), speaker,
        )  # fmt: skip
        stream = cls(url, start, key, keep_seconds, patience)
        await stream._begin()
        return stream

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.cancel()

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._done.is_set():
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            self._some.clear()
            await self._some.wait()
        return self._events.popleft()

    def poll(self) -> list[Event]:
        """The events that are there now, without waiting."""
        events = list(self._events)
        self._events.clear()
        return events

    async def send(self, sound: Sound) -> None:
        """Take more of the call's audio.

        Returns at once unless `keep_seconds` wait already, as when a file is sent quicker than it
        is analysed, or while a cut connection is tried again.

        Args:
            sound: bytes in the stream's encoding, or an array `[channels, n]` or `[n]`: float of
                full scale ±1, or int16.

        Raises:
            ServerError, ConnectionLostError: the call has ended.
            UsageError: bytes or an array that don't fit, or a stream that was closed.
        """
        if self._closing and self._failure is None:
            raise UsageError("the stream is closed: open another for more audio")
        view = self._start.encoded(sound)
        while len(view):
            self._require_alive()
            room = self._tape.room // self._start.frame_bytes * self._start.frame_bytes
            if room:
                self._tape.add(view[:room])
                view = view[room:]
                self._more.set()
            else:
                self._room.clear()
                await self._room.wait()

    async def update(
        self,
        *,
        call: str | None = None,
        queue: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Change what is said about the call; what is left out stays.

        Raises:
            ServerError, ConnectionLostError: the call has ended.
        """
        self._require_alive()
        said = {"call": call, "queue": queue, "metadata": metadata and dict(metadata)}
        body = {key: value for key, value in said.items() if value is not None}
        self._updates.append({"type": "session.update", **body})
        self._more.set()

    async def send_transcript(
        self,
        text: str,
        start: float,
        end: float,
        *,
        channel: int = 1,
        final: bool = True,
        language: str | None = None,
    ) -> None:
        """Have words read that were said in the call; `TextRead` tells how they read.

        They go out once the audio up to their end has. Send each stretch of a channel once, in
        order. The server keeps no words.

        Args:
            text: in English, at most 2000 characters.
            start: seconds of the call.
            end: likewise.
            channel: from 1; the words of one that is not analysed are left alone.
            final: False for what may still change, which is left alone.
            language: of the text; `en` is all that is read.

        Raises:
            ServerError, ConnectionLostError: the call has ended.
            UsageError: a stream that was closed, or too many words that wait.
        """
        self._require_alive()
        if self._closing:
            raise UsageError("the stream is closed: open another for more words")
        if len(self._words) >= MOST_WAITING:
            raise UsageError(f"{MOST_WAITING} transcripts wait for their audio: send that first")
        said = {"start": start, "end": end, "text": text, "channel": channel, "final": final}
        said |= {} if language is None else {"language": language}
        self._words.append({"type": "transcript", **said})
        self._more.set()

    async def close(self) -> Closed:
        """No more audio comes: have the rest analysed, and wait for the end.

        Events that nobody has read yet can still be read. Closing again gives the same.

        Raises:
            ServerError, ConnectionLostError: the call could not be brought to its end.
        """
        self._closing = True
        self._more.set()
        await self._done.wait()
        if self._closed is None:
            raise self._failure or ConnectionLostError("the call was given up: begin another")
        return self._closed

    async def cancel(self) -> None:
        """Leave at once. The server holds the call for a while and then ends it as `gone`."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # -- inside ----------------------------------------------------------------------------------

    def _require_alive(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._done.is_set():
            reason = "client" if self._closed is None else self._closed.reason
            raise ServerError("conflict", f"the call has ended ({reason}): begin another")

    async def _begin(self) -> None:
        connection = await connected(self._url, self._key)
        try:
            await connection.send(json.dumps(self._start.message()))
            message = await first_message(connection)
            if message.get("type") == "error":
                raise said(message)
            event = parse(message)
            if not isinstance(event, Created):
                raise ServerError("internal", "the server did not begin the call: check its log")
        except BaseException as error:
            await connection.close()
            if (lost := failure(error)) is not None:
                raise lost from error
            raise
        self.created = event
        self._token, self._told = event.token, dict.fromkeys(event.analysed, 0.0)
        self._take(message)
        self._task = asyncio.create_task(self._run(connection), name="voicetone stream")

    async def _run(self, connection: ClientConnection) -> None:
        """Keep the call going until it has ended."""
        try:
            while True:
                await self._serve(connection)
                if self._closed is not None:
                    return
                if self._fatal is not None:
                    raise self._fatal
                connection = await self._again()
                self.resumed += 1
        except VoicetoneError as error:
            self._failure = error
        except asyncio.CancelledError:
            self._failure = ConnectionLostError("the stream was cancelled: open another")
            raise
        finally:
            await connection.close()
            self._done.set()
            self._some.set()
            self._room.set()

    async def _serve(self, connection: ClientConnection) -> None:
        """Read and write until the connection is cut or the call has ended."""
        self.connection = connection
        write = asyncio.create_task(self._write(connection), name="voicetone writer")
        try:
            async for text in connection:
                self._take(_object(text))
                if self._closed is not None:
                    return
        except BaseException as error:
            if failure(error) is None:
                raise
        finally:
            write.cancel()
            await asyncio.gather(write, return_exceptions=True)
            await connection.close()

    async def _write(self, connection: ClientConnection) -> None:
        """Send what there is; ends with the connection."""
        rate = self._start.sample_rate
        most = min(round(PIECE_SECONDS * rate), PIECE_BYTES // self._start.frame_bytes)
        ending = False
        while not ending:
            await self._more.wait()
            self._more.clear()
            while self._updates:
                await connection.send(json.dumps(self._updates[0]))
                self._updates.popleft()
            while piece := self._tape.read(self._sent, most):
                self._sent += len(piece) // self._start.frame_bytes
                await connection.send(piece)
                await self._say(connection, self._sent / rate + SLACK)
            ending = self._closing and self._sent == self._tape.end
            await self._say(connection, math.inf if ending else self._sent / rate + SLACK)
        await connection.send('{"type":"session.close"}')

    async def _say(self, connection: ClientConnection, until: float) -> None:
        """Send the words of the call's audio up to a second."""
        while self._words and self._words[0]["end"] <= until:
            await connection.send(json.dumps(self._words[0]))
            self._words.popleft()

    async def _again(self) -> ClientConnection:
        """Resume the call on a new connection."""
        loop = asyncio.get_running_loop()
        patience = self.created.resume_seconds if self._patience is None else self._patience
        deadline = loop.time() + patience
        spread = random.Random(self._token)  # clients cut off together don't come back together
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._resume()
            except (ServerError, ConnectionLostError) as error:
                hint = error.retry_after if isinstance(error, ServerError) else 0.0
                if isinstance(error, ServerError) and error.code not in AGAIN and hint is None:
                    raise
                wait = max(pause * spread.uniform(0.5, 1.0), hint or 0.0)
                if loop.time() + wait > deadline:
                    raise ConnectionLostError(
                        f"the connection broke and could not be taken up again within "
                        f"{patience:g} s ({error}): begin another call"
                    ) from error
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _resume(self) -> ClientConnection:
        connection = await connected(self._url, self._key)
        try:
            position = self._tape.start / self._start.sample_rate
            asked = {"token": self._token, "last_seq": self._last_seq, "position": position}
            await connection.send(json.dumps({"type": "session.resume", **asked}))
            while True:
                message = await first_message(connection)
                if message.get("type") == "session.resumed":
                    self._go_on_from(message)
                    return connection
                if message.get("type") == "error" and number_of(message) is None:
                    raise said(message)
                self._take(message)  # of a call that has ended meanwhile
                if self._closed is not None:
                    return connection
        except BaseException as error:
            await connection.close()
            if (lost := failure(error)) is not None:
                raise lost from error
            raise

    def _go_on_from(self, message: Mapping[str, Any]) -> None:
        received, token = message.get("received_samples"), message.get("token")
        if not isinstance(received, int) or not self._tape.start <= received <= self._tape.end:
            raise ServerError(
                "not_found",
                f"the server goes on from sample {received}, and here are those from "
                f"{self._tape.start} to {self._tape.end}: begin another call",
            )
        if isinstance(token, str):
            self._token = token
        self._sent = received
        self._more.set()

    def _take(self, message: Mapping[str, Any]) -> None:
        """A message of the server."""
        if message.get("type") == "session.resumed":
            return
        seq = number_of(message)
        if seq is not None:
            if seq <= self._last_seq:
                return
            if seq > self._last_seq + 1:
                self._put(Missed(first=self._last_seq + 1, last=seq - 1))
            self._last_seq = seq
        event = parse(message)
        if isinstance(message.get("token"), str):
            self._token = message["token"]
        if isinstance(event, WindowTone):
            self._heard(event)
        elif isinstance(event, Closed):
            self._closed = event
        elif isinstance(event, Problem) and event.fatal and seq is None:
            if event.code in RESUMABLE:
                return
            self._fatal = said(message)
        self._put(event)

    def _heard(self, event: WindowTone) -> None:
        """The audio up to a window's end is analysed: what all channels have is let go."""
        self._told[event.channel] = event.window.end
        self._tape.forget(int((min(self._told.values()) - SLACK) * self._start.sample_rate))
        self._room.set()

    def _put(self, event: Event) -> None:
        if len(self._events) >= UNREAD:
            raise UsageError(f"more than {UNREAD} events wait to be read: iterate over the stream")
        self._events.append(event)
        self._some.set()


def _object(text: str | bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ServerError("internal", "the server sent no JSON object: check its address")
    return found
