"""What the server tells of a call, as frozen records.

Times are seconds of the call's audio but for `time`, which is when the server made the event
(ISO 8601, UTC). Channels count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from voicetone.client.errors import ServerError
from voicetone.types import Current, Overall, Scores, SpeakerUse, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    call: str
    seq: int
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Created(_Told):
    """`session.created`: the call is taken on.

    Args:
        token: with it a cut connection's call is resumed; who has it can go on with the call.
        model: that analyses it.
        sample_rate: Hz.
        channels: in the audio.
        analysed: those that are analysed, from 1.
        analysed_because: why those.
        names: of the channels.
        resume_seconds: that the call waits for a client whose connection was cut.
        notice: for the people who are heard.
    """

    token: str = field(repr=False)
    model: str
    sample_rate: int
    channels: int
    analysed: tuple[int, ...]
    analysed_because: str = ""
    names: tuple[str, ...] | None = None
    resume_seconds: float = 30.0
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated(_Told):
    """`session.updated`: what is said about the call has changed."""

    external: str | None = None
    queue: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTone(_Told):
    """`window`: one scored window; `lag_ms` after its last sample had come to the server."""

    channel: int
    window: Window
    lag_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone(_Told):
    """`tone`: of the newest 30 s of speech, and of the call so far."""

    channel: int
    end: float
    current: Current
    overall: Overall


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStart(_Told):
    """`speech.start`: a turn has begun."""

    channel: int
    start: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechEnd(_Told):
    """`speech.end`: a turn has ended."""

    channel: int
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerKnown(_Told):
    """`session.speaker`: from `speaker.since` on, scores of a channel know whose voice it is."""

    channel: int
    speaker: SpeakerUse


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRead(_Told):
    """`text`: how a transcript's words read; `problem` says why there is no answer."""

    channel: int
    start: float
    end: float
    label: str | None
    sentiment: Scores | None
    source: str
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(_Told):
    """`gap`: audio that was not analysed, and why."""

    start: float
    end: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert(_Told):
    """`alert`: a rule of the operator fired; `body` is all that it says."""

    rule: str
    channel: int | None
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`error`: something was wrong; after a fatal one the call ends."""

    code: str
    message: str
    fatal: bool
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelEnd:
    """What one channel came to; `flags` and what follows `overall` as in a file's result."""

    channel: int
    flags: tuple[str, ...]
    overall: Overall
    speaker: SpeakerUse | None = None
    windows_with_words: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(_Told):
    """`session.closed`: the call has ended; `duration` in seconds."""

    reason: str
    duration: float
    channels: tuple[ChannelEnd, ...]

    @property
    def overall(self) -> Mapping[int, Overall]:
        """The tone of the whole call by channel."""
        return {end.channel: end.overall for end in self.channels}


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Events with these numbers (`first` to `last`) were told while the connection was cut, and
    the server does not have them any more."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(_Told):
    """An event that this version does not know."""

    type: str
    body: Mapping[str, Any] = field(repr=False)


Event = (
    Created
    | Updated
    | WindowTone
    | Tone
    | SpeechStart
    | SpeechEnd
    | SpeakerKnown
    | TextRead
    | Gap
    | Alert
    | Problem
    | Closed
    | Missed
    | Other
)

_HEAD = ("call", "seq", "time")
_KINDS: Mapping[str, type[Any]] = {
    "session.created": Created,
    "session.updated": Updated,
    "window": WindowTone,
    "tone": Tone,
    "speech.start": SpeechStart,
    "speech.end": SpeechEnd,
    "session.speaker": SpeakerKnown,
    "text": TextRead,
    "gap": Gap,
    "alert": Alert,
    "error": Problem,
    "session.closed": Closed,
}
_ADAPTERS: Mapping[type[Any], TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (*_KINDS.values(), Other)
}
_SEQ: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=1)])


def parse(message: Mapping[str, Any]) -> Event:
    """An event from its JSON object; keys that are not known are left out.

    Raises:
        ServerError: a value that can't be: the other end is no such server.
    """
    name = str(message.get("type"))
    kind = _KINDS.get(name, Other)
    body: dict[str, Any] = dict(message)
    rest = {k: v for k, v in message.items() if k not in (*_HEAD, "type")}
    if kind is WindowTone:
        body["window"] = _only(Window, message)
    elif kind is SpeakerKnown:
        body["speaker"] = _use(message)
    elif kind is Closed:
        body["channels"] = _ends(message.get("channels"))
    elif kind in (Alert, Other):
        body |= {"body": rest, "channel": message.get("channel")}
    wanted = {f.name for f in fields(kind)}
    try:
        found: Event = _ADAPTERS[kind].validate_python(
            {key: value for key, value in body.items() if key in wanted}
        )
        return found
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ServerError(
            "internal",
            f"a {name[:40]} event that can't be understood ({where}: {first['msg']}): "
            "check that the address is that of a voicetone server of the same version",
        ) from error


def number_of(message: Mapping[str, Any]) -> int | None:
    """The number of an event among its call's; None of a message about the connection."""
    try:
        return _SEQ.validate_python(message["seq"], strict=True) if "seq" in message else None
    except ValidationError:
        return None


def _use(said: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a speaker; `from` is no name in Python."""
    return {**_only(SpeakerUse, said), "since": said.get("from")}


def _ends(said: Any) -> Any:
    """The channels of `session.closed`."""
    if not isinstance(said, list):
        return said
    return [
        {**end, "speaker": _use(end["speaker"])}
        if isinstance(end, dict) and isinstance(end.get("speaker"), dict)
        else end
        for end in said
    ]


def _only(kind: type[Any], message: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: message[f.name] for f in fields(kind) if f.name in message}
