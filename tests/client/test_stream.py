"""A call streamed to a real server: its numbers, cut connections, refusals."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.client.conftest import RATE
from tests.client.serving import Running, Wire, serving, wait_for

from voicetone.client import (
    AsyncStream,
    Closed,
    ConnectionLostError,
    Created,
    Event,
    Gap,
    Missed,
    ServerError,
    SpeechEnd,
    SpeechStart,
    Stream,
    Tone,
    WindowTone,
)
from voicetone.errors import UsageError
from voicetone.inference.file import analyze
from voicetone.pretrained.predictor import Predictor
from voicetone.server.hub import Limits
from voicetone.server.keys import KeySettings, new_key
from voicetone.server.settings import Settings
from voicetone.types import FileResult, Floats

SIDES: dict[str, Any] = {"channels": 2, "channel_names": ("caller 1", "caller 2")}


def audio(recording: Path) -> Floats:
    """`[channels, n]`."""
    return soundfile.read(recording, dtype="float32", always_2d=True)[0].T.copy()


@pytest.fixture(scope="module")
def wanted(recording: Path, predictor: Predictor) -> FileResult:
    return analyze(recording, predictor)


def same_as_file(events: Iterable[Event], wanted: FileResult) -> None:
    """Every window, tone and turn of the file, once and in order."""
    told = list(events)
    for channel in wanted.channels:
        windows = [
            e.window for e in told if isinstance(e, WindowTone) and e.channel == channel.channel
        ]
        assert [w.to_dict() for w in windows] == [w.to_dict() for w in channel.windows]
        tones = [e.current for e in told if isinstance(e, Tone) and e.channel == channel.channel]
        assert [c.to_dict() for c in tones] == [c.to_dict() for c in channel.current]
        turns = [e for e in told if isinstance(e, SpeechEnd) and e.channel == channel.channel]
        assert [(t.start, t.end) for t in turns] == [
            (round(s.start, 3), round(s.end, 3)) for s in channel.speech
        ]
    starts = [e for e in told if isinstance(e, SpeechStart)]
    assert len(starts) == sum(len(channel.speech) for channel in wanted.channels)
    assert not [e for e in told if isinstance(e, Gap | Missed)]
    seqs = [e.seq for e in told if not isinstance(e, Missed) and hasattr(e, "seq")]
    assert seqs == list(range(1, len(seqs) + 1))
    closed = told[-1]
    assert isinstance(closed, Closed)
    for end, channel in zip(closed.channels, wanted.channels, strict=True):
        assert end.overall.to_dict() == channel.overall.to_dict()


async def streamed(url: str, sound: Floats, pause: float = 0.0, **options: object) -> list[Event]:
    """All events of a call, sent in pieces of 100 ms."""
    sides = SIDES if len(sound) > 1 else {}
    async with asyncio.timeout(60):
        stream = await AsyncStream.open(url, sample_rate=RATE, consent=True, **{**sides, **options})  # type: ignore[arg-type]
        async with stream:
            for at in range(0, sound.shape[1], RATE // 10):
                await stream.send(sound[:, at : at + RATE // 10])
                await asyncio.sleep(pause)
            await stream.close()
        return [event async for event in stream]


def test_the_same_as_a_file(server: Running, recording: Path, wanted: FileResult) -> None:
    events = asyncio.run(streamed(server.url, audio(recording)))
    same_as_file(events, wanted)
    created = events[0]
    assert isinstance(created, Created)
    assert created.analysed == (1, 2)
    assert created.token not in repr(created)


def test_without_asyncio_the_same(server: Running, recording: Path, wanted: FileResult) -> None:
    sound = audio(recording)
    events = []
    with Stream.open(server.url, sample_rate=RATE, consent=True, **SIDES) as stream:
        for at in range(0, sound.shape[1], RATE):
            stream.send(sound[:, at : at + RATE])
            events += stream.poll()
        closed = stream.close()
    events += list(stream)
    same_as_file(events, wanted)
    assert closed == events[-1]
    assert closed.overall[1].to_dict() == wanted.channels[0].overall.to_dict()
    assert stream.poll() == []
    with pytest.raises(UsageError, match="closed"):
        stream.send(sound)


def test_bytes_and_whole_numbers_are_the_same_sound(
    server: Running, recording: Path, wanted: FileResult
) -> None:
    whole = soundfile.read(recording, dtype="int16")[0]
    for sound in (whole.T, whole.astype("<i2").tobytes()):
        with Stream.open(server.url, sample_rate=RATE, consent=True, **SIDES) as stream:
            stream.send(sound)
            stream.close()
        same_as_file(stream, wanted)


def test_mulaw_is_encoded(server: Running, recording: Path, wanted: FileResult) -> None:
    sound = audio(recording)[:1]
    with Stream.open(server.url, sample_rate=RATE, consent=True, encoding="mulaw") as stream:
        stream.send(sound)
        closed = stream.close()
    assert closed.duration == 31.0
    mine, other = closed.overall[1], wanted.channels[0].overall
    assert mine.speech_seconds == pytest.approx(other.speech_seconds, abs=0.5)


@pytest.mark.parametrize("most", [[3000], [50_000], [200_000, 900, 150_000]])
def test_a_cut_connection_is_taken_up_again(
    server: Running, recording: Path, wanted: FileResult, most: list[int]
) -> None:
    async def work() -> list[Event]:
        count = len(most)
        wire = Wire(server.port, most)
        async with wire as url:
            events = await streamed(url, audio(recording))
        assert wire.cuts == count
        return events

    same_as_file(asyncio.run(work()), wanted)


def test_cut_at_any_moment_nothing_is_lost_or_doubled(
    server: Running, recording: Path, wanted: FileResult
) -> None:
    async def work() -> list[Event]:
        wire = Wire(server.port)
        async with wire as url:
            rng = np.random.default_rng(11)

            async def cut_often() -> None:
                while True:
                    await asyncio.sleep(float(rng.uniform(0.05, 0.5)))
                    wire.cut()

            cutting = asyncio.create_task(cut_often())
            try:
                return await streamed(url, audio(recording), pause=0.005)
            finally:
                cutting.cancel()

    same_as_file(asyncio.run(work()), wanted)


def test_a_cut_after_the_end_was_asked_for(server: Running, recording: Path) -> None:
    async def work() -> Closed:
        wire = Wire(server.port)
        async with wire as url, asyncio.timeout(30):
            stream = await AsyncStream.open(url, sample_rate=RATE, consent=True)
            await stream.send(audio(recording)[0])
            ending = asyncio.create_task(stream.close())
            while stream._sent < 31 * RATE:
                await asyncio.sleep(0)
            wire.cut()
            return await ending

    assert asyncio.run(work()).duration == 31.0


def test_a_server_that_went_away_is_said(server: Running) -> None:
    async def work() -> None:
        wire = Wire(server.port)
        async with wire as url, asyncio.timeout(20):
            stream = await AsyncStream.open(url, sample_rate=RATE, consent=True, patience=0.6)
            wire.refusing = True
            wire.cut()
            began = time.monotonic()
            with pytest.raises(ConnectionLostError, match=r"within 0\.6 s .*begin another"):
                await stream.close()
            assert time.monotonic() - began < 5
            with pytest.raises(ConnectionLostError):
                await stream.send(b"\0\0")
            with pytest.raises(ConnectionLostError):
                [event async for event in stream]

    asyncio.run(work())


def test_an_end_that_fails_within_a_with(predictor: Predictor) -> None:
    with serving(predictor) as server:
        stream = Stream.open(server.url, sample_rate=RATE, consent=True, patience=0.3)
    with pytest.raises(ConnectionLostError, match="begin another"), stream:
        stream.close()
    stream.cancel()
    with pytest.raises(ConnectionLostError):
        list(stream)


def test_an_attempt_of_its_own_that_was_late_does_not_end_it(
    server: Running, recording: Path, wanted: FileResult
) -> None:
    async def work() -> list[Event]:
        from websockets.asyncio.client import connect

        sound = audio(recording)
        stream = await AsyncStream.open(server.url, sample_rate=RATE, consent=True, **SIDES)
        await stream.send(sound[:, : 9 * RATE])
        late = {"type": "session.resume", "token": stream._token, "last_seq": 0}
        async with connect(server.url.replace("http", "ws") + "/v1/stream") as other:
            await other.send(json.dumps(late))
            assert json.loads(await other.recv())["type"] == "session.resumed"
            while not stream.resumed:
                await asyncio.sleep(0.01)
        await stream.send(sound[:, 9 * RATE :])
        await stream.close()
        return [event async for event in stream]

    same_as_file(asyncio.run(work()), wanted)


def test_nobody_there() -> None:
    with pytest.raises(ConnectionLostError, match=r"127\.0\.0\.1:9/v1/stream: .*running there"):
        Stream.open("ws://127.0.0.1:9", sample_rate=RATE, consent=True)


def test_something_else_answers(tmp_path: Path) -> None:
    async def work() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:9/\r\n\r\n")
            writer.close()

        other = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with other:
            port = other.sockets[0].getsockname()[1]
            with pytest.raises(ServerError, match="answered 302") as caught:
                await AsyncStream.open(f"ws://127.0.0.1:{port}", sample_rate=RATE, consent=True)
            assert caught.value.status == 302

    asyncio.run(work())


def test_no_consent_is_refused(server: Running) -> None:
    with pytest.raises(ServerError, match="consent") as caught:
        Stream.open(server.url, sample_rate=RATE, consent=False)
    assert caught.value.code == "consent_required"
    assert caught.value.retry_after is None
    with pytest.raises(ServerError) as caught:
        Stream.open(server.url, sample_rate=7999, consent=True)
    assert caught.value.code == "bad_request"


def test_no_room_says_when_to_come_back(predictor: Predictor) -> None:
    with serving(predictor, Settings(limits=Limits(channels=1))) as server:
        stream = Stream.open(server.url, sample_rate=RATE, consent=True)
        with pytest.raises(ServerError) as caught:
            Stream.open(server.url, sample_rate=RATE, consent=True)
        assert caught.value.code == "too_many_calls"
        assert caught.value.retry_after == 10.0
        assert stream.close().reason == "client"


def test_keys(predictor: Predictor) -> None:
    key, _ = new_key("desk")
    import hashlib

    entry = KeySettings("desk", ("stream",), hash=hashlib.sha256(key.encode()).hexdigest())
    with serving(predictor, Settings(keys=(entry,))) as server:
        with pytest.raises(ServerError, match="Bearer") as caught:
            Stream.open(server.url, sample_rate=RATE, consent=True)
        assert (caught.value.code, caught.value.status) == ("unauthorised", 401)
        with pytest.raises(UsageError, match="copy it again"):
            Stream.open(server.url, sample_rate=RATE, consent=True, key="a\r\nb")
        stream = Stream.open(server.url, sample_rate=RATE, consent=True, key=key)
        assert stream.close().reason == "client"


def test_a_call_that_the_server_ends(server: Running) -> None:
    stream = Stream.open(server.url, sample_rate=RATE, consent=True)
    call = server.state.hub.calls[stream.created.call]
    server.run(lambda: call.abort("model_failed", "the model failed"))
    events = list(stream)
    assert [type(e).__name__ for e in events] == ["Created", "Problem", "Closed"]
    with pytest.raises(ServerError, match="model_failed"):
        stream.send(b"\0\0")
    assert stream.close().reason == "model_failed"


def test_an_update_and_a_gap_are_told(server: Running) -> None:
    stream = Stream.open(server.url, sample_rate=RATE, consent=True, queue="billing")
    call = server.state.hub.calls[stream.created.call]
    assert call.start.queue == "billing"
    stream.update(queue="sales", metadata={"a": "b"})
    wait_for(lambda: call.start.queue == "sales")
    server.run(lambda: call.lost(2.0, "test"))
    stream.close()
    events = {type(e).__name__: e for e in stream}
    gap = events["Gap"]
    assert isinstance(gap, Gap)
    assert (gap.start, gap.end, gap.reason) == (0.0, 2.0, "test")
    assert "Updated" in events


def test_leaving_without_an_end(server: Running) -> None:
    stream = Stream.open(server.url, sample_rate=RATE, consent=True)
    id = stream.created.call
    with pytest.raises(KeyError), stream:
        raise KeyError
    wait_for(lambda: id in server.state.desk._held)
    assert not server.state.hub.calls[id].closing
    with pytest.raises(ConnectionLostError, match="cancelled"):
        stream.close()


def test_settings_that_can_not_be(server: Running) -> None:
    def opened(url: str = server.url, **options: object) -> Stream:
        return Stream.open(url, **{"sample_rate": RATE, "consent": True, **options})  # type: ignore[arg-type]

    for url in ("nonsense", "ftp://a", "http://a:b", "http://me:secret@a", "http://a?key=1"):
        with pytest.raises(UsageError) as caught:
            opened(url)
        assert "secret" not in str(caught.value)
    for wrong in ({"encoding": "opus"}, {"channels": 0}, {"keep_seconds": 1.0}):
        with pytest.raises(UsageError):
            opened(**wrong)
    with opened(**SIDES) as stream:
        for sound in (b"\0\0", np.zeros(5, np.float32), np.zeros((1, 5)), np.zeros((2, 5), int)):
            with pytest.raises(UsageError):
                stream.send(sound)
