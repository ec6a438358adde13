"""The web page at `/`, and what only it asks for: a feed of all calls, and reports of past ones."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from voicetone._version import __version__
from voicetone.evaluation.call_report import render
from voicetone.evaluation.page import TEMPLATES
from voicetone.server.events import CallEvent, iso
from voicetone.server.page_data import Board, Viewer, result_of
from voicetone.server.refusal import RefusedError
from voicetone.server.state import ServerState, require, state_of
from voicetone.types import FileResult

router = APIRouter(include_in_schema=False)

PACE_SECONDS = 0.3
"""Between two messages to a viewer: what changes meanwhile goes into one."""
BEAT_SECONDS = 15.0
"""Of silence, after which a line is sent so that the page knows that the connection is alive."""
STALLED_SECONDS = 30.0
"""A viewer that takes nothing for so long is let go; its page comes back by itself."""
AGAIN_SECONDS = 1.0
"""Before another worker that went away is asked again."""
EVENTS_AT_ONCE = 5000
MOST_EVENTS = 200_000
"""Of a call whose report is made: more than the longest call has."""

FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "app.js": "text/javascript; charset=utf-8",
    "access.js": "text/javascript; charset=utf-8",
    "archive.js": "text/javascript; charset=utf-8",
    "calls.js": "text/javascript; charset=utf-8",
    "feed.js": "text/javascript; charset=utf-8",
    "history.js": "text/javascript; charset=utf-8",
    "microphone.js": "text/javascript; charset=utf-8",
    "resample.js": "text/javascript; charset=utf-8",
    "tools.js": "text/javascript; charset=utf-8",
    "worklet.js": "text/javascript; charset=utf-8",
}
"""All that the page consists of; no other file can be asked for."""


@asynccontextmanager
async def lifespan(state: ServerState) -> AsyncIterator[None]:
    """While the server runs, the board follows its calls."""
    feeds = _Feeds(state)
    state.extras["page"] = feeds
    stop = state.hub.subscribe(feeds.told)
    try:
        yield
    finally:
        stop()
        await feeds.rest()


@router.get("/")
async def index(request: Request) -> Response:
    """The page itself; it holds nothing that needs a key."""
    return _file(request, "index.html")


@router.get("/page/{name}")
async def part(request: Request, name: str) -> Response:
    """A script, the style or the icon."""
    return _file(request, name)


@router.get("/v1/page")
async def about(request: Request) -> dict[str, Any]:
    """What the page has to know before it can ask for more; no key is needed."""
    state = state_of(request)
    _require_page(state)
    return {
        "version": __version__,
        "keys": not state.keys.open,
        "store": state.store is not None,
        "notice": state.settings.notice,
    }


@router.get("/v1/feed")
async def feed(request: Request) -> Response:
    """The calls of all workers as server-sent events, until the viewer leaves."""
    state = state_of(request)
    _require_page(state)
    await require(request, "read")
    feeds = _feeds(state)
    if feeds.board.viewers >= state.settings.page.viewers:
        raise RefusedError(
            "overloaded", "as many pages are open as this server allows: close one", 30.0
        )
    return _FeedResponse(state)


@router.websocket("/internal/feed")
async def own_feed(websocket: WebSocket) -> None:
    """The calls of this worker, for another one whose pages are open."""
    await websocket.accept()
    board = _feeds(state_of(websocket)).board
    viewer = board.watch(own=True)

    async def send(message: Mapping[str, Any]) -> None:
        await websocket.send_text(_json(message))

    gone = asyncio.create_task(_left(websocket))
    told = asyncio.create_task(_tell(viewer, send))
    try:
        await asyncio.wait((gone, told), return_when=asyncio.FIRST_COMPLETED)
    finally:
        board.leave(viewer)
        await _cancelled(gone, told)


@router.get("/v1/calls/{id}/report")
async def report(request: Request, id: str) -> dict[str, Any]:
    """The report of a stored call as a page of HTML, with its alerts and gaps beside it."""
    await require(request, "read")
    state = state_of(request)
    call = None if state.store is None else await state.store.call(id)
    if call is None:
        raise RefusedError("not_found", "no such call in the store")
    events: list[dict[str, Any]] = []
    while len(events) < MOST_EVENTS:
        after = events[-1]["seq"] if events else 0
        more = await state.store.events(id, after=after, limit=EVENTS_AT_ONCE)
        events += more
        if len(more) < EVENTS_AT_ONCE:
            break
    spec = state.hub.engine.predictor.spec
    result = result_of(call, events)
    card = spec.model_dump(mode="json") if spec.id == result.model else {}
    async with _feeds(state).one_report:
        html = await asyncio.to_thread(_rendered, result, card)
    alerts = [{k: e.get(k) for k in _ALERT} for e in events if e["type"] == "alert"]
    gaps = [{k: e[k] for k in ("start", "end", "reason")} for e in events if e["type"] == "gap"]
    return {"id": id, "html": html, "alerts": alerts, "gaps": gaps}


class _Feeds:
    """The board of one worker, and its lines to the others while somebody looks."""

    def __init__(self, state: ServerState) -> None:
        self.board = Board(state.worker)
        self.one_report = asyncio.Semaphore(1)
        self._state = state
        self._lines: list[asyncio.Task[None]] = []

    def told(self, event: CallEvent) -> None:
        """A subscriber of the hub."""
        if event.type != "window":  # most events are, and none of them is shown
            self.board.told(event.to_dict())

    def watch(self) -> Viewer:
        """A page is open."""
        if not self._lines:
            others = self._state.peers.others
            self._lines = [asyncio.create_task(self._follow(worker)) for worker in others]
        return self.board.watch()

    async def leave(self, viewer: Viewer) -> None:
        """It is closed."""
        self.board.leave(viewer)
        if not self.board.viewers:
            await self.rest()

    async def rest(self) -> None:
        """Follow the other workers no more."""
        lines, self._lines = self._lines, []
        await _cancelled(*lines)
        if lines:
            self.board.forget([c.id for c in self.board.calls.values() if self._foreign(c.worker)])

    def _foreign(self, worker: int) -> bool:
        return worker != self._state.worker

    async def _follow(self, worker: int) -> None:
        """Put another worker's calls on the board, for as long as it is there, and again."""
        while True:
            with contextlib.suppress(RefusedError):
                peer = await self._state.peers.websocket(worker, "/internal/feed")
                try:
                    async for message in peer:
                        self.board.heard(json.loads(message), worker)
                except OSError:
                    pass
                finally:
                    await peer.close()
            self.board.forget([c.id for c in self.board.of(worker) if not c.ended])
            await asyncio.sleep(AGAIN_SECONDS)


