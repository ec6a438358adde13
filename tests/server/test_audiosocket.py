"""Asterisk AudioSocket: frames cut anywhere, registered calls, and anything at all."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.phones import (
    assert_same,
    file_windows,
    over,
    voice,
    windows,
    with_hub,
)

from voicetone.pretrained.predictor import Predictor
from voicetone.server.audiosocket import (
    MOST_CALLS,
    AudioSocketSettings,
    AudioSocketStream,
    Claim,
    Registered,
    Registration,
)
from voicetone.server.hub import Hub
from voicetone.server.refusal import RefusedError
from voicetone.server.telephony import Action, Audio, End, Open
from voicetone.server.telephony_call import Runner

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
KNOWN = Registration("customer", consent=True, queue="billing", credential="pbx")


def frame(kind: int, payload: bytes = b"") -> bytes:
    return bytes([kind]) + len(payload).to_bytes(2, "big") + payload


def session(pcm: bytes, kind: int = 0x10, size: int = 320) -> bytes:
    """Bytes of a whole call."""
    audio = b"".join(frame(kind, pcm[at : at + size]) for at in range(0, len(pcm), size))
    return frame(1, CALL.bytes) + audio + frame(3, b"5") + frame(0)


def taken(stream: AudioSocketStream, data: bytes) -> list[Action]:
    """Actions, with every claim answered."""
    out: list[Action] = []
    actions = stream.feed(data)
    while actions:
        out += [a for a in actions if not isinstance(a, Claim)]
        if not isinstance(actions[-1], Claim):
            break
        assert actions[-1].id == CALL
        stream.claimed(KNOWN)
        actions = stream.feed(b"")
    return out


@pytest.mark.parametrize(("kind", "rate"), [(0x10, 8000), (0x12, 16_000), (0x16, 48_000)])
def test_a_call_gives_the_windows_of_the_same_file(
    predictor: Predictor, kind: int, rate: int
) -> None:
    samples = (voice(6.3, rate=rate) * 32767).astype("<i2")
    data = session(samples.tobytes(), kind, rate // 25)
    rng = np.random.default_rng(1)

    async def work(hub: Hub) -> None:
        stream, runner, at = AudioSocketStream(), Runner(hub), 0
        while at < len(data):
            size = int(rng.integers(1, 4000))
            await runner.do(taken(stream, data[at : at + size]))  # type: ignore[arg-type]
            at += size
        assert stream.over
        events = await over(runner.call)
        want = file_windows(predictor, samples.astype(np.float32)[None] / 32768, rate=rate)
        assert_same(windows(events), want)
        created = events[0].body
        assert (created["external"], created["queue"]) == (str(CALL), "billing")
        assert events[-1].body["reason"] == "stopped"
        assert events[-1].body["duration"] == pytest.approx(6.3)

    with_hub(predictor, work)


def test_cut_and_failed_connections_end_the_call(predictor: Predictor) -> None:
    pcm = (voice(1.0) * 32767).astype("<i2").tobytes()

    async def work(hub: Hub) -> None:
        for tail, reason in (
            (b"", "stopped"),
            (b"\x10\x01", "gone"),
            (frame(0xFF, b"\1"), "error"),
        ):
            stream, runner = AudioSocketStream(), Runner(hub)
            await runner.do(taken(stream, session(pcm)[:-7] + tail))  # type: ignore[arg-type]
            await runner.do(stream.gone())  # type: ignore[arg-type]
            events = await over(runner.call)
            assert events[-1].body["reason"] == reason
            assert stream.feed(session(pcm)) == stream.gone() == []

    with_hub(predictor, work)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x10, b"\0" * 320), "bad_request"),
        (frame(1, b"short"), "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", "bad_request"),
        (frame(1, CALL.bytes) + b"\x10\xff\xff", "message_too_large"),
        (session(b"\0" * 320)[:-7] + frame(0x12, b"\0" * 640), "unsupported_media"),
        (frame(1, CALL.bytes) + frame(0x18, b"\0" * 640), "unsupported_media"),
        (frame(1, CALL.bytes) + frame(0x10, b"\0" * 321), "invalid_audio_frame"),
        (frame(1, CALL.bytes) * 2, "conflict"),
    ],
)
def test_what_cannot_be_ends_the_connection(data: bytes, code: str) -> None:
    with pytest.raises(RefusedError) as said:
        taken(AudioSocketStream(), data)
    assert said.value.code == code


def test_no_audio_without_a_registered_call() -> None:
    stream = AudioSocketStream()
    assert stream.feed(session(b"\0" * 320)) == [Claim(CALL)]
    with pytest.raises(RefusedError) as said:
        stream.feed(b"")
    assert said.value.code == "unauthorised"


def test_a_registered_call_comes_once_and_soon() -> None:
    calls = Registered()
    calls.add(CALL, KNOWN, until=60.0, now=0.0)
    with pytest.raises(RefusedError) as twice:
        calls.add(CALL, KNOWN, until=70.0, now=10.0)
    assert twice.value.code == "conflict"
    assert calls.take(CALL, now=59.0) == KNOWN
    for now in (59.0, 0.0):
        with pytest.raises(RefusedError) as again:
            calls.take(CALL, now)
        assert again.value.code == "unauthorised"
    calls.add(CALL, KNOWN, until=60.0, now=0.0)
    with pytest.raises(RefusedError):
        calls.take(CALL, now=61.0)
    for index in range(MOST_CALLS):
        calls.add(UUID(int=index), KNOWN, until=60.0, now=0.0)
    with pytest.raises(RefusedError) as full:
        calls.add(CALL, KNOWN, until=60.0, now=0.0)
    assert full.value.code == "rate_limited"
    calls.add(CALL, KNOWN, until=160.0, now=100.0)
    assert len(calls) == 1


def test_who_may_connect() -> None:
    own = AudioSocketSettings()
    assert own.allows("127.0.0.1")
    assert own.allows("::1")
    assert own.allows("::ffff:127.0.0.1")
    for other in ("10.0.0.1", "::2", "", "localhost", "127.0.0.1.evil"):
        assert not own.allows(other)
    some = AudioSocketSettings(addresses=("10.1.0.0/16", "fe80::/10"))
    assert some.allows("10.1.255.1")
    assert some.allows("fe80::1%eth0")
    assert not some.allows("10.2.0.1")
    assert not some.allows("127.0.0.1")
    with pytest.raises(ValueError, match=r"10\.1\.0"):
        AudioSocketSettings(addresses=("10.1.0",))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40) | st.builds(frame, st.integers(0, 255), st.binary(max_size=40))
    ),
    st.booleans(),
)
def test_any_bytes_are_refused_or_taken(pieces: list[bytes], started: bool) -> None:
    stream = AudioSocketStream()
    with suppress(RefusedError):
        if started:
            taken(stream, frame(1, CALL.bytes))
        for piece in pieces:
            for action in stream.feed(piece):
                assert isinstance(action, Open | Audio | End | Claim)
    assert len(stream.gone()) <= 1
