"""Streams a recording to a voicetone server as if it were a call, and prints its tone.

    python stream_file.py http://127.0.0.1:8765 call.flac --consent --names agent,customer

A key, if the server asks for one, is read from VOICETONE_KEY.
"""

from __future__ import annotations

import argparse
import asyncio
import os

import soundfile

from voicetone.client import AsyncStream, Closed, Gap, Tone


async def stream(
    url: str, path: str, consent: bool, names: list[str] | None, speed: float
) -> Closed:
    """Send the file in blocks of 100 ms at `speed` times the pace of speech."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    call = await AsyncStream.open(
        url,
        sample_rate=rate,
        consent=consent,
        channels=audio.shape[1],
        channel_names=names,
        key=os.environ.get("VOICETONE_KEY"),
    )

    async def send() -> None:
        step = rate // 10
        for at in range(0, len(audio), step):
            await call.send(audio[at : at + step].T)
            await asyncio.sleep(0.1 / speed)
        await call.close()

    async with call, asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        async for event in call:
            if isinstance(event, Tone):
                print(f"{event.end:7.1f} s  channel {event.channel}  {event.current.label}")
            elif isinstance(event, Gap):
                print(f"{event.start:7.1f} s  not analysed until {event.end:.1f} s: {event.reason}")
    return await call.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("path")
    parser.add_argument("--consent", action="store_true", help="those who are heard agree")
    parser.add_argument("--names", type=lambda text: text.split(","), help="agent,customer")
    parser.add_argument("--speed", type=float, default=1.0)
    given = parser.parse_args()
    closed = asyncio.run(stream(given.url, given.path, given.consent, given.names, given.speed))
    for channel, overall in closed.overall.items():
        print(f"overall  channel {channel}  {overall.label}")


if __name__ == "__main__":
    main()
