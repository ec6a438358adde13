"""A server on this machine that speaks the chat protocol, as well or badly as a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NEGATIVE = {"positive": 0.05, "neutral": 0.15, "negative": 0.8}


@dataclass(frozen=True)
class Reply:
    """What the server says to one request.

    `drip` sends a byte at a time with so many seconds between; `before` waits first.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drip: float = 0.0
    before: float = 0.0


@dataclass
class Server:
    """What was asked, and what will be answered."""

    url: str
    answer: Callable[[dict[str, Any], int], Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


def chat(content: object, **message: object) -> Reply:
    """A well-formed completion with this content."""
    text = content if isinstance(content, str) else json.dumps(content)
    body = {
        "choices": [
            {"message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 200, "completion_tokens": 30},
    }
    return Reply(json.dumps(body).encode())


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], Reply]) -> Iterator[Server]:
    """The server while the block runs; `answer` gets the request and its number from 0."""
    state = Server("", answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            data = json.loads(self.rfile.read(size))
            number = len(state.requests)
            state.requests.append(data)
            state.headers.append({k.lower(): v for k, v in self.headers.items()})
            state.paths.append(self.path)
            with suppress(OSError):  # the client hangs up, as it should, on a slow answer
                self._reply(state.answer(data, number))

        def _reply(self, reply: Reply) -> None:
            time.sleep(reply.before)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if not reply.drip:
                self.wfile.write(reply.body)
                return
            for i in range(len(reply.body)):
                self.wfile.write(reply.body[i : i + 1])
                time.sleep(reply.drip)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
