"""One JSON request to one place: bounded in time and size, to that host and no other.

The standard library's plain client is used because it follows no redirect and knows no proxy: what
is sent goes to the host that was named. `https` only, except to this machine itself.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from voicetone.errors import UsageError

MOST_BYTES = 2**20  # of an answer; one of a few numbers has hundreds
CHUNK = 2**16


class Unanswered(Exception):  # noqa: N818 - an outcome of asking, told on as text
    """No answer came, and another try may get one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers with names in small letters, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests go.

    Args:
        url: without user, query and fragment.

    Raises:
        UsageError: no such URL, or one that others could read along.
    """

    url: str

    def __post_init__(self) -> None:
        try:
            parts, port = self._parts, self._parts.port
        except ValueError:
            raise UsageError(f"{self.url}: not readable as a URL: mend it") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise UsageError(f"{self.url}: give a URL as in https://host/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise UsageError("the endpoint's URL holds a user, ? or #: leave it out")
        if parts.scheme == "http" and not self.loopback:
            raise UsageError(f"{self.url}: unencrypted: use https; only this machine may have http")

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """Its name, in small letters."""
        return self._parts.hostname or ""

    @property
    def loopback(self) -> bool:
        """Is it this machine itself?"""
        return is_loopback(self.host)

    def post(self, data: Any, headers: Mapping[str, str], timeout: float) -> Answer:
        """Send JSON and wait for the whole answer.

        Args:
            data: what `json` can write.
            headers: beside those of the content.
            timeout: s, of the whole exchange.

        Raises:
            Unanswered: no connection, no whole answer in time, or a longer one than is allowed.
        """
        connection = self._connection(timeout)
        late = threading.Event()

        def hang_up() -> None:  # a slow drip of bytes would keep a socket's own timeout waiting
            late.set()
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(timeout, hang_up)
        timer.daemon = True
        try:
            connection.connect()
            timer.start()
            body = json.dumps(data).encode()
            sent = {"Content-Type": "application/json", "Accept": "application/json", **headers}
            connection.request("POST", self._parts.path or "/", body, sent)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            content = _bounded(response)
        except Unanswered:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise Unanswered(f"no whole answer within {timeout:g} s") from None
            raise Unanswered(f"no answer ({_reason(error)})") from None
        finally:
            timer.cancel()
            connection.close()
        if late.is_set():
            raise Unanswered(f"no whole answer within {timeout:g} s")
        return Answer(response.status, told, content)

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        parts = self._parts
        if parts.scheme == "http":
            return http.client.HTTPConnection(self.host, parts.port, timeout=timeout)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(self.host, parts.port, timeout=timeout, context=context)


def is_loopback(host: str) -> bool:
    """Is this the name or an address of this machine itself?"""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bounded(response: http.client.HTTPResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.read(CHUNK):
        size += len(part)
        if size > MOST_BYTES:
            raise Unanswered(f"an answer of more than {MOST_BYTES // 2**20} MiB")
        parts.append(part)
    return b"".join(parts)


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:100] or type(error).__name__
