"""The web application of one worker: routes, their common errors and limits."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicetone._version import __version__
from voicetone.pretrained.predictor import Predictor
from voicetone.server.alerts import make_watch
from voicetone.server.answers import denied, refusal
from voicetone.server.clock import Clock, SystemClock
from voicetone.server.desk import Desk
from voicetone.server.engine import Engine
from voicetone.server.hub import Hub
from voicetone.server.keys import Keys
from voicetone.server.logs import Log
from voicetone.server.metrics import Metrics
from voicetone.server.peers import Peers
from voicetone.server.refusal import STATUS, Code, RefusedError
from voicetone.server.settings import Settings
from voicetone.server.state import ServerState
from voicetone.server.store import make_store
from voicetone.server.tickets import Tickets

INTERNAL = "voicetone.internal"
"""Set in the ASGI scope of what came through a worker's private socket."""

ROUTES: tuple[str, ...] = (
    "routes_native",
    "routes_calls",
    "routes_ops",
    "routes_files",
    "routes_voices",
    "routes_telephony",
    "chime",
    "routes_page",
)
"""Modules of this room, each with a `router`. One may also have `async def lifespan(state)`, an
asynchronous context manager that is open while the server runs."""

PROBES: tuple[str, ...] = ("/healthz", "/readyz")
"""Paths that are answered however many connections there are."""

OWN_LIMIT: tuple[str, ...] = ("/v1/analyze", "/v1/jobs")
"""Paths, and those below them, whose routes bound what they read themselves."""
OWN_LIMIT_ALONE: tuple[str, ...] = ("/v1/voices",)
"""Such paths without those below."""


def make_state(
    settings: Settings,
    predictor: Predictor,
    *,
    peers: Peers | None = None,
    secret: bytes | None = None,
    clock: Clock | None = None,
) -> ServerState:
    """All that one worker has, not yet running.

    Args:
        settings: the operator's.
        predictor: the model.
        peers: the other workers; none by default.
        secret: shared by all workers; a random one by default.
        clock: the time.

    Raises:
        DataError: keys that can't be.
        UsageError: a store or targets that can't be.
    """
    clock, peers = clock or SystemClock(), peers or Peers()
    secret = secret or secrets.token_bytes(32)
    hub = Hub(Engine(predictor, clock), settings.limits, clock, make_watch(settings.alerts))
    store = make_store(settings.store, settings.targets, clock, worker=peers.worker)
    return ServerState(
        settings=settings,
        hub=hub,
        keys=Keys(settings.keys, clock, 1 / peers.count),
        clock=clock,
        peers=peers,
        secret=secret,
        boot=secrets.token_urlsafe(8),
        desk=Desk(hub, settings),
        log=Log(clock, peers.worker, secret),
        metrics=Metrics(hub, peers.worker, None if store is None else store.health),
        tickets=Tickets(peers.worker, clock),
        store=store,
    )


def make_app(state: ServerState) -> FastAPI:
    """The application. The hub runs while the application's lifespan is open."""
    # No /docs page: its scripts would come from somebody else's server. /openapi.json is there.
    app = FastAPI(
        title="voicetone", version=__version__, lifespan=_lifespan, docs_url=None, redoc_url=None
    )
    app.state.server = state
    for name in ROUTES:
        app.include_router(import_module(f"voicetone.server.{name}").router)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _defect)
    app.add_middleware(Guard, state=state)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: ServerState = app.state.server
    state.hub.start()
    for told in (state.metrics.told, state.log.told, state.desk.told):
        state.hub.subscribe(told)
    if state.store is not None:
        state.store.start()
        state.hub.subscribe(state.store.told)
    try:
        async with AsyncExitStack() as stack:
            for name in ROUTES:
                own = getattr(import_module(f"voicetone.server.{name}"), "lifespan", None)
                if own is not None:
                    await stack.enter_async_context(own(state))
            yield
    finally:
        await state.hub.stop()
        if state.store is not None:
            await asyncio.to_thread(state.store.stop)


