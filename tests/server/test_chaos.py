"""The server as it is run, two workers and a database, while things break. Nobody lends a hand."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.phones import FakeClock
from tests.server.postgres import Postgres
from tests.server.serving import (
    RATE,
    START,
    Client,
    Command,
    quiet_settings,
    serving,
    speech,
    windows_of,
    windows_of_file,
)
from tests.server.test_workers import get, pid_of, worker_of
from tests.toy import make_toy_bundle
from websockets.exceptions import ConnectionClosed

from voicetone.pretrained import load
from voicetone.server.store import StoreSettings

SECOND = 2 * RATE
"""Bytes of audio."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def two(
    toy: Path, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    spill = tmp_path_factory.mktemp("spill")
    words = (f"store.url={postgres.url}", f"store.spill={spill}", "outgoing=16", "drain_seconds=1")
    words += ("limits.updates=100000",)
    command = Command(toy, "--port", "0", "--workers", "2", *words)
    yield command
    assert command.end() == 0
    said = [*command.seen, *iter_lines(command)]
    assert [line for line in said if line["event"] == "defect"] == []


def iter_lines(command: Command) -> Iterator[dict[str, Any]]:
    while not command.lines.empty():
        yield command.lines.get()


class Wire:
    """A TCP proxy to a port of this machine, which can be cut or simply carry nothing more."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._there, self._back = threading.Event(), threading.Event()
        self.release()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._pairs.append((near, far))
                for way in ((near, far, self._there), (far, near, self._back)):
                    threading.Thread(target=self._carry, args=way, daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, flows: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(4096):
                flows.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def hold(self, back_only: bool = False) -> None:
        """As a network that has gone: everything stays open, nothing passes.

        Args:
            back_only: what the client sends still does, as if it did not read.
        """
        self._back.clear()
        if not back_only:
            self._there.clear()

    def release(self) -> None:
        """Let everything pass again."""
        self._there.set()
        self._back.set()

    def cut(self) -> None:
        """Reset all connections on both sides."""
        for pair in self._pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    linger = (1).to_bytes(4, "little") + bytes(4)
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    one.shutdown(socket.SHUT_RD)
                one.close()
        self._pairs.clear()
        self.release()

    def close(self) -> None:
        self.cut()
        self._listening.close()


@pytest.fixture
def wire(two: Command) -> Iterator[Wire]:
    wire = Wire(two.port)
    yield wire
    wire.close()


def until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What is true in the end."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def stored(port: int, call: str) -> list[dict[str, Any]]:
    """A call's events in the store; none while it can't be reached."""
    with contextlib.suppress(OSError):
        found: list[dict[str, Any]] = get(port, f"/v1/calls/{call}/events?limit=5000")["events"]
        return found
    return []


def numbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of the call, without messages about the connection, as the store has them."""
    extra = ("token", "resume_seconds", "window_seconds", "hop_seconds", "limits", "notice")
    return [{k: v for k, v in e.items() if k not in extra} for e in events if "seq" in e]


def resumed(port: int, before: Client, **more: Any) -> Client:
    """The same call on another connection."""
    last = max(e["seq"] for e in before.events if "seq" in e)
    asked = {"type": "session.resume", "token": before.first["token"], "last_seq": last, **more}
    return Client(port, asked)


def test_no_event_is_lost_while_the_database_is_dead(
    two: Command, postgres: Postgres, toy: Path
) -> None:
    """Calls go on without it, and begin; all of it is stored once it is back."""
    data = speech(15.0)
    clients = [Client(two.port, START) for _ in range(4)]
    for client in clients:
        client.audio(data[: 6 * SECOND])
        while not windows_of(client.events):
            client.get()
    postgres.kill()
    until(lambda: not health(two.port)["store"])
    assert health(two.port)["ready"]
    clients.append(Client(two.port, START))
    clients[-1].audio(data[: 6 * SECOND])
    for client in clients:
        client.audio(data[6 * SECOND : 11 * SECOND])
        while not any(w[1] == 10.0 for w in windows_of(client.events)):
            client.get()
    assert clients[0].finish()["duration"] == 11.0  # one that ends meanwhile
    postgres.start()
    for client in clients[1:]:
        client.audio(data[11 * SECOND :])
        client.finish()
    expected = windows_of_file(load(toy), data)
    for number, client in enumerate(clients):
        if number:
            assert windows_of(client.events) == expected
        told = numbered(client.events)
        assert [e["seq"] for e in told] == list(range(1, len(told) + 1))
        call = client.first["call"]
        assert all_stored(two.port, call, len(told)) == told
    assert health(two.port)["store"]


def health(port: int) -> dict[str, Any]:
    """What the server says of itself."""
    found: dict[str, Any] = get(port, "/readyz")
    return found


def all_stored(port: int, call: str, count: int) -> list[dict[str, Any]]:
    """A call's events, once there are so many."""
    until(lambda: len(stored(port, call)) >= count)
    return stored(port, call)


def test_a_worker_dies_while_the_database_is_dead(
    two: Command, postgres: Postgres, toy: Path
) -> None:
    """What was committed stays; the call goes on as soon as the database can tell how far it was,
    and the time between is a gap."""
    data = speech(20.0)
    client = Client(two.port, START)
    client.audio(data[: 6 * SECOND])
    while not windows_of(client.events):
        client.get()
    call, owner = client.first["call"], worker_of(two.port, client.first["call"])
    committed = all_stored(two.port, call, len(numbered(client.events)))
    postgres.kill()
    os.kill(pid_of(two, owner), signal.SIGKILL)
    two.wait_for("worker.died")
    with pytest.raises(ConnectionClosed):
        client.until("x")
    early = until(lambda: answered(two.port, client, position=6.0))
    assert early.first["type"] == "error"
    assert early.first["retry_after"] > 0
    postgres.start()
    back = until(lambda: accepted(two.port, client, position=6.0))
    gap = back.until("gap")
    assert (gap["start"], gap["end"], gap["reason"]) == (5.0, 6.0, "worker_died")
    back.audio(data[6 * SECOND :])
    assert back.finish()["duration"] == 20.0
    told = numbered(client.events + back.events)
    assert [e["seq"] for e in told] == list(range(1, len(told) + 1))
    assert committed == told[: len(committed)]
    assert all_stored(two.port, call, len(told)) == told


