"""Webhooks: signed POST requests to an address that the operator set, and to nothing else.

The host is resolved once per request and the connection made to the very address that was
checked, so that a name that changes its mind leads nowhere inside. Redirects are not followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Sequence

from voicetone.server.targets import Delivery, Failed, WebhookSettings, address_of

BODY_BYTES = 256 * 1024
"""An event's JSON is never near this."""
ANSWER_BYTES = 64 * 1024
FINAL = (400, 413, 415, 422)
"""Answers that say that this body will never be taken. All others are tried again: a key or a
path may be mended."""


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What `Voicetone-Signature` holds: HMAC-SHA256 of `timestamp.body` in hex, after `v1=`."""
    mac = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={mac.hexdigest()}"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, also where IPv4 hides in IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None and not is_public(str(inner)):
            return False
        if ip in ipaddress.ip_network("64:ff9b:1::/48") or ip.is_site_local:
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def resolve(host: str, port: int, allow_private: bool) -> tuple[str, int]:
    """The address to connect to.

    Raises:
        OSError: the name is unknown, or one of its addresses is none of the open internet.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise OSError("its host has no address")
    if not allow_private and not all(is_public(address) for address in addresses):
        raise OSError("its host has a private address: set allow_private = true if it is meant")
    return addresses[0], port


class _Connection(http.client.HTTPConnection):
    """To an address that was looked up before; TLS checks the host's name all the same."""

    def __init__(
        self, host: str, address: tuple[str, int], timeout: float, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(host, address[1], timeout=timeout)
        self._address, self._tls = address, tls
        if tls is not None:
            self.default_port = 443

    def connect(self) -> None:
        """Connect to the address, not to the name."""
        self.sock = socket.create_connection(self._address, self.timeout)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)

    def cut(self) -> None:
        """End it from another thread."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


class Webhook:
    """Sends each delivery as one request; those of a call one after the other.

    Args:
        settings: of the target.
        secret: that signs.
    """

    batch = 20
    whole = True
    linger = 0.0

    def __init__(self, settings: WebhookSettings, secret: bytes) -> None:
        self._settings, self._secret = settings, secret
        scheme, self._host, self._port, self._path = address_of(settings.url, settings.allow_http)
        self.longest = 3 * settings.timeout + 5.0
        self._tls = ssl.create_default_context() if scheme == "https" else None

    def send(self, deliveries: Sequence[Delivery]) -> list[Failed | None]:
        """One after the other; after a failure the rest of the same call is not tried."""
        outcomes: list[Failed | None] = []
        stuck: set[str] = set()
        until = time.monotonic() + 2 * self._settings.timeout
        for delivery in deliveries:
            if delivery.call in stuck:
                outcomes.append(Failed("waits for an earlier event of its call", tried=False))
                continue
            late = outcomes and time.monotonic() > until
            outcomes.append(
                Failed("its turn comes later", tried=False) if late else self._post(delivery)
            )
            if outcomes[-1] is not None and not outcomes[-1].final:
                stuck.add(delivery.call)
        return outcomes

    def close(self) -> None:
        """Nothing is open between requests."""

    def _post(self, delivery: Delivery) -> Failed | None:
        body = delivery.body.encode()
        if len(body) > BODY_BYTES:
            return Failed(f"{len(body)} bytes are too many", final=True)
        timeout = self._settings.timeout
        try:
            address = resolve(self._host, self._port, self._settings.allow_private)
            connection = _Connection(self._host, address, timeout, self._tls)
            watchdog = threading.Timer(timeout, connection.cut)  # as a whole, not per byte
            watchdog.daemon = True
            watchdog.start()
            try:
                status = self._exchange(connection, body, delivery)
            finally:
                watchdog.cancel()
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Failed(f"{type(error).__name__}: {error}"[:300])
        if 200 <= status < 300:
            return None
        if 300 <= status < 400:
            return Failed(f"answered {status}: redirects are not followed, set the last address")
        return Failed(f"answered {status}", final=status in FINAL)

    def _exchange(self, connection: _Connection, body: bytes, delivery: Delivery) -> int:
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "voicetone",
            "Connection": "close",
            "Voicetone-Timestamp": timestamp,
            "Voicetone-Signature": signature(self._secret, timestamp, body),
            "Voicetone-Delivery": f"{delivery.call}.{delivery.key}",
        }
        connection.request("POST", self._path, body=body, headers=headers)
        answer = connection.getresponse()
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer.read(ANSWER_BYTES)  # of no interest, but it lets the other side end well
        return answer.status
