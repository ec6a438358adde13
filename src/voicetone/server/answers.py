"""Refusals as answers to requests and to WebSocket handshakes."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from voicetone.server.refusal import RefusedError


async def denied(scope: Scope, receive: Receive, send: Send, said: RefusedError) -> None:
    """Answer a request or a WebSocket's handshake with a refusal."""
    response = refusal(said)
    if scope["type"] == "http":
        await response(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await receive()  # websocket.connect
        await response({**scope, "type": "websocket"}, receive, send)
    else:
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": said.code})


def refusal(said: RefusedError) -> JSONResponse:
    """A refusal as a response, the same on every route of our own."""
    headers = {}
    if said.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(said.retry_after)))
    if said.code == "unauthorised":
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(said.to_dict(), said.status, headers)
