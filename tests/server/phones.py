"""Telephone systems as the server sees them: sessions that look like recorded ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from voicetone.audio.telephony import mulaw_decode, mulaw_encode
from voicetone.inference.live import LiveSession, WindowEvent
from voicetone.pretrained.predictor import Predictor
from voicetone.server.call import LiveCall
from voicetone.server.engine import Engine
from voicetone.server.events import CallEvent
from voicetone.server.hub import Hub, Limits
from voicetone.types import Floats

RATE = 8000
FRAME = 160


class FakeClock:
    """Both clocks as a test sets them."""

    def __init__(self, now: float = 0.0, day: float = 1_700_000_000.0) -> None:
        self.now, self.day = now, day

    def wall(self) -> float:
        return self.day

    def steady(self) -> float:
        return self.now


def voice(seconds: float, seed: int = 7, rate: int = RATE) -> Floats:
    """Noise whose loudness and colour wander, so that windows differ."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(round(seconds * rate))
    slow = np.interp(
        np.arange(noise.size), np.arange(0, noise.size + rate, rate), _walk(rng, seconds)
    )
    mixed = slow * noise + (1 - slow) * np.convolve(noise, np.ones(8) / 3, "same")
    return (0.1 * mixed).astype(np.float32)


def _walk(rng: np.random.Generator, seconds: float) -> Floats:
    return rng.uniform(0, 1, int(np.ceil(seconds)) + 1).astype(np.float32)


def coded(samples: Floats) -> bytes:
    """μ-law."""
    return mulaw_encode(samples).tobytes()


def heard(codes: Sequence[bytes]) -> Floats:
    """What the server should take from channels of μ-law: `[channels, n]`."""
    return np.stack([mulaw_decode(one) for one in codes])


def file_windows(
    predictor: Predictor,
    samples: Floats,
    names: tuple[str, ...] | None = None,
    rate: int = RATE,
) -> list[tuple[int, dict[str, Any]]]:
    """Windows of the same audio as a file: channel and body."""
    session = LiveSession(predictor, rate, len(samples), names=names)
    events = [*session.push(samples), *session.close()]
    return [(e.channel, e.window.to_dict()) for e in events if isinstance(e, WindowEvent)]


def windows(events: Sequence[CallEvent]) -> list[tuple[int, dict[str, Any]]]:
    """Windows among a call's events, in the same form."""
    found = []
    for event in events:
        if event.type == "window" and event.channel is not None:
            body = {k: v for k, v in event.body.items() if k != "lag_ms"}
            found.append((event.channel, body))
    return found


def assert_same(got: list[Any], want: list[Any]) -> None:
    """Windows are the same, scores to 2e-4 (they are rounded to four digits)."""
    assert len(got) == len(want) > 0
    for (channel, mine), (other, its) in zip(got, want, strict=True):
        assert channel == other
        assert mine.keys() == its.keys()
        for key, value in its.items():
            if isinstance(value, dict):
                assert mine[key].keys() == value.keys()
                for label in value:
                    assert abs(mine[key][label] - value[label]) <= 2e-4, key
            elif isinstance(value, float):
                assert abs(mine[key] - value) <= 2e-3, key
            else:
                assert mine[key] == value, key


def bodies(events: Sequence[CallEvent], type: str) -> list[tuple[int | None, dict[str, Any]]]:
    """Channel and body of all events of a type."""
    return [(e.channel, dict(e.body)) for e in events if e.type == type]


def with_hub(predictor: Predictor, work: Callable[[Hub], Awaitable[None]], **limits: Any) -> None:
    """Run something with a hub, for at most 30 s."""

    async def run() -> None:
        hub = Hub(Engine(predictor), Limits(**limits))
        hub.start()
        try:
            async with asyncio.timeout(30):
                await work(hub)
        finally:
            await hub.stop()

    asyncio.run(run())


async def over(call: LiveCall | None) -> list[CallEvent]:
    """All events of a call, once it has ended."""
    assert call is not None
    await call.ended()
    return list(call.backlog)


# -- Twilio ----------------------------------------------------------------------------------------


def twilio_start(tracks: Sequence[str], **parameters: str) -> list[dict[str, Any]]:
    """The first two messages."""
    return [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": "MZ18ad3ab5a668481ce02b83e7395059f0",
            "start": {
                "streamSid": "MZ18ad3ab5a668481ce02b83e7395059f0",
                "accountSid": "AC00000000000000000000000000000001",
                "callSid": "CA00000000000000000000000000000001",
                "tracks": list(tracks),
                "customParameters": dict(parameters),
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            },
        },
    ]


