"""A real PostgreSQL for tests: in a folder of its own, by a Unix socket only, killed at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NoReturn
from urllib.parse import quote

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
SECONDS = 30.0


def find(program: str) -> Path | None:
    """A program of PostgreSQL, where distributions or the path have it."""
    for folder in reversed(BINARIES):
        if (folder / program).exists():
            return folder / program
    found = shutil.which(program)
    return None if found is None else Path(found)


class Postgres:
    """A server that can be killed and started again; `with` ends it.

    It refuses to run as root: there it runs as the first of a few other users.
    """

    def __init__(self) -> None:
        if find("initdb") is None or find("postgres") is None:
            _missing("PostgreSQL's server is not installed (initdb, postgres)")
        # Short: a socket's path may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="vtpg-", dir="/tmp"))
        self._as: list[str] = []
        if os.getuid() == 0:
            user = _other_user()
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
            self._as = ["setpriv", *ids, "--clear-groups"]
        self._process: subprocess.Popen[bytes] | None = None
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()
        self._run("createdb", "-h", str(self.folder), "-U", "tester", "voicetone")

    @property
    def url(self) -> str:
        """The database's address."""
        return f"postgresql+psycopg://tester@/voicetone?host={quote(str(self.folder))}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        postgres = find("postgres")
        options = ["-D", str(self.folder / "data"), "-k", str(self.folder)]
        # Killed processes leave what they wrote to the system: only a power cut needs fsync.
        settings = ["-c", "listen_addresses=", "-c", "max_connections=60", "-c", "fsync=off"]
        command = [*self._as, str(postgres), *options, *settings]
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if self._process is None or self._process.poll() is not None:
                # It gives up while a process of the one that was killed is still there.
                with (self.folder / "log").open("ab") as log:
                    self._process = subprocess.Popen(
                        command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
                    )
            time.sleep(0.05)
            if (self.folder / ".s.PGSQL.5432").exists() and self._answers():
                return
        raise TimeoutError((self.folder / "log").read_text("utf-8", "replace")[-2000:])

    def kill(self) -> None:
        """`kill -9` of all its processes, as a machine short of memory does it."""
        if self._process is None:
            return
        for process in [self._process.pid, *_children(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait(SECONDS)
        self._process = None

    def __enter__(self) -> Postgres:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        command = [str(find("psql")), "-h", str(self.folder), "-U", "tester", "-c", "", "postgres"]
        return subprocess.run(command, capture_output=True, timeout=SECONDS).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(find(program)), *arguments]
        done = subprocess.run(
            command, capture_output=True, timeout=SECONDS, cwd=self.folder, check=False
        )
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")


def _children(parent: int) -> list[int]:
    """Server processes have groups of their own: those that this one started."""
    try:
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii")
    except OSError:  # they end by themselves, a little later
        return []
    return [int(child) for child in listed.split()]


def _other_user() -> pwd.struct_passwd:
    users = {user.pw_name: user for user in pwd.getpwall()}
    if not users.keys() & {"postgres", "nobody"}:
        _missing("PostgreSQL refuses to run as root, and there is no other user")
    return users.get("postgres") or users["nobody"]


def _missing(reason: str) -> NoReturn:
    if os.environ.get("VOICETONE_REQUIRE_SYSTEM") == "1":
        pytest.fail(f"{reason}, and VOICETONE_REQUIRE_SYSTEM=1 says that it must be")
    pytest.skip(reason)
