"""The core of the server: calls, their engine, admission."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from voicetone.audio.telephony import mulaw_encode, s16le_encode
from voicetone.inference.live import LiveSession, WindowEvent
from voicetone.pretrained.predictor import Predictor
from voicetone.server.call import CallStart, LiveCall
from voicetone.server.engine import Engine
from voicetone.server.events import CallEvent
from voicetone.server.hub import Hub, Limits
from voicetone.server.refusal import RefusedError
from voicetone.types import Floats


class BentClock:
    """Both clocks as a test sets them."""

    def __init__(self) -> None:
        self.now, self.day = 0.0, 1_700_000_000.0

    def wall(self) -> float:
        return self.day

    def steady(self) -> float:
        return self.now


def sound(seconds: float, rate: int = 8000) -> Floats:
    rng = np.random.default_rng(7)
    return (0.1 * rng.standard_normal(round(seconds * rate))).astype(np.float32)


def with_hub(
    predictor: Predictor, work: Callable[[Hub], Awaitable[None]], **limits: object
) -> None:
    async def run() -> None:
        hub = Hub(Engine(predictor), Limits(**limits))  # type: ignore[arg-type]
        hub.start()
        try:
            async with asyncio.timeout(30):
                await work(hub)
        finally:
            await hub.stop()

    asyncio.run(run())


def start(**changes: object) -> CallStart:
    return CallStart(**{"route": "native", "sample_rate": 8000, "consent": True, **changes})  # type: ignore[arg-type]


async def said(hub: Hub, call: LiveCall, data: bytes, step: int) -> list[CallEvent]:
    for at in range(0, len(data), step):
        call.audio(data[at : at + step])
        await call.room()
    call.close("client")
    await call.ended()
    return list(call.backlog)


def test_the_same_windows_as_a_file_in_any_frames(predictor: Predictor) -> None:
    samples = sound(11.3)
    data = s16le_encode(samples)
    alone = LiveSession(predictor, 8000)
    events = alone.push((np.frombuffer(data, "<i2") / 32768).astype(np.float32)) + alone.close()
    expected = [e.window for e in events if isinstance(e, WindowEvent)]

    async def work(hub: Hub) -> None:
        for step in (160, 1600, 50_002):
            told = await said(hub, hub.open(start()), data, step)
            assert [e.seq for e in told] == list(range(1, len(told) + 1))
            windows = [e.body for e in told if e.type == "window"]
            assert len(windows) == len(expected) == 4
            for got, want in zip(windows, expected, strict=True):
                assert (got["start"], got["end"]) == (round(want.start, 3), round(want.end, 3))
                assert want.sentiment is not None
                assert got["sentiment"] == pytest.approx(dict(want.sentiment), abs=2e-4)
            closed = told[-1]
            assert closed.type == "session.closed"
            assert closed.body["duration"] == 11.3
            assert closed.body["channels"][0]["overall"]["speech_seconds"] > 11
            assert hub.calls == {}

    with_hub(predictor, work)


def test_calls_side_by_side_do_not_mix(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        loud, calm = s16le_encode(sound(10.0)), s16le_encode(sound(10.0) * 1e-3)
        alone = await said(hub, hub.open(start()), loud, 1600)
        one, other = hub.open(start()), hub.open(start())
        for at in range(0, len(loud), 1600):
            one.audio(loud[at : at + 1600])
            other.audio(calm[at : at + 1600])
            await asyncio.sleep(0)
        for call in (one, other):
            call.close("client")
            await call.ended()
        scores = [
            [e.body["sentiment"] for e in told if e.type == "window"]
            for told in (alone, one.backlog, other.backlog)
        ]
        assert scores[0] == scores[1]
        assert scores[2] == [None] * 3

    with_hub(predictor, work)


def test_lost_audio_is_told_and_times_stay_true(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        call = hub.open(start(encoding="mulaw"))
        call.audio(mulaw_encode(sound(3.0)).tobytes())
        call.lost(4.0, "discarded")
        told = await said(hub, call, mulaw_encode(sound(3.0)).tobytes(), 160)
        gaps = [e.body for e in told if e.type == "gap"]
        assert gaps == [{"start": 3.0, "end": 7.0, "reason": "discarded"}]
        assert told[-1].body["duration"] == 10.0
        assert [e.body["end"] for e in told if e.type == "window"] == [5.0, 7.5, 10.0]

    with_hub(predictor, work)


def test_no_room_no_consent_no_lawful_channel(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        with pytest.raises(RefusedError) as none:
            hub.open(start(consent=False))
        assert none.value.code == "consent_required"
        names = ("agent", "customer")
        with pytest.raises(RefusedError) as staff:
            hub.open(start(channels=2, names=names, analysed=(1,)))
        assert staff.value.code == "forbidden"
        with pytest.raises(RefusedError, match="staff"):
            hub.open(start(names=("agent",)))
        with pytest.raises(RefusedError, match="none is said to be the customer's"):
            hub.open(start(channels=2))
        with pytest.raises(RefusedError, match="none is said to be the customer's"):
            hub.open(start(channels=2, names=("Mitarbeiter", "Kunde")))
        call = hub.open(start(channels=2, names=names, analysed=(1, 2)))
        assert call.session.channels == (2,)
        hub.open(start())
        with pytest.raises(RefusedError) as full:
            hub.open(start())
        assert (full.value.code, full.value.status) == ("too_many_calls", 429)
        assert full.value.retry_after is not None
        call.close("client")
        await call.ended()
        hub.open(start())

    with_hub(predictor, work, channels=2)


def test_part_of_a_sample_ends_nothing(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        call = hub.open(start())
        with pytest.raises(RefusedError) as odd:
            call.audio(b"\0" * 161)
        assert odd.value.code == "invalid_audio_frame"
        told = await said(hub, call, s16le_encode(sound(5.0)), 1600)
        assert [e.type for e in told if e.type == "window"] == ["window"]

    with_hub(predictor, work)


def test_silent_lines_and_endless_calls_end(predictor: Predictor, tmp_path: Path) -> None:
    clock = BentClock()

    async def run() -> None:
        hub = Hub(Engine(predictor, clock), Limits(idle=60, longest=100), clock)
        hub.start()
        quiet, endless = hub.open(start()), hub.open(start())
        for _ in range(9):
            endless.audio(s16le_encode(sound(10.0)))
            await endless.room()
        clock.now = 59.0
        endless.audio(s16le_encode(sound(11.0)))  # from here to the sweep nothing else runs
        clock.day -= 3600.0  # somebody sets the wall clock
        hub.sweep()
        assert quiet.closed is None
        assert endless.closed == "call_too_long"
        clock.now = 61.0
        hub.sweep()
        await quiet.ended()
        assert quiet.closed == "idle_timeout"
        assert hub.calls == {}
        await hub.stop()

    asyncio.run(run())


def test_a_listener_that_fails_ends_no_call(predictor: Predictor) -> None:
    def broken(event: CallEvent) -> None:
        raise OSError("the log's disk is full")

    async def work(hub: Hub) -> None:
        hub.subscribe(broken)
        told = await said(hub, hub.open(start()), s16le_encode(sound(5.0)), 1600)
        assert [e.type for e in told if e.type == "window"] == ["window"]

    with_hub(predictor, work)


def test_a_defect_ends_its_call_and_no_other(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(hub: Hub) -> None:
        bad, good = hub.open(start()), hub.open(start())

        def finish(*_: object) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(bad.session, "finish", finish)
        bad.audio(s16le_encode(sound(5.0)))
        await bad.ended()
        assert bad.closed == "model_failed"
        told = await said(hub, good, s16le_encode(sound(5.0)), 1600)
        assert [e.type for e in told if e.type == "window"] == ["window"]

    with_hub(predictor, work)


def test_what_was_not_taken_is_told(predictor: Predictor) -> None:
    async def work(hub: Hub) -> None:
        call = hub.open(start())
        for _ in range(100):  # the model is not asked in between: nothing is awaited
            call.audio(s16le_encode(sound(1.0)))
        assert not call._room.is_set()
        call.close("client")
        await call.ended()
        gaps = [e.body for e in call.backlog if e.type == "gap"]
        assert [gap["reason"] for gap in gaps] == ["overload"]
        assert gaps[0]["end"] == call.backlog[-1].body["duration"] == 100.0

    with_hub(predictor, work)