class Guard:
    """Around the application: how many at once, origins, private paths, sizes of bodies.

    Args:
        app: what is guarded.
        state: the worker's.
    """

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app, self._state = app, state
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        said = self._wrong(scope, headers)
        if said is not None:
            await denied(scope, receive, send, said)
            return
        path = str(scope["path"])
        if scope["type"] == "http" and not own_limit(path):
            receive = _capped(receive, self._state.settings.request_bytes)
        if scope.get(INTERNAL) or path in PROBES:
            await self._app(scope, receive, send)
            return
        if self._open >= self._state.settings.connections:
            await denied(scope, receive, send, _full())
            return
        self._open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1

    def _wrong(self, scope: Scope, headers: dict[bytes, bytes]) -> RefusedError | None:
        path = str(scope["path"])
        if path.startswith("/internal/") and not scope.get(INTERNAL):
            return RefusedError("not_found", "no such page here")
        if "\0" in path or b"%00" in scope["query_string"]:  # which no database would look for
            return RefusedError("bad_request", "a NUL in the address: leave it out")
        length = headers.get(b"content-length", b"0")
        most = self._state.settings.request_bytes
        if scope["type"] == "http" and not own_limit(path) and _more(length, most):
            return _too_large(most)
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._state.keys.open and not scope.get(INTERNAL) and not local_name(host):
            return RefusedError("forbidden", "without keys this server answers to localhost only")
        origin = headers.get(b"origin")
        if origin is None or scope.get("method") in ("GET", "HEAD", "OPTIONS"):
            return None
        if not allowed_origin(origin.decode("latin-1"), host, self._state.settings.origins):
            return RefusedError("forbidden", "this origin may not connect: add it to origins")
        return None


def own_limit(path: str) -> bool:
    """Whether the route of a path bounds what it reads itself."""
    return path.startswith(OWN_LIMIT) or path in OWN_LIMIT_ALONE


def allowed_origin(origin: str, host: str, origins: tuple[str, ...]) -> bool:
    """Whether a browser's page of this origin may open a WebSocket to `host`.

    Args:
        origin: the header, such as `https://desk.example`.
        host: the header, with the port if there is one.
        origins: others that the operator allows.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    return parts.netloc.lower() == host or origin.rstrip("/") in origins


def local_name(host: str) -> bool:
    """Whether no stranger can have pointed this name at a server on loopback.

    Without keys, a page of `evil.example` could otherwise have its name resolve to 127.0.0.1 and
    then be of the same origin as the server (DNS rebinding). Addresses and names without a dot
    can't be had for that.

    Args:
        host: the header, with the port if there is one.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.endswith(".localhost") or "." not in name:
        return True
    return all(part.isdigit() for part in name.split("."))


def internal(app: ASGIApp) -> ASGIApp:
    """The application as the private socket has it: its private paths are there, too."""

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, INTERNAL: True}, receive, send)

    return inner


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return refusal(error)


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0] if error.errors() else {"loc": (), "msg": "not valid"}
    where = ".".join(str(part) for part in first["loc"])
    return refusal(RefusedError("bad_request", f"{where}: {first['msg']}: mend the request"))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code: Code = next((c for c, s in STATUS.items() if s == error.status_code), "bad_request")
    body: dict[str, Any] = {"code": code, "message": str(error.detail)}
    return JSONResponse(body, error.status_code, error.headers)


async def _left(request: Request, error: Exception) -> Response:
    """The client went in the middle of its request; nobody reads this answer."""
    state: ServerState = request.app.state.server
    state.log.say("client.left", path=request.url.path)
    return refusal(RefusedError("bad_request", "the request was cut off: send all of it"))


async def _defect(request: Request, error: Exception) -> Response:
    state: ServerState = request.app.state.server
    state.log.defect(request.url.path, error)
    return refusal(RefusedError("internal", "a defect of the server: its log has more"))


def _more(length: bytes, most: int) -> bool:
    return not length.isdigit() or len(length) > 18 or int(length) > most


def _too_large(most: int) -> RefusedError:
    return RefusedError("message_too_large", f"more than {most} bytes: send less at once")


def _full() -> RefusedError:
    return RefusedError("overloaded", "all connections are in use: try again shortly", 5.0)


def _capped(receive: Receive, most: int) -> Callable[[], Awaitable[Message]]:
    """Counts what comes, for bodies that don't say their length."""
    taken = 0

    async def inner() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise HTTPException(413, str(_too_large(most)))
        return message

    return inner
