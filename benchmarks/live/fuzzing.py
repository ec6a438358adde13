"""The parsers that strangers and operators feed, each with input that is right."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
from fastapi import Request as WebRequest
from mutating import Messages, mutated

from voicetone.audio.decode import open_audio
from voicetone.audio.telephony import mulaw_encode, s16le_encode
from voicetone.server import audiohook_auth, native, sigv4
from voicetone.server.alerts import make_watch
from voicetone.server.audiohook import AudioHookSession, AudioHookSettings
from voicetone.server.audiosocket import AudioSocketStream, Claim, Registration
from voicetone.server.call import CallStart
from voicetone.server.jobs import FileSettings
from voicetone.server.keys import Keys
from voicetone.server.lawful import lawful_channels
from voicetone.server.refusal import RefusedError
from voicetone.server.settings import read_settings
from voicetone.server.telephony import Action, End, Open, Send
from voicetone.server.twilio import TwilioSettings, TwilioStream
from voicetone.server.upload import read_request, read_words

__all__ = ["TARGETS", "Messages", "Target", "mutated"]

NOW = 1_700_000_000.0
SECRET = b"0123456789abcdef0123456789abcdef"
RNG = np.random.default_rng(3)
NOISE = (0.1 * RNG.standard_normal(1600)).astype(np.float32)
SOME_AUDIO = s16le_encode(NOISE[:80])


@dataclass(frozen=True)
class Target:
    """A parser.

    Args:
        name: of it.
        corpus: input that it takes.
        run: feeds it; raises `VoicetoneError` for what is refused.
        weight: share of the cases.
    """

    name: str
    corpus: tuple[Messages, ...]
    run: Callable[[Messages], None]
    weight: float


class Refusals:
    """Lets a session go on after a message that was refused, and tells of it in the end."""

    def __init__(self) -> None:
        self.first: RefusedError | None = None

    def note(self, error: RefusedError) -> None:
        """A message was refused; what is said of it can be sent."""
        self.first = self.first or error
        sendable(error.to_dict())

    def tell(self) -> None:
        """Raise what was refused first."""
        if self.first is not None:
            raise self.first


def sendable(said: Any) -> None:
    """Whatever is told must be writable as JSON in UTF-8."""
    json.dumps(said, ensure_ascii=False, allow_nan=False).encode()


def _text(message: str | bytes) -> str:
    """As it comes out of a socket, which has no halves of characters but escaped ones."""
    data = message if isinstance(message, bytes) else message.encode("utf-8", "replace")
    return data.decode("utf-8", "replace")


def _raw(message: str | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.encode("utf-8", "replace")


# -- native ----------------------------------------------------------------------------------------

START: dict[str, Any] = {
    "type": "session.start",
    "sample_rate": 8000,
    "encoding": "s16le",
    "channels": 2,
    "channel_names": ["customer", "agent"],
    "analyse": [1],
    "consent": True,
    "call": "a-7",
    "queue": "sales",
    "metadata": {"desk": "4"},
}
_LIVE: Any = SimpleNamespace(id="abc", start=CallStart("native", 8000, names=("customer",)))
TOKEN = native.seal(SECRET, 0, "boot", _LIVE)
NATIVE: tuple[Messages, ...] = (
    [
        json.dumps(START),
        SOME_AUDIO,
        json.dumps({"type": "session.update", "queue": "x", "metadata": {"a": "b"}}),
        SOME_AUDIO,
        json.dumps({"type": "session.close"}),
    ],
    [json.dumps({"type": "session.resume", "token": TOKEN, "last_seq": 4, "position": 2.5})],
)


def run_native(messages: Messages) -> None:
    """A connection's messages."""
    protocol, refusals = native.NativeProtocol(20), Refusals()
    for message in messages:
        try:
            if isinstance(message, bytes):
                protocol.binary(message)
                continue
            action = protocol.text(_text(message))
            if isinstance(action, native.Start):
                start = action.call_start("key", None)
                sendable(asdict(start))
                protocol.opened(start.sample_rate, start.channels, start.encoding)
            elif isinstance(action, native.Resume):
                native.unseal(SECRET, action.token)
            elif isinstance(action, native.Update):
                sendable([action.call, action.queue, dict(action.metadata or {})])
        except RefusedError as error:
            refusals.note(error)
            sendable(protocol.refused(error, 0.0))
    refusals.tell()


# -- telephone systems -----------------------------------------------------------------------------


