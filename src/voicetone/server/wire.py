"""What uvicorn's protocols lack: time-outs for those who say nothing, and clean refusals."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_SECONDS = 10.0
"""That a connection has for the whole head of its request, and for the handshake of TLS."""
BODY_SECONDS = 30.0
"""That may pass without a byte of a request's body while we wait for one."""


LINGER_SECONDS = 5.0
"""That the last messages on a WebSocket may take."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose servers wait for a handshake of TLS no longer than for a request."""

    async def create_server(self, *args: Any, **kwargs: Any) -> Any:
        """As usual."""
        if kwargs.get("ssl") is not None:
            kwargs.setdefault("ssl_handshake_timeout", HEAD_SECONDS)
        return await super().create_server(*args, **kwargs)


class Http(H11Protocol):
    """HTTP, closing connections that keep a request back.

    A stranger's open connection costs a descriptor. Those that have none of our answers under way
    are counted; one too many costs the oldest of them its place, so that no number of silent ones
    keeps a new one out. Made for a server by `http_of`.
    """

    most: ClassVar[int] = 1000
    """Connections without a request that there may be at once."""
    quiet: ClassVar[dict[Http, None]] = {}
    """Those that there are, the oldest first; each server has a dictionary of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._due: Literal["head", "body"] | None = None
        self._heard = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: its request is due."""
        super().connection_made(transport)
        self._set("head")
        self._rest()

    def data_received(self, data: bytes) -> None:
        """Some of a request."""
        self._heard = self.loop.time()
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._set(None)
        self.quiet.pop(self, None)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on the WebSocket's protocol has the connection."""
        self._set(None)
        self.quiet.pop(self, None)
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """The next request may be in already; while there is none, uvicorn's time-out runs."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._rest()
            self._look()

    def _look(self) -> None:
        """What does the client owe us now?"""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        state = self.conn.their_state
        if state is h11.IDLE:
            if self.conn.trailing_data[0]:
                self._set("head")  # counts from its first byte
            return
        self._set("body" if state is h11.SEND_BODY else None)
        if self.conn.our_state is not h11.DONE:  # a body that is not read takes no place
            self.quiet.pop(self, None)

    def _set(self, due: Literal["head", "body"] | None) -> None:
        """Run the time for this; if it runs already, it goes on."""
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due == "head":
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        elif due == "body":
            self._timer = self.loop.call_later(BODY_SECONDS, self._stalled)

    def _stalled(self) -> None:
        """No more of the body came, unless it is us who do not read."""
        wait = self._heard + BODY_SECONDS - self.loop.time()
        if self.flow.read_paused:
            wait = BODY_SECONDS
        if wait <= 0:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(wait, self._stalled)

    def _rest(self) -> None:
        """Take a place among the quiet ones, if need be the oldest's."""
        self.quiet.pop(self, None)
        self.quiet[self] = None
        while len(self.quiet) > self.most:
            oldest = next(iter(self.quiet))
            del self.quiet[oldest]
            oldest.transport.abort()


def http_of(most: int) -> type[Http]:
    """The protocol of one server, with so many connections without a request at once."""
    return type("Http", (Http,), {"most": most, "quiet": {}})


class Ws(WebSocketsSansIOProtocol):
    """WebSockets whose handshake is over once it is answered with a refusal, and that end.

    uvicorn 0.54 never notes the former, and calls each refusal an error of the application. Its
    close waits for ever for a client who reads nothing, who would keep the connection.
    """

    @property
    def saying(self) -> bool:
        """Whether the connection is open and no close was sent."""
        return not (self.close_sent or self.disconnected or self.transport.is_closing())

    async def send(self, message: Any) -> None:
        """As usual."""
        await super().send(message)
        if self.close_sent and self.initial_response is not None:
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        """As usual; nobody is waited for who does not take what is left."""
        await super().run_asgi()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)