def answered(port: int, client: Client, **more: Any) -> Client | None:
    """A try to resume, once a worker takes connections."""
    with contextlib.suppress(ConnectionClosed, OSError):
        return resumed(port, client, **more)
    return None


def accepted(port: int, client: Client, **more: Any) -> Client | None:
    """A try to resume that succeeds."""
    found = answered(port, client, **more)
    return found if found is not None and found.first["type"] == "session.resumed" else None


def test_a_wire_that_is_cut_and_one_that_goes_dead(two: Command, wire: Wire, toy: Path) -> None:
    """The client comes back by another connection: no window is lost or doubled."""
    data = speech(20.0)
    client = Client(wire.port, START)
    client.audio(data[: 8 * SECOND], 1000)
    wire.cut()
    with pytest.raises((ConnectionClosed, OSError)):
        client.until("x")
    second = resumed(wire.port, client)
    start = 2 * second.first["received_samples"]
    assert start <= 8 * SECOND
    second.audio(data[start : 12 * SECOND], 1000)
    second.until("window")
    wire.hold()
    with contextlib.suppress(OSError):
        second.audio(data[12 * SECOND : 15 * SECOND], 1000)
    # The old connection still stands; the client goes by another way.
    third = resumed(two.port, second)
    assert third.first["call"] == client.first["call"]
    third.audio(data[2 * third.first["received_samples"] :])
    assert third.finish()["duration"] == 20.0
    wire.release()
    told = client.events + second.events + third.events
    assert windows_of(told) == windows_of_file(load(toy), data)
    seqs = [e["seq"] for e in told if "seq" in e]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_reader_who_stalls_holds_nobody_up(two: Command, wire: Wire, toy: Path) -> None:
    """It is cut off; its call goes on, and the store has what it did not read."""
    data = speech(10.0)
    stalled = Client(wire.port, START)
    call = stalled.first["call"]
    owner = worker_of(two.port, call)
    beside = Client(two.port, START)
    while worker_of(two.port, beside.first["call"]) != owner:
        beside = Client(two.port, START)
    wire.hold(back_only=True)
    update = json.dumps({"type": "session.update", "metadata": {"a": "x" * 2000}})
    with contextlib.suppress(ConnectionClosed, OSError, TimeoutError):
        for sent in range(3000):  # each is answered by 5 kB
            stalled.socket.send(update)
            if sent % 10 == 0:
                time.sleep(0.002)
            if sent == 500:  # in the midst of it
                beside.audio(data)
    began = time.monotonic()
    assert beside.finish()["duration"] == 10.0
    assert time.monotonic() - began < 20
    assert windows_of(beside.events) == windows_of_file(load(toy), data)
    back = resumed(two.port, stalled)
    assert back.first["type"] == "session.resumed"
    back.audio(data)
    closed = back.finish()
    assert closed["duration"] == 10.0
    assert windows_of(back.events) == windows_of_file(load(toy), data)
    assert closed["seq"] > 16
    kept = all_stored(two.port, call, min(closed["seq"], 5000))
    assert [e["seq"] for e in kept] == list(range(1, len(kept) + 1))
    assert health(two.port)["ready"]


class Bent(FakeClock):
    """True clocks, bent by as much as a test says."""

    def wall(self) -> float:
        return time.time() + self.day

    def steady(self) -> float:
        return time.monotonic() + self.now


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_wall_clock_that_jumps_ends_no_call(toy: Path, tmp_path: Path, jump: float) -> None:
    """A day forward or back within a call: same windows, same order, and the store has them."""
    predictor, clock, data = load(toy), Bent(0.0, 0.0), speech(10.0)
    settings = quiet_settings(store=StoreSettings(url=f"sqlite:///{tmp_path}/calls.db"))
    with serving(predictor, settings, clock) as (_, port):
        client = Client(port, START)
        client.audio(data[: 6 * SECOND])
        client.until("window")
        clock.day = jump
        time.sleep(1.2)  # a sweep or two
        client.audio(data[6 * SECOND :])
        assert client.finish()["duration"] == 10.0
        assert windows_of(client.events) == windows_of_file(predictor, data)
        assert all(e["lag_ms"] < 30_000 for e in client.events if e["type"] == "window")
        told = numbered(client.events)
        call = client.first["call"]
        until(lambda: len(stored(port, call)) == len(told))
        assert stored(port, call) == told
        Client(port, START).finish()


def test_a_steady_clock_that_jumps_ends_what_is_silent_and_no_more(toy: Path) -> None:
    """As after a machine's sleep: who sends audio goes on, and new calls begin."""
    predictor, clock, data = load(toy), Bent(0.0, 0.0), speech(10.0)
    with serving(predictor, quiet_settings(), clock) as (state, port):
        silent = Client(port, START)
        clock.now = 3600.0
        closed = silent.until("session.closed")
        assert closed["reason"] == "idle_timeout"
        assert 0.0 <= state.hub.engine.busy <= 1.0
        client = Client(port, START)
        client.audio(data)
        assert client.finish()["duration"] == 10.0
        assert windows_of(client.events) == windows_of_file(predictor, data)
