"""A WebSocket client that costs little: many lines in one process, frames made beforehand.

A ready-made client spends as long on a message as the server does, and one process could then
not load a core. Here all calls send the same bytes, coded and masked once (RFC 6455, section 5).
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

KEY = bytes((0x37, 0xFA, 0x21, 0x3D))  # the example of RFC 6455, section 5.7
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

Told = Callable[[dict[str, Any], float], None]
"""Gets a JSON message and when it came, by the steady clock."""


def frame(kind: int, payload: bytes) -> bytes:
    """A whole message as a client sends it."""
    size = len(payload)
    head = bytes((0x80 | kind,))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 1 << 16:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    mask = np.frombuffer((KEY * (size // 4 + 1))[:size], np.uint8)
    return head + KEY + (np.frombuffer(payload, np.uint8) ^ mask).tobytes()


def text(message: dict[str, Any]) -> bytes:
    """A JSON object as a text message."""
    return frame(TEXT, json.dumps(message, separators=(",", ":")).encode())


class Line(asyncio.Protocol):
    """One connection.

    Args:
        path: such as `/v1/stream`.
        told: gets what the server says.
    """

    def __init__(self, path: str, told: Told) -> None:
        self._path, self._told = path, told
        self._bytes = bytearray()
        self._up = False
        self.status = 0
        """Of the answer to the handshake; 101 for a WebSocket."""
        self.code: int | None = None
        """The WebSocket's code that the server closed with."""
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        key = base64.b64encode(bytes(range(16))).decode()
        lines = [
            f"GET {self._path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def data_received(self, data: bytes) -> None:
        """The answer to the handshake, then messages."""
        now = time.monotonic()
        self._bytes += data
        if not self._up:
            end = self._bytes.find(b"\r\n\r\n")
            if end < 0:
                return
            self.status = int(self._bytes[9:12])
            del self._bytes[: end + 4]
            self._up = True
            if not self.opened.done():
                self.opened.set_result(self.status == 101)
        if self.status == 101:
            while self._message(now):
                pass

    def connection_lost(self, error: Exception | None) -> None:
        """The server, or the test, has closed it."""
        if not self.opened.done():
            self.opened.set_result(False)
        if not self.over.done():
            self.over.set_result(None)

    def send(self, data: bytes) -> None:
        """Send a whole frame, unless the line is closed."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def drop(self) -> None:
        """Close the socket without a word."""
        self.transport.abort()

    def _message(self, now: float) -> bool:
        """Take one frame; false if there is none in full. Servers send frames unmasked."""
        have = self._bytes
        if len(have) < 2:
            return False
        size, at = have[1] & 0x7F, 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            if len(have) < 2 + wide:
                return False
            size, at = int.from_bytes(have[2 : 2 + wide], "big"), 2 + wide
        if len(have) < at + size:
            return False
        kind, payload = have[0] & 0x0F, bytes(have[at : at + size])
        del have[: at + size]
        if kind == TEXT:
            self._told(json.loads(payload), now)
        elif kind == PING:
            self.send(frame(PONG, payload))
        elif kind == CLOSE:
            self.code = int.from_bytes(payload[:2], "big")
            self.send(frame(CLOSE, payload[:2]))
            self.transport.close()
        return True


async def connected(port: int, path: str, told: Told) -> Line:
    """A line to a server on this machine; `opened` says whether it is a WebSocket.

    Raises:
        OSError: nobody listens.
    """
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(lambda: Line(path, told), "127.0.0.1", port)
    return line
