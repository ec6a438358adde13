"""What a server's refusal and a lost connection are to a program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from voicetone.errors import VoicetoneError

MOST_WORDS = 500
"""Characters of a server's message that are shown."""


class ServerError(VoicetoneError):
    """The server said no.

    Args:
        code: stable, for programs: `consent_required`, `overloaded`, …
        message: the server's own line.
        retry_after: seconds after which it may work.
        status: of HTTP, where there is one.
    """

    def __init__(
        self,
        code: str,
        message: str,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(" ".join(message.split())[:MOST_WORDS])
        self.code = code
        self.retry_after = retry_after
        self.status = status


class ConnectionLostError(VoicetoneError):
    """The server can't be reached, or not any more."""


def said(message: Mapping[str, Any], status: int | None = None) -> ServerError:
    """The error of a server's JSON object with `code` and `message`."""
    wait = message.get("retry_after")
    known = isinstance(wait, int | float) and not isinstance(wait, bool)
    return ServerError(
        str(message.get("code", "internal"))[:64],
        str(message.get("message", "the server gave no reason: its log may")),
        float(wait) if known and wait is not None else None,
        status,
    )


def of_response(status: int, body: bytes, retry_after: str | None = None) -> ServerError:
    """The error of an HTTP answer; a proxy in between may have made it, without any JSON."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "code" not in found:
        found = {
            "code": "internal",
            "message": f"the server answered {status} and no reason: check its address and its log",
        }
    if "retry_after" not in found and retry_after is not None and retry_after.isdecimal():
        found["retry_after"] = min(int(retry_after), 86_400)
    return said(found, status)
