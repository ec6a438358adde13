"""Connections that say nothing, too many of them, and what they get."""

from __future__ import annotations

import json
import logging
import socket
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from tests.server.serving import START, Client, opened, quiet_settings, serving
from websockets.exceptions import InvalidStatus

from voicetone.pretrained.predictor import Predictor
from voicetone.server import wire

HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
BODY = (
    b"POST /v1/audiosocket/calls HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(wire, "BODY_SECONDS", 0.5)


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for one in made:
        one.close()


def connected(port: int, sockets: list[socket.socket], first: bytes = b"") -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=5)
    sockets.append(one)
    if first:
        one.sendall(first)
    return one


def ask(port: int, path: str) -> tuple[int, Any, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.loads(answer.read()), answer.headers
    except HTTPError as error:
        return error.code, json.loads(error.read()), error.headers


def ended(one: socket.socket) -> bool:
    """Whether the server closed it, within five seconds."""
    try:
        while one.recv(4096):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def dribble(*sockets: socket.socket) -> None:
    for letter in HALF * 9:
        for one in sockets:
            one.sendall(bytes([letter]))
            time.sleep(0.01)


@pytest.mark.parametrize("first", [b"", HALF])
def test_silent_connections_keep_nobody_out(
    predictor: Predictor, sockets: list[socket.socket], quick: None, first: bytes
) -> None:
    with serving(predictor, quiet_settings(connections=4)) as (_, port):
        for _ in range(40):
            connected(port, sockets, first)
        assert ask(port, "/healthz")[:2] == (200, {"status": "ok"})
        assert ask(port, "/v1/notice")[0] == 200
        Client(port, START).finish()
        assert all(ended(one) for one in sockets)  # four by the clock, the others at once


def test_a_head_that_comes_in_drops_is_cut_off(
    predictor: Predictor, sockets: list[socket.socket], quick: None
) -> None:
    """Also that of a second request on a connection that was good before."""
    with serving(predictor) as (_, port):
        fresh = connected(port, sockets)
        used = connected(port, sockets, HALF + b"\r\n")
        assert b"200 OK" in used.recv(4096)
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            dribble(fresh, used)
        assert time.monotonic() - began < 3.0
        assert ended(fresh)
        assert ended(used)


def test_a_body_that_stops_is_cut_off(
    predictor: Predictor, sockets: list[socket.socket], quick: None
) -> None:
    with serving(predictor) as (_, port):
        one = connected(port, sockets, BODY)
        for _ in range(8):  # slow, but it comes
            time.sleep(0.1)
            one.sendall(b" ")
        one.settimeout(0.05)
        with pytest.raises(TimeoutError):
            one.recv(1)
        one.settimeout(5)
        assert ended(one)


def test_too_many_are_told_so_and_probes_are_not(
    predictor: Predictor, sockets: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(predictor, quiet_settings(connections=3)) as (_, port):
        clients = [Client(port, START) for _ in range(2)]
        connected(port, sockets, BODY)
        time.sleep(0.1)
        status, said, headers = ask(port, "/v1/notice")
        assert (status, said["code"], headers["retry-after"]) == (503, "overloaded", "5")
        with pytest.raises(InvalidStatus) as refused:
            opened(port)
        assert refused.value.response.status_code == 503
        assert json.loads(refused.value.response.body) == said
        assert ask(port, "/healthz")[0] == 200
        assert ask(port, "/readyz")[0] == 200
        clients[0].finish()
        clients[0].socket.close()
        time.sleep(0.1)
        assert ask(port, "/v1/notice")[0] == 200
        clients[1].finish()
        for one in sockets:
            one.close()
        time.sleep(0.1)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
