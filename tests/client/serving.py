"""A real server on loopback with the toy model, and a wire to it that can be cut."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from voicetone.pretrained.predictor import Predictor
from voicetone.server.app import make_app, make_state
from voicetone.server.settings import Settings
from voicetone.server.state import ServerState

SECONDS = 20.0


@dataclass
class Running:
    """A server in a thread."""

    url: str
    state: ServerState
    loop: asyncio.AbstractEventLoop

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def run(self, work: Callable[[], Any]) -> Any:
        """Do something in the server's loop."""

        async def done() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(done(), self.loop).result(SECONDS)


@contextmanager
def serving(predictor: Predictor, settings: Settings | None = None) -> Iterator[Running]:
    """The application on a free port, until the block ends."""
    state = make_state(settings or Settings(), predictor)
    config = uvicorn.Config(
        make_app(state),
        host="127.0.0.1",
        port=0,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="error",
        lifespan="on",
    )
    server = uvicorn.Server(config)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(server.serve(),), name="server", daemon=True
    )
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", state, loop)
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        server.force_exit = True
        thread.join(SECONDS)
        loop.close()


def wait_for(true: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Until it is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


@dataclass
class Wire:
    """A TCP proxy in front of a server.

    Args:
        port: of the server.
        most: bytes from the client after which each connection is cut, one after the other; then
            connections stay.
    """

    port: int
    most: list[int] = field(default_factory=list)
    refusing: bool = False
    """Whether new connections are cut at once."""
    cuts: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        there, out = await asyncio.open_connection("127.0.0.1", self.port)
        self._open |= {writer, out}
        most = self.most.pop(0) if self.most else 1 << 40
        await asyncio.gather(self._pump(reader, out, most), self._pump(there, writer, 1 << 40))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int
    ) -> None:
        count = 0
        try:
            while data := await reader.read(4096):
                count += len(data)
                if count > most:
                    self.cuts += 1
                    self.cut()
                    return
                writer.write(data)
                await writer.drain()
            writer.close()
        except OSError:
            pass