def twilio_media(track: str, codes: bytes, first: int = 60) -> list[dict[str, Any]]:
    """One track's frames of 20 ms; the first one's time stamp in ms."""
    return [
        {
            "event": "media",
            "streamSid": "MZ18ad3ab5a668481ce02b83e7395059f0",
            "media": {
                "track": track,
                "chunk": str(1 + at // FRAME),
                "timestamp": str(first + at * 1000 // RATE),
                "payload": base64.b64encode(codes[at : at + FRAME]).decode(),
            },
        }
        for at in range(0, len(codes), FRAME)
    ]


def twilio_session(
    inbound: bytes, outbound: bytes | None = None, **parameters: str
) -> list[dict[str, Any]]:
    """A whole one."""
    tracks = ["inbound"] if outbound is None else ["inbound", "outbound"]
    media = twilio_media("inbound", inbound)
    if outbound is not None:
        media = [*media, *twilio_media("outbound", outbound)]
        media.sort(key=lambda one: int(one["media"]["timestamp"]))
    stop = {"event": "stop", "stop": {"accountSid": "AC1", "callSid": "CA1"}}
    messages = [*twilio_start(tracks, **parameters), *media, stop]
    for number, message in enumerate(messages[1:], 1):
        message["sequenceNumber"] = str(number)
    return messages


def as_text(messages: Sequence[dict[str, Any]]) -> list[str]:
    """Messages as they are on the wire."""
    return [json.dumps(one) for one in messages]


# -- Genesys ---------------------------------------------------------------------------------------

BOTH = [
    {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000},
    {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000},
    {"type": "audio", "format": "PCMU", "channels": ["internal"], "rate": 8000},
]


class AudioHookClient:
    """Makes messages as Genesys does, with their numbers."""

    def __init__(self, session: str = "e160e428-53e2-487c-977d-96989bf5c99d") -> None:
        self.session = session
        self.seq = self.serverseq = 0
        self.position = 0.0

    def message(self, kind: str, parameters: Any) -> str:
        """The next one."""
        self.seq += 1
        return json.dumps(
            {
                "version": "2",
                "id": self.session,
                "type": kind,
                "seq": self.seq,
                "serverseq": self.serverseq,
                "position": f"PT{self.position:.3f}S",
                "parameters": parameters,
            }
        )

    def open(self, **parameters: Any) -> str:
        """The first one."""
        usual = {
            "organizationId": "d7934305-0972-4844-938e-9060eef73d05",
            "conversationId": "090eaa2f-72fa-480a-83e0-8667ff89c0ec",
            "participant": {
                "id": "883efee8-3d6c-4537-b500-6d7ca4b92fa0",
                "ani": "+1-555-555-1234",
                "aniName": "John Doe",
                "dnis": "+1-800-555-6789",
            },
            "media": BOTH,
            "language": "en-US",
        }
        return self.message("open", {**usual, **parameters})

    def saw(self, messages: Sequence[dict[str, Any]]) -> None:
        """The server's messages, whose numbers the client gives back."""
        for message in messages:
            assert message["seq"] == self.serverseq + 1
            assert message["id"] == self.session or message["clientseq"] == 0
            self.serverseq = message["seq"]


def interleaved(one: bytes, other: bytes) -> bytes:
    """Two channels of μ-law."""
    pair = np.stack([np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)], axis=1)
    return pair.tobytes()


def signed(
    secret: bytes,
    target: str,
    now: float,
    key: str = "genesys",
    nonce: str = "VGhpc0lzQVVuaXF1ZU5vbmNl",
    host: str = "tone.example",
    leave_out: str = "",
) -> dict[str, str]:
    """Headers of a connection as Genesys signs them (RFC 9421, section 2.5)."""
    values = {
        "@request-target": target,
        "@authority": host,
        "audiohook-organization-id": "d7934305-0972-4844-938e-9060eef73d05",
        "audiohook-session-id": "e160e428-53e2-487c-977d-96989bf5c99d",
        "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
        "x-api-key": key,
    }
    kept = {name: value for name, value in values.items() if name != leave_out}
    named = "(" + " ".join(f'"{name}"' for name in kept) + ")"
    named += f';keyid="{key}";nonce="{nonce}";alg="hmac-sha256"'
    named += f";created={int(now)};expires={int(now) + 10}"
    lines = [f'"{name}": {value}' for name, value in kept.items()]
    text = "\n".join([*lines, f'"@signature-params": {named}'])
    mac = hmac.new(base64.b64decode(secret), text.encode(), hashlib.sha256).digest()
    headers = {name: value for name, value in values.items() if not name.startswith("@")}
    headers["signature-input"] = f"sig1={named}"
    headers["signature"] = f"sig1=:{base64.b64encode(mac).decode()}:"
    return {**headers, "host": host}
