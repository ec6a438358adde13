"""A server's processes: a supervisor with the listening socket, and workers that answer on it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import secrets
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import uvicorn

from voicetone.errors import UsageError, VoicetoneError
from voicetone.pretrained import load
from voicetone.server.app import internal, make_app, make_state
from voicetone.server.audiosocket import AudioSocketSettings, not_listened
from voicetone.server.clock import SystemClock
from voicetone.server.logs import Log, everything_through
from voicetone.server.native import MOST_BINARY
from voicetone.server.peers import Peers
from voicetone.server.settings import Settings
from voicetone.server.state import ServerState
from voicetone.server.telephony import from_environment
from voicetone.server.wire import Loop, Ws, http_of

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
"""Seconds between a worker's death and its next life; doubled while it keeps dying."""
STEADY_SECONDS = 30.0
"""A worker that lived so long begins anew with the shortest pause."""
GRACE = 15.0
"""Seconds beyond `drain_seconds` after which a worker is killed."""
UNREAD_MS = 60_000
"""After so long a connection is cut whose other end takes in nothing at all."""
LAST_SECONDS = 3.0
"""That clients have to read the end of their calls when the server goes down."""
PASSING_SECONDS = 6.0
"""Beyond `drain_seconds` that another worker has to end calls whose clients came through us."""
OTHER_FILES = 500
"""Open files of a worker besides its connections."""
FAILED = 3


@dataclass(frozen=True)
class Place:
    """What a worker is given."""

    settings: Settings
    worker: int
    folder: Path
    secret: bytes


class _Worker:
    """One place among the workers, through all lives of its process."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.process: Any = None
        self.ready: Connection | None = None
        self.was_ready = False
        self.began = 0.0
        self.pause = FIRST_PAUSE
        self.due = 0.0

    def start(self, listening: socket.socket) -> None:
        """Begin a life."""
        context = multiprocessing.get_context("spawn")
        self.ready, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=run_worker, args=(self.place, listening, theirs), name="voicetone-worker"
        )
        self.process.start()
        theirs.close()
        self.was_ready, self.began = False, time.monotonic()

    def died(self) -> None:
        """Clear up after a life, and say when the next is due."""
        now = time.monotonic()
        self.process.join()
        if self.ready is not None:
            self.ready.close()
            self.ready = None
        if now - self.began > STEADY_SECONDS:
            self.pause = FIRST_PAUSE
        self.due, self.pause = now + self.pause, min(self.pause * 2, LONGEST_PAUSE)
        self.process = None


def serve(settings: Settings, said: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT, then let calls end.

    Args:
        settings: the operator's.
        said: gets one line with the address once all workers answer.

    Returns:
        The exit code: 0 after an orderly end, 3 if no worker could start.

    Raises:
        UsageError, DataError, BundleError: settings, keys, store or model that can't be.
    """
    check(settings)
    with run_folder(settings) as folder, listening_socket(settings) as listening:
        require_free(settings.audiosocket)
        secret = secrets.token_bytes(32)
        workers = [
            _Worker(Place(settings, number, folder, secret)) for number in range(settings.workers)
        ]
        log = Log(SystemClock(), None, secret)
        everything_through(log)
        with _signals() as wakes:
            return _Supervisor(workers, listening, log, said, settings).run(wakes)


def check(settings: Settings) -> None:
    """Everything that can be known to be wrong before a process is started.

    Raises:
        UsageError, DataError, BundleError: what is wrong.
    """
    if not settings.loopback and not settings.keys:
        raise UsageError(
            f"{settings.host} can be reached from elsewhere and there are no keys: make one with "
            "voicetone serve --new-key NAME, or listen on 127.0.0.1"
        )
    make_state(settings, load(settings.model))
    if settings.twilio.auth_token_env is not None:
        from_environment(settings.twilio.auth_token_env)
    if settings.tls.certificate is not None:
        try:
            _config(settings, None).load()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{settings.tls.certificate}: no certificate and key that fit "
                f"({error}): name PEM files"
            ) from error


def require_free(settings: AudioSocketSettings) -> None:
    """Try whether the first worker can listen for Asterisk.

    Raises:
        UsageError: it can't.
    """
    if settings.port is None:
        return
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        socket.create_server(found[4][:2], family=found[0]).close()
    except OSError as error:
        raise not_listened(settings, error) from error


