"""The native protocol: alone, and on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.asyncapi import document
from tests.server.serving import (
    START,
    Client,
    opened,
    quiet_settings,
    serving,
    speech,
    windows_of,
    windows_of_file,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from voicetone.audio.telephony import mulaw_encode, s16le_decode
from voicetone.pretrained.predictor import Predictor
from voicetone.server.desk import Line
from voicetone.server.hub import Limits
from voicetone.server.native import MOST_METADATA, NativeProtocol, Resume, Start, unseal
from voicetone.server.refusal import STATUS, RefusedError
from voicetone.server.routes_native import silence
from voicetone.server.state import ServerState


@pytest.fixture(scope="module")
def running(predictor: Predictor) -> Iterator[tuple[ServerState, int]]:
    with serving(predictor, quiet_settings(resume_seconds=1.5, bad_messages=3)) as server:
        yield server


# -- without a socket ------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = """type sample_rate encoding channels channel_names analyse consent call queue metadata
token last_seq position speaker channel start end text final language"""
NAMED = st.sampled_from(NAMES.split())
TYPED = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    st.sampled_from(
        ["session.start", "session.resume", "session.update", "session.close", "transcript", "x"]
    ),
    st.dictionaries(NAMED, JSON, max_size=6),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.text(max_size=200) | JSON.map(json.dumps) | TYPED.map(json.dumps) | st.binary(),
        max_size=6,
    )
)
def test_nothing_but_refusals_from_any_messages(messages: list[str | bytes]) -> None:
    protocol = NativeProtocol(3)
    for message in messages:
        try:
            if isinstance(message, bytes):
                protocol.binary(message)
            else:
                action = protocol.text(message)
                if isinstance(action, Start):
                    action.call_start("key", None)
                    protocol.opened(action.sample_rate, action.channels, action.encoding)
        except RefusedError as error:
            said = protocol.refused(error, 0.0)
            assert len(said["message"]) < 400
            assert "\n" not in said["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        "[" * 60_000,
        '{"type": "session.start", "sample_rate": NaN}',
        json.dumps({**START, "sample_rate": "8000"}),
        json.dumps({**START, "sample_rate": 7999}),
        json.dumps({**START, "channels": 3}),
        json.dumps({**START, "channels": True}),
        json.dumps({**START, "consent": "yes"}),
        json.dumps({**START, "secret": 1}),
        json.dumps({**START, "metadata": {"a": "x" * 3000}}),
        json.dumps({**START, "call": ""}),
        json.dumps({**START, "speaker": "everybody"}),
        json.dumps({"type": "session.resume", "token": "x", "last_seq": -1}),
        json.dumps({"type": "session.resume", "token": "x", "position": -1}),
        "7",
    ],
)
def test_what_is_no_first_message(wrong: str) -> None:
    with pytest.raises(RefusedError) as error:
        NativeProtocol(3).text(wrong)
    assert error.value.code in ("bad_request", "message_too_large")


def test_audio_is_bounded_and_comes_after_the_start() -> None:
    protocol = NativeProtocol(3)
    with pytest.raises(RefusedError) as early:
        protocol.binary(b"\0\0")
    assert early.value.code == "conflict"
    protocol.opened(8000, 1, "s16le")
    assert len(protocol.binary(bytes(160_000)).data) == 160_000
    with pytest.raises(RefusedError) as much:
        protocol.binary(bytes(160_002))
    assert much.value.code == "message_too_large"
    with pytest.raises(RefusedError):
        protocol.text(json.dumps(START))


def test_bad_messages_are_forgiven_as_time_goes_by() -> None:
    protocol = NativeProtocol(2)
    protocol.opened(8000, 1, "s16le")
    error = RefusedError("bad_request", "no")
    fatal = [protocol.refused(error, now)["fatal"] for now in (0.0, 1.0, 61.5, 62.0, 62.1)]
    assert fatal == [False, False, False, False, True]


def test_a_token_can_not_be_made_up(running: tuple[ServerState, int]) -> None:
    client = Client(running[1], START)
    token = client.first["token"]
    client.finish()
    assert unseal(running[0].secret, token).call == client.first["call"]
    body, _, signature = token.partition(".")
    for wrong in ("", ".", "é.é", body, f"{body}x.{signature}", f"{body}.{signature[:-1]}0"):
        with pytest.raises(RefusedError):
            unseal(running[0].secret, wrong)
    with pytest.raises(RefusedError):
        unseal(b"another server's", token)


@pytest.mark.parametrize("letter", ["é", "\U0001f4de", "\x01"])
def test_the_largest_call_that_may_begin_can_be_resumed(
    running: tuple[ServerState, int], letter: str
) -> None:
    described = {
        "call": letter * 200,
        "queue": letter * 200,
        "metadata": {"k": letter * (MOST_METADATA - 1)},
    }
    names = ["customer" + letter * 192, letter * 199 + "2"]
    start = {**START, "channels": 2, "channel_names": names, "analyse": [1], **described}
    client = Client(running[1], start)
    token = client.first["token"]
    client.cut()
    back = Client(running[1], {"type": "session.resume", "token": token, "last_seq": 1})
    assert back.first["type"] == "session.resumed"
    assert unseal(running[0].secret, token).start.metadata == described["metadata"]
    back.finish()


def test_a_full_line_is_cut_and_nothing_waits_in_it() -> None:
    async def work() -> None:
        line = Line("call", [{"n": 0}], 16)
        for n in range(1, 17):
            line.put({"n": n})
        assert not line.slow
        assert (await line.next()) == {"n": 0}
        line.put({"n": 17})
        line.put({"n": 18})
        assert line.slow
        line.put({"n": 19})
        assert not line._out

    asyncio.run(work())


def test_the_document_knows_every_code() -> None:
    assert document()["components"]["schemas"]["error"]["properties"]["code"]["enum"] == list(
        STATUS
    )


# -- on a socket -----------------------------------------------------------------------------------


def test_the_same_windows_as_a_file(predictor: Predictor, running: tuple[ServerState, int]) -> None:
    data = speech(13.2)
    client = Client(
        running[1],
        {**START, "call": "abc", "queue": "billing", "metadata": {"a": "ü"}, "analyse": [1]},
    )
    created = client.first
    assert (created["type"], created["external"], created["queue"]) == (
        "session.created",
        "abc",
        "billing",
    )
    assert created["metadata"] == {"a": "ü"}
    assert (created["window_seconds"], created["hop_seconds"]) == (5.0, 2.5)
    client.audio(data, 1234)
    client.send({"type": "session.update", "queue": "sales"})
    closed = client.finish()
    assert windows_of(client.events) == windows_of_file(predictor, data)
    assert (closed["reason"], closed["duration"]) == ("client", 13.2)
    updated = next(e for e in client.events if e["type"] == "session.updated")
    assert (updated["queue"], updated["external"]) == ("sales", "abc")
    assert [e["seq"] for e in client.events] == list(range(1, len(client.events) + 1))
    with pytest.raises(ConnectionClosed):
        client.get()
    assert (client.socket.close_code, client.socket.close_reason) == (1000, "client")


def test_mulaw_and_two_channels(running: tuple[ServerState, int]) -> None:
    samples = s16le_decode(speech(6.0))
    both = mulaw_encode(samples.repeat(2)).tobytes()
    client = Client(
        running[1],
        {
            **START,
            "encoding": "mulaw",
            "channels": 2,
            "channel_names": ["agent", "customer"],
        },
    )
    assert client.first["analysed"] == [2]
    client.audio(both)
    assert client.finish()["duration"] == 6.0
    assert {e["channel"] for e in client.events if e["type"] == "window"} == {2}


def test_bad_frames_leave_the_session_alive_until_there_are_too_many(
    running: tuple[ServerState, int],
) -> None:
    client = Client(running[1], START)
    client.audio(speech(5.0))
    wrong: list[tuple[Any, str]] = [
        (b"\0", "invalid_audio_frame"),
        ("{", "bad_request"),
        (bytes(200_000), "message_too_large"),
    ]
    for message, code in wrong:
        client.socket.send(message)
        said = client.until("error")
        assert (said["code"], said["fatal"]) == (code, False)
    client.audio(speech(2.5))
    assert client.until("window")["end"] in (5.0, 7.5)
    client.socket.send("[]")
    assert client.until("error")["fatal"]
    assert client.until("session.closed")["reason"] == "bad_messages"
    with pytest.raises(ConnectionClosed):
        client.get()
    assert client.socket.close_code == 1008


@pytest.mark.parametrize(
    ("first", "code", "close"),
    [
        ({**START, "consent": False}, "consent_required", 1008),
        ({**START, "channel_names": ["a", "b"]}, "bad_request", 1008),
        ({**START, "analyse": [2]}, "bad_request", 1008),
        ({"type": "session.close"}, "conflict", 1008),
        ({"type": "session.resume", "token": "x.y"}, "unauthorised", 1008),
    ],
)
def test_a_start_that_is_refused(
    running: tuple[ServerState, int], first: dict[str, Any], code: str, close: int
) -> None:
    client = Client(running[1], first)
    assert (client.first["type"], client.first["code"], client.first["fatal"]) == (
        "error",
        code,
        True,
    )
    with pytest.raises(ConnectionClosed):
        client.get()
    assert client.socket.close_code == close


def test_a_call_may_not_be_updated_without_end(running: tuple[ServerState, int]) -> None:
    """Each is an event that is stored; who connects again has no more of them."""
    client = Client(running[1], START)
    update = {"type": "session.update", "queue": "billing"}
    for _ in range(Limits().updates):
        client.send(update)
        client.until("session.updated")
    for _ in range(25):  # more than messages may be bad
        client.send(update)
        said = client.until("error")
        assert (said["code"], said["fatal"]) == ("rate_limited", False)
    client.cut()
    resume = {"type": "session.resume", "token": client.first["token"], "last_seq": 31}
    client = Client(running[1], resume)
    client.send({**update, "queue": "other"})
    while (said := client.get())["type"] not in ("session.updated", "error"):
        pass
    assert said["code"] == "rate_limited"
    assert client.finish()["reason"] == "client"


def test_too_large_a_message_ends_the_connection_not_the_call(
    running: tuple[ServerState, int],
) -> None:
    client = Client(running[1], START)
    client.socket.send(bytes((1 << 20) + 2))
    with pytest.raises(ConnectionClosed):
        client.get()
    assert client.socket.close_code == 1009
    again = Client(running[1], {"type": "session.resume", "token": client.first["token"]})
    assert again.first["received_samples"] == 0
    again.finish()


def test_full_is_said_with_when_to_come_again(predictor: Predictor) -> None:
    settings = quiet_settings(limits=Limits(channels=1))
    with serving(predictor, settings) as (state, port):
        one = Client(port, START)
        full = Client(port, START)
        assert (full.first["code"], full.first["retry_after"]) == ("too_many_calls", 10.0)
        with pytest.raises(ConnectionClosed):
            full.get()
        assert full.socket.close_code == 1013
        one.finish()
        Client(port, START).finish()
        assert state.hub.refused == 1


def test_a_cut_connection_resumes_without_a_window_lost_or_doubled(
    predictor: Predictor, running: tuple[ServerState, int]
) -> None:
    data = speech(20.0)
    client = Client(running[1], START)
    call, token = client.first["call"], client.first["token"]
    events = client.events
    for cut_at in (90_000, 90_002, 210_000):  # bytes; the second time before anything came
        done = 2 * client.first.get("received_samples", 0)
        client.audio(data[done:cut_at], 1000)
        if cut_at == 210_000:
            client.until("window")
        client.cut()
        client = Client(
            running[1],
            {"type": "session.resume", "token": token, "last_seq": events[-1].get("seq", 0)},
        )
        assert (client.first["type"], client.first["call"]) == ("session.resumed", call)
        token = client.first["token"]
        client.events[:] = [e for e in client.events if "seq" in e]
        events += client.events
        client.events = events
    client.audio(data[2 * client.first["received_samples"] :])
    client.finish()
    assert windows_of(events) == windows_of_file(predictor, data)
    numbered = [e["seq"] for e in events if "seq" in e]
    assert numbered == list(range(1, len(numbered) + 1))


def test_who_resumes_takes_over_from_a_connection_that_hangs(
    running: tuple[ServerState, int],
) -> None:
    one = Client(running[1], START)
    two = Client(running[1], {"type": "session.resume", "token": one.first["token"], "last_seq": 1})
    assert two.first["type"] == "session.resumed"
    assert one.get()["code"] == "conflict"
    with pytest.raises(ConnectionClosed):
        one.get()
    assert two.finish()["reason"] == "client"


def test_a_client_that_stays_away_is_gone_and_can_hear_the_end(
    running: tuple[ServerState, int],
) -> None:
    state, port = running
    client = Client(port, START)
    client.audio(speech(3.0))
    client.cut()
    for _ in range(100):
        if client.first["call"] not in state.hub.calls:
            break
        asyncio.run(asyncio.sleep(0.05))
    resume = {"type": "session.resume", "token": client.first["token"], "last_seq": 1}
    late = Client(port, resume)
    assert late.until("session.closed")["reason"] == "gone"
    asyncio.run(asyncio.sleep(1.7))  # that the end is kept
    none = Client(port, resume)
    assert none.first["code"] == "not_found"


def test_a_reader_who_stalls_is_cut_off_and_the_call_goes_on(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events wait in the backlog, not in a queue that grows."""
    monkeypatch.setattr("voicetone.server.wire.LINGER_SECONDS", 0.5)
    limits = Limits(updates=100_000)
    settings = quiet_settings(outgoing=16, resume_seconds=20.0, limits=limits)
    with serving(predictor, settings) as (state, port):
        stalled = opened(port, max_queue=1)
        stalled.send(json.dumps({**START, "metadata": {"a": "x" * 2000}}))
        token = json.loads(stalled.recv())["token"]
        update = json.dumps({"type": "session.update", "metadata": {"a": "x" * 2000}})
        for _ in range(3000):  # each brings an answer with a token, which nobody reads
            try:
                stalled.send(update)
            except ConnectionClosed:
                break
            if not state.desk._lines and state.hub.calls:
                break
        assert len(state.hub.calls) == 1
        assert state.desk._lines == {}
        back = Client(port, {"type": "session.resume", "token": token, "last_seq": 1})
        assert (back.first["type"], back.first["first_seq"]) == ("session.resumed", 1)
        assert [back.get()["seq"] for _ in range(16)] == list(range(2, 18))
        back.audio(speech(5.0))
        assert back.finish()["duration"] == 5.0
        stalled.socket.close()


