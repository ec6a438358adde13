"""The parsers that strangers and operators feed, each with input that is right."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

from fuzz_files import (
    LINES,
    TOML,
    WORDS,
    _form,
    _recordings,
    run_form,
    run_line,
    run_settings,
    run_upload,
    run_words,
)
from fuzz_shared import NOISE, NOW, SECRET, SOME_AUDIO, Refusals, as_raw, as_text, sendable
from mutating import Messages, mutated

from voicetone.audio.telephony import mulaw_encode
from voicetone.server import audiohook_auth, native, sigv4
from voicetone.server.audiohook import AudioHookSession, AudioHookSettings
from voicetone.server.audiosocket import AudioSocketStream, Claim, Registration
from voicetone.server.call import CallStart
from voicetone.server.refusal import RefusedError
from voicetone.server.telephony import Action, End, Open, Send
from voicetone.server.twilio import TwilioSettings, TwilioStream

__all__ = ["TARGETS", "Messages", "Target", "mutated"]


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
    "speaker": {"1": {"voice": "vt_" + 24 * "x"}},
}
_SAID = {
    "type": "transcript",
    "channel": 1,
    "start": 0.25,
    "end": 1,
    "text": "Thanks.",
    "final": True,
}
_LIVE: Any = SimpleNamespace(id="abc", start=CallStart("native", 8000, names=("customer",)))
TOKEN = native.seal(SECRET, 0, "boot", _LIVE)
NATIVE: tuple[Messages, ...] = (
    [
        json.dumps(START),
        SOME_AUDIO,
        json.dumps({"type": "session.update", "queue": "x", "metadata": {"a": "b"}}),
        SOME_AUDIO,
        json.dumps({**_SAID, "language": "en"}),
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
            action = protocol.text(as_text(message))
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
            frame = _check(stream.text(as_text(message)), frame)
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
        actions = session.binary(as_raw(message)) if binary else session.text(as_text(message))
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
    target, *lines = map(as_text, messages) if messages else ("",)
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
        data = as_raw(message)
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
    for line in map(as_text, messages[4:]):
        name, _, value = line.partition(":")
        headers.append((name.lower(), value.strip()))
    # As they come through HTTP: one character for each byte.
    path, query = (as_raw(part).decode("latin-1") for part in parts[1:3])
    request = sigv4.Request(as_text(parts[0]), path, query, headers, as_raw(parts[3]))
    sigv4.verify(request, {"desk": SECRET}.get, "us-east-1", NOW)


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
