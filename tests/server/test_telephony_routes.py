"""The telephone systems' routes on a real server: sockets, handshakes, keys."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import TypeAdapter
from tests.server.phones import (
    AudioHookClient,
    as_text,
    assert_same,
    bodies,
    coded,
    file_windows,
    heard,
    interleaved,
    signed,
    twilio_session,
    twilio_start,
    voice,
    windows,
)
from tests.server.test_audiosocket import session as audiosocket_session
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from voicetone.errors import UsageError
from voicetone.pretrained.predictor import Predictor
from voicetone.server.app import internal, make_app, make_state
from voicetone.server.audiohook import AudioHookSettings
from voicetone.server.audiosocket import AudioSocketSettings
from voicetone.server.events import CallEvent
from voicetone.server.hub import Limits
from voicetone.server.keys import KeySettings
from voicetone.server.peers import Peers
from voicetone.server.routes_telephony import lifespan
from voicetone.server.settings import Settings
from voicetone.server.store import StoreSettings
from voicetone.server.twilio import TwilioSettings, sign

SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef")
HASH = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"


class Served:
    """A server on a loopback port, in a thread of its own."""

    def __init__(
        self, predictor: Predictor, settings: Settings, peers: Peers | None = None
    ) -> None:
        self.state = make_state(settings, predictor, peers=peers)
        private = None if peers is None or peers.worker else str(peers.path(0))
        app = make_app(self.state)
        self.events: list[CallEvent] = []
        self._server = uvicorn.Server(
            uvicorn.Config(
                app if private is None else internal(app),
                port=0,
                uds=private,
                ws="websockets-sansio",
                ws_per_message_deflate=False,
                log_level="error",
                timeout_graceful_shutdown=2,
            )
        )
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def serve() -> None:
            self.state.hub.subscribe(self.events.append)
            await self._server.serve()

        asyncio.run(serve())

    def start(self) -> None:
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < until
            assert self._thread.is_alive()
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def connect(self, path: str, **headers: str) -> ClientConnection:
        return connect(
            f"ws://127.0.0.1:{self.port}{path}",
            additional_headers={k.replace("_", "-"): v for k, v in headers.items()},
            compression=None,
            proxy=None,
        )

    def refused(self, path: str, **headers: str) -> int:
        """The status of a handshake that is turned down."""
        with pytest.raises(InvalidStatus) as said:
            self.connect(path, **headers)
        return int(said.value.response.status_code)

    def over(self, count: int = 1) -> list[CallEvent]:
        """All events, once so many calls have ended."""
        until = time.monotonic() + 20
        while sum(e.type == "session.closed" for e in self.events) < count or self.state.hub.calls:
            assert time.monotonic() < until, [e.type for e in self.events]
            time.sleep(0.01)
        return self.events


@contextmanager
def served(
    predictor: Predictor, tmp_path: Path, peers: Peers | None = None, **settings: Any
) -> Iterator[Served]:
    store = StoreSettings(url=f"sqlite:///{tmp_path}/store.db")
    server = Served(predictor, Settings(**{"store": store, **settings}), peers)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_twilio_by_signature(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "12345")
    url = "wss://tone.example/v1/twilio"
    twilio = TwilioSettings(auth_token_env="TOKEN", public_url=url, consent=True)
    with served(predictor, tmp_path, twilio=twilio) as server:
        assert server.refused("/v1/twilio") == 401
        assert server.refused("/v1/twilio", x_twilio_signature=sign("other", url)) == 401
        caller, agent = coded(voice(6.0)), coded(voice(6.0, 8))
        with server.connect("/v1/twilio", x_twilio_signature=sign("12345", url)) as ws:
            for text in as_text(twilio_session(caller, agent)):
                ws.send(text)
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1000
        events = server.over()
        want = file_windows(predictor, heard([caller, agent]), ("customer", "agent"))
        assert_same(windows(events), want)
        assert events[-1].body["reason"] == "stopped"


def test_twilio_garbage_cuts_and_keys(predictor: Predictor, tmp_path: Path) -> None:
    keys = (KeySettings("pbx", ("telephony",), HASH, consent=True, queue="sales"),)
    with served(predictor, tmp_path, keys=keys, limits=Limits(channels=2)) as server:
        assert server.refused("/v1/twilio") == 401
        assert server.refused("/v1/twilio", authorization="Bearer other") == 401
        key = {"authorization": "Bearer secret"}
        start = as_text(twilio_start(["inbound"]))
        for bad in ("garbage", b"\0\1", json.dumps({"event": "media"}), start[1][:-50]):
            with server.connect("/v1/twilio", **key) as ws:
                ws.send(bad)
                with pytest.raises(ConnectionClosed) as closed:
                    ws.recv(10)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1008
        with ExitStack() as stack:
            one, other, third = (
                stack.enter_context(server.connect("/v1/twilio", **key)) for _ in range(3)
            )
            _three_calls(server, one, other, third)
        events = server.over(2)
        assert {b["reason"] for _, b in bodies(events, "session.closed")} == {"gone"}
        assert [b["fatal"] for _, b in bodies(events, "error")] == [False]
        assert len(windows(events)) == 1
        assert {b["queue"] for _, b in bodies(events, "session.created")} == {"sales"}


def _three_calls(
    server: Served, one: ClientConnection, other: ClientConnection, third: ClientConnection
) -> None:
    """The third is one too many; the first has a bad message; the second is cut."""
    start = as_text(twilio_start(["inbound"]))
    for ws in (one, other):
        for text in start:
            ws.send(text)
    _until(lambda: len(server.state.hub.calls) == 2)
    for text in start:  # all lines are busy
        third.send(text)
    with pytest.raises(ConnectionClosed) as busy:
        third.recv(10)
    assert busy.value.rcvd is not None
    assert busy.value.rcvd.code == 1013
    one.send("garbage")  # left out: the call goes on
    for text in as_text(twilio_session(coded(voice(5.0))))[2:-1]:
        one.send(text)
    other.socket.shutdown(socket.SHUT_RDWR)
    other.socket.close()
    one.close()


def _until(true: Any) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_server_ends_a_call_that_says_nothing(predictor: Predictor, tmp_path: Path) -> None:
    keys = (KeySettings("pbx", ("telephony",), HASH, consent=True),)
    limits = Limits(idle=0.5)
    with served(predictor, tmp_path, keys=keys, limits=limits) as server:
        with server.connect("/v1/twilio", authorization="Bearer secret") as ws:
            for text in as_text(twilio_start(["inbound"])):
                ws.send(text)
            with pytest.raises(ConnectionClosed):
                ws.recv(10)
        assert server.over()[-1].body["reason"] == "idle_timeout"


def genesys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **audiohook: Any) -> dict[str, Any]:
    monkeypatch.setenv("GENESYS", SECRET.decode())
    key = KeySettings("genesys", ("telephony",), secret_env="GENESYS", consent=True)
    return {"keys": (key,), "audiohook": AudioHookSettings(**audiohook)}


def ask(ws: ClientConnection, text: str, client: AudioHookClient) -> dict[str, Any]:
    """Send a message and wait for the answer."""
    ws.send(text)
    said: dict[str, Any] = json.loads(ws.recv(10))
    client.saw([said])
    return said


def headers_for(server: Served, **changes: Any) -> dict[str, str]:
    host = f"127.0.0.1:{server.port}"
    made = signed(SECRET, "/v1/audiohook", time.time(), host=host, **changes)
    del made["host"]
    return made


def test_audiohook_with_a_signature(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(predictor, tmp_path, **genesys(tmp_path, monkeypatch, events=("tone",))) as server:
        assert server.refused("/v1/audiohook") == 401
        made = headers_for(server)
        assert server.refused("/v1/audiohook?x=1", **made) == 401
        assert server.refused("/v1/audiohook", **{**made, "x-api-key": "other"}) == 401
        external, internal = coded(voice(6.0)), coded(voice(6.0, 8))
        data = interleaved(external, internal)
        client = AudioHookClient()
        with server.connect("/v1/audiohook", **made) as ws:
            assert ask(ws, client.open(), client)["type"] == "opened"
            for at in range(0, len(data), 3200):
                ws.send(data[at : at + 3200])
            client.position = 6.0
            ws.send(client.message("close", {"reason": "end"}))
            said = []
            while not said or said[-1]["type"] != "closed":
                said.append(json.loads(ws.recv(10)))
            client.saw(said)
            tones = [m for m in said if m["type"] == "event"]
            assert tones
            assert tones[0]["parameters"]["entities"][0]["type"] == "voicetone.tone"
        events = server.over()
        want = file_windows(predictor, heard([external, internal]), ("customer", "agent"))
        assert_same(windows(events), want)
        assert len(tones) == len(bodies(events, "tone"))
        assert events[-1].body["reason"] == "closed"
        assert server.refused("/v1/audiohook", **made) == 401  # the nonce has been used


def test_audiohook_garbage_cuts_and_server_ends(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(predictor, tmp_path, **genesys(tmp_path, monkeypatch)) as server:
        client = AudioHookClient()
        with server.connect("/v1/audiohook", **headers_for(server, nonce="a" * 22)) as ws:
            ws.send("garbage")
            left = json.loads(ws.recv(10))
            assert left["type"] == "disconnect"
            client.serverseq = left["seq"]
            closed = ask(ws, client.message("close", {"reason": "disconnect"}), client)
            assert closed["type"] == "closed"
        client = AudioHookClient()
        with server.connect("/v1/audiohook", **headers_for(server, nonce="b" * 22)) as ws:
            ask(ws, client.open(), client)
            (call,) = server.state.hub.calls.values()
            server._server.servers[0].get_loop().call_soon_threadsafe(call.close, "draining")
            left = json.loads(ws.recv(10))
            assert left["parameters"] == {"reason": "completed", "info": "draining"}
            client.saw([left])
            closed = ask(ws, client.message("close", {"reason": "disconnect"}), client)
            assert closed["type"] == "closed"
        client = AudioHookClient()
        with server.connect("/v1/audiohook", **headers_for(server, nonce="c" * 22)) as ws:
            ask(ws, client.open(), client)
            ws.send(b"\xff" * 16_000)
        events = server.over(2)
        assert events[-1].body["reason"] == "gone"


def test_audiosocket(predictor: Predictor, tmp_path: Path) -> None:
    keys = (KeySettings("pbx", ("telephony",), HASH), KeySettings("web", ("read",), "0" * 64))
    audiosocket = AudioSocketSettings(port=0, register_seconds=1.0)
    with served(predictor, tmp_path, keys=keys, audiosocket=audiosocket) as server:
        sockets = server.state.extras["audiosocket.server"].sockets
        place = sockets[0].getsockname()[:2]
        pcm = (voice(5.5) * 32767).astype("<i2")
        data = audiosocket_session(pcm.tobytes())
        with socket.create_connection(place, 10) as asterisk:  # not registered
            asterisk.sendall(data[:19])
            assert asterisk.recv(1) == b""
        body = {"uuid": "40325ec2-5efd-4bd3-805f-53576e581d13", "queue": "sales"}
        assert post(server, body)[0] == 403  # no consent
        assert post(server, {**body, "consent": True}, "other")[0] == 401
        assert post(server, {**body, "consent": True, "more": 1})[0] == 400
        status, said = post(server, {**body, "consent": True, "external": "7"})
        assert (status, said) == (201, {"uuid": body["uuid"], "expires_in": 1.0})
        assert post(server, {**body, "consent": True})[0] == 409
        with socket.create_connection(place, 10) as asterisk:
            asterisk.sendall(data)
            assert asterisk.recv(1) == b""
        events = server.over()
        assert_same(windows(events), file_windows(predictor, pcm.astype("f4")[None] / 32768))
        created = events[0].body
        assert (created["external"], created["queue"]) == ("7", "sales")
        with socket.create_connection(place, 10) as asterisk:  # once only
            asterisk.sendall(data[:19])
            assert asterisk.recv(1) == b""
        status, said = post(server, {"consent": True})
        with socket.create_connection(place, 10) as asterisk:  # cut in the middle of a frame
            asterisk.sendall(b"\1\0\x10" + bytes.fromhex(said["uuid"].replace("-", "")))
            asterisk.sendall(data[19:500])
        assert server.over(2)[-1].body["reason"] == "gone"


def test_a_port_that_is_taken_and_a_secret_that_is_missing(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN", raising=False)

    async def opened(settings: Settings) -> None:
        async with lifespan(make_state(settings, predictor)):
            pass

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = AudioSocketSettings(port=other.getsockname()[1])
        with pytest.raises(UsageError, match="can't be listened on"):
            asyncio.run(opened(Settings(audiosocket=taken)))
    with pytest.raises(UsageError, match="no TOKEN"):
        asyncio.run(opened(Settings(twilio=TwilioSettings(auth_token_env="TOKEN"))))


def test_a_call_registered_with_another_worker(predictor: Predictor, tmp_path: Path) -> None:
    audiosocket = {"audiosocket": AudioSocketSettings(port=0, consent=True)}
    peers = [Peers(worker, 2, tmp_path) for worker in (0, 1)]
    with (
        served(predictor, tmp_path, peers[0], **audiosocket) as first,
        served(predictor, tmp_path, peers[1], **audiosocket) as second,
    ):
        assert "audiosocket.server" not in second.state.extras
        status, said = post(second, {"metadata": {"site": "Graz"}})
        assert status == 201
        assert post(second, {"uuid": said["uuid"]})[0] == 409
        place = first.state.extras["audiosocket.server"].sockets[0].getsockname()[:2]
        with socket.create_connection(place, 10) as asterisk:
            asterisk.sendall(b"\1\0\x10" + bytes.fromhex(said["uuid"].replace("-", "")))
            asterisk.sendall(b"\x10\x01\x40" + b"\0" * 320)
        created = first.over()[0].body
        assert (created["external"], created["metadata"]) == (said["uuid"], {"site": "Graz"})


def post(server: Served, body: dict[str, Any], key: str = "secret") -> tuple[int, dict[str, Any]]:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request("POST", "/v1/audiosocket/calls", json.dumps(body), headers)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found


def test_audiosocket_is_for_named_addresses_and_not_forever(
    predictor: Predictor, tmp_path: Path
) -> None:
    elsewhere = AudioSocketSettings(port=0, addresses=("10.0.0.0/8",))
    with served(predictor, tmp_path, audiosocket=elsewhere) as server:
        place = server.state.extras["audiosocket.server"].sockets[0].getsockname()[:2]
        with socket.create_connection(place, 10) as asterisk:
            assert asterisk.recv(1) == b""
    slow = AudioSocketSettings(port=0, id_seconds=0.2, connections=1)
    with served(predictor, tmp_path, audiosocket=slow) as server:
        place = server.state.extras["audiosocket.server"].sockets[0].getsockname()[:2]
        with socket.create_connection(place, 10) as asterisk:
            asterisk.sendall(b"\1")
            with socket.create_connection(place, 10) as second:
                began = time.monotonic()
                assert second.recv(1) == b""  # one seat only
                assert time.monotonic() - began < 0.2
            assert asterisk.recv(1) == b""


def test_the_settings_of_the_page_can_be() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "telephony.md").read_text("utf-8")
    blocks = [block.split("```")[0] for block in page.split("```toml\n")[1:]]
    read = [TypeAdapter(Settings).validate_python(tomllib.loads(block)) for block in blocks]
    assert read[0].twilio.public_url == "wss://tone.example/v1/twilio"
    assert read[1].keys[0].secret_env == "GENESYS_SECRET"
    assert read[2].audiosocket.allows("10.1.0.7")
