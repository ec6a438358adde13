"""One model for all calls of a process: what is due is run together, first come, first served.

Sessions are touched by the event loop alone; a thread runs the model on plain arrays. So there are
no locks, and a call that is cut off in the middle of its window disturbs no other.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from voicetone.errors import BundleError
from voicetone.inference.batch import Job, Output, run_jobs
from voicetone.pretrained.predictor import Predictor
from voicetone.server.clock import Clock, SystemClock

logger = logging.getLogger(__name__)

BATCH = 16
"""Jobs in one run of the model: more gains no speed on one core and makes others wait."""

BUSY_SECONDS = 10.0
"""Time over which `Engine.busy` averages."""


class Owner(Protocol):
    """Whose jobs are run."""

    def done(self, job: Job, output: Output) -> None:
        """A job's output; called in the event loop."""

    def failed(self, error: BundleError) -> None:
        """The model failed on a job; called in the event loop."""


@dataclass(frozen=True, slots=True)
class _Due:
    owner: Owner
    job: Job


class Engine:
    """Runs the jobs of all calls. `start` and `stop` in the loop that uses it.

    Args:
        predictor: the model, which keeps no state.
        clock: for the share of time that it works.
        batch: jobs in one run.
    """

    def __init__(
        self, predictor: Predictor, clock: Clock | None = None, batch: int = BATCH
    ) -> None:
        self.predictor = predictor
        self._clock = clock or SystemClock()
        self._batch = batch
        self._due: deque[_Due] = deque()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._worked = 0.0  # seconds, faded
        self._looked = self._clock.steady()

    @property
    def waiting(self) -> int:
        """Jobs that are due and not yet running."""
        return len(self._due)

    @property
    def running(self) -> bool:
        """Whether jobs are run."""
        return self._task is not None and not self._task.done()

    @property
    def busy(self) -> float:
        """Share of the last ten seconds or so that the model worked."""
        self._note(0.0)
        return min(self._worked / BUSY_SECONDS, 1.0)

    def start(self) -> None:
        """Begin to run jobs."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="engine")

    async def stop(self) -> None:
        """Run no more jobs; those that wait are dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._due.clear()
        self._thread.shutdown(wait=False)

    def submit(self, owner: Owner, jobs: Sequence[Job]) -> None:
        """Queue jobs; each comes back to its owner once, done or failed."""
        self._due.extend(_Due(owner, job) for job in jobs)
        if jobs:
            self._some.set()

    def forget(self, owner: Owner) -> None:
        """Drop what an owner still waits for; what runs just now still comes back to it."""
        self._due = deque(due for due in self._due if due.owner is not owner)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            batch = [self._due.popleft() for _ in range(min(self._batch, len(self._due)))]
            if not batch:
                self._some.clear()
                continue
            began = self._clock.steady()
            results = await loop.run_in_executor(self._thread, self._outputs, batch)
            self._note(self._clock.steady() - began)
            for due, result in zip(batch, results, strict=True):
                _tell(due, result)

    def _outputs(self, batch: Sequence[_Due]) -> Sequence[Output | BundleError]:
        """Of each job; one that fails takes no other with it."""
        try:
            return run_jobs(self.predictor, [due.job for due in batch])
        except Exception:
            return [self._alone(due.job) for due in batch]

    def _alone(self, job: Job) -> Output | BundleError:
        try:
            return run_jobs(self.predictor, [job])[0]
        except BundleError as error:
            return error
        except Exception as error:  # a defect: it ends this call, and no other
            logger.exception("a defect in the model's work")
            return BundleError(f"{type(error).__name__}: {error}")

    def _note(self, worked: float) -> None:
        """Let what is long past fade, and take in what was just done."""
        now = self._clock.steady()
        self._worked *= math.exp(min(self._looked - now, 0.0) / BUSY_SECONDS)
        self._worked += worked
        self._looked = now


def _tell(due: _Due, result: Output | BundleError) -> None:
    """Give a result to its owner. Whatever goes wrong there, other calls go on."""
    try:
        if isinstance(result, BundleError):
            due.owner.failed(result)
        else:
            due.owner.done(due.job, result)
    except Exception:
        logger.exception("a call could not take its result")
        with suppress(Exception):
            due.owner.failed(BundleError("a defect of the server: its log has more"))
