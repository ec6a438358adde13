"""Many files through one or several processes; a file that fails, or kills its process, costs
itself and no other.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicetone.errors import VoicetoneError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from voicetone.audio.decode import RawFormat
    from voicetone.inference.enrolment import Speakers
    from voicetone.inference.split_file import Splitting
    from voicetone.inference.words import Transcripts
    from voicetone.pretrained.predictor import Predictor
    from voicetone.types import FileResult, Floats

PROGRESS_EVERY = 0.2  # s between two reports of a worker

Report = Callable[[int, float], None]
"""Called with the index of a file and the part of it that is done, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process needs to know to analyse any file of the run."""

    model: str | None
    threads: int
    raw: RawFormat | None
    channels: tuple[int, ...] | None
    names: tuple[str, ...] | None
    picture: bool  # collect the peaks that the HTML report draws
    debug: bool
    split: Splitting | None = None
    speakers: Speakers = field(default="auto", repr=False)
    enrolled: str = ""  # what of the speakers changes a result
    transcripts: Transcripts = field(default=None, repr=False)
    said: str = ""  # what of the transcripts changes a result

    def text(self) -> str:
        """What of this changes a result, for the fingerprint."""
        text = repr((self.raw, self.channels, self.names))
        text += "" if self.split is None else f" {self.split.id}"
        return " ".join(part for part in (text, self.enrolled, self.said) if part)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one file: a result, or one line that says why not."""

    index: int
    result: FileResult | None = None
    peaks: Floats | None = None  # [channels, bins, 2]
    error: str | None = None
    exit_code: int = 0
    trace: str | None = None  # with --debug


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    work: Sequence[tuple[int, Path]],
    settings: Settings,
    jobs: int,
    report: Report,
    predictor: Predictor | None = None,
) -> Generator[Outcome, None, None]:
    """Analyse files, in this process or in `jobs` others; outcomes come as they are ready.

    Args:
        work: index and path of each file.
        settings: the same for all of them.
        jobs: processes.
        report: told of progress.
        predictor: the loaded model, for one job; workers load their own.
    """
    if jobs > 1 and len(work) > 1:
        yield from _run_workers(work, settings, min(jobs, len(work)), report)
        return
    if predictor is None:
        predictor = _load(settings)
    for index, path in work:

        def tell(part: float, index: int = index) -> None:
            report(index, part)

        yield analyse_one(index, path, settings, predictor, tell)


def analyse_one(
    index: int,
    path: Path,
    settings: Settings,
    predictor: Predictor,
    tell: Callable[[float], None],
) -> Outcome:
    """One file; every error that a file can cause becomes its outcome."""
    from voicetone.inference.file import Overview, analyze

    overview = Overview() if settings.picture else None

    def progress(seconds: float, total: float | None) -> None:
        if total:
            tell(min(1.0, seconds / total))

    try:
        result = analyze(
            path,
            predictor,
            raw=settings.raw,
            channels=settings.channels,
            names=settings.names,
            progress=progress,
            overview=overview,
            split=settings.split,
            speakers=settings.speakers,
            transcripts=settings.transcripts,
        )
    except Exception as error:  # even a defect of ours must not cost the other files
        trace = traceback.format_exc() if settings.debug else None
        code = error.exit_code if isinstance(error, VoicetoneError) else 3
        return Outcome(index, error=_one_line(path, error), exit_code=code, trace=trace)
    return Outcome(index, result, None if overview is None else overview.peaks())


def _one_line(path: Path, error: Exception) -> str:
    if isinstance(error, VoicetoneError):
        return str(error)
    if isinstance(error, (OSError, MemoryError)):
        reason = getattr(error, "strerror", None) or str(error) or "out of memory"
        return f"{path}: can't be analysed: {reason}"
    line = f"{path}: unexpected {type(error).__name__}: {error}: run it with --debug and report it"
    return " ".join(line.split())


def _load(settings: Settings) -> Predictor:
    from voicetone.pretrained import load

    return load(settings.model, threads=settings.threads)


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    index: int


def _run_workers(
    work: Sequence[tuple[int, Path]], settings: Settings, jobs: int, report: Report
) -> Generator[Outcome, None, None]:
    paths = dict(work)
    waiting = list(reversed(work))
    workers: dict[Connection, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                worker = _start(settings, *waiting.pop())
                workers[worker.pipe] = worker
            for pipe in wait(list(workers)):
                assert isinstance(pipe, Connection)
                worker = workers[pipe]
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    del workers[pipe]
                    yield _died(worker, paths[worker.index])
                    continue
                if isinstance(message, float):
                    report(worker.index, message)
                    continue
                yield message
                if waiting:
                    worker.index, path = waiting.pop()
                    _send(pipe, (worker.index, path))
                else:
                    del workers[pipe]
                    _send(pipe, None)
                    worker.process.join()
                    pipe.close()
    finally:
        for worker in workers.values():
            worker.process.terminate()
            worker.process.join(5)
            worker.pipe.close()


def _start(settings: Settings, index: int, path: Path) -> _Worker:
    import multiprocessing

    # Spawned and not forked: the model runtime's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, settings), daemon=True)
    process.start()
    theirs.close()
    _send(ours, (index, path))
    return _Worker(process, ours, index)


def _send(pipe: Connection, message: object) -> None:
    try:
        pipe.send(message)
    except OSError:  # the worker is gone: reading from its pipe says so
        return


def _died(worker: _Worker, path: Path) -> Outcome:
    worker.process.join(5)
    worker.pipe.close()
    code = worker.process.exitcode or 0
    how = f"exit code {code}"
    if code < 0:
        try:
            how = signal.Signals(-code).name
        except ValueError:
            how = f"signal {-code}"
    line = f"{path}: the process that analysed it died ({how}), often for lack of memory"
    return Outcome(worker.index, error=f"{line}: try it alone, or with --jobs 1", exit_code=3)


def _work(pipe: Connection, settings: Settings) -> None:
    """The life of a worker: load the model, then one file after another until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    predictor: Predictor | None = None
    try:
        while (message := pipe.recv()) is not None:
            index, path = message
            try:
                predictor = predictor or _load(settings)
            except VoicetoneError as error:
                pipe.send(Outcome(index, error=str(error), exit_code=error.exit_code))
                continue
            pipe.send(analyse_one(index, path, settings, predictor, _throttled(pipe)))
    except (EOFError, OSError):  # the parent is gone
        return


def _throttled(pipe: Connection) -> Callable[[float], Any]:
    last = time.monotonic()

    def tell(part: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY:
            last = now
            pipe.send(float(part))

    return tell
