"""The native protocol of `/v1/stream`: messages in, actions out. No socket, no clock.

`docs/asyncapi.yaml` describes it for clients.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from voicetone.audio.units import HOP_SECONDS, WINDOW_SECONDS
from voicetone.server.call import SAMPLE_BYTES, CallStart, Encoding, LiveCall
from voicetone.server.incoming import read_json
from voicetone.server.refusal import RefusedError
from voicetone.server.voices import Asked, asked_of

MOST_TEXT = 64 << 10
"""Bytes of a text message."""
MOST_BINARY = 1 << 20
"""Bytes of a binary message."""
MOST_SECONDS = 10.0
"""Audio in one message."""
MOST_METADATA = 2048
"""Characters of all keys and values together."""
MOST_WORDS = 2000
"""Characters of a transcript."""
MOST_SECOND = 1e6
"""Of a call, as the longest may have."""
MOST_TOKEN = 32 << 10
"""Characters of a resume token, which holds what `session.start` and `.update` said."""

Rate = Annotated[int, Field(ge=8000, le=48000)]
Short = Annotated[str, Field(min_length=1, max_length=200)]


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _Described(_Message):
    call: Short | None = None
    queue: Short | None = None
    metadata: Annotated[dict[str, str], Field(max_length=32)] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> _Described:
        size = sum(len(k) + len(v) for k, v in (self.metadata or {}).items())
        if size > MOST_METADATA:
            raise ValueError(f"metadata of more than {MOST_METADATA} characters")
        return self


class Start(_Described):
    """`session.start`: the first message of a new call; `call` is the client's own id of it."""

    type: Literal["session.start"]
    sample_rate: Rate
    encoding: Encoding = "s16le"
    channels: Annotated[int, Field(ge=1, le=2)] = 1
    channel_names: Annotated[list[Short], Field(max_length=2)] | None = None
    analyse: Annotated[list[int], Field(min_length=1, max_length=2)] | None = None
    consent: bool = False
    speaker: Any = None

    @field_validator("speaker")
    @classmethod
    def _understood(cls, value: Any) -> Asked | None:
        return asked_of(value)

    def call_start(self, credential: str, queue: str | None) -> CallStart:
        """For the hub.

        Args:
            credential: name of the key.
            queue: the key's, where the message names none.
        """
        return CallStart(
            route="native",
            sample_rate=self.sample_rate,
            encoding=self.encoding,
            channels=self.channels,
            names=None if self.channel_names is None else tuple(self.channel_names),
            analysed=None if self.analyse is None else tuple(self.analyse),
            consent=self.consent,
            external=self.call,
            queue=self.queue or queue,
            credential=credential,
            metadata=dict(self.metadata or {}),
            speaker=self.speaker,
        )


class Resume(_Message):
    """`session.resume`: the first message after a cut connection.

    `position` matters only if the call's worker died: the second of the call from which on the
    client still has its audio.
    """

    type: Literal["session.resume"]
    token: Annotated[str, Field(max_length=MOST_TOKEN)]
    last_seq: Annotated[int, Field(ge=0, le=1 << 48)] = 0
    position: Annotated[float, Field(ge=0, le=MOST_SECOND)] | None = None


class Update(_Described):
    """`session.update`: what is left out stays as it is."""

    type: Literal["session.update"]


class Close(_Message):
    """`session.close`: no more audio; the rest is analysed."""

    type: Literal["session.close"]


class Transcript(_Message):
    """`transcript`: words of a channel from `start` to `end` seconds of the call.

    One that is not `final`, as recognisers give while somebody speaks, is left alone.
    """

    type: Literal["transcript"]
    channel: Annotated[int, Field(ge=1, le=2)] = 1
    start: Annotated[float, Field(ge=0, le=MOST_SECOND)]
    end: Annotated[float, Field(ge=0, le=MOST_SECOND)]
    text: Annotated[str, Field(repr=False)]
    final: bool = True
    language: Annotated[str, Field(max_length=35)] | None = None

    @model_validator(mode="after")
    def _forwards(self) -> Transcript:
        if self.end < self.start:
            raise ValueError("end is before start")
        return self


@dataclass(frozen=True, slots=True)
class Audio:
    """A binary message."""

    data: bytes


Action = Start | Resume | Update | Transcript | Close | Audio
_Text = Start | Resume | Update | Transcript | Close
_TEXT: TypeAdapter[_Text] = TypeAdapter(Annotated[_Text, Field(discriminator="type")])


