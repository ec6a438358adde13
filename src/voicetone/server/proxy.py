"""A client's WebSocket handed through to the worker that has its call, or has room for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.websockets import WebSocket

from voicetone.server.call import CallStart
from voicetone.server.refusal import RefusedError
from voicetone.server.state import ServerState

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

WAIT_SECONDS = 30.0
"""That a worker which died has to be back."""
STEP_SECONDS = 0.2


async def with_room(state: ServerState, channels: int) -> int | None:
    """The other worker that has the most room for a call, if one has enough.

    The system hands a connection to whichever worker takes it first, so that one may be full
    while another is idle.
    """
    said = await state.peers.gather("/internal/room")
    free = {worker: int(one["room"]) for worker, one in said.items()}
    best = max(free, key=lambda worker: free[worker], default=None)
    return best if best is not None and free[best] >= channels else None


async def proxied(
    state: ServerState,
    websocket: WebSocket,
    owner: int,
    first: str,
    start: CallStart | None = None,
) -> None:
    """Pass messages both ways until one side closes.

    Args:
        state: of the worker that the client reached.
        websocket: of the client.
        owner: the worker that has the call, or is to have it.
        first: the client's first message, already read.
        start: what it says, of a new call.

    Raises:
        RefusedError: the owner can't be reached.
    """
    state.passing += 1
    try:
        peer = await _opened(state, owner, start)
        await _passed(websocket, peer, first)
    finally:
        state.passing -= 1


async def _opened(state: ServerState, owner: int, start: CallStart | None) -> ClientConnection:
    """A connection to the owner; of a new call it is told what the key says."""
    if start is None:
        return await _reached(state, owner)
    of_key = {"credential": start.credential, "queue": start.queue}
    query = urlencode({key: value for key, value in of_key.items() if value is not None})
    return await state.peers.websocket(owner, f"/internal/stream?{query}")


async def _passed(websocket: WebSocket, peer: ClientConnection, first: str) -> None:
    """What both sides say, until one closes; then the other is closed, too."""
    try:
        await peer.send(first)
        up = asyncio.create_task(_up(websocket, peer))
        down = asyncio.create_task(_down(websocket, peer))
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
    finally:
        await peer.close()
    code = peer.close_code
    with contextlib.suppress(RuntimeError, TimeoutError):
        async with asyncio.timeout(2.0):
            known = 1011 if code is None or code in (1005, 1006) else code
            await websocket.close(known, peer.close_reason or "")


async def _reached(state: ServerState, owner: int) -> ClientConnection:
    """A connection to the owner, which may be starting."""
    until = state.clock.steady() + WAIT_SECONDS
    while True:
        try:
            return await state.peers.websocket(owner, "/internal/stream")
        except RefusedError:
            if state.clock.steady() > until:
                raise
        await asyncio.sleep(STEP_SECONDS)


async def _up(websocket: WebSocket, peer: ClientConnection) -> None:
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        await peer.send(message.get("bytes") or b"" if text is None else text)


async def _down(websocket: WebSocket, peer: ClientConnection) -> None:
    async for message in peer:
        if isinstance(message, str):
            await websocket.send_text(message)
        else:
            await websocket.send_bytes(message)
