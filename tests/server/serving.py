"""Real servers for tests: in a thread, or as the command with its workers."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from tests.server.asyncapi import conforms
from websockets.sync.client import ClientConnection, connect

from voicetone.audio.telephony import s16le_decode, s16le_encode
from voicetone.inference.live import LiveSession, WindowEvent
from voicetone.pretrained.predictor import Predictor
from voicetone.server.app import make_app, make_state
from voicetone.server.clock import Clock
from voicetone.server.settings import Settings
from voicetone.server.state import ServerState
from voicetone.server.store import StoreSettings
from voicetone.server.wire import Ws, http_of

RATE = 8000
START = {"type": "session.start", "sample_rate": RATE, "consent": True}


def quiet_settings(**changes: Any) -> Settings:
    """Without a store, which each test that wants one names itself."""
    return replace(Settings(store=StoreSettings(url="")), **changes)


@contextmanager
def serving(
    predictor: Predictor, settings: Settings | None = None, clock: Clock | None = None
) -> Iterator[tuple[ServerState, int]]:
    """One worker in a thread; its state (of another thread's loop) and its port."""
    settings = settings or quiet_settings()
    state = make_state(settings, predictor, clock=clock)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(state),
            port=0,
            http=http_of(settings.connections),
            ws=Ws,
            ws_max_size=1 << 20,
            ws_per_message_deflate=False,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    for _ in range(1000):
        if server.started:
            break
        thread.join(0.01)
    assert server.started
    try:
        yield state, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


class Command:
    """`voicetone serve` as a process; what it says is read as it comes."""

    def __init__(self, model: Path, *words: str, env: dict[str, str] | None = None) -> None:
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "voicetone", "serve", "--model", str(model), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        port = re.search(r"://[^ ]*:(\d+) ", self.said)
        self.port = int(port[1]) if port else 0

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.put(json.loads(line) if line.startswith("{") else {"event": line})

    def wait_for(self, event: str, seconds: float = 60.0) -> dict[str, Any]:
        """The next log line of an event."""
        while True:
            line = self.lines.get(timeout=seconds)
            self.seen.append(line)
            if line["event"] == event:
                return line

    def end(self, signal_: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self._reader.join(10)
            for pipe in (self.process.stdout, self.process.stderr):
                assert pipe is not None
                pipe.close()


def opened(port: int, path: str = "/v1/stream", **options: Any) -> ClientConnection:
    """A WebSocket that a test may close as roughly as it likes."""
    url = f"ws://127.0.0.1:{port}{path}"
    return connect(url, compression=None, proxy=None, **options).__enter__()


class Client:
    """A plain client of the native protocol that holds every message against the document."""

    def __init__(self, port: int, first: dict[str, Any], **options: Any) -> None:
        self.socket: ClientConnection = opened(port, **options)
        self.events: list[dict[str, Any]] = []
        self.send(first)
        self.first = self.get()

    def send(self, message: dict[str, Any] | bytes) -> None:
        if isinstance(message, dict):
            conforms(message)
            self.socket.send(json.dumps(message))
        else:
            self.socket.send(message)

    def get(self, seconds: float = 60.0) -> dict[str, Any]:
        """The next message."""
        said = json.loads(self.socket.recv(timeout=seconds))
        conforms(said)
        self.events.append(said)
        return said

    def until(self, type: str, seconds: float = 60.0) -> dict[str, Any]:
        """The next message of a type."""
        while (said := self.get(seconds))["type"] != type:
            pass
        return said

    def audio(self, data: bytes, step: int = 1600) -> None:
        for at in range(0, len(data), step):
            self.send(data[at : at + step])

    def cut(self) -> None:
        """As when a cable is pulled: no close is sent."""
        self.socket.socket.close()

    def finish(self) -> dict[str, Any]:
        """Close the session and read on to its end."""
        self.send({"type": "session.close"})
        return self.until("session.closed")


def speech(seconds: float, rate: int = RATE) -> bytes:
    """What the toy model takes for speech, as s16le; no second like another."""
    rng = np.random.default_rng(11)
    loud = 0.05 + 0.2 * np.abs(np.sin(np.arange(round(seconds * rate)) / rate * 0.9))
    return s16le_encode((loud * rng.standard_normal(loud.size)).astype(np.float32))


def windows_of_file(predictor: Predictor, data: bytes) -> list[tuple[Any, ...]]:
    """The windows of the same audio as a recording."""
    session = LiveSession(predictor, RATE)
    events = session.push(s16le_decode(data)) + session.close()
    return [_key(e.window.to_dict()) for e in events if isinstance(e, WindowEvent)]


def windows_of(events: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Those that a client heard."""
    return [_key(e) for e in events if e["type"] == "window"]


def _key(window: dict[str, Any]) -> tuple[Any, ...]:
    scores = window["sentiment"] or {}
    return (window["start"], window["end"], *(round(v, 3) for _, v in sorted(scores.items())))
