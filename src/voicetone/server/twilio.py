"""Twilio Media Streams, and what Telnyx and Exotel send, which is nearly the same.

JSON text messages: `connected`, `start`, then `media` with 20 ms of one track each, `stop`; and
`dtmf` and `mark`, which say nothing about tone. Twilio writes its names in camel case, the others
in snake case. Twilio's documentation:
https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.server.call import SAMPLE_BYTES, CallStart, Encoding
from voicetone.server.refusal import RefusedError
from voicetone.server.reorder import Frame, Mixer
from voicetone.server.telephony import (
    Action,
    End,
    Open,
    choice,
    number,
    part,
    read_object,
    texts,
    words,
)

ENCODINGS: dict[str, Encoding] = {
    "audio/x-mulaw": "mulaw",
    "pcmu": "mulaw",
    "audio/x-raw": "s16le",
    "raw/slin": "s16le",
}
"""By the lower-case name of the media format."""
SILENCE: dict[Encoding, int] = {"mulaw": 0xFF, "s16le": 0}
MOST_PAYLOAD = 48_000
"""Bytes of a frame after base64: 6 s of μ-law; Twilio's frames have 160."""
MOST_NUMBER = 2**40
"""Of a chunk or of milliseconds: no call gets there."""

Name = Annotated[str, Field(min_length=1, max_length=64)]
Side = Literal["inbound", "outbound"]
SIDES: tuple[Side, ...] = ("inbound", "outbound")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TwilioSettings:
    """`[twilio]` in the server's settings.

    Args:
        auth_token_env: environment variable that holds the account's auth token, with which
            Twilio signs its requests; None where calls come with a key instead.
        public_url: the address that the `<Stream>` names, such as
            `wss://tone.example/v1/twilio`; by default it is made from the Host header.
        inbound: who is heard on the inbound track, which is what Twilio receives: of an incoming
            call the caller.
        outbound: who is heard on the outbound track.
        analyse: tracks to analyse; None for the customer's. The staff's needs the operator's
            reason in `[limits]`, too.
        consent: whether those who are heard have been told and agreed, in all calls.
        queue: of calls whose `<Parameter>`s name none.
    """

    auth_token_env: str | None = None
    public_url: str | None = None
    inbound: Name = "customer"
    outbound: Name = "agent"
    analyse: tuple[Side, ...] | None = None
    consent: bool = False
    queue: Annotated[str, Field(max_length=200)] | None = None

    def __post_init__(self) -> None:
        if self.public_url is not None and not self.public_url.startswith(("wss://", "ws://")):
            raise ValueError("public_url is the address of a WebSocket: wss://…")
        if self.analyse is not None and not self.analyse:
            raise ValueError("analyse names no track: leave it out for the customer's")

    def name(self, side: Side) -> str:
        """Who is heard on a track."""
        return self.inbound if side == "inbound" else self.outbound


def sign(token: str, url: str, parameters: Mapping[str, str] | None = None) -> str:
    """What `X-Twilio-Signature` is: base64 of HMAC-SHA1 over the URL and the sorted parameters.

    Source: https://www.twilio.com/docs/usage/security#validating-requests
    """
    text = url + "".join(key + value for key, value in sorted((parameters or {}).items()))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def check_signature(token: str, url: str, signature: str) -> None:
    """Whether a handshake comes from Twilio.

    Twilio signs the URL as the `<Stream>` has it; some of its clients add a slash at the end, or
    the port, so these are tried, too.

    Raises:
        RefusedError: it does not.
    """
    right = False
    for known in _spellings(url):  # all of them: the time tells nothing
        expected = sign(token, known).encode()
        right |= hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
    if not right:
        raise RefusedError(
            "unauthorised",
            "X-Twilio-Signature is not right: check auth_token_env and public_url in [twilio]",
        )


def _spellings(url: str) -> list[str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"wss": 443, "ws": 80}.get(parts.scheme)
    places = [parts.netloc]
    if parts.port is None and usual is not None:
        places.append(f"{host}:{usual}")
    elif parts.port == usual:
        places.append(host)
    path = parts.path.rstrip("/")
    paths = [path, path + "/"]
    return [urlunsplit(parts._replace(netloc=place, path=p)) for place in places for p in paths]