class _FeedResponse(Response):
    """Server-sent events (HTML standard, 9.2), each a JSON object."""

    def __init__(self, state: ServerState) -> None:
        super().__init__(media_type="text/event-stream", headers=_STREAM_HEADERS)
        self._state = state
        self._send: Send | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Until the viewer is gone, takes nothing, or the server has nothing more to tell."""
        headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        feeds = _feeds(self._state)
        viewer = feeds.watch()

        async def event(message: Mapping[str, Any]) -> None:
            await _chunk(send, f"data: {_json({**message, 'now': iso(self._state.clock.wall())})}")

        gone = asyncio.create_task(_disconnected(receive))
        told = asyncio.create_task(_tell(viewer, event))
        beat = asyncio.create_task(_beat(send, self._state))
        try:
            await asyncio.wait((gone, told, beat), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(gone, told, beat)
            await feeds.leave(viewer)
        with contextlib.suppress(OSError):
            await send({"type": "http.response.body", "body": b""})


async def _tell(viewer: Viewer, send: Any) -> None:
    """Send what a viewer has not been told, again and again."""
    while True:
        await viewer.wait()
        message = viewer.next()
        if message is not None:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(message)
        await asyncio.sleep(PACE_SECONDS)


async def _beat(send: Send, state: ServerState) -> None:
    """Keep the connection alive; return when the server has drained."""
    beaten = state.clock.steady()
    while not (state.hub.draining and not state.hub.calls):
        await asyncio.sleep(0.5)
        if state.clock.steady() - beaten >= BEAT_SECONDS:
            beaten = state.clock.steady()
            async with asyncio.timeout(STALLED_SECONDS):
                await _chunk(send, ":")


async def _chunk(send: Send, text: str) -> None:
    body = f"{text}\n\n".encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _left(websocket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.receive_text()


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _feeds(state: ServerState) -> _Feeds:
    feeds: _Feeds = state.extras["page"]
    return feeds


def _rendered(result: FileResult, card: Mapping[str, Any]) -> str:
    return render(result, spec=card)


def _json(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def _require_page(state: ServerState) -> None:
    if not state.settings.page.enabled:
        raise RefusedError("not_found", _NO_PAGE)


def _file(request: Request, name: str) -> Response:
    _require_page(state_of(request))
    if name not in FILES:
        raise RefusedError("not_found", _NO_PAGE)
    body, tag = _content(name)
    headers = {**_HEADERS, "ETag": tag, "Content-Security-Policy": policy()}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=FILES[name], headers=headers)


@cache
def _content(name: str) -> tuple[bytes, str]:
    body = resources.files("voicetone.server").joinpath("page", name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


@cache
def policy() -> str:
    """The content-security policy: the page's own files, and in a frame the report's own script.

    The report is shown in a frame without an address, which is under the page's policy as well as
    its own: so its one script and its one style are allowed by what they hold.
    """
    script, style = (_digest(f"call_report.{kind}") for kind in ("js", "css"))
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {script}",
            f"style-src 'self' {style}",
            "connect-src 'self'",
            "img-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _digest(template: str) -> str:
    text = (TEMPLATES / template).read_text("utf-8")
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_NO_PAGE = "no such page here"
_ALERT = ("time", "channel", "rule", "kind", "at", "message")
_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=()",
}
_STREAM_HEADERS = {**_HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
