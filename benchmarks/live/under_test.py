"""The server that is measured: `voicetone serve` on one core, and what it uses of the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
"""Those that this process was given, before it keeps to one of them."""


class MeasureError(Exception):
    """The measurement can't be made; one line says why."""


def cores() -> tuple[int, int]:
    """The load's core and the server's.

    Raises:
        MeasureError: there is only one.
    """
    if len(CORES) < 2:
        raise MeasureError("one core only, or no Linux: server and load need a core each")
    return CORES[0], CORES[-1]


@dataclass(frozen=True)
class Used:
    """What was used up to a moment, in seconds of CPU."""

    server: float
    load: float
    machine: float


class UnderTest:
    """One worker of `voicetone serve` on a core of its own, with its store in a temporary folder.

    Args:
        model: bundle.
        words: settings that differ from the defaults.
    """

    def __init__(self, model: str, *words: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="voicetone-live-")
        self.store = Path(self._folder.name) / "calls.db"
        self.errors: list[str] = []
        """Lines of the log that tell of a defect."""
        self.worker = 0
        """Number of its process."""
        self._ready = threading.Event()
        _, core = cores()
        command = [sys.executable, "-m", "voicetone", "serve", "--model", model, "--port", "0"]
        self.process = subprocess.Popen(
            [*command, f"store.url=sqlite:///{self.store}", "drain_seconds=2", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder.name,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        self._log = threading.Thread(target=self._read, daemon=True)
        self._log.start()
        assert self.process.stdout is not None
        port = re.search(r"://[^ ]*:(\d+) ", self.process.stdout.readline())
        self._ready.wait(5)
        if port is None or not self.worker:
            self.stop()
            raise MeasureError(f"the server did not start: {' / '.join(self.errors[-3:])}")
        self.port = int(port[1])

    def _read(self) -> None:
        """Follow the log, which would else fill its pipe."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            said: dict[str, Any] = json.loads(line) if line.startswith("{") else {"event": line}
            if said["event"] == "worker.ready":
                self.worker = int(said["pid"])
                self._ready.set()
            elif said["event"] in ("defect", "worker.died", "worker.failed") or len(said) == 1:
                self.errors.append(line.strip())

    def stop(self) -> int:
        """End it in an orderly way; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        finally:
            self.process.kill()
            self._log.join(10)
            for pipe in (self.process.stdout, self.process.stderr):
                assert pipe is not None
                pipe.close()

    def __enter__(self) -> UnderTest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._folder.cleanup()

    def memory(self) -> int:
        """Bytes of the worker's memory that lie in RAM."""
        status = Path(f"/proc/{self.worker}/status").read_text("ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def descriptors(self) -> int:
        """Open files and sockets of the worker."""
        return len(os.listdir(f"/proc/{self.worker}/fd"))  # noqa: PTH208 - no need of paths

    def used(self) -> Used:
        """CPU time so far: of the worker, of this process, of all that runs on the machine."""
        own = os.times()
        return Used(_cpu(self.worker), own.user + own.system, _machine())


def _cpu(process: int) -> float:
    """Seconds in user and system mode: fields 14 and 15 of proc(5)'s `stat`."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _machine() -> float:
    """Seconds that all cores were not idle."""
    words = Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, words)
    return (user + nice + system + irq + soft + steal) / TICKS


def machine() -> str:
    """Cores, processor and Python, in words."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text("utf-8")) if info.exists() else []
    name = names[0].strip() if names else platform.machine()
    count = len(CORES)
    return f"{count} cores {name}, {platform.system()}, Python {platform.python_version()}"
