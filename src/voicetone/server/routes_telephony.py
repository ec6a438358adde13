"""Telephone systems: `/v1/twilio`, `/v1/audiohook`, and the calls that AudioSocket may bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.websockets import WebSocketState

from voicetone.server.answers import denied
from voicetone.server.audiohook import AudioHookSession, State
from voicetone.server.audiohook_auth import Nonces, client_secret, verify
from voicetone.server.audiosocket import Registration
from voicetone.server.audiosocket_server import registered, serve_audiosocket
from voicetone.server.call import LiveCall
from voicetone.server.events import CallEvent
from voicetone.server.keys import LOCAL, Key
from voicetone.server.refusal import RefusedError
from voicetone.server.state import ServerState, require, state_of
from voicetone.server.telephony import Action, Open, Send, from_environment
from voicetone.server.telephony_call import Runner
from voicetone.server.twilio import TwilioStream, check_signature

START_SECONDS = 10.0
"""That a connection may take to start its call."""
CLOSE_SECONDS = 5.0
"""That the other side may take to close after the server has said so."""
REST_SECONDS = 8.0
"""That the analysis of a call's last seconds may take; Genesys waits 10 s."""
OUTGOING = 256
"""Messages that may wait for a slow reader."""
TWILIO = Key("twilio", ("telephony",))
"""Whoever Twilio's signature vouches for."""

router = APIRouter()


@asynccontextmanager
async def lifespan(state: ServerState) -> AsyncIterator[None]:
    """Open the AudioSocket port, on the first worker only; a missing secret shows here."""
    _auth_token(state)
    settings, server = state.settings.audiosocket, None
    if settings.port is not None and state.worker == 0:
        server = await serve_audiosocket(state, settings)
        state.extras["audiosocket.server"] = server
    try:
        yield
    finally:
        if server is not None:
            server.close()


# -- Twilio ----------------------------------------------------------------------------------------


@router.websocket("/v1/twilio")
async def twilio(websocket: WebSocket) -> None:
    """A Twilio Media Stream, or Telnyx's or Exotel's."""
    state = state_of(websocket)
    try:
        key = await _twilio_key(state, websocket)
        _require_awake(state)
    except RefusedError as error:
        await _deny(state, websocket, error)
        return
    await websocket.accept()
    stream = TwilioStream(state.settings.twilio, key.consent, key.queue, key.name)
    runner = Runner(state.hub, state.settings.bad_messages)
    watch: asyncio.Task[None] | None = None
    try:
        while not stream.over:
            message = await _received(websocket, None if runner.call else START_SECONDS)
            if message is None:
                break
            try:
                if isinstance(message, bytes):
                    raise RefusedError("bad_request", "a binary message: send JSON as text")
                await runner.do(_doable(stream.text(message)))
            except RefusedError as error:
                if runner.call is None:
                    state.log.say("twilio.refused", code=error.code)
                    await _close(websocket, 1013 if error.retry_after else 1008, error.code)
                    return
                runner.wrong(error)
            if watch is None and runner.call is not None:
                watch = asyncio.create_task(_close_after(runner.call, websocket))
        await runner.do(_doable(stream.gone()))
    finally:
        if runner.running and runner.call is not None:
            runner.call.close("gone")
        if watch is not None:
            watch.cancel()
        await _close(websocket, 1000, "stopped")


async def _twilio_key(state: ServerState, websocket: WebSocket) -> Key:
    """Who vouches for the connection: Twilio's signature, or a key (for those who can't sign)."""
    token, signature = _auth_token(state), websocket.headers.get("x-twilio-signature")
    if token is None or (signature is None and not state.keys.open):
        return await require(websocket, "telephony")
    if signature is None:
        raise RefusedError("unauthorised", "no X-Twilio-Signature: let Twilio connect")
    url = state.settings.twilio.public_url
    if url is None:
        url = f"wss://{websocket.headers.get('host', '')}{_target(websocket)}"
    check_signature(token, url, signature)
    return TWILIO


def _auth_token(state: ServerState) -> str | None:
    name = state.settings.twilio.auth_token_env
    return None if name is None else from_environment(name)


# -- Genesys ---------------------------------------------------------------------------------------


