"""Calls in real time, many at once, and what became of each of their windows."""

from __future__ import annotations

import asyncio
import base64
import gc
import heapq
import time
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from wire import BINARY, Line, connected, frame, text

from voicetone.audio.telephony import mulaw_encode, s16le_encode
from voicetone.audio.units import HOP_SECONDS, WINDOW_SECONDS
from voicetone.types import Floats

ROOT = Path(__file__).resolve().parents[2]
CALL = ROOT / "examples" / "call.flac"  # two channels, 8 kHz: the second is the customer's
RATE = 8000
Route = Literal["native", "twilio"]
PATHS: dict[Route, str] = {"native": "/v1/stream", "twilio": "/v1/twilio"}
FRAME_MS: dict[Route, int] = {"native": 100, "twilio": 20}
LEAD = 0.5
"""Seconds between a call's start and its first frame."""
PATIENCE = 20.0
"""Seconds that a call's last events may take."""


@dataclass(frozen=True)
class Plan:
    """What is sent.

    Args:
        route: native binary frames of 100 ms, or Twilio's JSON frames of 20 ms.
        calls: of one channel each.
        seconds: that each lasts.
        ramp: seconds over which they begin, drawn evenly.
        seed: of those draws.
    """

    route: Route
    calls: int
    seconds: float
    ramp: float
    seed: int = 7

    @property
    def samples(self) -> int:
        """In a frame."""
        return RATE * FRAME_MS[self.route] // 1000

    @property
    def ends(self) -> list[float]:
        """Seconds of a call at which its windows end."""
        count = int((self.seconds - WINDOW_SECONDS) / HOP_SECONDS + 1e-9) + 1
        return [WINDOW_SECONDS + HOP_SECONDS * n for n in range(count)]


@dataclass
class Spoken:
    """One call."""

    number: int
    due: float
    id: str | None = None
    line: Line | None = None
    early: list[bytes] | None = field(default_factory=list)
    """Frames that wait for the call to be open; None once it is."""
    sent: array[float] = field(default_factory=lambda: array("d"))
    """When each frame was handed to the socket."""
    came: dict[float, float] = field(default_factory=dict)
    """End of a window, and when its event came."""
    lags: dict[float, float] = field(default_factory=dict)
    """The same window's lag in seconds as the server told it."""
    doubled: int = 0
    gaps: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False

    def say(self, data: bytes) -> None:
        """Send a frame, or keep it until the call is open."""
        if self.early is not None:
            self.early.append(data)
        elif self.line is not None:
            self.line.send(data)

    def told(self, event: dict[str, Any], now: float) -> None:
        """A message from the server."""
        match event["type"]:
            case "window":
                self.doubled += event["end"] in self.came
                self.came[event["end"]] = now
                self.lags[event["end"]] = event["lag_ms"] / 1000
            case "session.created":
                self.id = event["call"]
            case "gap":
                self.gaps += 1
            case "error":
                self.errors.append(event)
            case "session.closed":
                self.closed = True


def voice(seconds: float) -> Floats:
    """The example call's customer, over and over: `[n]`, ±1."""
    samples, _ = soundfile.read(CALL, dtype="float32")
    count = round(seconds * RATE)
    return np.resize(samples[:, 1], count)


def frames(plan: Plan) -> list[bytes]:
    """All audio frames of a call, as they go over the wire."""
    samples, step = voice(plan.seconds), plan.samples
    pieces = [samples[at : at + step] for at in range(0, samples.size, step)]
    if plan.route == "native":
        return [frame(BINARY, s16le_encode(piece)) for piece in pieces]
    made = []
    for number, piece in enumerate(pieces):
        media = {
            "track": "inbound",
            "chunk": str(number + 1),
            "timestamp": str(number * FRAME_MS["twilio"]),
            "payload": base64.b64encode(mulaw_encode(piece).tobytes()).decode(),
        }
        message = {"event": "media", "sequenceNumber": str(number + 2), "media": media}
        made.append(text({**message, "streamSid": "MZ" + "0" * 32}))
    return made


