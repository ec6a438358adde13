"""What is measured, part by part. Each gives rows; a part that was measured is not run again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from figures import Row, lags, measured, spread
from load import PATHS, Load, Plan, Route, Spoken, frames, run, start, stop
from under_test import UnderTest, cores
from wire import BINARY, connected, frame

LIMIT_MS = 500.0
"""What a window's lag may be at the 99th percentile."""
ALL = ("limits.channels=100000", "limits.busy=1.0", "connections=100000")
"""Admission switched off, to see where the machine ends."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        model: bundle.
        calls: concurrent channels of the curves.
        seconds: that each call lasts.
        ramp: seconds over which calls begin.
        accepted: calls that the server takes in the overload.
        idle: streams that wait.
        cycles: connections that are made and dropped.
        warm: of these before memory is first looked at: more than come within a minute, for which
            what was cut or ended is kept for those who come back.
        rounds: of so many cycles, one after the other: what is found for good by the most that
            ever waited at once (buffers, caches) stops growing, a leak does not.
    """

    model: str = "tone-small"
    calls: tuple[int, ...] = (25, 50, 100, 150, 200, 300)
    seconds: float = 30.0
    ramp: float = 5.0
    accepted: int = 100
    idle: int = 500
    cycles: int = 10_000
    warm: int = 8_000
    rounds: int = 2


TINY = Sizes(calls=(2, 3), seconds=7.5, ramp=0.5, accepted=2, idle=4, cycles=40, warm=20)
"""To see that everything works; the figures say nothing."""


def native(sizes: Sizes, done: int) -> Iterator[Row]:
    """Binary frames of 100 ms, with more and more calls."""
    yield from _curve("native", sizes, done)


def twilio(sizes: Sizes, done: int) -> Iterator[Row]:
    """Twilio's JSON frames of 20 ms, with more and more calls."""
    yield from _curve("twilio", sizes, done)


def _curve(route: Route, sizes: Sizes, done: int) -> Iterator[Row]:
    for calls in sizes.calls[done:]:
        with UnderTest(sizes.model, *ALL) as server:
            _warm_up(server, route)
            plan = Plan(route, calls, sizes.seconds, sizes.ramp)
            found, _ = measured(server, plan)
        yield {**found, "defects": len(server.errors)}


def _warm_up(server: UnderTest, route: Route) -> None:
    """A few calls first: what is made once is made then."""
    plan = Plan(route, 3, 5.0, 0.3)
    asyncio.run(run(server.port, replace(plan, seed=1)))


# -- twice as many calls as are taken ------------------------------------------------------------


@dataclass
class _Refusals:
    """What those were told who came when all lines were busy."""

    codes: dict[str, int]
    tries: int = 0
    accepted: int = 0
    without_retry: int = 0


def overload(sizes: Sizes, done: int) -> Iterator[Row]:
    """The usual limits; in the second half of the calls as many again knock, over and over."""
    if done:
        return
    words = (f"limits.channels={sizes.accepted}",)
    with UnderTest(sizes.model, *words) as server:
        _warm_up(server, "native")
        plan = Plan("native", sizes.accepted, 2 * sizes.seconds, sizes.ramp)
        refusals = _Refusals({})
        middle = [0.0]

        async def beside(first: float, last: float) -> None:
            middle[0] = (first + last) / 2
            await asyncio.sleep(max(middle[0] - time.monotonic(), 0.0))
            callers = [
                _knock(server.port, plan, number, last, refusals)
                for number in range(sizes.accepted)
            ]
            await asyncio.gather(*callers)

        load = asyncio.run(run(server.port, plan, beside))
    yield {**_before_and_after(load, middle[0]), **_told(refusals), "defects": len(server.errors)}


async def _knock(port: int, plan: Plan, number: int, until: float, seen: _Refusals) -> None:
    """One caller who does not wait as long as it was told to."""
    await asyncio.sleep(2.0 * np.random.default_rng(number).random())
    while time.monotonic() < until - 1.0:
        caller = Spoken(0, 0.0)
        line = await connected(port, PATHS["native"], caller.told)
        if await line.opened:
            for message in start(plan, 0):
                line.send(message)
        seen.tries += 1
        await asyncio.wait([line.over], timeout=1.0)
        line.drop()
        for error in caller.errors:
            seen.codes[error["code"]] = seen.codes.get(error["code"], 0) + 1
            seen.without_retry += "retry_after" not in error
        seen.accepted += caller.id is not None
        await asyncio.sleep(1.0)


def _before_and_after(load: Load, middle: float) -> Row:
    before, after = lags(load, end=middle)[0], lags(load, start=middle)[0]
    wanted = len(load.plan.ends) * len(load.calls)
    return {
        "calls": len(load.calls),
        "offered": 2 * len(load.calls),
        "lag_ms_before": spread(before),
        "lag_ms_during": spread(after),
        "dropped": wanted - sum(len(call.came) for call in load.calls),
        "gaps": sum(call.gaps for call in load.calls),
        "load_late_ms": round(load.late * 1000, 1),
    }