class NativeProtocol:
    """One connection's side of the protocol.

    Args:
        most_bad: bad messages in a minute that leave the session alive.
    """

    def __init__(self, most_bad: int) -> None:
        self._most_bad = most_bad
        self._bad: deque[float] = deque()
        self._begun = False
        self._most_bytes = 0

    def opened(self, sample_rate: int, channels: int, encoding: Encoding) -> None:
        """The call is there: audio may come."""
        self._begun = True
        frame = channels * SAMPLE_BYTES[encoding]
        self._most_bytes = min(MOST_BINARY, round(MOST_SECONDS * sample_rate) * frame)

    def text(self, text: str) -> Action:
        """A text message.

        Raises:
            RefusedError: it can't be understood, or not now.
        """
        if len(text) > MOST_TEXT:
            raise RefusedError("message_too_large", f"text of more than {MOST_TEXT} characters")
        try:
            action = _TEXT.validate_python(read_json(text, _no_constant))
        except ValidationError as error:
            raise RefusedError("bad_request", _reason(error)) from error
        except (ValueError, RecursionError) as error:
            raise RefusedError("bad_request", "not JSON: send one object per message") from error
        first = isinstance(action, Start | Resume)
        if first == self._begun:
            said = "the session has begun" if first else "begin with session.start"
            raise RefusedError("conflict", f"{action.type}: {said}")
        if isinstance(action, Transcript) and len(action.text) > MOST_WORDS:
            raise RefusedError(
                "message_too_large", f"a transcript of more than {MOST_WORDS} characters: part it"
            )
        return action

    def binary(self, data: bytes) -> Audio:
        """A binary message.

        Raises:
            RefusedError: no session, or more at once than is taken.
        """
        if not self._begun:
            raise RefusedError("conflict", "audio before session.start: begin with that")
        if len(data) > self._most_bytes:
            raise RefusedError(
                "message_too_large",
                f"{len(data)} bytes of audio at once: at most {MOST_SECONDS:g} s, "
                f"here {self._most_bytes} bytes",
            )
        return Audio(data)

    def refused(self, error: RefusedError, now: float) -> dict[str, Any]:
        """The message about an error; `fatal` if the connection is to be closed after it.

        Args:
            error: what went wrong.
            now: seconds of the steady clock.
        """
        if error.code != "rate_limited":  # only too soon
            self._bad.append(now)
        while self._bad and now - self._bad[0] > 60.0:
            self._bad.popleft()
        fatal = not self._begun or len(self._bad) > self._most_bad
        return {"type": "error", **error.to_dict(), "fatal": fatal}


def offer(notice: str, resume_seconds: float) -> dict[str, Any]:
    """What `session.created` tells a client besides the call."""
    return {
        "resume_seconds": resume_seconds,
        "window_seconds": WINDOW_SECONDS,
        "hop_seconds": HOP_SECONDS,
        "limits": {
            "message_seconds": MOST_SECONDS,
            "message_bytes": MOST_BINARY,
            "text_bytes": MOST_TEXT,
            "transcript_characters": MOST_WORDS,
        },
        "notice": notice,
    }


def close_code(reason: str) -> int:
    """WebSocket's code for a reason that a session ends by, or for the code of a refusal."""
    return _CLOSE.get(reason, 1008)


_CLOSE = {
    "client": 1000,
    "gone": 1000,
    "message_too_large": 1009,
    "model_failed": 1011,
    "internal": 1011,
    "too_many_calls": 1013,
    "overloaded": 1013,
    "draining": 1013,
    "rate_limited": 1013,
}


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a resume token says.

    Args:
        worker: the call's owner.
        boot: which life of that worker.
        call: id.
        start: settings of the call.
    """

    worker: int
    boot: str
    call: str
    start: CallStart = field(repr=False)


def seal(secret: bytes, worker: int, boot: str, call: LiveCall) -> str:
    """A resume token; signed, so that nobody can make up a call or its settings."""
    start = call.start
    said = {
        "w": worker,
        "b": boot,
        "c": call.id,
        "s": {
            "sample_rate": start.sample_rate,
            "encoding": start.encoding,
            "channels": start.channels,
            "names": start.names,
            "analysed": start.analysed,
            "external": start.external,
            "queue": start.queue,
            "credential": start.credential,
            "metadata": dict(start.metadata),
            "speaker": None if start.speaker is None else list(start.speaker.items()),
        },
    }
    text = json.dumps(said, separators=(",", ":"), ensure_ascii=False)
    body = base64.urlsafe_b64encode(text.encode())
    return f"{body.decode()}.{_sign(secret, body)}"


def unseal(secret: bytes, token: str) -> Sealed:
    """What a token says.

    Raises:
        RefusedError: it is not one of this server.
    """
    body, _, signature = token.partition(".")
    raw = body.encode("utf-8", "replace")
    if not hmac.compare_digest(_sign(secret, raw).encode(), signature.encode("utf-8", "replace")):
        raise RefusedError(
            "unauthorised", "no resume token of this server: begin with session.start"
        )
    said: Mapping[str, Any] = json.loads(base64.urlsafe_b64decode(raw))
    start = dict(said["s"])
    for key in ("names", "analysed"):
        start[key] = None if start[key] is None else tuple(start[key])
    asked = start.pop("speaker")
    start["speaker"] = None if asked is None else dict(asked)
    return Sealed(said["w"], said["b"], said["c"], CallStart("native", consent=True, **start))


def _sign(secret: bytes, body: bytes) -> str:
    return hmac.new(secret, b"resume." + body, hashlib.sha256).hexdigest()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _reason(error: ValidationError) -> str:
    """The first thing that is wrong, with the key it is at; never what was sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"][1:])  # the first is the type
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return "unknown message: type is session.start, .resume, .update, .close or transcript"
    said = str(first["msg"]).removeprefix("Value error, ")
    return f"{where[:80] or 'the message'}: {said}"
