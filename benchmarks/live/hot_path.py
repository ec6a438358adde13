"""Where the time of the server's event loop goes while calls speak.

    python benchmarks/live/hot_path.py [--route native|twilio] [--calls N] [--seconds N]

One worker in this process under cProfile, without its store; the load is a second process. The
model runs in a thread of its own, which the profile does not see. Frames come several times as fast
as in real time, so that a small number of calls gives a steady load.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import multiprocessing
import pstats
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import uvicorn
from load import FRAME_MS, PATHS, Plan, Spoken, frames, start, stop
from wire import connected

from voicetone.pretrained import load
from voicetone.server.app import make_app, make_state
from voicetone.server.hub import Limits
from voicetone.server.settings import Settings
from voicetone.server.store import StoreSettings

FASTER = 8


async def _play(port: int, plan: Plan) -> None:
    """All calls at once, each frame in its turn, `FASTER` times as fast as speech."""
    data, calls = frames(plan), []
    for number in range(plan.calls):
        call = Spoken(number, 0.0)
        call.line = await connected(port, PATHS[plan.route], lambda event, now: None)
        await call.line.opened
        for message in start(plan, number):
            call.line.send(message)
        calls.append(call)
    step, began = FRAME_MS[plan.route] / 1000 / FASTER, time.monotonic()
    for index, frame in enumerate([*data, stop(plan)]):
        await asyncio.sleep(max(began + index * step - time.monotonic(), 0.0))
        for call in calls:
            assert call.line is not None
            call.line.send(frame)
    await asyncio.wait([call.line.over for call in calls if call.line], timeout=20)


def _load(port: int, plan: Plan) -> None:
    asyncio.run(_play(port, plan))


def main() -> int:
    """Profile and print."""
    parser = argparse.ArgumentParser(description="Profile the server's event loop.")
    parser.add_argument("--route", choices=("native", "twilio"), default="native")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=40.0, help="of audio in each call")
    parser.add_argument("--model", default="tone-small", help="bundle")
    parser.add_argument("--lines", type=int, default=30, help="of the table")
    options = parser.parse_args()
    settings = Settings(store=StoreSettings(url=""), limits=Limits(channels=100_000, busy=1.0))
    state = make_state(settings, load(options.model))
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(state),
            port=0,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            log_config=None,
            access_log=False,
        )
    )
    plan = Plan(options.route, options.calls, options.seconds, 0.0)
    profile = cProfile.Profile(time.thread_time)

    async def serve() -> None:
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        process = multiprocessing.get_context("spawn").Process(target=_load, args=(port, plan))
        process.start()
        while not state.hub.calls:
            await asyncio.sleep(0.05)
        profile.enable()
        while process.is_alive():
            await asyncio.sleep(0.2)
        profile.disable()
        server.should_exit = True
        await serving

    asyncio.run(serve())
    count = plan.calls * len(frames(plan))
    stats = pstats.Stats(profile)
    whole = stats.total_tt  # type: ignore[attr-defined]
    print(f"{count} frames, {1e6 * whole / count:.1f} µs of the event loop's thread for each")
    stats.sort_stats("tottime").print_stats(options.lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
