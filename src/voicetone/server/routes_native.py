"""`/v1/stream`: the native protocol on a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.websockets import WebSocket, WebSocketDisconnect

from voicetone.inference.enrolment import Speakers
from voicetone.server.answers import denied
from voicetone.server.call import CallStart, LiveCall
from voicetone.server.desk import Line, Out
from voicetone.server.events import CallEvent
from voicetone.server.native import (
    Audio,
    Close,
    NativeProtocol,
    Resume,
    Sealed,
    Start,
    Transcript,
    Update,
    close_code,
    offer,
    seal,
    unseal,
)
from voicetone.server.proxy import proxied, with_room
from voicetone.server.refusal import RefusedError
from voicetone.server.state import ServerState, require, state_of
from voicetone.server.tickets import PREFIX, PROTOCOL
from voicetone.server.voices import find_voices, speakers_of
from voicetone.server.words import transcripts_of

router = APIRouter()

FIRST_SECONDS = 10.0
"""That a client has for its first message."""
CLOSE_SECONDS = 2.0
"""That a close may wait for a reader who does not read."""
MOST_MISSED = 5000
"""Stored events that are sent to a client whose worker died."""


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    """Audio in, events out, as docs/asyncapi.yaml describes."""
    state = state_of(websocket)
    try:
        key = await require(websocket, "stream", counted=False)  # it may come back for a call
    except RefusedError as error:
        await denied(websocket.scope, websocket.receive, websocket.send, error)
        return
    offered = websocket.scope.get("subprotocols", [])
    chosen = PROTOCOL if PROTOCOL in offered else next(iter(offered), None)
    if chosen is not None and chosen != PROTOCOL and not chosen.startswith(PREFIX):
        chosen = None
    await websocket.accept(chosen)
    await NativeSession(state, websocket, key.name, key.queue).run()


@router.websocket("/internal/stream")
async def handed_over(websocket: WebSocket) -> None:
    """A client of another worker, which has checked its key: back for a call of ours, or new."""
    await websocket.accept()
    said = websocket.query_params
    session = NativeSession(
        state_of(websocket), websocket, said.get("credential"), said.get("queue")
    )
    session.handed = True
    await session.run()


@router.get("/internal/room", include_in_schema=False)
async def room_here(request: Request) -> dict[str, int]:
    """For the other workers."""
    return {"room": state_of(request).hub.room}


class NativeSession:
    """One connection.

    Args:
        state: the worker's.
        websocket: accepted.
        credential: name of the key; None for a call that goes on, whose key another worker has
            checked.
        queue: the key's.
    """

    def __init__(
        self, state: ServerState, websocket: WebSocket, credential: str | None, queue: str | None
    ) -> None:
        self._state, self._socket = state, websocket
        self._credential, self._queue = credential, queue
        self._protocol = NativeProtocol(state.settings.bad_messages)
        self._call: LiveCall | None = None
        self._line: Line | None = None
        self.handed = False
        """Whether another worker has the client's connection."""

    async def run(self) -> None:
        """Until the connection or its call has ended; nothing is raised."""
        try:
            await self._first()
        except RefusedError as error:
            self._state.metrics.refused(error.code)
            message = self._protocol.refused(error, self._state.clock.steady())
            await self._bye(error.code, message)
        except (WebSocketDisconnect, RuntimeError):
            pass  # gone, before or while something was sent
        finally:
            if self._line is not None:
                self._state.desk.detach(self._line)

    async def _first(self) -> None:
        """The first message says whether a call begins or goes on."""
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                message = await self._socket.receive()
        except TimeoutError:
            raise RefusedError("idle_timeout", "no session.start came: send it first") from None
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text is None:
            self._protocol.binary(message.get("bytes") or b"")
            return
        action = self._protocol.text(text)
        if isinstance(action, Start) and self._credential is not None:
            await self._begin(action.call_start(self._credential, self._queue), text)
        elif isinstance(action, Resume):
            await self._resume(action, text)
        else:
            raise RefusedError("bad_request", "begin with session.start or session.resume")

    async def _begin(self, start: CallStart, text: str) -> None:
        """A new call: here, or if there is no room with a worker that has some."""
        state = self._state
        if not self.handed:
            state.keys.granted(start.credential or "", "stream")  # counts, as no resume does
        if not self.handed and not state.hub.draining and state.hub.room < start.channels:
            other = await with_room(state, start.channels)
            if other is not None:
                await proxied(state, self._socket, other, text, start)
                return
        speakers = await self._speakers(start)
        call = state.hub.open(start, speakers=speakers)
        await self._serve(call, state.desk.attach(call, 0))

    async def _speakers(self, start: CallStart) -> Speakers:
        """Whose voices a call is told of.

        Raises:
            RefusedError: a voice that is not there.
        """
        state, owner = self._state, start.credential or ""
        found = await find_voices(state.store, owner, start.speaker, state.clock.wall())
        return speakers_of(start.speaker, found)

    # -- a call that goes on ---------------------------------------------------------------------

    async def _resume(self, asked: Resume, text: str) -> None:
        state = self._state
        sealed = unseal(state.secret, asked.token)
        if self._credential not in (None, sealed.start.credential):
            raise RefusedError("forbidden", "this call belongs to another key: use that")
        owner = sealed.worker if sealed.worker < state.peers.count else state.worker
        if owner != state.worker and not self.handed:
            await proxied(state, self._socket, owner, text)
            return
        call = state.hub.calls.get(sealed.call)
        if call is not None:
            line = state.desk.attach(call, asked.last_seq, [_resumed(call)])
            await self._serve(call, line)
            return
        missed = state.desk.ended(sealed.call, asked.last_seq)
        if missed is not None:
            await self._tell_end(missed)
        elif sealed.boot == state.boot or sealed.call in state.desk.restored:
            raise RefusedError("not_found", "the call has ended: begin another")
        else:
            await self._restore(sealed, asked)

    async def _tell_end(self, missed: Sequence[CallEvent]) -> None:
        for event in missed:
            await self._socket.send_text(dumps(event.to_dict()))
        await self._bye("client")

    async def _restore(self, sealed: Sealed, asked: Resume) -> None:
        """Take over a call whose worker died; what it did not tell is a gap."""
        state = self._state
        seq, told, missed = await stored(state, sealed.call, asked.last_seq)
        if sealed.call in state.hub.calls:  # another connection was quicker
            raise RefusedError("conflict", "this call is being resumed already: wait", 1.0)
        if told is None and asked.position is None:
            raise RefusedError(
                "bad_request",
                "the call's worker died and nothing tells how far it was: give `position`, the "
                "second of the call from which on you have its audio",
            )
        end, offset = silence(told, seq, asked)
        seq = max(seq, asked.last_seq)
        start = replace(sealed.start, offset=offset, seq=seq)
        gone: RefusedError | None = None
        speakers: Speakers = None
        try:
            speakers = await self._speakers(start)
        except RefusedError as error:  # who has a voice deleted is not to be enrolled anew
            if error.code != "not_found":
                raise
            gone = error
        call = state.hub.open(start, sealed.call, speakers)
        state.desk.restored.add(call.id)
        if gone is not None:
            call.tell("error", {**gone.to_dict(), "fatal": False})
        gap = {"start": round(end, 3), "end": round(offset, 3), "reason": "worker_died"}
        call.tell("gap", gap)
        await self._serve(call, state.desk.attach(call, seq, [_resumed(call), *missed]))

    # -- a call in progress ----------------------------------------------------------------------

    async def _serve(self, call: LiveCall, line: Line) -> None:
        """Read and write until one of both ends."""
        self._call, self._line = call, line
        start = call.start
        self._protocol.opened(start.sample_rate, start.channels, start.encoding)
        read = asyncio.create_task(self._read(call, line), name="reader")
        write = asyncio.create_task(self._write(call, line), name="writer")
        cut = asyncio.create_task(line.cut.wait(), name="cut")
        tasks = (read, write, cut)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            said = await asyncio.gather(*tasks, return_exceptions=True)
        if write in tasks and isinstance(said[1], str):
            await self._bye(said[1])
        elif line.slow:
            await self._bye("too_slow", _TOO_SLOW)
        elif not line.live:
            await self._bye("conflict", _REPLACED)
        for error in said:
            if isinstance(error, Exception) and not isinstance(error, _CUT):
                self._state.log.defect("stream", error)

    async def _read(self, call: LiveCall, line: Line) -> None:
        """Take what the client sends until it is gone."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect" or not line.live:
                return
            try:
                await self._take(call, message)
            except RefusedError as error:
                self._state.metrics.refused(error.code)
                said = self._protocol.refused(error, self._state.clock.steady())
                line.put(said)
                if said["fatal"]:
                    call.close("bad_messages")
            await call.room()

    async def _take(self, call: LiveCall, message: Any) -> None:
        text = message.get("text")
        if text is None:
            action: Any = self._protocol.binary(message.get("bytes") or b"")
        else:
            action = self._protocol.text(text)
        match action:
            case Audio(data=data):
                call.audio(data)
            case Update():
                self._state.desk.update(call)
                updated(call, action)
            case Transcript():
                transcripts_of(self._state).take(call, action)
            case Close():
                await transcripts_of(self._state).settled(call)
                call.close("client")
            case _:
                pass

    async def _write(self, call: LiveCall, line: Line) -> str:
        """Send what there is; the reason that the call ended by, once that is sent."""
        while True:
            out = await line.next()
            await self._socket.send_text(dumps(self._wire(call, out)))
            if isinstance(out, CallEvent) and out.type == "session.closed":
                return str(out.body["reason"])

    def _wire(self, call: LiveCall, out: Out) -> dict[str, Any]:
        """A message as the client gets it; some bring the resume token."""
        state = self._state
        said = out.to_dict() if isinstance(out, CallEvent) else dict(out)
        if said["type"] == "session.created":
            said |= offer(state.settings.notice, state.settings.resume_seconds)
        if said["type"] in ("session.created", "session.updated", "session.resumed"):
            said["token"] = seal(state.secret, state.worker, state.boot, call)
        return said

    async def _bye(self, reason: str, message: dict[str, Any] | None = None) -> None:
        """A last message, and the close. Who does not read is not waited for."""
        with contextlib.suppress(TimeoutError, *_CUT):
            async with asyncio.timeout(CLOSE_SECONDS):
                if message is not None:
                    await self._socket.send_text(dumps(message))
                await self._socket.close(close_code(reason), reason)


async def stored(
    state: ServerState, call: str, last_seq: int
) -> tuple[int, float | None, list[dict[str, Any]]]:
    """What the store has of a call whose worker died.

    Args:
        state: of the worker that takes it over.
        call: id.
        last_seq: number of the newest event that the client has.

    Returns:
        Number of the newest event stored, end of the newest window stored in seconds (None if
        nobody knows), and the events that the client missed.

    Raises:
        RefusedError: the call had ended, or the store can't be reached.
    """
    if state.store is None:
        return 0, None, []
    known = await state.store.call(call)
    if known is None:
        return 0, None, []
    if known["ended"] is not None:
        raise RefusedError("not_found", "the call has ended: begin another")
    seq, end = await state.store.last(call) or (0, 0.0)
    missed = await state.store.events(call, after=last_seq, limit=MOST_MISSED)
    return seq, end, missed


def silence(told: float | None, seq: int, asked: Resume) -> tuple[float, float]:
    """What is told as not analysed when a call's worker died, and where the call goes on.

    The store is some tenths of a second behind what a client was told. A client with later events
    than the store has keeps audio from about its last window on, so what is stored says too little.

    Args:
        told: end of the newest window stored, s; None if nobody knows.
        seq: number of the newest event stored.
        asked: what the client says.

    Returns:
        Begin and end, seconds of the call.
    """
    position = min(asked.position or 0.0, MOST_POSITION)
    if told is None:
        return position, position
    begin = max(told, position) if asked.last_seq > seq else told
    return begin, max(told, position)


def updated(call: LiveCall, said: Update) -> None:
    """Change what a client may change of its call, and tell it."""
    start = call.start
    call.start = replace(
        start,
        external=start.external if said.call is None else said.call,
        queue=start.queue if said.queue is None else said.queue,
        metadata=start.metadata if said.metadata is None else dict(said.metadata),
    )
    now = call.start
    body = {"external": now.external, "queue": now.queue, "metadata": dict(now.metadata)}
    call.tell("session.updated", body)


def dumps(message: Any) -> str:
    """JSON, compact."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _resumed(call: LiveCall) -> dict[str, Any]:
    """Where the client goes on: it sends the audio after so many samples per channel again."""
    start = call.start
    return {
        "type": "session.resumed",
        "call": call.id,
        "received_samples": round(start.offset * start.sample_rate) + call.received,
        "position": round(call.position, 3),
        "first_seq": next((event.seq for event in call.backlog), call.last_seq + 1),
    }


MOST_POSITION = 1e6
_CUT = (WebSocketDisconnect, RuntimeError, asyncio.CancelledError)
_TOO_SLOW = {
    "type": "error",
    "code": "too_slow",
    "message": "events were not read quickly enough: resume with the token",
    "fatal": True,
}
_REPLACED = {
    "type": "error",
    "code": "conflict",
    "message": "the call was resumed on another connection",
    "fatal": True,
}
