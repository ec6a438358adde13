"""What all routes of one worker share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi.requests import HTTPConnection

from voicetone.server.clock import Clock
from voicetone.server.hub import Hub
from voicetone.server.keys import Key, Keys, Scope, bearer
from voicetone.server.peers import Peers
from voicetone.server.refusal import RefusedError
from voicetone.server.settings import Settings
from voicetone.server.tickets import Tickets, in_protocols, worker_of

if TYPE_CHECKING:
    from voicetone.server.desk import Desk
    from voicetone.server.logs import Log
    from voicetone.server.metrics import Metrics


@dataclass
class ServerState:
    """Lies in `app.state.server`.

    Args:
        settings: the operator's.
        hub: calls in progress of this worker.
        keys: credentials.
        clock: the time.
        peers: the other workers, and how to reach them.
        secret: random, the same for all workers of one server; signs what clients bring back.
        boot: random, another one for each start of a worker.
    """

    settings: Settings
    hub: Hub
    keys: Keys
    clock: Clock
    peers: Peers
    secret: bytes
    boot: str
    desk: Desk
    log: Log
    metrics: Metrics
    tickets: Tickets
    store: Any = None
    passing: int = 0
    """Clients of other workers' calls that are connected through this one."""
    extras: dict[str, Any] = field(default_factory=dict)
    """What one family of routes keeps, by its name."""

    @property
    def worker(self) -> int:
        """Its number, from 0."""
        return self.peers.worker


def state_of(connection: HTTPConnection) -> ServerState:
    """The state, from a request or a WebSocket."""
    state: ServerState = connection.app.state.server
    return state


async def require(connection: HTTPConnection, scope: Scope, counted: bool = True) -> Key:
    """The credential of a request or WebSocket, which must have a scope.

    A key is looked for in the header `Authorization: Bearer …`; a browser's WebSocket may bring a
    ticket as a subprotocol instead.

    Args:
        connection: the request or WebSocket.
        scope: what is to be done.
        counted: whether that is one more call by the key's rate limit.

    Raises:
        RefusedError: see `Keys.check`.
    """
    state = state_of(connection)
    ticket = in_protocols(connection.scope.get("subprotocols", []))
    if ticket is None or connection.scope["type"] != "websocket":
        return state.keys.check(bearer(connection.headers.get("authorization")), scope, counted)
    return state.keys.granted(await _redeemed(state, ticket), scope, counted)


async def _redeemed(state: ServerState, ticket: str) -> str:
    """The credential behind a ticket, whichever worker issued it."""
    worker = worker_of(ticket)
    if worker is None or worker == state.worker or worker >= state.peers.count:
        return state.tickets.redeem(ticket)
    answer = await state.peers.call(worker, "POST", "/internal/tickets", {"ticket": ticket})
    if not isinstance(answer, dict) or not isinstance(answer.get("credential"), str):
        raise RefusedError("unauthorised", "no valid ticket: get a new one")
    return str(answer["credential"])
