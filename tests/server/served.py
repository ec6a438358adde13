"""The real application on a loopback port, in a thread, for clients that block."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import uvicorn
from botocore.config import Config

from voicetone.audio.telephony import s16le_encode
from voicetone.server.app import internal, make_app
from voicetone.server.call import CallStart, LiveCall
from voicetone.server.chime import tasks_of
from voicetone.server.keys import KeySettings
from voicetone.server.peers import socket_of
from voicetone.server.state import ServerState

NAMES = ("agent", "customer")


@contextmanager
def listening(state: ServerState) -> Iterator[str]:
    """The application on a loopback port, in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(make_app(state), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


class Served:
    """Workers of one server in a thread, each on a loopback port.

    Args:
        states: of the workers.
        folder: for their private sockets.
        secret: of the credential `desk`.
    """

    def __init__(self, states: list[ServerState], folder: Path, secret: str) -> None:
        self.states, self.secret = states, secret
        self.state = states[0]
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._loop = asyncio.new_event_loop()
        self._servers: list[uvicorn.Server] = []
        for n, state in enumerate(states):
            app = make_app(state)
            common = {"log_config": None, "ws": "websockets-sansio"}
            if len(states) > 1:
                private = uvicorn.Config(
                    internal(app), uds=str(socket_of(folder, n)), lifespan="off", **common
                )
                self._servers.append(uvicorn.Server(private))
            self._servers.append(uvicorn.Server(uvicorn.Config(app, port=0, **common)))  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def serve() -> None:
            await asyncio.gather(*(server.serve() for server in self._servers))

        self._loop.run_until_complete(serve())
        self._loop.close()

    def __enter__(self) -> Served:
        self._thread.start()
        self.do(self._up())
        return self

    def __exit__(self, *exc: object) -> None:
        for server in self._servers:
            server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _up(self) -> None:
        async with asyncio.timeout(10):
            while not all(server.started for server in self._servers):
                await asyncio.sleep(0.01)
        for state in self.states:
            tasks_of(state).subscribe(lambda call, event: self.events.append((call, dict(event))))

    def do(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            async with asyncio.timeout(20):
                return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(25)

    def url(self, worker: int = 0) -> str:
        tcp = [s for s in self._servers if s.config.uds is None][worker]
        port = tcp.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def client(self, service: str = "chime-sdk-voice", worker: int = 0, **changes: Any) -> Any:
        words = {
            "region_name": "us-east-1",
            "aws_access_key_id": "desk",
            "aws_secret_access_key": self.secret,
            **changes,
        }
        config = Config(retries={"total_max_attempts": 1}, proxies={})
        return boto3.client(service, endpoint_url=self.url(worker), config=config, **words)

    def call(self, external: str, worker: int = 0, **changes: Any) -> LiveCall:
        words = {"channels": 2, "names": NAMES, "consent": True, **changes}

        async def opened() -> LiveCall:
            return self.states[worker].hub.open(
                CallStart("native", 8000, external=external, **words)
            )

        found: LiveCall = self.do(opened())
        return found

    def feed(self, call: LiveCall, seconds: float, loud: float = 0.1) -> None:
        rng = np.random.default_rng(3)
        shape = (round(seconds * 8000), call.start.channels)
        data = s16le_encode((loud * rng.standard_normal(shape)).astype(np.float32).reshape(-1))

        async def fed() -> None:
            call.audio(data)
            # The resampler keeps the newest samples back for a moment.
            due = (call.position - 0.1 - 5.0) // 2.5 * 2.5 + 5.0
            while due >= 5.0 and not set(call.session.channels) <= self.scored(call, due):
                await asyncio.sleep(0.005)

        self.do(fed())

    def scored(self, call: LiveCall, due: float) -> set[int | None]:
        """Channels of which the window to `due` has been told."""
        return {
            event.channel
            for event in call.backlog
            if event.type == "window" and event.body["end"] >= due
        }

    def end(self, call: LiveCall) -> None:
        async def ended() -> None:
            call.close("client")
            await call.ended()

        self.do(ended())


WAV = {"Content-Type": "audio/wav"}
YES = {"consent": "true"}


def key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer key of {name}"}


def entry(name: str, **words: Any) -> KeySettings:
    digest = hashlib.sha256(f"key of {name}".encode()).hexdigest()
    return KeySettings(name=name, hash=digest, **{"scopes": ("files",), **words})
