"""One call in progress: audio in, events out, whatever the route that it comes by."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from voicetone.audio.telephony import mulaw_decode, s16le_decode
from voicetone.errors import AudioError, BundleError
from voicetone.inference.batch import Job, Output
from voicetone.inference.enrolment import Speakers
from voicetone.inference.live import (
    CurrentEvent,
    Event,
    LiveSession,
    OverallEvent,
    SpeakerEvent,
    SpeechEvent,
    SpeechStartEvent,
    WindowEvent,
)
from voicetone.server.clock import Clock
from voicetone.server.engine import Engine
from voicetone.server.events import CallEvent, EventType
from voicetone.server.refusal import RefusedError
from voicetone.types import Floats, SpeakerUse

Encoding = Literal["s16le", "mulaw"]
Route = Literal["native", "twilio", "audiohook", "audiosocket"]
SAMPLE_BYTES: dict[Encoding, int] = {"s16le": 2, "mulaw": 1}

FEED_SECONDS = 0.1
"""Audio is gathered to pieces of this before the session takes it, which saves work."""
ROOM_SECONDS = 10.0
"""A route stops reading while more audio than this waits for the model."""
MOST_WAITING = 60.0
"""More audio than this is not taken: what comes is reported as a gap."""
BACKLOG = 512
"""Events that are kept for a client that comes back."""


@dataclass(frozen=True, slots=True)
class CallStart:
    """What a route knows of a call when it begins.

    Args:
        route: that it comes by.
        sample_rate: Hz.
        encoding: of the samples.
        channels: interleaved in the audio.
        names: of the channels, such as `customer` and `agent`.
        analysed: channels asked for, from 1; None for what the names tell.
        consent: whether the people heard have been told and agreed, as the law of their place asks.
        external: the caller's own name for the call: a CallSid, a conversation id.
        queue: where the call came in, for the archive.
        credential: name of the key that it came with.
        metadata: anything else that the client wants back.
        speaker: what is asked for about whose voices these are: `voicetone.server.voices.Asked`.
        offset: seconds of the call before this audio begins, after a worker died.
        seq: number of the newest event told before, likewise.
    """

    route: Route
    sample_rate: int
    encoding: Encoding = "s16le"
    channels: int = 1
    names: tuple[str, ...] | None = None
    analysed: tuple[int, ...] | None = None
    consent: bool = False
    external: str | None = None
    queue: str | None = None
    credential: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    speaker: Mapping[int, str] | None = None
    offset: float = 0.0
    seq: int = 0


class Level:
    """How loud the analysed channels were since somebody last looked."""

    def __init__(self) -> None:
        self._squares, self._count = 0.0, 0

    def push(self, samples: Floats) -> None:
        """Take samples `[n]`; full scale is ±1."""
        self._squares += float(np.dot(samples, samples))
        self._count += samples.size

    def taken(self) -> float | None:
        """Root mean square in dB below full scale, and begin again; None without a sound."""
        squares, count = self._squares, self._count
        self._squares, self._count = 0.0, 0
        return 10 * math.log10(squares / count) if squares > 0 else None


class Watch(Protocol):
    """Looks at one call's events and says what is alarming."""

    def see(self, event: CallEvent) -> list[Mapping[str, Any]]:
        """Bodies of the alerts that an event gives rise to; each with `rule` and `channel`."""

    def ended(self) -> None:
        """No more events will come."""


Publish = Callable[[CallEvent], None]