def _twilio() -> tuple[Messages, ...]:
    form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    begin = {
        "streamSid": "MZ1",
        "accountSid": "AC1",
        "callSid": "CA1",
        "tracks": ["inbound", "outbound"],
        "customParameters": {"consent": "true", "queue": "sales", "desk": "4"},
        "mediaFormat": form,
    }
    said: list[dict[str, Any]] = [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {"event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": begin},
    ]
    for chunk in range(6):
        for track in ("inbound", "outbound"):
            payload = base64.b64encode(mulaw_encode(NOISE[:160]).tobytes()).decode()
            stamp = {"chunk": str(chunk + 1), "timestamp": str(60 + 20 * chunk)}
            media = {"track": track, **stamp, "payload": payload}
            said.append({"event": "media", "streamSid": "MZ1", "media": media})
    said.append({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": "1"}})
    said.append({"event": "stop", "stop": {"accountSid": "AC1", "callSid": "CA1"}})
    snake = {
        "event": "start",
        "start": {
            "call_control_id": "v3:1",
            "tracks": ["inbound"],
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
        },
    }
    plain = [m for m in said if m.get("media", {}).get("track") != "outbound"]
    return [json.dumps(m) for m in said], [json.dumps(m) for m in (plain[0], snake, *plain[2:])]


def _check(actions: list[Action], frame: int) -> int:
    """What a protocol asks for is possible; the bytes of a sample of all channels, once known."""
    for action in actions:
        match action:
            case Open(start):
                sendable(asdict(start))
                width = 2 if start.encoding == "s16le" else 1
                frame = width * start.channels
            case Send(text):
                json.loads(text)
                text.encode()
            case End(reason):
                reason.encode()
            case _:
                data = getattr(action, "data", b"")
                if data:  # others may come without a call, as in AudioHook's probe
                    assert frame
                    assert len(data) % frame == 0
    return frame


def run_twilio(messages: Messages) -> None:
    """A stream's messages."""
    stream, refusals, frame = TwilioStream(TwilioSettings(consent=True)), Refusals(), 0
    for message in messages:
        try:
            frame = _check(stream.text(_text(message)), frame)
        except RefusedError as error:
            refusals.note(error)
    _check(stream.gone(), frame)
    refusals.tell()


def _audiohook() -> tuple[Messages, ...]:
    media = [
        {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000},
        {"type": "audio", "format": "L16", "channels": ["external"], "rate": 8000},
    ]
    opened = {
        "organizationId": "d7934305-0972-4844-938e-9060eef73d05",
        "conversationId": "090eaa2f-72fa-480a-83e0-8667ff89c0ec",
        "participant": {"id": "883efee8", "ani": "+1", "aniName": "John", "dnis": "+1"},
        "media": media,
        "language": "en-US",
        "customConfig": {"consent": "true", "queue": "sales"},
    }
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("open", opened),
        ("ping", {"rtt": "PT0.1S"}),
        ("discarded", {"start": "PT0S", "discarded": "PT1S"}),
        ("paused", {}),
        ("resumed", {"start": "PT1S", "discarded": "PT2S"}),
        ("update", {"language": "de-DE"}),
        ("error", {"code": 429, "message": "slower"}),
        ("close", {"reason": "end"}),
    ]
    said: Messages = []
    for number, (kind, parameters) in enumerate(kinds, 1):
        head = {"version": "2", "id": "e160e428", "type": kind, "seq": number, "serverseq": 0}
        said.append(json.dumps({**head, "position": "PT0S", "parameters": parameters}))
        if kind != "close":
            said.append(mulaw_encode(NOISE[:160]).tobytes())
    return (said,)


def run_audiohook(messages: Messages) -> None:
    """A session's messages."""
    session, frame, left = AudioHookSession(AudioHookSettings(consent=True)), 0, ""
    for message in messages:
        binary = isinstance(message, bytes)
        actions = session.binary(_raw(message)) if binary else session.text(_text(message))
        frame = _check(actions, frame)
        if any(isinstance(action, Open) for action in actions):
            _check(session.opened(), frame)
        if any(isinstance(a, Send) and '"disconnect"' in a.text for a in actions):
            left = "disconnected"
        if session.state.name == "CLOSING":
            _check(session.closed(), frame)
    _check(session.gone(), frame)
    if left:  # its way to refuse
        raise RefusedError("bad_request", left)


def _signed() -> Messages:
    """Headers of a connection, as Genesys signs them."""
    values = {name: f"v-{name}" for name in audiohook_auth.REQUIRED}
    values |= {"@request-target": "/v1/audiohook", "@authority": "tone.example"}
    values["x-api-key"] = "genesys"
    named = "(" + " ".join(f'"{name}"' for name in values) + ")"
    named += f';keyid="genesys";nonce="{"n" * 24}";alg="hmac-sha256";created={NOW:.0f}'
    lines = [f'"{name}": {value}' for name, value in values.items()]
    text = "\n".join([*lines, f'"@signature-params": {named}'])
    mac = base64.b64encode(hmac.new(SECRET, text.encode(), hashlib.sha256).digest()).decode()
    headers = {k: v for k, v in values.items() if not k.startswith("@")}
    headers |= {"host": "tone.example", "signature-input": f"sig1={named}"}
    headers["signature"] = f"sig1=:{mac}:"
    return ["/v1/audiohook", *(f"{name}: {value}" for name, value in headers.items())]


def run_signature(messages: Messages) -> None:
    """Target and headers of a connection."""
    target, *lines = map(_text, messages) if messages else ("",)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    audiohook_auth.verify(headers, target, SECRET, NOW, audiohook_auth.Nonces())


def _audiosocket() -> tuple[Messages, ...]:
    frames = [b"\1\0\x10" + bytes(range(16))]
    frames += [b"\x10" + len(SOME_AUDIO).to_bytes(2, "big") + SOME_AUDIO] * 4
    frames += [b"\3\0\x017", b"\0\0\0"]
    return list(frames), [b"".join(frames)]


def run_audiosocket(messages: Messages) -> None:
    """Bytes of a connection, in pieces."""
    stream, frame = AudioSocketStream(), 0
    for message in messages:
        data = _raw(message)
        while True:
            actions = stream.feed(data)
            frame = _check([a for a in actions if not isinstance(a, Claim)], frame)
            if not actions or not isinstance(actions[-1], Claim):
                break
            stream.claimed(Registration("customer", True))
            data = b""
    _check([a for a in stream.gone() if not isinstance(a, Claim)], frame)


# -- requests --------------------------------------------------------------------------------------


def _sigv4() -> tuple[Messages, ...]:
    body = b'{"TransactionId": "a", "LanguageCode": "en-US"}'
    headers = [
        ("host", "tone.example"),
        ("content-type", "application/json"),
        ("x-amz-date", "20231114T221320Z"),
    ]
    path, query = "/voice-connectors/a%2Fb/voice-tone-analysis-tasks", "operation=stop&b=%20"
    request = sigv4.Request("POST", path, query, headers, body)
    names = tuple(sorted(name for name, _ in headers))
    claim = sigv4.Claim("desk", "20231114", "us-east-1", "chime", names, "")
    moment = "20231114T221320Z"
    text = sigv4.string_to_sign(claim, moment, sigv4.canonical_request(request, names))
    field = (
        f"{sigv4.ALGORITHM} Credential=desk/{claim.scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={sigv4.signature_of(SECRET, claim, text)}"
    )
    lines = [f"{name}: {value}" for name, value in (*headers, ("authorization", field))]
    return (["POST", path, query, body, *lines],)


def run_sigv4(messages: Messages) -> None:
    """Method, path, query, body and headers of a request."""
    parts = [*messages, "", "", "", b""]
    headers = []
    for line in map(_text, messages[4:]):
        name, _, value = line.partition(":")
        headers.append((name.lower(), value.strip()))
    # As they come through HTTP: one character for each byte.
    path, query = (_raw(part).decode("latin-1") for part in parts[1:3])
    request = sigv4.Request(_text(parts[0]), path, query, headers, _raw(parts[3]))
    sigv4.verify(request, {"desk": SECRET}.get, "us-east-1", NOW)


def _recordings() -> tuple[Messages, ...]:
    out: list[Messages] = []
    for kind, subtype in (
        *(("WAV", "PCM_16"), ("WAV", "ULAW"), ("WAVEX", "FLOAT"), ("FLAC", "PCM_16")),
        *(("AIFF", "PCM_16"), ("OGG", "VORBIS"), ("AU", "ULAW")),
    ):
        file = io.BytesIO()
        soundfile.write(file, np.stack([NOISE, NOISE], 1), 8000, subtype, format=kind)
        out.append([file.getvalue()])
    return tuple(out)


MOST_CHANNELS, MOST_SECONDS = 4, 60.0


def run_upload(messages: Messages) -> None:
    """A recording: opened, measured and decoded as an upload is."""
    data = b"".join(map(_raw, messages))
    file = os.memfd_create("upload")
    try:
        os.write(file, data)
        with open_audio(f"/proc/self/fd/{file}") as source:
            if source.channels > MOST_CHANNELS or (source.duration or 0) > MOST_SECONDS:
                raise RefusedError("unsupported_media", "too many channels, or too long")
            names = ("customer", "agent", "left", "right")[: source.channels]
            lawful_channels(source.channels, names, None, None)
            taken = 0.0
            for block in source.blocks():
                taken += block.shape[1] / source.rate
                if taken > MOST_SECONDS:
                    raise RefusedError("message_too_large", "too long")
    finally:
        os.close(file)


FILES = FileSettings()
_LOOP: list[asyncio.AbstractEventLoop] = []


def _asked(body: bytes, headers: Mapping[str, bytes], query: bytes = b"") -> WebRequest:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    named = [(name.encode(), value) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/analyze", "headers": named}
    return WebRequest({**scope, "query_string": query}, receive)


def _finish(work: Any) -> Any:
    """Run a coroutine in this process's own loop."""
    if not _LOOP:
        _LOOP.append(asyncio.new_event_loop())
    return _LOOP[0].run_until_complete(work)


def _form() -> tuple[Messages, ...]:
    fields = {"channel_names": "agent,customer", "analyse": "customer", "consent": "true"}
    lines = []
    for name, value in fields.items():
        lines.append(f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n')
    file = '--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n'
    body = "".join(lines).encode() + file.encode()
    body += b"Content-Type: audio/wav\r\n\r\n" + _recordings()[0][0][:200] + b"\r\n--x--\r\n"
    return (["multipart/form-data; boundary=x", body],)


def run_form(messages: Messages) -> None:
    """Content-Type and body of an upload."""
    kind, body = (*messages, "", b"")[:2]
    header = _raw(kind).replace(b"\r", b"").replace(b"\n", b"")
    request = _asked(_raw(body), {"content-type": header})
    sent = _finish(read_request(request, "multipart/form-data", FILES))
    try:
        for name in ("consent", "async"):
            sent.flag(name)
        for name in ("channel_names", "analyse"):
            sent.list(name)
        sendable(sent.name)
    finally:
        if sent.file is not None:
            sent.file.close()


def run_words(messages: Messages) -> None:
    """Body of a request with a text."""
    body = b"".join(_raw(message) for message in messages)
    words = _finish(read_words(_asked(body, {"content-type": b"application/json"}), FILES))
    sendable(words.model_dump())


# -- what operators write --------------------------------------------------------------------------

TOML = """port = 9000
workers = 2
origins = ["https://desk.example"]
bad_messages = 5

[[keys]]
name = "pbx"
hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
scopes = ["telephony", "stream"]
calls_per_minute = 60

[limits]
channels = 50
idle = 30.0

[store]
url = "sqlite:///calls.db"
retention_days = 7

[twilio]
consent = true
inbound = "customer"

[audiosocket]
port = 9092
addresses = ["10.0.0.0/8"]

[[alerts.rules]]
name = "upset"
kind = "negative"
seconds = 20
over = 0.6

[[alerts.rules]]
name = "worse"
kind = "drop"
by = 0.4
channels = ["customer", 1]

[[targets]]
kind = "jsonl"
name = "lines"
folder = "events"
"""


def run_settings(messages: Messages) -> None:
    """A file of settings, with keys and alert rules."""
    file = os.memfd_create("settings")
    try:
        os.write(file, b"".join(map(_raw, messages)))
        settings = read_settings(Path(f"/proc/self/fd/{file}"), (), {})
    finally:
        os.close(file)
    Keys(settings.keys)
    make_watch(settings.alerts)(CallStart("native", 8000, names=("customer",)))


def run_line(messages: Messages) -> None:
    """Words of the command line."""
    read_settings(None, [_text(message) for message in messages], {})


LINES: tuple[Messages, ...] = (
    ["port=9000", "limits.channels=50", 'store.url=""', "twilio.consent=true"],
)
WORDS: tuple[Messages, ...] = ([json.dumps({"text": "I am not amused.", "language": "en"})],)

TARGETS = (
    Target("native", NATIVE, run_native, 22),
    Target("twilio", _twilio(), run_twilio, 18),
    Target("audiohook", _audiohook(), run_audiohook, 18),
    Target("signature", (_signed(),), run_signature, 12),
    Target("audiosocket", _audiosocket(), run_audiosocket, 12),
    Target("sigv4", _sigv4(), run_sigv4, 10),
    Target("upload", _recordings(), run_upload, 4),
    Target("form", _form(), run_form, 1.5),
    Target("words", WORDS, run_words, 1.5),
    Target("settings", ([TOML],), run_settings, 0.5),
    Target("line", LINES, run_line, 0.5),
)
