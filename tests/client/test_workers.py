"""The client and a server of two processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.client.serving import wait_for

from voicetone.client import Event, Gap, Stream, WindowTone

RATE = 8000


@pytest.fixture
def url(bundle: Path) -> Iterator[str]:
    """A server of two workers without a store, as its own processes."""
    command = [sys.executable, "-m", "voicetone", "serve", "--port", "0", "--workers", "2"]
    with subprocess.Popen(
        [*command, "--model", str(bundle), "drain_seconds=0", "store.url="],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        yield next(word for word in line.split() if word.startswith("http"))
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)


def owner(port: int, client: int) -> int:
    """The process that has the other end of a connection."""
    want = f":{client:04X}"
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if parts[1].endswith(f":{port:04X}") and parts[2].endswith(want):
            inodes.add(f"socket:[{parts[9]}]")
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            held = {str(file.readlink()) for file in folder.iterdir()}
        except OSError:
            continue
        if held & inodes:
            return int(folder.parent.name)
    raise AssertionError("nobody has it")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into Linux's /proc")
def test_a_killed_worker_costs_no_window(url: str) -> None:
    sound = (0.1 * np.random.default_rng(4).standard_normal(60 * RATE)).astype(np.float32)
    port = int(url.rpartition(":")[2])
    events: list[Event] = []

    def windows() -> list[WindowTone]:
        return [event for event in events if isinstance(event, WindowTone)]

    with Stream.open(url, sample_rate=RATE, consent=True) as stream:
        stream.send(sound[: 21 * RATE])

        def seven() -> bool:
            events.extend(stream.poll())
            return len(windows()) == 7

        wait_for(seven, 60.0)
        connection = stream._inner.connection
        assert connection is not None
        os.kill(owner(port, connection.local_address[1]), signal.SIGKILL)
        for at in range(21 * RATE, 60 * RATE, RATE):
            stream.send(sound[at : at + RATE])
            time.sleep(0.01)
        closed = stream.close()
    events += list(stream)
    assert stream.resumed >= 1
    assert closed.duration == 60.0
    gaps = [event for event in events if isinstance(event, Gap)]
    assert [gap.reason for gap in gaps] == ["worker_died"]
    ends = [event.window.end for event in windows()]
    assert ends == sorted(set(ends))
    covered = 20.0  # seven windows were told: up to here
    assert ends[6] == covered
    assert gaps[0].start <= gaps[0].end == pytest.approx(covered, abs=0.01)  # nothing was lost
    speech = sum(event.window.speech_seconds for event in windows())
    assert speech == pytest.approx(60.0, abs=0.5)
