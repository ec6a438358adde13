"""Asterisk AudioSocket: a type, a length and a payload, over TCP.

Asterisk's documentation: https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/

The protocol has no authentication. A call's UUID is therefore registered beforehand, can be used
once and soon only, and from addresses that the operator names only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.errors import UsageError
from voicetone.server.call import CallStart
from voicetone.server.refusal import RefusedError
from voicetone.server.telephony import Action, Audio, End, Open

HANGUP, ID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
RATES = {
    0x10: 8000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
}
"""Samples per second of 16-bit little-endian mono, by the type. 96 and 192 kHz are not read."""
MOST_FRAME = 32_000
"""Bytes of a payload; Asterisk's have 320 at 8 kHz."""
MOST_CALLS = 10_000
"""Calls that may be registered and have not come yet."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AudioSocketSettings:
    """`[audiosocket]` in the server's settings.

    Args:
        port: TCP port; 0 for any that is free; None, the default, for no AudioSocket at all.
        host: address to listen on.
        addresses: networks or addresses that Asterisk may connect from.
        name: who is heard, where a registration does not say.
        consent: whether those who are heard have been told and agreed, in all calls.
        queue: of calls whose registration names none.
        register_seconds: that a registered call may take to come.
        id_seconds: that a connection may take to say its UUID.
        idle_seconds: without any frame after which a connection is closed.
        connections: open ones at once.
    """

    port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    host: str = "127.0.0.1"
    addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    name: Annotated[str, Field(min_length=1, max_length=64)] = "customer"
    consent: bool = False
    queue: Annotated[str, Field(max_length=200)] | None = None
    register_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    id_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    idle_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    connections: Annotated[int, Field(ge=1, le=100_000)] = 500

    def __post_init__(self) -> None:
        for one in self.addresses:
            ip_network(one, strict=False)  # a ValueError names the address

    def allows(self, address: str) -> bool:
        """Whether Asterisk may connect from an address."""
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in ip_network(one, strict=False) for one in self.addresses)


def not_listened(settings: AudioSocketSettings, error: OSError) -> UsageError:
    """Why AudioSocket's port can't be had."""
    return UsageError(
        f"[audiosocket]: {settings.host} port {settings.port} can't be listened on "
        f"({error.strerror or error}): choose another host or port"
    )


@plain_dataclass(frozen=True, slots=True)
class Registration:
    """What is known of a call that Asterisk is going to send.

    Args:
        name: who is heard.
        consent: whether they have been told and agreed.
        queue: where the call came in.
        external: the caller's own name for the call; the UUID without one.
        credential: name of the key that registered it.
        metadata: anything else.
    """

    name: str
    consent: bool
    queue: str | None = None
    external: str | None = None
    credential: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object."""
        return {
            "name": self.name,
            "consent": self.consent,
            "queue": self.queue,
            "external": self.external,
            "credential": self.credential,
            "metadata": dict(self.metadata),
        }


class Registered:
    """The calls that may come. Times by the steady clock."""

    def __init__(self) -> None:
        self._calls: dict[UUID, tuple[float, Registration]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, id: UUID, call: Registration, until: float, now: float) -> None:
        """Let a call come until a time.

        Raises:
            RefusedError: it is registered already, or too many are.
        """
        known = self._calls.get(id)
        if known is not None and known[0] >= now:
            raise RefusedError("conflict", "this UUID is registered already: take a new one")
        if len(self._calls) >= MOST_CALLS:
            self._calls = {k: v for k, v in self._calls.items() if v[0] >= now}
        if len(self._calls) >= MOST_CALLS:
            raise RefusedError("rate_limited", "too many calls are registered: wait", 10.0)
        self._calls[id] = (until, call)

    def take(self, id: UUID, now: float) -> Registration:
        """The call of a UUID, which can't come again.

        Raises:
            RefusedError: it is not registered, or was too long ago.
        """
        until, call = self._calls.pop(id, (-1.0, None))
        if call is None or until < now:
            raise RefusedError(
                "unauthorised",
                "a UUID that is not registered: register it by POST /v1/audiosocket/calls, then "
                "connect within its time",
            )
        return call


@plain_dataclass(frozen=True, slots=True)
class Claim:
    """A connection says that it is this call: answer by `AudioSocketStream.claimed`."""

    id: UUID


class AudioSocketStream:
    """One connection of Asterisk's: bytes in, actions out. Nothing is ever sent back."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._id: UUID | None = None
        self._call: Registration | None = None
        self._kind: int | None = None
        self.over = False

    def claimed(self, call: Registration) -> None:
        """The UUID is registered."""
        self._call = call

    def feed(self, data: bytes) -> list[Action | Claim]:
        """Take the next bytes.

        Returns:
            What is to be done. A `Claim` is always the last: answer it, then feed no bytes
            (b"") to go on with what came with it.

        Raises:
            RefusedError: something else than AudioSocket; the connection is of no more use.
        """
        self._bytes += data
        out: list[Action | Claim] = []
        while not self.over and len(self._bytes) >= 3:
            kind, length = self._bytes[0], int.from_bytes(self._bytes[1:3], "big")
            if self._id is None and (kind, length) != (ID, 16):
                raise RefusedError("bad_request", "a connection that does not begin with a UUID")
            if length > MOST_FRAME:
                raise RefusedError(
                    "message_too_large", f"a frame of {length} bytes: send at most {MOST_FRAME}"
                )
            if len(self._bytes) < 3 + length:
                break
            payload = bytes(self._bytes[3 : 3 + length])
            del self._bytes[: 3 + length]
            out += self._frame(kind, payload)
            if out and isinstance(out[-1], Claim):
                break
        return out

    def gone(self) -> list[Action | Claim]:
        """The connection was cut, or ended: AudioSocket knows no difference."""
        if self.over:
            return []
        self.over = True
        return [End("stopped" if not self._bytes else "gone")]

    def _frame(self, kind: int, payload: bytes) -> list[Action | Claim]:
        if self._id is None:
            self._id = UUID(bytes=payload)
            return [Claim(self._id)]
        if kind in RATES:
            return self._audio(kind, payload)
        if kind in (HANGUP, ERROR):
            self.over = True
            return [End("stopped" if kind == HANGUP else "error")]
        if kind == ID:
            raise RefusedError("conflict", "a second UUID: open a connection for each call")
        if kind in (0x17, 0x18):
            raise RefusedError("unsupported_media", "96 and 192 kHz are not read: send slin16")
        return []  # a digit, or what may come one day

    def _audio(self, kind: int, payload: bytes) -> list[Action | Claim]:
        if self._call is None or self._id is None:
            raise RefusedError("unauthorised", "audio of a call that is not registered")
        if len(payload) % 2:
            raise RefusedError("invalid_audio_frame", "half a sample: send 16-bit audio")
        if not payload:
            return []
        if self._kind is None:
            self._kind = kind
            return [Open(self._start(RATES[kind])), Audio(payload)]
        if kind != self._kind:
            raise RefusedError("unsupported_media", "the rate changed within a call: keep it")
        return [Audio(payload)]

    def _start(self, rate: int) -> CallStart:
        assert self._call is not None
        call = self._call
        return CallStart(
            route="audiosocket",
            sample_rate=rate,
            names=(call.name,),
            consent=call.consent,
            external=call.external or str(self._id),
            queue=call.queue,
            credential=call.credential,
            metadata=call.metadata,
        )