class TwilioStream:
    """One WebSocket of Twilio's: text messages in, actions out.

    Args:
        settings: the operator's.
        consent: of the credential that the connection came with.
        queue: of that credential.
        credential: its name.
    """

    def __init__(
        self,
        settings: TwilioSettings,
        consent: bool = False,
        queue: str | None = None,
        credential: str | None = None,
    ) -> None:
        self._settings, self._credential = settings, credential
        self._consent, self._queue = consent or settings.consent, queue or settings.queue
        self._sides: tuple[Side, ...] = ()
        self._mixer: Mixer | None = None
        self._rate = 8000
        self.over = False

    def text(self, message: str) -> list[Action]:
        """Take a message.

        Raises:
            RefusedError: it can't be, or can't be now. Before the start it ends the connection;
                after it the frame or message is left out and the call goes on.
        """
        found = read_object(message)
        match found.get("event"):
            case "start":
                return self._start(found)
            case "media":
                return self._media(found)
            case "stop":
                return self._stop()
            case _:  # connected, dtmf, mark, and what may come one day
                return []

    def gone(self) -> list[Action]:
        """The connection was cut: what is there is still worth having."""
        return self._ended("gone")

    def _start(self, found: Mapping[str, Any]) -> list[Action]:
        if self._mixer is not None:
            raise RefusedError("conflict", "a second `start`: open a connection for each stream")
        start = part(found, "start")
        form = part(start, "mediaFormat", "media_format")
        encoding = ENCODINGS.get(words(form, "encoding").lower())
        if encoding is None:
            raise RefusedError(
                "unsupported_media", "this encoding is not read: stream μ-law (PCMU) or raw PCM"
            )
        if "channels" in form and number(form, "channels", most=8) != 1:
            raise RefusedError("unsupported_media", "a track of several channels: stream mono")
        self._rate = number(form, "sampleRate", "sample_rate", most=48_000)
        # Telnyx does not say which tracks it is going to send.
        usual = list(SIDES) if "call_control_id" in start else ["inbound"]
        self._sides = _sides(start.get("tracks", usual))
        own = texts(start.get("customParameters", start.get("custom_parameters")))
        started = CallStart(
            route="twilio",
            sample_rate=self._rate,
            encoding=encoding,
            channels=len(self._sides),
            names=tuple(self._settings.name(side) for side in self._sides),
            analysed=self._analysed(),
            consent=self._consent or choice(own, "consent", False),
            external=words(start, "callSid", "call_sid", "call_control_id", "callControlId"),
            queue=own.pop("queue", None) or self._queue,
            credential=self._credential,
            metadata={key: value for key, value in own.items() if key != "consent"},
        )
        width = SAMPLE_BYTES[encoding]
        self._mixer = Mixer(len(self._sides), max(self._rate, 1), width, SILENCE[encoding])
        return [Open(started)]

    def _analysed(self) -> tuple[int, ...] | None:
        wanted = self._settings.analyse
        if wanted is None:
            return None
        kept = tuple(i for i, side in enumerate(self._sides, 1) if side in wanted)
        if not kept:
            raise RefusedError(
                "bad_request", "no track that is analysed is streamed: set `track` in the <Stream>"
            )
        return kept

    def _media(self, found: Mapping[str, Any]) -> list[Action]:
        if self._mixer is None:
            raise RefusedError("conflict", "`media` before `start`: send `start` first")
        if self.over:
            return []
        media = part(found, "media")
        side = media.get("track", self._sides[0])
        if side not in self._sides:
            raise RefusedError("invalid_audio_frame", "a track that `start` does not name")
        payload = media.get("payload")
        if not isinstance(payload, str) or len(payload) > MOST_PAYLOAD * 4 // 3 + 4:
            raise RefusedError(
                "invalid_audio_frame",
                f"`media` without a payload: send base64 of at most {MOST_PAYLOAD} bytes",
            )
        try:
            data = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            raise RefusedError("invalid_audio_frame", "a payload that is no base64") from None
        frame = Frame(
            number=number(media, "chunk", most=MOST_NUMBER),
            at=number(media, "timestamp", most=MOST_NUMBER) * self._rate // 1000,
            data=data,
        )
        return list(self._mixer.put(self._sides.index(side), frame))

    def _stop(self) -> list[Action]:
        if self._mixer is None:
            raise RefusedError("conflict", "`stop` before `start`: send `start` first")
        return self._ended("stopped")

    def _ended(self, reason: str) -> list[Action]:
        if self.over or self._mixer is None:
            return []
        self.over = True
        return [*self._mixer.rest(), End(reason)]


def _sides(found: object) -> tuple[Side, ...]:
    """The tracks, the inbound one first."""
    known = [side for side in SIDES if isinstance(found, list) and side in found]
    if not isinstance(found, list) or not known or len(known) != len(found):
        raise RefusedError("bad_request", "`tracks` are inbound, outbound or both: name these")
    return tuple(known)
