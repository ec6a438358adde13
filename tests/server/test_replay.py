"""Sessions of telephone systems played again with faults, through sockets to the end."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.server.phones import (
    AudioHookClient,
    as_text,
    assert_same,
    bodies,
    coded,
    file_windows,
    heard,
    interleaved,
    twilio_session,
    voice,
    windows,
)
from tests.server.test_telephony_routes import Served, ask, genesys, headers_for, served
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from voicetone.pretrained.predictor import Predictor
from voicetone.server.twilio import TwilioSettings

GARBAGE = (
    "garbage",
    "[]",
    '{"event": "media"}',
    '{"event": "media", "media": {"track": "inbound", "chunk": "x", "payload": "AAAA"}}',
    '{"event": "start", "start": {}}',
    '{"event": "media", "media": {"track": "\\ud800"}}',
    b"\0\1\2",
)


def replayed(server: Served, messages: list[str | bytes]) -> int:
    """Send a Twilio session; the code that the server closes with."""
    with server.connect("/v1/twilio") as ws:
        for message in messages:
            ws.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(20)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


@pytest.mark.parametrize("seed", [1, 2])
def test_twilio_with_every_fault_at_once(predictor: Predictor, tmp_path: Path, seed: int) -> None:
    """Frames out of order and doubled change nothing, garbage is left out, lost ones are silence;
    on both tracks, and what is told of it lies where it was lost."""
    rng = random.Random(seed)
    codes = [bytearray(coded(voice(12.0))), bytearray(coded(voice(12.0, 8)))]
    session = twilio_session(*(bytes(track) for track in codes))
    first, media, last = as_text(session[:2]), session[2:-1], as_text(session[-1:])
    lost = range(200, 225)  # of the inbound track: 4.0 to 4.5 s
    kept = [
        one
        for one in media
        if one["media"]["track"] != "inbound" or int(one["media"]["chunk"]) - 1 not in lost
    ]
    shuffled = sorted(enumerate(kept), key=lambda one: one[0] + rng.uniform(0, 5))
    sent: list[str | bytes] = []
    for _, one in shuffled:
        sent += as_text([one]) * (2 if rng.random() < 0.1 else 1)
    for bad in GARBAGE:
        sent.insert(rng.randrange(20, len(sent)), bad)
    with served(predictor, tmp_path, twilio=TwilioSettings(consent=True)) as server:
        assert replayed(server, [*first, *sent, *last]) == 1000
        events = server.over()
    codes[0][200 * 160 : 225 * 160] = b"\xff" * (25 * 160)
    want = file_windows(predictor, heard([bytes(c) for c in codes]), ("customer", "agent"))
    assert_same(windows(events), want)
    ((channel, gap),) = bodies(events, "gap")
    assert (channel, gap) == (1, {"start": 4.0, "end": 4.5, "reason": "lost"})
    errors = bodies(events, "error")
    assert len(errors) == len(GARBAGE)
    assert not any(body["fatal"] for _, body in errors)
    assert events[-1].body["duration"] == 12.0


@pytest.mark.parametrize("name", ["audio first", "stop first", "two starts", "after the stop"])
def test_twilio_in_the_wrong_order(predictor: Predictor, tmp_path: Path, name: str) -> None:
    """Before the start it ends the connection; later it costs the message only."""
    session: list[str | bytes] = list(as_text(twilio_session(coded(voice(6.0)))))
    connected, start, media, stop = session[0], session[1], session[2:-1], session[-1]
    messages, code = {
        "audio first": ([connected, *media[:3], start, stop], 1008),
        "stop first": ([connected, stop, start, *media], 1008),
        "two starts": ([connected, start, *media[:50], start, *media[50:], connected, stop], 1000),
        "after the stop": ([connected, start, *media, stop, *media[:9], stop, start], 1000),
    }[name]
    with served(predictor, tmp_path, twilio=TwilioSettings(consent=True)) as server:
        # The server may close while more is being sent.
        with contextlib.suppress(ConnectionError, ConnectionClosed):
            assert replayed(server, messages) == code
        if code == 1008:
            assert server.events == []
            assert server.state.hub.calls == {}
            return
        events = server.over()
    want = file_windows(predictor, heard([coded(voice(6.0))]), ("customer",))
    assert_same(windows(events), want)


def left(ws: ClientConnection, client: AudioHookClient) -> dict[str, Any]:
    """The server's `disconnect`, after whatever else it says."""
    while True:
        said: dict[str, Any] = json.loads(ws.recv(20))
        client.saw([said])
        if said["type"] == "disconnect":
            return said


