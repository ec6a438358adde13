"""Genesys AudioHook, version 2: JSON text messages, and audio as binary ones.

The client (Genesys Cloud) opens a session, sends audio and tells when it discards or pauses; the
server answers, and may disconnect. Each side numbers its messages and says which number of the
other's it saw last. The protocol's documentation:
https://developer.genesys.cloud/devapps/audiohook/protocol-reference
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.server.call import SAMPLE_BYTES, CallStart, Encoding
from voicetone.server.events import CallEvent, EventType
from voicetone.server.refusal import RefusedError
from voicetone.server.telephony import (
    Action,
    Alive,
    Audio,
    End,
    Lost,
    Open,
    Send,
    Update,
    choice,
    duration,
    number,
    part,
    read_object,
    texts,
    words,
)

NULL = "00000000-0000-0000-0000-000000000000"
"""Id of the conversation when Genesys only tries the connection."""
MOST_BINARY = 1 << 20
"""Bytes of a binary message; Genesys sends 0.1 to 0.2 s."""
MOST_SEQ = 2**31
MOST_MEDIA = 32
MOST_LOST = 4 * 3600.0
"""Seconds that may be missing at once."""
TOLERANCE = 0.05
"""Seconds by which the client's position may be ahead of the audio that came."""

FORMATS: dict[str, Encoding] = {"PCMU": "mulaw", "L16": "s16le"}
"""The better one first: of two that hold the same, that with fewer bytes."""

