"""The server as it is run: a supervisor and two workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.server.serving import (
    RATE,
    START,
    Client,
    Command,
    opened,
    quiet_settings,
    speech,
    windows_of,
    windows_of_file,
)
from tests.toy import make_toy_bundle
from websockets.exceptions import ConnectionClosed, InvalidStatus

from voicetone.errors import DataError, UsageError
from voicetone.pretrained import load
from voicetone.server.keys import KeySettings, new_key
from voicetone.server.twilio import TwilioSettings
from voicetone.server.workers import check, listening_socket, run_folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def two(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    store = tmp_path_factory.mktemp("store") / "calls.db"
    command = Command(
        toy, "--port", "0", "--workers", "2", f"store.url=sqlite:///{store}", "drain_seconds=1"
    )
    yield command
    assert command.end() == 0


def get(port: int, path: str, **headers: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def worker_of(port: int, call: str) -> int:
    """As the list of calls says, whichever worker is asked."""
    return next(c["worker"] for c in get(port, "/v1/calls")["calls"] if c["id"] == call)


def spread(port: int, count: int = 24) -> list[Client]:
    """Calls on both workers: so many at once that one does not get them all."""
    clients = [Client(port, START) for _ in range(count)]
    owners = {worker_of(port, client.first["call"]) for client in clients}
    while len(owners) < 2:
        clients.append(Client(port, START))
        owners.add(worker_of(port, clients[-1].first["call"]))
        assert len(clients) < 150
    return clients


def test_says_where_it_serves_and_answers_there(two: Command) -> None:
    assert two.said == (
        f"voicetone serves on http://127.0.0.1:{two.port} "
        "(2 workers, without keys: this machine only)\n"
    )
    assert get(two.port, "/healthz") == {"status": "ok"}
    assert get(two.port, "/readyz") == {
        "ready": True,
        "model": True,
        "draining": False,
        "store": True,
    }


def test_a_resume_finds_the_worker_that_has_the_call(two: Command, toy: Path) -> None:
    """Whichever worker each connection reaches, no window is lost or doubled."""
    data = speech(15.0)
    expected = windows_of_file(load(toy), data)
    before = spread(two.port)
    calls: dict[int, Client] = {}
    for client in before:
        calls.setdefault(worker_of(two.port, client.first["call"]), client)
    for client in before:
        if client not in calls.values():
            client.send({"type": "session.close"})
            client.socket.close()
    ways = set()
    for owner, client in calls.items():
        call, token, events = client.first["call"], client.first["token"], client.events
        for round_ in range(6):
            done = 2 * client.first.get("received_samples", 0)
            client.audio(data[done : 30_000 * (round_ + 1)], 800)
            client.cut()
            last = max((e["seq"] for e in events if "seq" in e), default=0)
            client = Client(two.port, {"type": "session.resume", "token": token, "last_seq": last})
            assert (client.first["type"], client.first["call"]) == ("session.resumed", call)
            token = client.first["token"]
            events += [e for e in client.events if "seq" in e]
            client.events = events
            ways.add(owner)
        client.audio(data[2 * client.first["received_samples"] :])
        assert client.finish()["duration"] == 15.0
        with pytest.raises(ConnectionClosed):
            client.get()
        assert client.socket.close_code == 1000
        assert windows_of(events) == expected
        numbers = [e["seq"] for e in events if "seq" in e]
        assert numbers == list(range(1, len(numbers) + 1))
    assert ways == {0, 1}


def test_a_worker_that_is_killed_costs_a_gap_that_is_told(two: Command, toy: Path) -> None:
    data = speech(20.0)
    client = Client(two.port, START)
    call, token = client.first["call"], client.first["token"]
    owner = worker_of(two.port, call)
    client.audio(data[: 2 * 11 * RATE])
    while not [w for w in windows_of(client.events) if w[1] == 10.0]:
        client.get()
    time.sleep(0.6)  # the store writes every 0.2 s
    pid = pid_of(two, owner)
    os.kill(pid, signal.SIGKILL)
    assert two.wait_for("worker.died")["number"] == owner
    with pytest.raises(ConnectionClosed):
        client.until("x")
    last = max(e["seq"] for e in client.events)
    resume = {"type": "session.resume", "token": token, "last_seq": last, "position": 12.0}
    back = Client(two.port, resume)
    assert (back.first["type"], back.first["call"]) == ("session.resumed", call)
    assert back.first["received_samples"] == 12 * RATE
    gap = back.until("gap")
    assert {k: gap[k] for k in ("start", "end", "reason")} == {
        "start": 10.0,
        "end": 12.0,
        "reason": "worker_died",
    }
    back.audio(data[2 * 12 * RATE :])
    closed = back.finish()
    assert closed["duration"] == 20.0
    events = client.events + back.events
    numbers = [e["seq"] for e in events if "seq" in e]
    assert numbers == list(range(1, len(numbers) + 1))
    # 0.5 s are left after the last whole step: too little for a window of their own.
    times = [w[:2] for w in windows_of(events)]
    assert times == [(0.0, 5.0), (2.5, 7.5), (5.0, 10.0), (12.0, 17.0), (14.5, 19.5)]
    # A token of the dead worker's begins no second call: the end is told again.
    again = Client(two.port, {**resume, "last_seq": numbers[-2]})
    assert again.first == closed
    kept = get(two.port, f"/v1/calls/{call}/events?limit=5000")["events"]
    for _ in range(30):
        if len(kept) >= len(numbers):
            break
        time.sleep(0.1)
        kept = get(two.port, f"/v1/calls/{call}/events?limit=5000")["events"]
    assert [e["seq"] for e in kept] == numbers


def pid_of(command: Command, worker: int) -> int:
    """By what the workers said when they were ready."""
    while not command.lines.empty():
        command.seen.append(command.lines.get())
    ready = [e for e in command.seen if e["event"] == "worker.ready" and e["worker"] == worker]
    return int(ready[-1]["pid"])


def test_figures_of_all_workers_from_any(two: Command) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{two.port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    for worker in (0, 1):
        assert f'voicetone_calls{{worker="{worker}"}}' in page
    heads = [line for line in page.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))


def test_tickets_work_whichever_worker_is_reached(two: Command) -> None:
    for _ in range(8):
        request = urllib.request.Request(f"http://127.0.0.1:{two.port}/v1/tickets", method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            ticket = f"voicetone.ticket.{json.loads(answer.read())['ticket']}"
        opened(two.port, subprotocols=["voicetone.v1", ticket]).close()
        with pytest.raises(InvalidStatus):
            opened(two.port, subprotocols=["voicetone.v1", ticket])


def test_a_full_worker_hands_a_new_call_to_one_with_room(toy: Path, tmp_path: Path) -> None:
    """Whichever worker a connection reaches, all places are used before one is refused."""
    data = speech(6.0)
    expected = windows_of_file(load(toy), data)
    keys = tmp_path / "keys.toml"
    key, entry = new_key("desk")
    keys.write_text(entry + 'queue = "billing"\n')
    words = ("--workers", "2", "limits.channels=1", "store.url=''", f"keys_file={keys}")
    command = Command(toy, "--port", "0", *words)
    known = {"Authorization": f"Bearer {key}"}
    for _ in range(2):
        both = [Client(command.port, START, additional_headers=known) for _ in range(2)]
        assert [client.first["type"] for client in both] == ["session.created"] * 2
        assert {client.first["queue"] for client in both} == {"billing"}
        calls = get(command.port, "/v1/calls", **known)["calls"]
        assert sorted(call["worker"] for call in calls) == [0, 1]
        third = Client(command.port, START, additional_headers=known)
        assert (third.first["code"], third.first["fatal"]) == ("too_many_calls", True)
        for client in both:
            client.audio(data)
        resumed = []
        for client in both:
            client.until("window")
            client.cut()
            resume = {"type": "session.resume", "token": client.first["token"], "last_seq": 0}
            resumed.append(Client(command.port, resume, additional_headers=known))
            assert resumed[-1].first["received_samples"] == 6 * RATE
        for client in resumed:
            assert client.finish()["duration"] == 6.0
            with pytest.raises(ConnectionClosed):
                client.get()
            assert client.socket.close_code == 1000
            assert windows_of(client.events) == expected
    assert command.end() == 0


def test_the_private_folder_is_private(tmp_path: Path) -> None:
    with run_folder(quiet_settings()) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()
    tmp_path.chmod(0o755)
    with (
        pytest.raises(UsageError, match="others may enter it"),
        run_folder(quiet_settings(run_folder=tmp_path)),
    ):
        pass


def test_what_is_wrong_is_said_before_anything_starts(toy: Path, tmp_path: Path) -> None:
    settings = quiet_settings(model=str(toy))
    check(settings)
    with pytest.raises(UsageError, match="there are no keys"):
        check(replace(settings, host="0.0.0.0"))
    key = KeySettings(name="a", scopes=("read",), secret_env="NOT_SET_ANYWHERE")
    with pytest.raises(DataError, match="NOT_SET_ANYWHERE is not set"):
        check(replace(settings, host="0.0.0.0", keys=(key,)))
    (tmp_path / "a.pem").write_text("no")
    tls = replace(settings.tls, certificate=tmp_path / "a.pem", key=tmp_path / "a.pem")
    with pytest.raises(UsageError, match="no certificate"):
        check(replace(settings, tls=tls))


def test_what_one_worker_alone_would_miss_is_said_before_anything_starts(toy: Path) -> None:
    twilio = TwilioSettings(auth_token_env="NOT_SET_ANYWHERE")
    with pytest.raises(UsageError, match="the environment has no NOT_SET_ANYWHERE"):
        check(quiet_settings(model=str(toy), twilio=twilio))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("--port", "0", "store.url=''", f"audiosocket.port={port}")
        command = Command(toy, *words)
        assert command.said == ""
        assert command.process.wait(60) == 2
        command.end()
    lines = [line["event"] for line in command.lines.queue]
    assert len(lines) == 1
    assert f"[audiosocket]: 127.0.0.1 port {port} can't be listened on" in lines[0]


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"127.0.0.1:{port}: can't listen there"),
            listening_socket(quiet_settings(port=port)),
        ):
            pass


def test_calls_end_well_when_the_server_goes_down(toy: Path, tmp_path: Path) -> None:
    """SIGTERM: no new call, those in progress have their time, exit code 0."""
    command = Command(toy, "--port", "0", "store.url=''", "drain_seconds=5")
    ends, stays = Client(command.port, START), Client(command.port, START)
    for client in (ends, stays):
        client.audio(speech(3.0))
    command.process.send_signal(signal.SIGTERM)
    command.wait_for("worker.draining")
    for _ in range(3):
        late = Client(command.port, START)
        assert (late.first["code"], late.first["fatal"]) == ("draining", True)
        assert late.first["retry_after"] > 0
    assert ends.finish()["reason"] == "client"
    closed = stays.until("session.closed")
    assert (closed["reason"], closed["duration"]) == ("draining", 3.0)
    with pytest.raises(ConnectionClosed):
        stays.get()
    assert stays.socket.close_code == 1013
    assert command.end() == 0


def test_an_idle_server_that_goes_down_refuses_at_once(toy: Path) -> None:
    """Nobody hangs in a queue that nobody empties."""
    command = Command(toy, "--port", "0", "store.url=''", "drain_seconds=60")
    command.process.send_signal(signal.SIGTERM)
    command.wait_for("worker.draining")
    until = time.monotonic() + 5.0  # the supervisor closes its own socket, too
    while True:
        try:
            socket.create_connection(("127.0.0.1", command.port), timeout=10).close()
        except (ConnectionError, FileNotFoundError):
            break
        assert time.monotonic() < until
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises((ConnectionError, FileNotFoundError)):
            socket.create_connection(("127.0.0.1", command.port), timeout=10)
        assert time.monotonic() - began < 1.0
    assert command.end() == 0


def test_calls_reached_through_another_worker_end_well_too(toy: Path) -> None:
    """A worker without calls of its own stays for those; who is cut meanwhile comes back."""
    data = speech(4.0)
    command = Command(toy, "--port", "0", "--workers", "2", "store.url=''", "drain_seconds=4")
    clients = spread(command.port)
    owners = {c["id"]: c["worker"] for c in get(command.port, "/v1/calls?limit=500")["calls"]}
    mine = [client for client in clients if owners[client.first["call"]] == 0]
    for client in clients:
        if client not in mine:  # one worker has no call
            client.finish()
    for n, client in enumerate(mine):  # half of them through the other worker, or so
        client.cut()
        resume = {"type": "session.resume", "token": client.first["token"], "last_seq": 1}
        mine[n] = Client(command.port, resume)
        mine[n].audio(data)
    command.process.send_signal(signal.SIGTERM)
    lines = [command.wait_for("worker.draining") for _ in range(2)]
    assert sum(line["calls"] for line in lines) == len(mine)
    assert sum(line["passing"] for line in lines) > 0
    cut = mine.pop()
    cut.cut()
    resume = {"type": "session.resume", "token": cut.first["token"], "last_seq": 1}
    mine.append(Client(command.port, resume))
    assert mine[-1].first["received_samples"] == 4 * RATE
    for client in mine:
        closed = client.until("session.closed")
        assert (closed["reason"], closed["duration"]) == ("draining", 4.0)
        with pytest.raises(ConnectionClosed):
            client.get()
        assert client.socket.close_code == 1013
    assert command.end() == 0


def test_resumes_do_not_count_as_calls(toy: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    key, entry = new_key("desk")
    keys.write_text(entry + "calls_per_minute = 4\n")
    words = ("--workers", "2", "store.url=''", f"keys_file={keys}", "drain_seconds=0")
    command = Command(toy, "--port", "0", *words)
    known = {"Authorization": f"Bearer {key}"}
    client = Client(command.port, START, additional_headers=known)
    token = client.first["token"]
    for _ in range(12):
        client.cut()
        resume = {"type": "session.resume", "token": token, "last_seq": 1}
        client = Client(command.port, resume, additional_headers=known)
        assert client.first["type"] == "session.resumed"
    codes = [Client(command.port, START, additional_headers=known).first for _ in range(6)]
    assert "rate_limited" in {said.get("code") for said in codes}
    assert command.end() == 0


def test_all_that_is_logged_is_json(toy: Path, tmp_path: Path) -> None:
    """Ours and libraries': what the store says of a database that is away goes the same way."""
    (tmp_path / "calls.db").write_text("this is no database, and never was one " * 100)
    command = Command(toy, "--port", "0", f"store.url=sqlite:///{tmp_path}/calls.db")
    while "voicetone.server.store" not in (line := command.wait_for("log"))["logger"]:
        pass
    assert line["worker"] == 0
    with pytest.raises(InvalidStatus) as refused:
        opened(command.port, additional_headers={"Origin": "https://elsewhere.example"})
    assert refused.value.response.status_code == 403
    assert command.end() == 0
    command.seen += list(command.lines.queue)
    assert all("time" in line for line in command.seen), command.seen
    assert not [line for line in command.seen if "handshake" in str(line)]


def test_tls_and_no_worker_outlives_a_supervisor_that_is_killed(toy: Path, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    tls = ("--tls-certificate", str(pem), "--tls-key", str(pem))
    command = Command(toy, "--port", "0", "store.url=''", "drain_seconds=0", *tls)
    assert command.said.startswith("voicetone serves on https://127.0.0.1:")
    trusted = ssl.create_default_context(cafile=str(pem))
    url = f"https://127.0.0.1:{command.port}/healthz"
    with urllib.request.urlopen(url, timeout=10, context=trusted) as answer:
        assert json.loads(answer.read()) == {"status": "ok"}
    worker = Path(f"/proc/{command.wait_for('worker.ready')['pid']}")
    assert worker.exists()
    command.process.kill()
    for _ in range(200):
        if not worker.exists():
            break
        time.sleep(0.1)
    assert not worker.exists()
    command.end()


def certificate(folder: Path) -> Path:
    """One that signs itself, for 127.0.0.1; with its key."""
    pem, key = folder / "cert.pem", folder / "key.pem"
    made = f"""req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test
        -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {pem}"""
    subprocess.run(["openssl", *made.split()], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(pem.read_text() + key.read_text())
    return both