@router.websocket("/v1/audiohook")
async def audiohook(websocket: WebSocket) -> None:
    """A Genesys AudioHook session."""
    state = state_of(websocket)
    try:
        key = _audiohook_key(state, websocket)
        _require_awake(state)
    except RefusedError as error:
        await _deny(state, websocket, error)
        return
    await websocket.accept()
    session = AudioHookSession(
        state.settings.audiohook,
        websocket.headers.get("audiohook-session-id"),
        websocket.headers.get("audiohook-organization-id"),
        key.consent,
        key.queue,
        key.name,
    )
    await _AudioHook(state, websocket, session).run()


class _AudioHook:
    """One connection of Genesys's."""

    def __init__(self, state: ServerState, websocket: WebSocket, session: AudioHookSession) -> None:
        self._state, self._websocket, self._session = state, websocket, session
        self._runner = Runner(state.hub, state.settings.bad_messages)
        self._out: asyncio.Queue[str | None] = asyncio.Queue(OUTGOING)
        self._watch: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until it ends."""
        sender = asyncio.create_task(self._send())
        leave = self._state.hub.subscribe(self._told)
        try:
            await self._read()
        finally:
            leave()
            if self._runner.running and self._runner.call is not None:
                self._runner.call.close("gone")
            if self._watch is not None:
                self._watch.cancel()
            with suppress(asyncio.QueueFull):
                self._out.put_nowait(None)
            await asyncio.wait([sender], timeout=CLOSE_SECONDS)
            sender.cancel()
            await _close(self._websocket, 1000, "closed")

    async def _read(self) -> None:
        session = self._session
        while session.state is not State.CLOSED:
            message = await _received(self._websocket, self._patience())
            if message is None:
                await self._do(session.gone())
                return
            if isinstance(message, bytes):
                await self._do(session.binary(message))
            else:
                await self._do(session.text(message))
            if session.state is State.CLOSING:
                await self._runner.ended(REST_SECONDS)
                await self._do(session.closed())

    def _patience(self) -> float | None:
        match self._session.state:
            case State.NEW | State.OPENING:
                return START_SECONDS
            case State.LEAVING:
                return CLOSE_SECONDS
            case _:
                return self._state.settings.limits.idle if self._session.probe else None

    async def _do(self, actions: Iterable[Action]) -> None:
        """Carry out actions; what goes wrong makes the server disconnect."""
        for action in actions:
            try:
                if isinstance(action, Send):
                    self._put(action.text)
                    continue
                await self._runner.do([action])
                if isinstance(action, Open) and self._runner.call is not None:
                    self._watch = asyncio.create_task(self._watched(self._runner.call))
                    await self._do(self._session.opened())
            except RefusedError as error:
                self._state.log.say("audiohook.refused", code=error.code)
                self._runner.failed(error)
                await self._do(self._session.refuse(error))

    def _put(self, text: str) -> None:
        if self._out.full():
            raise RefusedError("too_slow", "messages are not read: read them as they come")
        self._out.put_nowait(text)

    def _told(self, event: CallEvent) -> None:
        """An event of some call; those of this one are sent back where the operator wants it."""
        call = self._runner.call
        if call is None or event.call != call.id or self._out.qsize() > OUTGOING // 2:
            return
        for action in self._session.event(event):
            if isinstance(action, Send):
                self._out.put_nowait(action.text)

    async def _watched(self, call: LiveCall) -> None:
        """Disconnect when the server ends the call."""
        await call.ended()
        await self._do(self._session.leave(call.closed or "ended"))
        if self._session.state is State.LEAVING:
            await asyncio.sleep(CLOSE_SECONDS)
            await _close(self._websocket, 1000, "ended")

    async def _send(self) -> None:
        with suppress(RuntimeError, WebSocketDisconnect):  # the socket is closed
            while (text := await self._out.get()) is not None:
                await self._websocket.send_text(text)


def _audiohook_key(state: ServerState, websocket: WebSocket) -> Key:
    """The credential that `x-api-key` names, which the signature proves."""
    if state.keys.open:
        return LOCAL
    headers = {name: ", ".join(websocket.headers.getlist(name)) for name in websocket.headers}
    name = headers.get("x-api-key", "")
    nonces = state.extras.setdefault("audiohook.nonces", Nonces())
    secret = client_secret(state.keys.secret(name))
    verify(headers, _target(websocket), secret, state.clock.wall(), nonces)
    return state.keys.granted(name, "telephony")


# -- AudioSocket -----------------------------------------------------------------------------------

Text = Annotated[str, Field(min_length=1, max_length=200)]


class ExpectedCall(BaseModel):
    """A call that Asterisk is about to send.

    `uuid` may be left out: the answer has a new one. `name` says who is heard.
    """

    model_config = ConfigDict(extra="forbid")

    uuid: UUID | None = None
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    consent: bool | None = None
    queue: Text | None = None
    external: Text | None = None
    metadata: Annotated[
        dict[Text, Annotated[str, Field(max_length=256)]], Field(max_length=32)
    ] = {}


class RegisteredCall(BaseModel):
    """Asterisk may bring it within so many seconds, once."""

    uuid: UUID
    expires_in: float


@router.post("/v1/audiosocket/calls", status_code=201)
async def expect_call(request: Request, body: ExpectedCall) -> RegisteredCall:
    """Register a call that Asterisk is going to bring by AudioSocket."""
    state = state_of(request)
    key = await require(request, "telephony")
    settings = state.settings.audiosocket
    if settings.port is None:
        raise RefusedError("not_found", "no AudioSocket here: set port in [audiosocket]")
    consent = key.consent or settings.consent if body.consent is None else body.consent
    if not consent:
        raise RefusedError(
            "consent_required",
            "no consent: register a call with consent = true once those who are heard know that "
            "their voice's tone is analysed and agree",
        )
    call = Registration(
        name=body.name or settings.name,
        consent=True,
        queue=body.queue or key.queue or settings.queue,
        external=body.external,
        credential=key.name,
        metadata=dict(body.metadata),
    )
    id = body.uuid or uuid4()
    if state.worker == 0:
        _expect(state, id, call)
    else:
        said = {"uuid": str(id), "call": call.to_dict()}
        await state.peers.call(0, "POST", "/internal/audiosocket/calls", said)
    return RegisteredCall(uuid=id, expires_in=settings.register_seconds)


@router.post("/internal/audiosocket/calls", include_in_schema=False)
async def expect_for_another(request: Request) -> JSONResponse:
    """The same from another worker, which has checked it."""
    said: dict[str, Any] = await request.json()
    _expect(state_of(request), UUID(said["uuid"]), Registration(**said["call"]))
    return JSONResponse({})


def _expect(state: ServerState, id: UUID, call: Registration) -> None:
    now = state.clock.steady()
    registered(state).add(id, call, now + state.settings.audiosocket.register_seconds, now)


# -- WebSockets ------------------------------------------------------------------------------------


def _doable(actions: Iterable[Action]) -> list[Any]:
    return [action for action in actions if not isinstance(action, Send)]


def _target(websocket: WebSocket) -> str:
    """Path and query as they were asked for."""
    path = websocket.scope.get("raw_path") or websocket.scope["path"].encode()
    query = websocket.scope.get("query_string", b"")
    return str((path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1"))


async def _received(websocket: WebSocket, seconds: float | None) -> str | bytes | None:
    """The next message; None when the other side is gone, or says nothing for too long."""
    try:
        message = await asyncio.wait_for(websocket.receive(), seconds)
    except (TimeoutError, RuntimeError):
        return None
    if message["type"] != "websocket.receive":
        return None
    text: str | None = message.get("text")
    return text if text is not None else bytes(message.get("bytes") or b"")


async def _close_after(call: LiveCall, websocket: WebSocket) -> None:
    """Close once the call has ended, whoever ended it."""
    await call.ended()
    await _close(websocket, 1000, call.closed or "ended")


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    if websocket.application_state is WebSocketState.CONNECTED:
        with suppress(RuntimeError, OSError, WebSocketDisconnect):
            await websocket.close(code, reason)


async def _deny(state: ServerState, websocket: WebSocket, error: RefusedError) -> None:
    """Turn a handshake down."""
    state.log.say("telephony.refused", code=error.code, path=websocket.url.path)
    await denied(websocket.scope, websocket.receive, websocket.send, error)


def _require_awake(state: ServerState) -> None:
    if state.hub.draining:
        raise RefusedError("draining", "the server is going down: try again shortly", 5.0)
