"""A progress bar with the time that remains: on a terminal, and only where the wait is long."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

PATIENCE = 1.0  # s before a bar is worth showing


class ProgressBar:
    """Shows how much of some files is done, on standard error; nothing unless it is a terminal."""

    def __init__(self, files: int, quiet: bool = False) -> None:
        self._files = files
        self._done = 0
        self._parts: dict[int, float] = {}
        self._started = time.monotonic()
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._bar: Any = None
        self._row: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def part(self, index: int, part: float) -> None:
        """A part in [0, 1] of one file is done."""
        self._parts[index] = part
        self._update()

    def done(self, index: int) -> None:
        """One file is done, or has failed."""
        self._parts.pop(index, None)
        self._done += 1
        self._update()

    def _update(self) -> None:
        if not self._shown:
            return
        if self._bar is None:
            if time.monotonic() - self._started < PATIENCE:
                return
            self._open()
        completed = self._done + sum(self._parts.values())
        words = f"{self._done} of {self._files} files" if self._files > 1 else "analysing"
        self._bar.update(self._row, completed=completed, description=words)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            Remaining(),
            console=Console(stderr=True),
            transient=True,
        )
        self._row = self._bar.add_task("", total=self._files)
        self._bar.start()