Party = Literal["external", "internal"]
Name = Annotated[str, Field(min_length=1, max_length=64)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AudioHookSettings:
    """`[audiohook]` in the server's settings.

    Args:
        external: who is heard on the external channel.
        internal: who is heard on the internal channel.
        analyse: channels to analyse; None for the customer's. The staff's needs the operator's
            reason in `[limits]`, too.
        consent: whether those who are heard have been told and agreed, in all calls.
        queue: of calls whose custom configuration names none.
        events: types of events to send back to Genesys, such as `tone`; none by default.
    """

    external: Name = "customer"
    internal: Name = "agent"
    analyse: tuple[Party, ...] | None = None
    consent: bool = False
    queue: Annotated[str, Field(max_length=200)] | None = None
    events: tuple[EventType, ...] = ()

    def __post_init__(self) -> None:
        if self.analyse is not None and not self.analyse:
            raise ValueError("analyse names no channel: leave it out for the customer's")

    def name(self, party: str) -> str:
        """Who is heard on a channel."""
        return self.external if party == "external" else self.internal


class State(Enum):
    """Where a session is."""

    NEW = auto()
    OPENING = auto()
    ACTIVE = auto()
    PAUSED = auto()
    LEAVING = auto()
    """The server has disconnected; the client is to close."""
    CLOSING = auto()
    CLOSED = auto()


class AudioHookSession:
    """One WebSocket of Genesys's: messages in, actions out.

    `Open` is answered by `opened` or `refuse`, `End` by `closed`; `text` and `binary` take no
    message in between.

    Args:
        settings: the operator's.
        session: id that the request's header gave, with which the messages' must agree.
        organization: likewise.
        consent: of the credential that the connection came with.
        queue: of that credential.
        credential: its name.
    """

    def __init__(
        self,
        settings: AudioHookSettings,
        session: str | None = None,
        organization: str | None = None,
        consent: bool = False,
        queue: str | None = None,
        credential: str | None = None,
    ) -> None:
        self._settings, self._credential = settings, credential
        self._consent, self._queue = consent or settings.consent, queue or settings.queue
        self._id, self._organization = session, organization
        self._seq = self._client_seq = 0
        self._media: dict[str, Any] | None = None
        self._frame = self._rate = 1
        self._position = 0.0
        self._quiet = False  # the client asked for fewer events
        self.state = State.NEW
        self.probe = False
        """Whether Genesys only tries the connection."""

    # -- what comes in ---------------------------------------------------------------------------

    def text(self, message: str) -> list[Action]:
        """Take a text message; one that can't be makes the server disconnect."""
        if self.state in (State.CLOSING, State.CLOSED):
            return []
        try:
            return self._taken(read_object(message))
        except RefusedError as error:
            return self.refuse(error)

    def binary(self, data: bytes) -> list[Action]:
        """Take audio; what comes in a pause or after the end is left out."""
        if self.state in (State.NEW, State.OPENING):
            error = RefusedError("conflict", "audio before `opened`: wait for it")
            return self.refuse(error)
        if self.state is not State.ACTIVE or self.probe:
            return []
        if len(data) > MOST_BINARY:
            text = f"{len(data)} bytes of audio at once: send at most {MOST_BINARY}"
            return self.refuse(RefusedError("message_too_large", text))
        if len(data) % self._frame or not data:
            text = f"{len(data)} bytes are not whole samples of all channels: send whole ones"
            return self.refuse(RefusedError("invalid_audio_frame", text))
        self._position += len(data) / self._frame / self._rate
        return [Audio(data)]

    def gone(self) -> list[Action]:
        """The connection was cut."""
        if self.state in (State.CLOSING, State.CLOSED):
            return []
        self.state = State.CLOSED
        return [End("gone")]

    # -- what the server says --------------------------------------------------------------------

    def opened(self) -> list[Action]:
        """The call has begun."""
        self.state = State.ACTIVE
        media = [] if self._media is None else [self._media]
        return [self._send("opened", {"startPaused": False, "media": media})]

    def refuse(self, error: RefusedError) -> list[Action]:
        """Something is wrong: disconnect. The client is to close then."""
        if self.state in (State.LEAVING, State.CLOSING, State.CLOSED):
            return []
        info = f"{error.status} {error.code}: {error}"
        if error.retry_after is not None:
            info += f" (retryAfter PT{error.retry_after:g}S)"
        reason = "unauthorized" if error.status in (401, 403) else "error"
        return self._left(reason, info, error.code)

    def leave(self, reason: str) -> list[Action]:
        """The call is over on the server's side: no fault of anybody's."""
        if self.state in (State.LEAVING, State.CLOSING, State.CLOSED):
            return []
        return self._left("completed", reason, reason)

    def closed(self) -> list[Action]:
        """The call has been analysed to its end."""
        self.state = State.CLOSED
        return [self._send("closed", {})]

    def event(self, event: CallEvent) -> list[Action]:
        """An event of the call, where the operator wants it sent back."""
        if self._quiet or event.type not in self._settings.events:
            return []
        if self.state not in (State.ACTIVE, State.PAUSED, State.CLOSING):
            return []
        entity = {"type": f"voicetone.{event.type}", "data": event.to_dict()}
        return [self._send("event", {"entities": [entity]})]

    # -- inside ----------------------------------------------------------------------------------

    def _taken(self, found: Mapping[str, Any]) -> list[Action]:
        """A message whose head is right."""
        if found.get("version") != "2":
            raise RefusedError("bad_request", "another version than 2: send `version` 2")
        kind, id = words(found, "type"), words(found, "id").lower()
        seq, seen = number(found, "seq", most=MOST_SEQ), number(found, "serverseq", most=MOST_SEQ)
        position, parameters = duration(found, "position"), part(found, "parameters")
        if seq != self._client_seq + 1:
            raise RefusedError(
                "conflict", f"message {seq} where {self._client_seq + 1} is due: number them all"
            )
        self._client_seq = seq
        if seen > self._seq:
            raise RefusedError(
                "conflict", f"`serverseq` {seen}, which was not sent yet: correct it"
            )
        self._id = self._id or id
        if id != self._id.lower():
            raise RefusedError("conflict", "the id of another session: open a connection for each")
        if kind == "close":
            missing = self._caught_up(min(position, self._position + MOST_LOST))
            self.state = State.CLOSING
            return [*missing, End("closed")]
        if self.state is State.LEAVING:
            return []
        return self._said(kind, parameters, position)

    def _said(self, kind: str, said: Mapping[str, Any], position: float) -> list[Action]:
        if kind == "open":
            return self._open(said)
        if self.state is State.NEW:
            raise RefusedError("conflict", f"`{kind}` before `open`: open first")
        match kind:
            case "ping":
                return [*self._caught_up(position), self._send("pong", {}), Alive()]
            case "discarded":
                return self._missing(said, "discarded")
            case "paused":
                out = self._caught_up(position)
                self.state = State.PAUSED
                return out
            case "resumed":
                self.state = State.ACTIVE
                return self._missing(said, "paused")
            case "update":
                language = str(said.get("language", ""))[:32]
                return [Update({"language": language}), self._send("updated", {})]
            case "error":
                self._quiet = self._quiet or said.get("code") == 429
                return []
            case _:  # what may come one day
                return []

    def _open(self, said: Mapping[str, Any]) -> list[Action]:
        if self.state is not State.NEW:
            raise RefusedError("conflict", "a second `open`: open a connection for each session")
        conversation, organization = (
            words(said, "conversationId").lower(),
            words(said, "organizationId"),
        )
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", conversation, re.ASCII):
            raise RefusedError("bad_request", "`conversationId` is no UUID: send one")
        if self._organization is not None and organization != self._organization:
            raise RefusedError(
                "unauthorised", "another organization than in the header: check the integration"
            )
        person = part(said, "participant")
        media = said.get("media")
        if not isinstance(media, list) or len(media) > MOST_MEDIA:
            raise RefusedError(
                "bad_request", f"`media` is no list of at most {MOST_MEDIA}: send it"
            )
        self.state, self.probe = State.OPENING, conversation == NULL
        offer = self._chosen(media)
        if self.probe:
            self._media = offer
            return self.opened()
        if offer is None:
            raise RefusedError(
                "unsupported_media", "no audio that is read here: offer PCMU or L16 of 8 kHz"
            )
        return [Open(self._begun(offer, conversation, person, said))]

    def _begun(
        self,
        offer: dict[str, Any],
        conversation: str,
        person: Mapping[str, Any],
        said: Mapping[str, Any],
    ) -> CallStart:
        """The call that an offer makes; from here on it is the session's audio."""
        parties = tuple(offer["channels"])
        encoding = FORMATS[offer["format"]]
        self._media, self._rate = offer, offer["rate"]
        self._frame = SAMPLE_BYTES[encoding] * len(parties)
        own = texts(said.get("customConfig"))
        wanted = self._settings.analyse
        analysed = None
        if wanted is not None:
            analysed = tuple(i for i, party in enumerate(parties, 1) if party in wanted)
        told = {"participant": texts(person).get("id", ""), "language": said.get("language")}
        return CallStart(
            route="audiohook",
            sample_rate=self._rate,
            encoding=encoding,
            channels=len(parties),
            names=tuple(self._settings.name(party) for party in parties),
            analysed=analysed,
            consent=self._consent or choice(own, "consent", False),
            external=conversation,
            queue=own.get("queue") or self._queue,
            credential=self._credential,
            metadata=texts(told),
        )

    def _chosen(self, media: list[Any]) -> dict[str, Any] | None:
        """The best offer: both channels, then μ-law."""
        offers = [
            {"type": "audio", "format": one["format"], "channels": channels, "rate": one["rate"]}
            for one in media
            if isinstance(one, dict)
            and one.get("type") == "audio"
            and isinstance(one.get("format"), str)
            and one["format"] in FORMATS
            and type(one.get("rate")) is int
            and 8000 <= one["rate"] <= 48_000
            and (channels := _parties(one.get("channels")))
        ]
        wanted = self._settings.analyse or ("external", "internal")
        heard = [o for o in offers if set(o["channels"]) & set(wanted)]
        order = list(FORMATS)
        return min(
            heard,
            key=lambda o: (
                "external" not in o["channels"],
                -len(o["channels"]),
                order.index(o["format"]),
            ),
            default=None,
        )

    def _caught_up(self, position: float) -> list[Action]:
        """Audio that the client counts but that never came."""
        missing = position - self._position
        if self.state is not State.ACTIVE or self.probe or missing <= TOLERANCE:
            return []
        return self._without(missing, "lost")

    def _missing(self, said: Mapping[str, Any], reason: str) -> list[Action]:
        """Audio that the client says it did not send."""
        start, length = duration(said, "start"), duration(said, "discarded")
        return [Alive(), *self._without(start + length - self._position, reason)]

    def _without(self, seconds: float, reason: str) -> list[Action]:
        if seconds > MOST_LOST:
            raise RefusedError(
                "bad_request", f"{seconds:.0f} s are missing at once: at most {MOST_LOST:.0f}"
            )
        if seconds <= 0 or self.probe:
            return []
        self._position += seconds
        return [Lost(seconds, reason)]

    def _left(self, reason: str, info: str, code: str) -> list[Action]:
        send = self._send("disconnect", {"reason": reason, "info": info[:500]})
        self.state = State.LEAVING
        return [send, End(code)]

    def _send(self, kind: str, parameters: Mapping[str, Any]) -> Send:
        self._seq += 1
        message = {
            "version": "2",
            "type": kind,
            "id": self._id or NULL,
            "seq": self._seq,
            "clientseq": self._client_seq,
            "parameters": parameters,
        }
        return Send(json.dumps(message, separators=(",", ":")))


def _parties(found: object) -> list[str]:
    """One or two channels, each named once; none if they are not of that kind."""
    if not isinstance(found, list) or not 1 <= len(found) <= 2:
        return []
    if not all(one in ("external", "internal") for one in found) or len(found) != len(set(found)):
        return []
    return found
