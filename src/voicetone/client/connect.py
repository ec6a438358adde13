"""The WebSocket to a server, with its failures as this package's errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from voicetone.client.errors import ConnectionLostError, ServerError, of_response
from voicetone.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_SECONDS = 10.0
"""For a connection, and for the first answer on it."""
MOST_BYTES = 4 << 20
"""Of one message of the server."""
PING_SECONDS, PONG_SECONDS = 5.0, 20.0
"""A dead connection is noticed before the server gives the call up."""


async def connected(url: str, key: str | None) -> ClientConnection:
    """A WebSocket that is open.

    Args:
        url: ws:// or wss://.
        key: goes into the header, never into the address.

    Raises:
        ServerError: the server says no.
        ConnectionLostError: it can't be reached.
        MissingExtraError: websockets is not installed.
        UsageError: a key that is none.
    """
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus
    except ImportError as error:
        raise MissingExtraError("streaming to a server", "client") from error

    class Straight(connect):
        """Follows no redirection: the key is for this server only."""

        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    headers = {} if key is None else {"Authorization": f"Bearer {checked(key)}"}
    try:
        return await Straight(
            url,
            additional_headers=headers,
            compression=None,
            max_size=MOST_BYTES,
            open_timeout=OPEN_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            close_timeout=2.0,
        )
    except InvalidStatus as error:
        answer = error.response
        retry = answer.headers.get("Retry-After")
        raise of_response(answer.status_code, bytes(answer.body or b""), retry) from error
    except Exception as error:
        lost = failure(error)
        if lost is None:
            raise
        raise ConnectionLostError(f"{url}: {lost}") from error


def checked(key: str) -> str:
    """A key that may stand in a header.

    Raises:
        UsageError: it may not.
    """
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("the key has characters that no key has: copy it again")
    return key


async def first_message(connection: ClientConnection) -> Mapping[str, Any]:
    """The next message of a server that must answer soon.

    Raises:
        ServerError: it sent something else than an object.
        TimeoutError: it sent nothing.
    """
    async with asyncio.timeout(OPEN_SECONDS):
        text = await connection.recv()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ServerError("internal", "no voicetone server answers there: check the address")
    return found


def failure(error: BaseException) -> ConnectionLostError | None:
    """The error of a connection that failed; None for one that is about something else."""
    from websockets.exceptions import WebSocketException

    if isinstance(error, TimeoutError):
        return ConnectionLostError("the server does not answer: check its address, or try later")
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return ConnectionLostError(f"the server can't be reached ({reason}): is it running there?")
    if isinstance(error, WebSocketException | EOFError):
        reason = " ".join(str(error).split())[:200]
        return ConnectionLostError(f"the connection broke ({reason}): try again")
    return None