def test_other_web_pages_may_not_connect(running: tuple[ServerState, int]) -> None:
    with pytest.raises(InvalidStatus) as foreign:
        opened(running[1], origin="https://evil.example")
    assert foreign.value.response.status_code == 403
    assert json.loads(foreign.value.response.body)["code"] == "forbidden"
    opened(running[1], origin=f"http://127.0.0.1:{running[1]}").close()


@pytest.mark.parametrize(
    ("told", "last_seq", "position", "gap"),
    [
        (10.0, 20, 12.0, (10.0, 12.0)),  # the store has all that the client was told
        (10.0, 20, 4.0, (10.0, 10.0)),
        (10.0, 20, None, (10.0, 10.0)),
        (10.0, 25, 14.5, (14.5, 14.5)),  # windows to 15 s came before the store had them
        (10.0, 25, 4.0, (10.0, 10.0)),
        (10.0, 25, None, (10.0, 10.0)),
        (None, 25, 14.5, (14.5, 14.5)),
    ],
)
def test_what_is_told_as_lost_when_a_worker_died(
    told: float | None, last_seq: int, position: float | None, gap: tuple[float, float]
) -> None:
    asked = Resume(type="session.resume", token="x", last_seq=last_seq, position=position)
    assert silence(told, 20, asked) == gap
