"""The other workers of this server, reached through Unix sockets in a folder of our own.

Nobody else may enter the folder (0700), so what comes through it needs no key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11

from voicetone.server.refusal import STATUS, RefusedError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

SECONDS = 5.0
"""That another worker has to answer."""
MOST_BYTES = 64 << 20
"""An answer of more is not taken."""

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Of another worker."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Peers:
    """How one worker reaches all of them, itself included.

    Args:
        worker: its own number, from 0.
        count: of workers.
        folder: of the sockets; None where there is one worker, which then reaches nobody.
    """

    def __init__(self, worker: int = 0, count: int = 1, folder: Path | None = None) -> None:
        self.worker, self.count, self.folder = worker, count, folder

    @property
    def others(self) -> tuple[int, ...]:
        """Numbers of the other workers."""
        return tuple(i for i in range(self.count) if i != self.worker)

    def path(self, worker: int) -> Path:
        """The socket of a worker.

        Raises:
            RefusedError: there is no such worker.
        """
        if self.folder is None or not 0 <= worker < self.count:
            raise RefusedError("not_found", "there is no such worker of this server")
        return socket_of(self.folder, worker)

    async def raw(
        self,
        worker: int,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes = b"",
        seconds: float = SECONDS,
    ) -> Answer:
        """Have another worker answer an HTTP request, as it came.

        Raises:
            RefusedError: it does not answer.
        """
        path = self.path(worker)
        try:
            async with asyncio.timeout(seconds):
                return await _exchange(path, method, target, headers, body)
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            raise RefusedError(
                "overloaded", f"worker {worker} does not answer: try again", 1.0
            ) from error

    async def call(
        self, worker: int, method: str, path: str, body: Any = None, seconds: float = SECONDS
    ) -> Any:
        """Have another worker do something; JSON in, JSON out (None for an empty answer).

        Raises:
            RefusedError: what it said, or that it does not answer.
        """
        sent = b"" if body is None else json.dumps(body).encode()
        kind = [(b"content-type", b"application/json")] if sent else []
        answer = await self.raw(worker, method, path, kind, sent, seconds)
        said = json.loads(answer.body) if answer.body else None
        if answer.status < 400:
            return said
        said = said if isinstance(said, dict) else {}
        code = said.get("code")
        raise RefusedError(
            code if code in STATUS else "internal",
            str(said.get("message", f"worker {worker} answered {answer.status}: try again")),
            said.get("retry_after"),
        )

    async def gather(self, path: str) -> dict[int, Any]:
        """What each other worker says to a GET; those that don't answer are left out."""
        said = await asyncio.gather(
            *(self.call(worker, "GET", path) for worker in self.others), return_exceptions=True
        )
        answers = {}
        for worker, one in zip(self.others, said, strict=True):
            if isinstance(one, RefusedError):
                continue
            if isinstance(one, BaseException):
                raise one
            answers[worker] = one
        return answers

    async def websocket(self, worker: int, path: str) -> ClientConnection:
        """Open a WebSocket to a worker.

        Raises:
            RefusedError: it can't be opened.
        """
        from websockets.asyncio.client import unix_connect
        from websockets.exceptions import WebSocketException

        try:
            return await unix_connect(
                str(self.path(worker)),
                f"ws://worker{path}",
                compression=None,
                max_size=MOST_BYTES,
                open_timeout=SECONDS,
                ping_interval=None,
                proxy=None,
            )
        except (OSError, TimeoutError, WebSocketException) as error:
            raise RefusedError(
                "overloaded", f"worker {worker} does not answer: try again", 1.0
            ) from error


def socket_of(folder: Path, worker: int) -> Path:
    """Where a worker listens for the others."""
    return folder / f"worker-{worker}.sock"


async def _exchange(path: Path, method: str, target: str, headers: Headers, body: bytes) -> Answer:
    """One request and its answer on a connection of its own."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    wire = h11.Connection(h11.CLIENT)
    kept = [(k, v) for k, v in headers if k.lower() not in _PER_CONNECTION]
    if not any(k.lower() == b"host" for k, _ in kept):
        kept.append((b"host", b"worker"))
    kept += [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    try:
        for event in (
            h11.Request(method=method, target=target, headers=kept),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            writer.write(wire.send(event) or b"")
        await writer.drain()
        return await _answer(wire, reader)
    finally:
        writer.close()


async def _answer(wire: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            wire.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MOST_BYTES:
                raise h11.RemoteProtocolError("too long")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Answer(head.status_code, tuple(head.headers.raw_items()), bytes(body))
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("cut off")


_PER_CONNECTION = {b"connection", b"content-length", b"transfer-encoding", b"upgrade", b"expect"}
