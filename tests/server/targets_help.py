"""What the tests of targets share: events, a webhook's other side, short waits."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from voicetone.server import outbox
from voicetone.server.clock import SystemClock
from voicetone.server.events import CallEvent, EventType
from voicetone.server.store import Store, StoreSettings
from voicetone.server.targets import (
    AnyTarget,
    Delivery,
    WebhookSettings,
)

DAY = 1_700_000_000.0
SECRET = "a secret of the tests, long enough"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "FIRST_BACKOFF", 0.05)
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


def event(call: str, seq: int, type: EventType = "tone", **body: Any) -> CallEvent:
    return CallEvent(call, seq, DAY + seq, type, 1, {"end": 2.5 * seq, **body})


def until(done: Callable[[], object], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.02)


def made(tmp_path: Path, *targets: AnyTarget) -> Store:
    url = f"sqlite:///{tmp_path}/calls.db"
    return Store(StoreSettings(url=url), SystemClock(), targets)


class Hook:
    """A webhook's other side."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, Any]], int] = lambda body: 204
        self.wrong = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                hook._take(dict(self.headers), data, self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _take(self, headers: dict[str, str], data: bytes, handler: BaseHTTPRequestHandler) -> None:
        stamp = headers["Voicetone-Timestamp"]
        mac = hmac.new(SECRET.encode(), stamp.encode() + b"." + data, hashlib.sha256).hexdigest()
        if headers["Voicetone-Signature"] != f"v1={mac}" or abs(time.time() - int(stamp)) > 60:
            self.wrong += 1
        body = json.loads(data)
        status = self.answer(body)
        if status == 204:
            self.got.append(body)
            self.headers.append(headers)
        handler.send_response(status)
        if status in (301, 302, 307):
            handler.send_header("Location", f"http://127.0.0.1:{self.port}/elsewhere")
        handler.end_headers()

    def settings(self, **changes: Any) -> WebhookSettings:
        usual: dict[str, Any] = {
            "name": "hook",
            "url": f"http://127.0.0.1:{self.port}/events?x=1",
            "secret_env": "HOOK_SECRET",
            "allow_http": True,
            "allow_private": True,
        }
        return WebhookSettings(**{**usual, **changes})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


def deliveries(count: int, call: str = "c", queue: str | None = None) -> list[Delivery]:
    bodies = [json.dumps(event(call, seq).to_dict()) for seq in range(1, count + 1)]
    return [
        Delivery(seq, call, str(seq), queue, DAY + seq, body) for seq, body in enumerate(bodies, 1)
    ]
