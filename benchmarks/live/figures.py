"""Lags, lost windows and what they cost, from a load."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from load import RATE, Load, Plan, run
from under_test import UnderTest, Used, cores

Row = dict[str, Any]
"""One line of a table, ready for JSON."""


@dataclass
class Watch:
    """Reads what is used while all calls speak.

    Args:
        server: the one under test.
    """

    server: UnderTest
    before: Used | None = None
    after: Used | None = None
    seconds: float = 0.0
    memory: int = 0

    async def beside(self, start: float, end: float) -> None:
        """From `start` to `end`, by the steady clock."""
        await asyncio.sleep(max(start - time.monotonic(), 0.0))
        began, self.before = time.monotonic(), self.server.used()
        await asyncio.sleep(max(end - time.monotonic(), 0.1))
        self.seconds, self.after = time.monotonic() - began, self.server.used()
        self.memory = self.server.memory()

    def row(self) -> Row:
        """Shares of a core, and memory."""
        assert self.before is not None
        assert self.after is not None
        server = self.after.server - self.before.server
        load = self.after.load - self.before.load
        others = self.after.machine - self.before.machine - server - load
        return {
            "server_cpu": round(server / self.seconds, 3),
            "load_cpu": round(load / self.seconds, 3),
            "other_cpu": round(max(others, 0.0) / self.seconds / len(cores()), 3),
            "memory_mb": round(self.memory / 1e6, 1),
        }


def measured(server: UnderTest, plan: Plan) -> tuple[Row, Load]:
    """Run a plan; its row of the table."""
    watch = Watch(server)
    load = asyncio.run(run(server.port, plan, watch.beside))
    if plan.route == "twilio":  # which is told nothing: the store knows
        from_store(load, server.store)
    return {"calls": plan.calls, **row(load), **watch.row()}, load


def row(load: Load) -> Row:
    """Lags of the windows that ended while all calls spoke, and windows that never came."""
    seen, told = lags(load)
    wanted = len(load.plan.ends) * len(load.calls)
    came = sum(len(call.came) for call in load.calls)
    return {
        "windows": wanted,
        "dropped": wanted - came,
        "doubled": sum(call.doubled for call in load.calls),
        "gaps": sum(call.gaps for call in load.calls),
        "errors": sum(len(call.errors) for call in load.calls),
        "unfinished": sum(not call.closed for call in load.calls),
        "lag_ms": spread(seen),
        "server_lag_ms": spread(told),
        "load_late_ms": round(load.late * 1000, 1),
    }


def lags(
    load: Load, start: float = -math.inf, end: float = math.inf
) -> tuple[list[float], list[float]]:
    """Seconds from the sending of a window's last sample to its event, and as the server told it.

    Args:
        load: of which those windows count that ended while all calls spoke.
        start: no window that ended before; by the steady clock.
        end: none that ended later.
    """
    seen, told = [], []
    first, last = max(start, load.full[0]), min(end, load.full[1])
    for call in load.calls:
        for at, came in call.came.items():
            index = math.ceil(round(at * RATE) / load.plan.samples) - 1
            if index < len(call.sent) and first <= call.sent[index] <= last:
                seen.append(came - call.sent[index])
                told.append(call.lags[at])
    return seen, told


def spread(values: list[float]) -> Row | None:
    """Median, 99th percentile and maximum, in ms."""
    if not values:
        return None
    ms = np.array(values) * 1000
    p50, p99 = np.percentile(ms, [50, 99])
    return {"p50": round(p50, 1), "p99": round(p99, 1), "max": round(float(ms.max()), 1)}


def from_store(load: Load, path: Path) -> None:
    """Fill in the windows of calls that hear nothing of them, by the time they were told at."""
    by_name = {f"CA{call.number:032d}": call for call in load.calls}
    query = (
        "SELECT calls.external, events.time, events.type, events.body FROM events "
        "JOIN calls ON calls.id = events.call WHERE calls.began >= ? "
        "ORDER BY events.call, events.seq"
    )
    began = load.calls[0].due + load.wall - 0.1
    time.sleep(1.0)  # the store writes a little later
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute(query, (began,)).fetchall()
    for external, told, kind, body in rows:
        if external in by_name:
            by_name[external].told({"type": kind, "call": "", **_body(body)}, told - load.wall)


def _body(text: str) -> Row:
    found: Row = json.loads(text)
    return found
