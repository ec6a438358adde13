"""Where live sound comes from: a microphone, or a file at the pace at which it was spoken."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from voicetone.errors import AudioError, MissingExtraError
from voicetone.types import Floats

BLOCK_SECONDS = 0.1
MIC_RATE = 16_000
WAITING = 600
"""Blocks of the microphone that may wait: a minute. More are lost, and told as a gap."""
Lost = Callable[[float], None]
"""Told of the seconds that were lost."""


@dataclass(frozen=True, slots=True)
class Source:
    """Sound as it comes.

    Args:
        name: for the title.
        rate: Hz.
        channels: of the blocks.
        duration: seconds, where it has an end that is known.
        blocks: float32 `[channels, n]`, each when its time has come; an empty one when nothing
            came for a while.
    """

    name: str
    rate: int
    channels: int
    duration: float | None
    blocks: Iterator[Floats]


@contextmanager
def file_source(path: str, speed: float) -> Iterator[Source]:
    """A file, `speed` times as quickly as it was spoken.

    Raises:
        AudioError: see `open_audio`; some of it while the blocks are read.
    """
    from voicetone.audio.decode import open_audio

    with open_audio(path) as audio:
        blocks = paced(audio.blocks(BLOCK_SECONDS), audio.rate, speed)
        yield Source(audio.name, audio.rate, audio.channels, audio.duration, blocks)


def paced(blocks: Iterator[Floats], rate: int, speed: float) -> Iterator[Floats]:
    """Each block when its last sample would have been spoken."""
    began, samples = time.monotonic(), 0
    for block in blocks:
        samples += block.shape[1]
        wait = began + samples / rate / speed - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        yield block


@contextmanager
def microphone(device: str | None, lost: Lost) -> Iterator[Source]:
    """The machine's microphone, one channel.

    Args:
        device: part of its name, or its number; the system's default by default.
        lost: told when the analysis did not keep up.

    Raises:
        MissingExtraError: sounddevice is not installed.
        AudioError: there is no microphone, or it can't be used.
    """
    sound = _sounddevice()
    chosen = int(device) if device is not None and device.isdecimal() else device
    heard: queue.Queue[Floats] = queue.Queue(WAITING)
    missed = [0]

    def take(data: Any, frames: int, _time: object, _status: object) -> None:
        try:
            heard.put_nowait(np.array(data[:, 0], dtype=np.float32)[None])
        except queue.Full:
            missed[0] += frames

    with ExitStack() as stack:
        try:
            about = sound.query_devices(chosen, "input")
            rate = _rate(sound, chosen, about)
            block = round(BLOCK_SECONDS * rate)
            stream = sound.InputStream(
                rate, block, chosen, channels=1, dtype="float32", callback=take
            )
            stack.enter_context(stream)
        except (sound.PortAudioError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise AudioError(
                f"no microphone to be used ({reason}): connect one, name one with --device, "
                "or give --file"
            ) from error
        yield Source(str(about["name"]), rate, 1, None, _heard(heard, missed, rate, lost))


def _heard(
    heard: queue.Queue[Floats], missed: list[int], rate: int, lost: Lost
) -> Iterator[Floats]:
    while True:
        try:
            yield heard.get(timeout=0.5)
        except queue.Empty:
            yield np.zeros((1, 0), dtype=np.float32)
        if missed[0] and heard.empty():
            count, missed[0] = missed[0], 0
            lost(count / rate)
            yield np.zeros((1, count), dtype=np.float32)  # so that times stay true


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise MissingExtraError("voicetone live from a microphone", "microphone") from error
    except OSError as error:
        raise AudioError(
            "the PortAudio library, which reads microphones, is not there: install it "
            "(apt install libportaudio2), or give --file"
        ) from error
    return sounddevice


def _rate(sound: Any, device: int | str | None, about: Any) -> int:
    """16 kHz, which models hear, or what the device has."""
    try:
        sound.check_input_settings(device=device, channels=1, samplerate=MIC_RATE)
    except sound.PortAudioError:
        return int(about["default_samplerate"])
    return MIC_RATE