class _Supervisor:
    """Keeps workers alive until it is told to stop."""

    def __init__(
        self,
        workers: list[_Worker],
        listening: socket.socket,
        log: Log,
        said: Callable[[str], None],
        settings: Settings,
    ) -> None:
        self._workers, self._listening, self._log = workers, listening, log
        self._said, self._settings = said, settings
        self._told = False
        self._stopping = False

    def run(self, wakes: socket.socket) -> int:
        """Until a signal comes through `wakes`."""
        for worker in self._workers:
            worker.start(self._listening)
        while True:
            watched: list[Any] = [wakes]
            for worker in self._workers:
                if worker.process is not None:
                    watched.append(worker.process.sentinel)
                    if worker.ready is not None and not worker.was_ready:
                        watched.append(worker.ready)
            woken = wait(watched, self._patience())
            if wakes in woken:
                return self._stop()
            for worker in self._workers:
                if worker.ready in woken:
                    self._is_ready(worker)
                if worker.process is not None and not worker.process.is_alive():
                    self._is_dead(worker)
            if not self._told and self._hopeless():
                self._log.say("server.failed", message="no worker could start: see above")
                self._stop()
                return FAILED
            self._revive()

    def _patience(self) -> float | None:
        """Seconds until a dead worker is due."""
        dues = [w.due - time.monotonic() for w in self._workers if w.process is None]
        return max(min(dues), 0.0) if dues else None

    def _is_ready(self, worker: _Worker) -> None:
        try:
            assert worker.ready is not None
            worker.ready.recv_bytes()
        except EOFError:
            return  # it died; its sentinel says so
        finally:
            if worker.ready is not None:
                worker.ready.close()
                worker.ready = None
        worker.was_ready = True
        if not self._told and all(w.was_ready for w in self._workers):
            self._told = True
            self._said(_line(self._listening, self._settings))

    def _is_dead(self, worker: _Worker) -> None:
        code = worker.process.exitcode
        worker.died()
        self._log.say("worker.died", number=worker.place.worker, code=code)

    def _hopeless(self) -> bool:
        """Whether a worker died three times before the server was ever up."""
        return any(w.process is None and w.pause >= FIRST_PAUSE * 8 for w in self._workers)

    def _revive(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.process is None and worker.due <= now:
                worker.start(self._listening)

    def _stop(self) -> int:
        """Have all workers end in an orderly way; kill those that don't."""
        self._listening.close()  # workers close theirs when they have drained; then nobody waits
        running = [w for w in self._workers if w.process is not None]
        for worker in running:
            worker.process.terminate()
        until = time.monotonic() + self._settings.drain_seconds + GRACE
        for worker in running:
            worker.process.join(max(until - time.monotonic(), 0.0))
            if worker.process.is_alive():
                self._log.say("worker.killed", number=worker.place.worker)
                worker.process.kill()
                worker.process.join()
        return 0


# -- in the worker's process ---------------------------------------------------------------------


class _Server(uvicorn.Server):
    """Leaves signals to us: calls are drained before connections are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def run_worker(place: Place, listening: socket.socket, ready: Connection) -> None:
    """A worker's life.

    Args:
        place: which, and with what settings.
        listening: the shared socket.
        ready: gets a byte once the worker answers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides
    settings = place.settings
    peers = Peers(place.worker, settings.workers, place.folder)
    try:
        predictor = load(settings.model)
        state = make_state(settings, predictor, peers=peers, secret=place.secret)
    except VoicetoneError as error:
        Log(SystemClock(), place.worker, place.secret).say("worker.failed", message=str(error))
        raise SystemExit(FAILED) from error
    everything_through(state.log)
    _more_files(settings.connections)
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(_work(state, listening, ready))


async def _work(state: ServerState, listening: socket.socket, ready: Connection) -> None:
    """Serve on both sockets until told to stop; drain; end."""
    settings: Settings = state.settings
    app = make_app(state)
    public = _Server(_config(settings, app))
    private = _Server(_config(settings, internal(app), private=True))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    parent = multiprocessing.parent_process()
    if parent is not None:  # its death is an order, too
        sentinel = parent.sentinel

        def orphaned() -> None:
            loop.remove_reader(sentinel)
            stop.set()

        loop.add_reader(sentinel, orphaned)
    own = _unix(state.peers.path(state.worker))
    serving = [
        loop.create_task(public.serve([listening])),
        loop.create_task(private.serve([own])),
    ]
    while not (public.started and private.started):
        if any(task.done() for task in serving):
            raise SystemExit(FAILED)
        await asyncio.sleep(0.01)
    with contextlib.suppress(OSError):
        ready.send_bytes(b"1")
    ready.close()
    state.log.say("worker.ready", pid=os.getpid())
    await stop.wait()
    state.log.say("worker.draining", calls=len(state.hub.calls), passing=state.passing)
    await _drained(state, settings.drain_seconds)
    for server in public.servers:
        server.close()  # who connects now is refused at once, and may go elsewhere
    await asyncio.gather(_told(public), _told(private))
    public.should_exit = True
    await serving[0]
    private.should_exit = True
    await serving[1]
    state.log.say("worker.ended")


async def _drained(state: ServerState, seconds: float) -> None:
    """Wait until our calls have ended, and those whose clients are connected through us.

    Until then the public socket stays open, as a client whose connection is cut may come back for
    a call in progress.
    """
    until = time.monotonic() + seconds + PASSING_SECONDS
    await state.hub.drain(seconds)
    while state.passing and time.monotonic() < until:
        await asyncio.sleep(0.02)


async def _told(server: _Server) -> None:
    """Wait until every client has been told why its call ended, or does not read."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_SECONDS):
            while any(isinstance(c, Ws) and c.saying for c in server.server_state.connections):
                await asyncio.sleep(0.02)


def _config(settings: Settings, app: Any, private: bool = False) -> uvicorn.Config:
    tls = settings.tls
    return uvicorn.Config(
        app,
        http="h11" if private else http_of(settings.connections),
        ws=Ws,
        ws_max_size=MOST_BINARY,
        ws_max_queue=4,
        ws_per_message_deflate=False,
        ws_ping_interval=None if private else 20.0,
        log_config=None,
        access_log=False,
        lifespan="off" if private else "on",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        ssl_certfile=None if private else tls.certificate,
        ssl_keyfile=None if private else tls.key,
        ssl_ca_certs=None if private or tls.client_ca is None else str(tls.client_ca),
        ssl_cert_reqs=0 if private or tls.client_ca is None else 2,
    )


def _more_files(connections: int) -> None:
    """Raise the limit of open files, as far as we may, to what all connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + OTHER_FILES  # with a request, and without one
    if resource.RLIM_INFINITY != soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _unix(path: Path) -> socket.socket:
    """A private socket, in place of one that a former life left."""
    path.unlink(missing_ok=True)
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    own.bind(str(path))
    path.chmod(0o600)
    own.listen(128)
    own.setblocking(False)
    return own


# -- the supervisor's surroundings ---------------------------------------------------------------


@contextlib.contextmanager
def run_folder(settings: Settings) -> Iterator[Path]:
    """The folder of the private sockets, which nobody else may enter.

    Raises:
        UsageError: it can't be made, or belongs to somebody else.
    """
    if settings.run_folder is None:
        folder = Path(tempfile.mkdtemp(prefix="voicetone-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = settings.run_folder
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise UsageError(f"{folder}: others may enter it: chmod 700, or name another folder")
    except OSError as error:
        raise UsageError(
            f"{folder}: can't be used for the workers' sockets ({error.strerror or error}): "
            "name another run_folder"
        ) from error
    yield folder


@contextlib.contextmanager
def listening_socket(settings: Settings) -> Iterator[socket.socket]:
    """The public socket.

    Raises:
        UsageError: the address can't be had.
    """
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(found[4][:2], family=found[0], backlog=1024)
    except OSError as error:
        raise UsageError(
            f"{settings.host}:{settings.port}: can't listen there ({error.strerror or error}): "
            "choose another --host or --port"
        ) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted connections have it from this one
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
    with listening:
        yield listening


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that can be read from once SIGTERM or SIGINT has come."""
    wakes, ours = socket.socketpair()
    wakes.setblocking(False)
    ours.setblocking(False)
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(kind, lambda *_: None) for kind in kinds]
    old = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
    try:
        yield wakes
    finally:
        signal.set_wakeup_fd(old)
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
        wakes.close()
        ours.close()


def _line(listening: socket.socket, settings: Settings) -> str:
    host, port = listening.getsockname()[:2]
    scheme = "http" if settings.tls.certificate is None else "https"
    name = f"[{host}]" if ":" in host else host
    keys = ", without keys: this machine only" if not settings.keys else ""
    count = f"{settings.workers} worker{'s' if settings.workers > 1 else ''}"
    return f"voicetone serves on {scheme}://{name}:{port} ({count}{keys})\n"
