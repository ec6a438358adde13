"""Recordings that wait to be analysed, the processes that do it, and results that wait."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import IO, Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic import dataclasses as checked

from voicetone.server import analysis
from voicetone.server.analysis import Wanted
from voicetone.server.clock import Clock
from voicetone.server.events import iso
from voicetone.server.refusal import STATUS, RefusedError

MOST_RESULT = 256 * 2**20
"""Bytes of a result's JSON; the longest recording's is far below."""
BUSY_SECONDS = 10.0
"""When to try again after all places were taken."""

_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "VOICETONE_CACHE",
)
_KEPT_STARTS = ("LC_", "PYTHON", "OMP_", "XDG_")

_LOG = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed"]
Tell = Callable[[float, float | None], None]


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FileSettings:
    """`[files]`: recordings and texts under `/v1/analyze`.

    Args:
        bytes: of an upload at most.
        seconds: of a recording at most.
        channels: of a recording at most.
        characters: of a text at most.
        workers: processes that analyse, of each worker of the server.
        waiting: recordings that may wait besides, those being sent among them.
        sync_seconds: longer recordings become a job, and the answer is where to ask for it.
        timeout: seconds that one analysis may take.
        idle_seconds: after which a process without work ends and gives its memory back.
        keep_seconds: that a job's result is kept.
        keep: results that are kept at most, of each worker.
    """

    bytes: Annotated[int, Field(ge=1024, le=8 * 2**30)] = 256 * 2**20
    seconds: Annotated[float, Field(gt=0, le=7 * 86_400)] = 4 * 3600.0
    channels: Annotated[int, Field(ge=1, le=8)] = 8
    characters: Annotated[int, Field(ge=1, le=15_000)] = 5000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    waiting: Annotated[int, Field(ge=0, le=10_000)] = 8
    sync_seconds: Annotated[float, Field(ge=0)] = 300.0
    timeout: Annotated[float, Field(gt=0, le=86_400)] = 1800.0
    idle_seconds: Annotated[float, Field(gt=0)] = 300.0
    keep_seconds: Annotated[float, Field(ge=1, le=30 * 86_400)] = 3600.0
    keep: Annotated[int, Field(ge=1, le=10_000)] = 100


@dataclass(eq=False, slots=True)
class Job:
    """One recording on its way."""

    id: str
    credential: str
    created: float
    wanted: Wanted
    file: IO[bytes]
    text: Mapping[str, Any] | None
    """What was said of the text that came with it."""
    state: State = "queued"
    done: float = 0.0
    seconds: float | None = None
    result: dict[str, Any] | None = None
    error: RefusedError | None = None
    over: float = 0.0
    dropped: bool = False
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is over, or known to be too long to wait for."""

    @property
    def settled(self) -> bool:
        """Whether it is done or has failed."""
        return self.state in ("done", "failed")

    @property
    def response(self) -> dict[str, Any] | None:
        """What `/v1/analyze` answers; None before it is done."""
        return None if self.result is None else {"audio": self.result, "text": self.text}

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object."""
        progress = 1.0 if self.state == "done" else None
        if progress is None and self.seconds:
            progress = round(min(self.done / self.seconds, 1.0), 4)
        return {
            "id": self.id,
            "state": self.state,
            "created": iso(self.created),
            "progress": progress,
            "result": self.response,
            "error": None if self.error is None else self.error.to_dict(),
        }


class Process:
    """A process that analyses one recording after another; started when there is work.

    Args:
        model: name or folder of the bundle.
    """

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._process: asyncio.subprocess.Process | None = None
        self._requests: socket.socket | None = None
        self._ending = asyncio.Lock()

    async def ask(self, wanted: Wanted, file: int, tell: Tell) -> dict[str, Any]:
        """The result for an open file.

        Args:
            wanted: what is asked.
            file: its descriptor.
            tell: told of the seconds done and in all.

        Raises:
            RefusedError: why there is none.
        """
        process = await self._started()
        assert process.stdout is not None
        assert self._requests is not None
        with suppress(OSError):  # a process that is gone says nothing more
            analysis.send(self._requests, wanted, file)
        while line := await process.stdout.readline():
            said = json.loads(line)
            if "result" in said:
                result: dict[str, Any] = said["result"]
                return result
            if "error" in said:
                code = said["error"]["code"]
                raise RefusedError(code if code in STATUS else "internal", said["error"]["message"])
            tell(said["done"], said["seconds"])
        await self.stop()
        raise RefusedError(
            "internal", f"{wanted.name}: the process that analysed it died: convert the recording"
        )

    async def stop(self) -> None:
        """End the process, at once; who asks meanwhile waits for the end, too."""
        async with self._ending:
            process, self._process = self._process, None
            if self._requests is not None:
                self._requests.close()
                self._requests = None
            if process is None:
                return
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self.stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            model = [] if self._model is None else [self._model]
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", analysis.__name__, str(theirs.fileno()), *model),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                limit=MOST_RESULT,
                env=_environment(os.environ),
            )
        except BaseException as error:
            ours.close()
            if not isinstance(error, OSError):
                raise
            raise RefusedError(
                "overloaded", "no process for the analysis: try again", 10.0
            ) from error
        finally:
            theirs.close()
        ours.setblocking(False)
        self._requests = ours
        return self._process


class Jobs:
    """The recordings of one worker. Used from the event loop only, between `start` and `stop`.

    Args:
        settings: the operator's.
        model: name or folder of the bundle.
        clock: the time.
        worker: its number, which every job's id begins with.
    """

    def __init__(
        self, settings: FileSettings, model: str | None, clock: Clock, worker: int = 0
    ) -> None:
        self._settings, self._model, self._clock, self._worker = settings, model, clock, worker
        self._jobs: dict[str, Job] = {}
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._taken = 0
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work; in the loop that uses it."""
        loop = asyncio.get_running_loop()
        for n in range(self._settings.workers):
            self._tasks.append(loop.create_task(self._work(), name=f"files-{n}"))
        self._tasks.append(loop.create_task(self._sweep(), name="files-sweep"))

    async def stop(self) -> None:
        """End at once; recordings that wait are dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for job in self._jobs.values():
            job.file.close()
        self._jobs.clear()

    @property
    def waiting(self) -> int:
        """Recordings that are being sent, wait or are analysed."""
        return self._taken

    @contextmanager
    def place(self) -> Iterator[Callable[..., Job]]:
        """A place for a recording, from before it is sent.

        Yields:
            What makes the job: called with its credential, `Wanted`, open file and text's answer.
            Without that call the place is free again at the end.

        Raises:
            RefusedError: all are taken.
        """
        if self._taken >= self._settings.workers + self._settings.waiting:
            raise RefusedError(
                "rate_limited", "too many recordings wait: try again later", BUSY_SECONDS
            )
        self._taken += 1
        job: Job | None = None

        def submit(
            credential: str, wanted: Wanted, file: IO[bytes], text: Mapping[str, Any] | None
        ) -> Job:
            nonlocal job
            id = f"{self._worker}-{secrets.token_urlsafe(16)}"
            job = Job(id, credential, self._clock.wall(), wanted, file, text)
            self._jobs[id] = job
            self._queue.put_nowait(job)
            return job

        try:
            yield submit
        finally:
            if job is None:
                self._taken -= 1

    def get(self, id: str, credential: str) -> Job:
        """A job of a credential.

        Raises:
            RefusedError: there is none, it is somebody else's, or its time is over.
        """
        self.sweep()
        job = self._jobs.get(id)
        # A voice is nobody's to fetch: it goes into the store and nowhere else.
        if job is None or job.credential != credential or job.wanted.enrol is not None:
            raise RefusedError("not_found", "no such job, or its time to be kept is over")
        return job

    def drop(self, job: Job) -> None:
        """Forget a job and its result; its analysis is broken off."""
        job.dropped = True
        self._jobs.pop(job.id, None)
        if (task := self._running.get(job)) is not None:
            task.cancel()

    def sweep(self) -> None:
        """Forget results whose time is over, and the oldest of too many."""
        before = self._clock.steady() - self._settings.keep_seconds
        over = sorted((j for j in self._jobs.values() if j.settled), key=lambda j: j.over)
        surplus = len(over) - self._settings.keep
        for n, job in enumerate(over):
            if n < surplus or job.over <= before:
                del self._jobs[job.id]

    # -- inside ----------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(self._settings.keep_seconds / 10, 10.0))
            self.sweep()

    async def _work(self) -> None:
        """Analyse what waits, one after another, in a process of its own."""
        process = Process(self._model)
        try:
            while True:
                job = await self._next(process)
                task = asyncio.create_task(self._analyse(job, process))
                self._running[job] = task
                try:
                    await asyncio.wait([task])
                finally:
                    if not task.done():
                        task.cancel()
                        await asyncio.wait([task])
                    self._over(job, task)
        finally:
            await process.stop()

    def _over(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._running[job]
        self._taken -= 1
        job.file.close()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _LOG.error("a recording's analysis failed", exc_info=error)
        if not job.settled:
            job.error = RefusedError("internal", "the analysis broke off: try again")
            job.state, job.over = "failed", self._clock.steady()
        job.turn.set()

    async def _next(self, process: Process) -> Job:
        try:
            async with asyncio.timeout(self._settings.idle_seconds):
                return await self._queue.get()
        except TimeoutError:
            await process.stop()
        return await self._queue.get()

    async def _analyse(self, job: Job, process: Process) -> None:
        """One job; whatever goes wrong becomes its error."""
        if job.dropped:
            return
        job.state = "running"

        def tell(done: float, seconds: float | None) -> None:
            job.done, job.seconds = done, seconds
            if job.wanted.enrol is None and max(done, seconds or 0.0) > self._settings.sync_seconds:
                job.turn.set()

        try:
            async with asyncio.timeout(self._settings.timeout):
                job.result = await process.ask(job.wanted, job.file.fileno(), tell)
            job.state = "done"
        except RefusedError as error:
            job.error, job.state = error, "failed"
        except TimeoutError:
            await process.stop()
            job.error = RefusedError("internal", "the analysis took too long: send it in parts")
            job.state = "failed"
        except BaseException:  # broken off: the process may be in the middle of it
            await asyncio.shield(process.stop())
            raise
        job.wanted = replace(job.wanted, voices={})  # a voice may be deleted before its results
        job.over = self._clock.steady()


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What a process that reads strangers' files gets: no secret of the server."""
    kept = {
        name: value
        for name, value in variables.items()
        if name in _KEPT or name.startswith(_KEPT_STARTS)
    }
    return {**kept, "OMP_NUM_THREADS": "1"}