def test_audiohook_with_audio_that_is_missing(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discarded, paused and simply lost seconds are silence, and each is told where it was."""
    tracks = [bytearray(coded(voice(12.0))), bytearray(coded(voice(12.0, 8)))]
    data = interleaved(*(bytes(track) for track in tracks))
    client = AudioHookClient()
    with served(predictor, tmp_path, **genesys(tmp_path, monkeypatch)) as server:
        with server.connect("/v1/audiohook", **headers_for(server, nonce="r" * 22)) as ws:
            assert ask(ws, client.open(), client)["type"] == "opened"

            def play(start: int, end: int) -> None:
                for at in range(start * 16_000, end * 16_000, 3200):
                    ws.send(data[at : at + 3200])

            play(0, 3)
            client.position = 4.0
            ws.send(client.message("discarded", {"start": "PT3S", "discarded": "PT1S"}))
            play(4, 6)
            client.position = 6.0
            ws.send(client.message("paused", {}))
            ws.send(data[6 * 16_000 : 7 * 16_000])  # in the pause: left out
            client.position = 8.0
            ws.send(client.message("resumed", {"start": "PT6S", "discarded": "PT2S"}))
            play(8, 9)
            client.position = 10.0  # the tenth second never comes
            assert ask(ws, client.message("ping", {"rtt": "PT0.05S"}), client)["type"] == "pong"
            play(10, 12)
            client.position = 12.0
            assert ask(ws, client.message("close", {"reason": "end"}), client)["type"] == "closed"
        events = server.over()
    for track in tracks:
        for start, end in ((3, 4), (6, 8), (9, 10)):
            track[start * 8000 : end * 8000] = b"\xff" * ((end - start) * 8000)
    want = file_windows(predictor, heard([bytes(t) for t in tracks]), ("customer", "agent"))
    assert_same(windows(events), want)
    gaps = [(body["start"], body["end"], body["reason"]) for _, body in bodies(events, "gap")]
    assert gaps == [(3.0, 4.0, "discarded"), (6.0, 8.0, "paused"), (9.0, 10.0, "lost")]
    assert events[-1].body["duration"] == 12.0


@pytest.mark.parametrize("name", ["missing", "doubled", "garbage", "second open", "half"])
def test_audiohook_that_breaks_its_order_is_disconnected(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With the reason; the audio so far is analysed, and the client may close in good order."""
    data = interleaved(coded(voice(6.0)), coded(voice(6.0, 8)))
    client = AudioHookClient()
    with served(predictor, tmp_path, **genesys(tmp_path, monkeypatch)) as server:
        with server.connect("/v1/audiohook", **headers_for(server, nonce="s" * 22)) as ws:
            assert ask(ws, client.open(), client)["type"] == "opened"
            for at in range(0, len(data), 3200):
                ws.send(data[at : at + 3200])
            client.position = 6.0
            assert ask(ws, client.message("ping", {}), client)["type"] == "pong"
            if name == "missing":
                client.message("ping", {})  # which is never sent
                ws.send(client.message("ping", {}))
            elif name == "doubled":
                ping = client.message("ping", {})
                assert ask(ws, ping, client)["type"] == "pong"
                ws.send(ping)
            elif name == "second open":
                ws.send(client.open())
            else:
                ws.send("garbage" if name == "garbage" else b"\xff" * 3201)
            said = left(ws, client)
            assert said["parameters"]["reason"] == "error"
            assert said["parameters"]["info"][:3] in ("400", "409")
            ws.send(b"\xff" * 3200)  # too late: left out
            client.seq = said["clientseq"]
            closed = ask(ws, client.message("close", {"reason": "disconnect"}), client)
            assert closed["type"] == "closed"
        events = server.over()
    assert any(event.type == "window" for event in events)
    assert events[-1].type == "session.closed"
    assert events[-1].body["duration"] == 6.0
