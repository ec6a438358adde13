"""Tickets: what a browser shows in place of a key. Good once and for a minute.

A ticket names the worker that issued it, which alone remembers it: showing it there takes it out
of memory, so none works twice, and none outlives its worker.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from voicetone.server.clock import Clock
from voicetone.server.refusal import RefusedError

SECONDS = 60.0
MOST = 10_000
"""Tickets that are out at once; the oldest goes for a new one."""
PROTOCOL = "voicetone.v1"
PREFIX = "voicetone.ticket."
"""Of the WebSocket subprotocol that carries a ticket."""


@dataclass(frozen=True, slots=True)
class _Out:
    credential: str
    until: float


class Tickets:
    """Those that one worker has issued.

    Args:
        worker: its number, which each ticket bears.
        clock: the time.
    """

    def __init__(self, worker: int, clock: Clock) -> None:
        self._worker, self._clock = worker, clock
        self._out: dict[str, _Out] = {}

    def issue(self, credential: str) -> str:
        """A ticket for the bearer of a credential."""
        while len(self._out) >= MOST:
            del self._out[next(iter(self._out))]
        nonce = secrets.token_urlsafe(24)
        self._out[nonce] = _Out(credential, self._clock.steady() + SECONDS)
        return f"{self._worker}.{nonce}"

    def redeem(self, ticket: str) -> str:
        """The name of the credential behind a ticket of this worker, once.

        Raises:
            RefusedError: it was used, is too old, or never was one.
        """
        out = self._out.pop(ticket.partition(".")[2], None)
        if out is None or self._clock.steady() > out.until:
            raise RefusedError("unauthorised", "no valid ticket: get a new one")
        return out.credential


def worker_of(ticket: str) -> int | None:
    """Which worker issued it, by what it says."""
    number = ticket.partition(".")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 5 else None


def in_protocols(protocols: list[str]) -> str | None:
    """The ticket among the subprotocols that a browser offers."""
    for offered in protocols:
        if offered.startswith(PREFIX):
            return offered.removeprefix(PREFIX)[:128]
    return None
