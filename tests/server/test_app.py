"""What holds for all routes: keys, tickets, origins, sizes, refusals."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.serving import START, Client, opened, quiet_settings, serving, speech
from websockets.exceptions import ConnectionClosed, InvalidStatus

from voicetone.pretrained.predictor import Predictor
from voicetone.server.app import allowed_origin, local_name
from voicetone.server.keys import KeySettings
from voicetone.server.state import ServerState

KEY = "a-key-of-a-test"
LOOK = "a-key-that-may-look"


def key(value: str, name: str, *scopes: str) -> KeySettings:
    digest = hashlib.sha256(value.encode()).hexdigest()
    return KeySettings(name=name, hash=digest, scopes=scopes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def locked(predictor: Predictor) -> Iterator[tuple[ServerState, int]]:
    keys = (
        key(KEY, "desk", "stream", "read", "delete"),
        key(LOOK, "look", "read"),
        key("other", "other", "stream"),
        key("files", "files", "files"),
    )
    chosen = quiet_settings(keys=keys, origins=("https://desk.example",), request_bytes=2000)
    with serving(predictor, chosen) as server:
        yield server


@pytest.fixture(scope="module")
def unlocked(predictor: Predictor) -> Iterator[tuple[ServerState, int]]:
    with serving(predictor) as server:
        yield server


def ask(
    port: int, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        text = answer.read()
        said = json.loads(text) if text.startswith((b"{", b"[")) else text
        return answer.status, said, {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def test_a_key_is_needed(locked: tuple[ServerState, int]) -> None:
    port = locked[1]
    for path in ("/v1/calls", "/metrics", "/v1/archive", "/v1/calls/x"):
        status, said, headers = ask(port, "GET", path)
        assert (status, said["code"]) == (401, "unauthorised")
        assert headers["www-authenticate"] == "Bearer"
        assert ask(port, "GET", path + f"?key={KEY}")[0] == 401
    assert ask(port, "GET", "/v1/calls", **bearer(LOOK))[:2] == (200, {"calls": []})
    assert ask(port, "DELETE", "/v1/calls/x", **bearer(LOOK))[0] == 403
    assert ask(port, "DELETE", "/v1/calls/x", **bearer(KEY))[0] == 404
    assert ask(port, "GET", "/healthz")[0] == 200
    assert "voice" in ask(port, "GET", "/v1/notice")[1]["notice"]


def test_a_stream_needs_a_key_with_its_scope(locked: tuple[ServerState, int]) -> None:
    port = locked[1]
    for headers, status in (({}, 401), (bearer("wrong"), 401), (bearer(LOOK), 403)):
        with pytest.raises(InvalidStatus) as refused:
            opened(port, additional_headers=headers)
        assert refused.value.response.status_code == status
        assert "code" in json.loads(refused.value.response.body)
    client = Client(port, START, additional_headers=bearer(KEY))
    client.audio(speech(5.0))
    token = client.first["token"]
    client.cut()
    resume = {"type": "session.resume", "token": token}
    other = Client(port, resume, additional_headers=bearer("other"))
    assert other.first["code"] == "forbidden"
    back = Client(port, resume, additional_headers=bearer(KEY))
    assert back.first["type"] == "session.resumed"
    assert back.finish()["duration"] == 5.0


def test_a_browser_streams_with_a_ticket_once(locked: tuple[ServerState, int]) -> None:
    port = locked[1]
    status, said, _ = ask(port, "POST", "/v1/tickets", **bearer(KEY))
    assert (status, said["seconds"]) == (201, 60.0)
    offered = ["voicetone.v1", f"voicetone.ticket.{said['ticket']}"]
    client = Client(port, START, subprotocols=offered, origin="https://desk.example")
    assert client.socket.subprotocol == "voicetone.v1"
    client.finish()
    with pytest.raises(InvalidStatus) as again:
        opened(port, subprotocols=offered)
    assert again.value.response.status_code == 401
    look = ask(port, "POST", "/v1/tickets", **bearer(LOOK))[1]["ticket"]
    with pytest.raises(InvalidStatus) as scope:
        opened(port, subprotocols=[f"voicetone.ticket.{look}"])
    assert scope.value.response.status_code == 403
    mine = ask(port, "POST", "/v1/tickets", **bearer("other"))[1]["ticket"]  # `stream` alone
    opened(port, subprotocols=["voicetone.v1", f"voicetone.ticket.{mine}"]).close()
    for value in ("files", "wrong"):
        assert ask(port, "POST", "/v1/tickets", **bearer(value))[0] in (401, 403)
    assert ask(port, "POST", "/v1/tickets")[0] == 401
    assert ask(port, "POST", "/internal/tickets", "{}", **bearer(KEY))[0] == 404


def test_private_paths_are_not_on_the_public_address(locked: tuple[ServerState, int]) -> None:
    for path in ("/internal/calls", "/internal/metrics", "/internal/nothing"):
        assert ask(locked[1], "GET", path, **bearer(KEY))[:2] == (
            404,
            {"code": "not_found", "message": "no such page here"},
        )
    with pytest.raises(InvalidStatus):
        opened(locked[1], "/internal/stream", additional_headers=bearer(KEY))


def test_bodies_are_bounded_said_or_not(locked: tuple[ServerState, int]) -> None:
    port = locked[1]
    path = "/v1/audiosocket/calls"
    kind = {"Content_Type": "application/json"}
    assert ask(port, "POST", path, "x" * 3000, **kind)[1]["code"] == "message_too_large"
    chunks = iter([b"x" * 1500, b"x" * 1500])
    said = ask(port, "POST", path, chunks, **kind)
    assert (said[0], said[1]["code"]) == (413, "message_too_large")


def test_what_no_database_could_look_for(locked: tuple[ServerState, int]) -> None:
    port, known = locked[1], bearer(KEY)
    for path in ("/v1/calls?queue=a%00b", "/v1/calls/a%00b", "/v1/calls/x/events?after=%00"):
        status, said, _ = ask(port, "GET", path, **known)
        assert (status, said["code"]) == (400, "bad_request")
    status, said, _ = ask(port, "GET", f"/v1/calls/x/events?after={1 << 63}", **known)
    assert (status, said["code"]) == (400, "bad_request")
    status, *_ = ask(port, "GET", "/v1/calls?queue=100%2500", **known)
    assert status == 200
    body = json.dumps({"target": "a\0b"})
    headers = {**known, "Content-Type": "application/json"}
    status, said, _ = ask(port, "POST", "/v1/dead-letters/retry", body, **headers)
    assert (status, said["code"]) == (400, "bad_request")


def test_an_upload_that_is_cut_off_is_no_defect(
    locked: tuple[ServerState, int],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for kind in ("audio/wav", "multipart/form-data; boundary=x"):
        capsys.readouterr()
        with socket.create_connection(("127.0.0.1", locked[1]), timeout=10) as client:
            head = (
                "POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer files\r\n"
                f"Content-Type: {kind}\r\nContent-Length: 100000\r\n\r\n--x"
            )
            client.sendall(head.encode())
            time.sleep(0.3)
        said = ""
        for _ in range(100):
            said += capsys.readouterr().err
            if "\n" in said:
                break
            time.sleep(0.05)
        time.sleep(0.2)
        said += capsys.readouterr().err
        events = [json.loads(line)["event"] for line in said.splitlines()]
        assert events == ["client.left"], said
    assert not caplog.records


def test_an_upload_that_hardly_moves_gives_its_place_up(
    locked: tuple[ServerState, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicetone.server.upload.SLOW_SECONDS", 0.2)

    def drops() -> Iterator[bytes]:
        for _ in range(40):
            yield b"RIFF"
            time.sleep(0.05)

    headers = {"Content-Type": "audio/wav", **bearer("files")}
    status, said, _ = ask(locked[1], "POST", "/v1/analyze?consent=true", drops(), **headers)
    assert (status, said["code"]) == (408, "idle_timeout")


def test_refusals_have_one_form(locked: tuple[ServerState, int]) -> None:
    port = locked[1]
    assert ask(port, "GET", "/v1/calls?limit=x", **bearer(KEY))[1]["code"] == "bad_request"
    assert ask(port, "GET", "/v1/nothing")[:2] == (
        404,
        {"code": "not_found", "message": "Not Found"},
    )
    assert ask(port, "PUT", "/v1/notice")[0] == 405
    assert ask(port, "GET", "/v1/calls?past=true", **bearer(KEY))[0] == 404
    assert ask(port, "GET", "/docs")[0] == 404  # its scripts would come from elsewhere
    assert ask(port, "GET", "/openapi.json")[0] == 200


def test_without_keys_no_web_page_of_others_gets_in(unlocked: tuple[ServerState, int]) -> None:
    port = unlocked[1]
    evil = {"Origin": "https://evil.example"}
    assert ask(port, "POST", "/v1/tickets", **evil)[0] == 403
    assert ask(port, "GET", "/v1/calls", Host="evil.example:80")[0] == 403
    assert ask(port, "GET", "/v1/calls", Host=f"localhost:{port}")[0] == 200
    own = {"Origin": f"http://127.0.0.1:{port}"}
    assert ask(port, "POST", "/v1/tickets", **own)[0] == 201


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost:8765", True),
        ("127.0.0.1", True),
        ("[::1]:8765", True),
        ("a.localhost", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:80", False),
        ("1.2.3.4x", False),
    ],
)
def test_names_that_no_stranger_can_have(host: str, local: bool) -> None:
    assert local_name(host) is local


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_only_origins_that_are_named(text: str) -> None:
    assert not allowed_origin(text, "a.example", ())
    assert allowed_origin("https://A.example", "a.example", ())
    assert not allowed_origin("https://a.example.evil", "a.example", ())
    assert not allowed_origin("null", "null", ())


def test_live_calls_are_listed_as_they_go(unlocked: tuple[ServerState, int]) -> None:
    port = unlocked[1]
    client = Client(port, {**START, "call": "mine", "queue": "billing"})
    client.audio(speech(5.5))
    client.until("tone")
    listed = ask(port, "GET", "/v1/calls")[1]["calls"]
    assert len(listed) == 1
    one = listed[0]
    assert (one["external"], one["queue"], one["position"], one["live"]) == (
        "mine",
        "billing",
        5.5,
        True,
    )
    assert one["tone"]["1"]["current"]["sentiment"] is not None
    assert ask(port, "GET", f"/v1/calls/{one['id']}")[1]["id"] == one["id"]
    assert ask(port, "GET", "/v1/calls?queue=sales")[1]["calls"] == []
    assert ask(port, "DELETE", f"/v1/calls/{one['id']}")[1]["code"] == "conflict"
    client.finish()
    assert ask(port, "GET", f"/v1/calls/{one['id']}")[0] == 404
    with pytest.raises(ConnectionClosed):
        client.get()