class LiveCall:
    """A call in progress. Used from the event loop only.

    Times in events are seconds of the call's audio. What was lost on the way (`lost`) is filled
    with silence, so that they stay true, and told as a gap.

    Args:
        id: ours.
        start: what the route said.
        engine: runs the model.
        clock: the time.
        publish: told of every event, in order.
        watch: for alerts.
        speakers: whose voices are known.

    Raises:
        AudioError, DataError, UsageError: a rate, channels, names or voices that can't be.
    """

    def __init__(
        self,
        id: str,
        start: CallStart,
        engine: Engine,
        clock: Clock,
        publish: Publish,
        watch: Watch | None = None,
        speakers: Speakers = "auto",
    ) -> None:
        self.id = id
        self.start = start
        self.session = LiveSession(
            engine.predictor,
            start.sample_rate,
            start.channels,
            names=start.names,
            analysed=start.analysed,
            speakers=speakers,
        )
        self.began = clock.wall()
        self.heard = clock.steady()
        """When audio last came, by the steady clock."""
        self.received = 0
        """Samples per channel that were taken, lost ones among them: where a client goes on."""
        self.closing = False
        self.closed: str | None = None
        """Why the call ended, once it has."""
        self.backlog: deque[CallEvent] = deque(maxlen=BACKLOG)
        self.latest: dict[int, dict[str, Any]] = {}
        """The newest `tone` of each channel."""
        self.level = Level()
        self._engine, self._clock, self._publish, self._watch = engine, clock, publish, watch
        self._frame = SAMPLE_BYTES[start.encoding] * start.channels
        self._feed_bytes = max(1, round(FEED_SECONDS * start.sample_rate)) * self._frame
        self._bytes = bytearray()
        self._seq = start.seq
        self._arrived: deque[tuple[float, float]] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._ended = asyncio.Event()
        self._reason = ""
        self._untaken = 0.0  # seconds of audio not taken

    def begin(self) -> None:
        """Tell that the call is there."""
        self.tell("session.created", self.described())
        for channel in self.session.channels:
            use = self.session.speaker(channel)
            if use is not None and use.source == "enrolled":
                self._tell_speaker(channel, use)

    # -- what comes in ---------------------------------------------------------------------------

    def audio(self, data: bytes) -> None:
        """Take the next bytes of audio, all channels interleaved.

        Raises:
            RefusedError: bytes that are not whole samples, or a call that has ended.
        """
        self._require_open()
        if len(data) % self._frame:
            raise RefusedError(
                "invalid_audio_frame",
                f"{len(data)} bytes are not whole samples of {self.start.channels} channels "
                f"({self.start.encoding}): send a multiple of {self._frame}",
            )
        self.heard = self._clock.steady()
        if self._full(len(data) // self._frame):
            return
        self.received += len(data) // self._frame
        self._bytes += data
        if len(self._bytes) >= self._feed_bytes:
            self._feed()

    def lost(self, seconds: float, reason: str) -> None:
        """Audio that never came: silence stands for it, and a gap is told.

        Raises:
            RefusedError: a call that has ended, or a duration that can't be.
        """
        self._require_open()
        if not 0 < seconds < math.inf:
            raise RefusedError("bad_request", f"a gap of {seconds} s: give its length in seconds")
        self._feed()
        first = self.received
        count = round(seconds * self.start.sample_rate)
        self.received += count
        self.tell("gap", self._gap(first, count, reason))
        step = self.start.sample_rate * 10
        for at in range(0, count, step):
            self._take(np.zeros((self.start.channels, min(step, count - at)), dtype=np.float32))

    async def room(self) -> None:
        """Wait until the model has caught up: routes call it before they read on."""
        await self._room.wait()

    def close(self, reason: str) -> None:
        """No more audio will come; what is there is analysed, then `session.closed` is told."""
        if self.closing:
            return
        self._tell_untaken()
        self._feed()
        self.closing, self._reason = True, reason
        if self.closed is None:
            self._engine.submit(self, self.session.end())
            self._finish_if_done()

    async def ended(self) -> None:
        """Wait for the last event."""
        await self._ended.wait()

    # -- what goes out ---------------------------------------------------------------------------

    @property
    def position(self) -> float:
        """Seconds of the call so far, those before a worker's death among them."""
        return self.start.offset + self.received / self.start.sample_rate

    @property
    def last_seq(self) -> int:
        """Number of the newest event."""
        return self._seq

    def described(self) -> dict[str, Any]:
        """What a client and a page learn of the call at its start."""
        start = self.start
        return {
            "route": start.route,
            "external": start.external,
            "queue": start.queue,
            "model": self._engine.predictor.spec.id,
            "sample_rate": start.sample_rate,
            "encoding": start.encoding,
            "channels": start.channels,
            "names": None if start.names is None else list(start.names),
            "analysed": list(self.session.channels),
            "analysed_because": self.session.reason,
            "metadata": dict(start.metadata),
            "offset": round(start.offset, 3),
        }

    def tell(self, type: EventType, body: Mapping[str, Any], channel: int | None = None) -> None:
        """Make an event, and the alerts that follow from it."""
        self._seq += 1
        event = CallEvent(self.id, self._seq, self._clock.wall(), type, channel, body)
        self.backlog.append(event)
        self._publish(event)
        if self._watch is not None and type != "alert":
            for alert in self._watch.see(event):
                body = {k: v for k, v in alert.items() if k != "channel"}
                self.tell("alert", body, alert.get("channel"))

    # -- the engine's owner ----------------------------------------------------------------------

    def done(self, job: Job, output: Output) -> None:
        """A job's output, from the engine."""
        if self.closed is not None:
            return
        for event in self.session.finish(job, output):
            self._told(event)
        self._engine.submit(self, self.session.ready())
        if self.session.waiting < ROOM_SECONDS:
            self._room.set()
        self._finish_if_done()

    def failed(self, error: BundleError) -> None:
        """The model failed on this call, which ends; others go on."""
        if self.closed is None:
            self.abort("model_failed", str(error))

    def abort(self, code: str, message: str) -> None:
        """End the call at once, without analysing what waits."""
        self._engine.forget(self)
        self.tell("error", {"code": code, "message": message, "fatal": True})
        self._over(code)

    # -- inside ----------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self.closing or self.closed is not None:
            raise RefusedError("conflict", "the call has ended: start another for more audio")

    def _full(self, samples: int) -> bool:
        """Whether too much waits; then the audio is counted as a gap until there is room."""
        most = MOST_WAITING - (ROOM_SECONDS if self._untaken else 0.0)
        if self.session.waiting >= most:
            self._untaken += samples / self.start.sample_rate
            return True
        self._tell_untaken()
        return False

    def _tell_untaken(self) -> None:
        """What was not taken for want of room is a gap."""
        if self._untaken:
            seconds, self._untaken = self._untaken, 0.0
            self.lost(seconds, "overload")

    def _feed(self) -> None:
        """Give the session what has gathered."""
        if not self._bytes or self.closed is not None:
            return
        decode = s16le_decode if self.start.encoding == "s16le" else mulaw_decode
        samples = decode(bytes(self._bytes)).reshape(-1, self.start.channels).T
        self._bytes.clear()
        self._take(samples)

    def _take(self, samples: Floats) -> None:
        try:
            jobs = self.session.feed(samples)
        except AudioError as error:
            raise RefusedError("invalid_audio_frame", str(error)) from error
        for channel in self.session.channels:
            self.level.push(samples[channel - 1])
        self._arrived.append((self.session.seconds, self._clock.steady()))
        self._engine.submit(self, jobs)
        if self.session.waiting >= ROOM_SECONDS:
            self._room.clear()

    def _gap(self, first: int, count: int, reason: str) -> dict[str, Any]:
        rate, offset = self.start.sample_rate, self.start.offset
        return {
            "start": round(offset + first / rate, 3),
            "end": round(offset + (first + count) / rate, 3),
            "reason": reason,
        }

    def _told(self, event: Event) -> None:
        """An event of the session as one of the call."""
        offset, channel = self.start.offset, event.channel
        match event:
            case WindowEvent(window=window):
                lag = self._lag(window.end)
                body = _moved(window.to_dict(), offset, "start", "end")
                self.tell("window", {**body, "lag_ms": round(lag * 1000, 1)}, channel)
            case CurrentEvent(current=current):
                tone = {
                    "end": round(current.end + offset, 3),
                    "current": _moved(current.to_dict(), offset, "end"),
                    "overall": self.session.overall(channel).to_dict(),
                }
                self.latest[channel] = tone
                self.tell("tone", tone, channel)
            case SpeechStartEvent(start=start):
                self.tell("speech.start", {"start": round(start + offset, 3)}, channel)
            case SpeechEvent(segment=turn):
                body = {"start": round(turn.start + offset, 3), "end": round(turn.end + offset, 3)}
                self.tell("speech.end", body, channel)
            case SpeakerEvent(speaker=use):
                self._tell_speaker(channel, use)
            case OverallEvent():
                pass  # `session.closed` has it

    def _tell_speaker(self, channel: int, use: SpeakerUse) -> None:
        """From when a channel's speaker is known, and how; nothing of the voice itself."""
        self.tell("session.speaker", _moved_use(use, self.start.offset), channel)

    def _lag(self, end: float) -> float:
        """Seconds since the last sample of a window came; `end` in seconds of the session."""
        arrived = self._clock.steady()
        while self._arrived and self._arrived[0][0] < end - 1e-6:
            self._arrived.popleft()
        if self._arrived:
            arrived = self._arrived[0][1]
        return max(self._clock.steady() - arrived, 0.0)

    def _finish_if_done(self) -> None:
        if self.closing and self.closed is None and self.session.finished:
            self._over(self._reason)

    def _over(self, reason: str) -> None:
        self.closing, self.closed = True, reason
        session = self.session
        channels = [
            {
                "channel": channel,
                "flags": list(session.flags(channel)),
                "overall": session.overall(channel).to_dict(),
                **self._speaker(channel),
                **self._words(channel),
            }
            for channel in session.channels
        ]
        body = {"reason": reason, "duration": round(self.position, 3), "channels": channels}
        self.tell("session.closed", body)
        if self._watch is not None:
            self._watch.ended()
        self._room.set()
        self._ended.set()

    def _speaker(self, channel: int) -> dict[str, Any]:
        """What was known of a channel's speaker in the end; nothing where the model takes none."""
        use = self.session.speaker(channel)
        return {} if use is None else {"speaker": _moved_use(use, self.start.offset)}

    def _words(self, channel: int) -> dict[str, Any]:
        """In how many windows of a channel words were known; nothing where the model reads none."""
        count = self.session.windows_with_words(channel)
        return {} if count is None else {"windows_with_words": count}


def _moved_use(use: SpeakerUse, offset: float) -> dict[str, Any]:
    since = None if use.since is None else round(use.since + offset, 3)
    return {**use.to_dict(), "from": since}


def _moved(body: dict[str, Any], offset: float, *keys: str) -> dict[str, Any]:
    return {**body, **{key: round(body[key] + offset, 3) for key in keys}}
