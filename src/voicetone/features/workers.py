"""Processes that compute side by side: one thread in each, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def worker_pool(
    jobs: int, start: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of `jobs` processes, each with one thread, so that they don't fight over the cores.

    Spawned and not forked: threads of the parent's libraries do not survive a fork. A program of
    one's own therefore needs `if __name__ == "__main__":` around what it does.

    Args:
        jobs: processes.
        start: called once in each process before its first job.
        arguments: of `start`.
    """
    import multiprocessing

    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    typed = script is not None and not os.path.exists(script)  # noqa: PTH110
    if typed:  # a program read from a pipe is no file that the processes could import
        del main.__file__
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    # Read when numpy is loaded, which is before any code of ours runs in a new process.
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(start, arguments),
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if typed:
            main.__file__ = script
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def starts(pool: ProcessPoolExecutor) -> bool:
    """Whether the pool's processes come to life: a program without `__main__` guard has none."""
    try:
        return bool(pool.submit(bool, 1).result())
    except BrokenProcessPool:
        return False


def _begin(start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class ProgressLines:
    """Lines on stderr with the share done and the time left, at most one every 20 s."""

    def __init__(self, what: str, every: float = 20.0) -> None:
        self._what, self._every = what, every
        self._start = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told < self._every or done >= total:
            return
        self._told = now
        left = (now - self._start) / max(done, 1) * (total - done)
        print(
            f"{self._what}: {done} of {total}, {left / 60:.1f} min left",
            file=sys.stderr,
            flush=True,
        )