def start(plan: Plan, number: int) -> list[bytes]:
    """The messages before the audio."""
    if plan.route == "native":
        return [text({"type": "session.start", "sample_rate": RATE, "consent": True})]
    sid = f"CA{number:032d}"
    form = {"encoding": "audio/x-mulaw", "sampleRate": RATE, "channels": 1}
    said = {
        "streamSid": "MZ" + "0" * 32,
        "callSid": sid,
        "accountSid": "AC" + "0" * 32,
        "tracks": ["inbound"],
        "customParameters": {"consent": "true"},
        "mediaFormat": form,
    }
    first = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    return [text(first), text({"event": "start", "sequenceNumber": "1", "start": said})]


def stop(plan: Plan) -> bytes:
    """The message after the audio."""
    return text({"type": "session.close"} if plan.route == "native" else {"event": "stop"})


@dataclass
class Load:
    """What came of a plan.

    Args:
        plan: what was sent.
        calls: each of them.
        late: the most seconds that a frame was sent after its time: the load's own fault.
        full: from when to when all calls were speaking, by the steady clock.
        wall: what to add to the steady clock for the wall clock.
    """

    plan: Plan
    calls: list[Spoken]
    late: float
    full: tuple[float, float]
    wall: float


async def run(
    port: int, plan: Plan, beside: Callable[[float, float], Awaitable[None]] | None = None
) -> Load:
    """Let all calls speak.

    Args:
        port: of the server.
        plan: what is sent.
        beside: run at the same time; gets from when to when all calls speak.
    """
    data, rng = frames(plan), np.random.default_rng(plan.seed)
    offsets = np.sort(rng.uniform(0.0, plan.ramp, plan.calls))
    begin = time.monotonic() + 0.2
    calls = [Spoken(n, begin + float(offset)) for n, offset in enumerate(offsets)]
    full = (calls[-1].due + LEAD, calls[0].due + LEAD + plan.seconds)
    other = None if beside is None else asyncio.ensure_future(beside(*full))
    opening = asyncio.ensure_future(_open_all(port, plan, calls))
    gc.disable()  # a pause of the load would count as the server's
    try:
        late = await _speak(plan, calls, data)
    finally:
        gc.enable()
    await opening
    waits = [call.line.over for call in calls if call.line is not None]
    if waits:
        await asyncio.wait(waits, timeout=PATIENCE)
    for call in calls:
        if call.line is not None:
            call.line.drop()
    if other is not None:
        await other
    return Load(plan, calls, late, full, time.time() - time.monotonic())


async def _open_all(port: int, plan: Plan, calls: list[Spoken]) -> None:
    """Connect each call at its time and start it."""
    for call in calls:
        await asyncio.sleep(max(call.due - time.monotonic(), 0.0))
        line = await connected(port, PATHS[plan.route], call.told)
        call.line = line
        line.opened.add_done_callback(lambda _, c=call: _start(plan, c))


def _start(plan: Plan, call: Spoken) -> None:
    assert call.line is not None
    early, call.early = call.early or [], None
    for message in (*start(plan, call.number), *early):
        call.line.send(message)


async def _speak(plan: Plan, calls: list[Spoken], data: list[bytes]) -> float:
    """Send each frame at its time, whatever the server does; the most that one was late."""
    step, late, count = FRAME_MS[plan.route] / 1000, 0.0, 0
    # A microphone hands a frame over when its last sample is there.
    heap = [(call.due + LEAD + step, call.number, 0) for call in calls]
    heapq.heapify(heap)
    while heap:
        due, number, index = heap[0]
        now = time.monotonic()
        if due > now:
            await asyncio.sleep(due - now)
            continue
        call = calls[number]
        late = max(late, now - due)
        call.sent.append(now)
        call.say(data[index])
        if index + 1 < len(data):
            heapq.heapreplace(heap, (due + step, number, index + 1))
        else:
            heapq.heappop(heap)
            call.say(stop(plan))
        count += 1
        if count % 64 == 0:
            await asyncio.sleep(0)  # let what has come be read, even when behind
    return late