def _told(seen: _Refusals) -> Row:
    return {
        "tries": seen.tries,
        "refused": seen.codes,
        "refused_without_retry_after": seen.without_retry,
        "taken_beyond_the_limit": seen.accepted,
    }


# -- memory --------------------------------------------------------------------------------------


def idle(sizes: Sizes, done: int) -> Iterator[Row]:
    """Memory of a stream that is open and silent, fresh and after 10 s of audio."""
    for seconds in (0.0, 10.0)[done:]:
        with UnderTest(sizes.model, *ALL, "limits.idle=600") as server:
            _warm_up(server, "native")
            before, count = server.memory(), sizes.idle
            after = asyncio.run(_hold(server, count, seconds))
        yield {
            "streams": count,
            "audio_seconds": seconds,
            "kb_per_stream": round((after - before) / count / 1e3, 1),
            "memory_mb": round(after / 1e6, 1),
        }


async def _hold(server: UnderTest, count: int, seconds: float) -> int:
    """Memory with so many streams open; audio comes as fast as it is taken."""
    plan = Plan("native", count, max(seconds, 5.0), 0.0)
    data = frames(plan)[: round(seconds * 10)]
    calls = []
    for number in range(count):
        call = Spoken(number, 0.0)
        call.line = await connected(server.port, PATHS["native"], call.told)
        calls.append(call)
        await call.line.opened
        for message in (*start(plan, number), *data):
            call.line.send(message)
        await _until(lambda c=call: c.id is not None)  # type: ignore[misc]
    windows = sum(end <= seconds - 0.2 for end in plan.ends)
    await _until(lambda: all(len(call.came) >= windows for call in calls), 120.0)
    await asyncio.sleep(1.0)
    memory = server.memory()
    for call in calls:
        assert call.line is not None
        call.line.drop()
    return memory


async def _until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.002)


def cycles(sizes: Sizes, done: int) -> Iterator[Row]:
    """Memory while connections come and go: most are dropped without a word."""
    if done:
        return
    with UnderTest(sizes.model, *ALL, "resume_seconds=1") as server:
        _warm_up(server, "native")
        began = time.monotonic()
        seen = asyncio.run(_come_and_go(server, sizes))
        took = time.monotonic() - began
        ends = seen[::10]
        yield {
            "cycles": sizes.cycles,
            "warm_up": sizes.warm,
            "memory_mb": [round(one / 1e6, 2) for one in seen],
            "growth_percent": [
                round(100 * (after - before) / before, 3) for before, after in pairwise(ends)
            ],
            "descriptors": server.descriptors(),
            "seconds": round(took, 1),
            "defects": len(server.errors),
        }


async def _come_and_go(server: UnderTest, sizes: Sizes) -> list[int]:
    """Memory after the warm-up and after each tenth of a round, at rest each time."""
    plan = Plan("native", 1, 5.0, 0.0)
    audio = frames(plan)[:12]
    seen = []
    tenth = max(sizes.cycles // 10, 1)
    for count in (sizes.warm, *[tenth] * 10 * sizes.rounds):
        numbers = iter(range(count))

        async def keep(numbers: Iterator[int] = numbers) -> None:
            for number in numbers:
                await _cycle(server.port, plan, audio, number)

        await asyncio.gather(*(keep() for _ in range(8)))
        await asyncio.sleep(3.0 if sizes.cycles > 100 else 1.5)  # beyond `resume_seconds`
        seen.append(server.memory())
    return seen


async def _cycle(port: int, plan: Plan, audio: list[bytes], number: int) -> None:
    """One connection: cut with audio under way, cut at once, or ended as it should be."""
    call = Spoken(number, 0.0)
    line = await connected(port, PATHS["native"], call.told)
    if not await line.opened:
        return
    for message in start(plan, number):
        line.send(message)
    way = number % 4
    if way < 3:
        await _until(lambda: call.id is not None)
    for message in audio[: 4 * way]:
        line.send(message)
    if way == 2:
        line.send(frame(BINARY, b"\0"))  # half a sample: refused, and the call goes on
    if way == 3:
        line.send(stop(plan))
        await asyncio.wait([line.over], timeout=10.0)
    line.drop()


PARTS: dict[str, Callable[[Sizes, int], Iterator[Row]]] = {
    "native": native,
    "twilio": twilio,
    "overload": overload,
    "idle": idle,
    "cycles": cycles,
}


def pin_load() -> None:
    """Keep this process on the core that the server does not have."""
    mine, _ = cores()
    os.sched_setaffinity(0, {mine})
