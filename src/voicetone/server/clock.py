"""The time, so that tests can bend it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that people read and that may jump, one that only goes on."""

    def wall(self) -> float:
        """Seconds since 1970, for what is shown and stored."""

    def steady(self) -> float:
        """Seconds since whenever, for durations and time-outs."""


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def steady(self) -> float:
        """Seconds since whenever."""
        return time.monotonic()
