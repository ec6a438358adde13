"""Rooms that were never built: a box with a speaker and a microphone, by image sources.

pyroomacoustics makes the response. Its walls absorb so much of every reflection that the energy
dies away in the time that was drawn. By Eyring's formula it takes up to 1.4 times as long in rooms
that are much longer than high, so the absorption is found from the images themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.augment.reverb import DRY, convolved
from voicetone.errors import MissingExtraError
from voicetone.types import Floats, Waveform

Place = tuple[float, float, float]
"""Metres from a corner: along the length, the width and the height."""

SIZES: tuple[Place, Place] = ((3.0, 2.5, 2.3), (8.0, 6.0, 3.5))
RT60 = (0.2, 0.7)  # s
DISTANCE = (0.3, 2.0)  # m between mouth and microphone
FROM_WALLS = 0.4  # m at least
MOST_REFLECTIONS = 70
_COVERED = 0.7  # of the RT60 that images fill, along the shortest side
_SPEED = 343.0  # m/s, of sound
_STEP = 0.001  # s: energy of the images is summed in steps of this
_TRIES = 100
_HEARD = (-5.0, -25.0)  # dB: the decay between these gives the RT60


@dataclass(frozen=True, slots=True)
class Room:
    """A box, who speaks in it and who listens.

    Attributes:
        size: m.
        rt60: seconds in which the sound dies away by 60 dB.
        source: where the mouth is.
        microphone: where the microphone is.
    """

    size: Place
    rt60: float
    source: Place
    microphone: Place

    @property
    def distance(self) -> float:
        """Metres from mouth to microphone."""
        return float(np.linalg.norm(np.subtract(self.source, self.microphone)))

    @property
    def reflections(self) -> int:
        """How many an image has at most: so many that the decay is whole as far as it is
        measured, with some more."""
        wanted = int(np.ceil(_SPEED * _COVERED * self.rt60 / min(self.size)))
        return min(wanted, MOST_REFLECTIONS)


def room_reverb(wave: Waveform, rng: np.random.Generator, dry: float = DRY) -> Waveform:
    """The audio in a drawn room, partly dry, level and start as before.

    Raises:
        MissingExtraError: pyroomacoustics is not installed.
    """
    room = drawn_box(rng)
    return convolved(wave, response(room, wave.sample_rate), rng.uniform(0.0, dry), direct=0)


def drawn_box(
    rng: np.random.Generator,
    rt60: tuple[float, float] = RT60,
    distance: tuple[float, float] = DISTANCE,
) -> Room:
    """A room with drawn sides, RT60 and places.

    Args:
        rng: what it is drawn from.
        rt60: the shortest and the longest, in seconds.
        distance: the nearest and the farthest, in metres.
    """
    low, high = np.array(SIZES)
    size = rng.uniform(low, high)
    seconds, apart = rng.uniform(*rt60), rng.uniform(*distance)
    for _ in range(_TRIES):
        source = rng.uniform(FROM_WALLS, size - FROM_WALLS)
        way = rng.standard_normal(3)
        microphone = source + apart * way / np.linalg.norm(way)
        if ((microphone > FROM_WALLS) & (microphone < size - FROM_WALLS)).all():
            break
    else:  # along the longest side there is always room
        source = size / 2 - [apart / 2, 0.0, 0.0]
        microphone = size / 2 + [apart / 2, 0.0, 0.0]
    return Room(_place(size), seconds, _place(source), _place(microphone))


def response(room: Room, rate: int) -> Floats:
    """The impulse response `[n]` from mouth to microphone: the direct sound comes first and
    nothing before it, its energy is one, and it ends when the RT60 has passed.

    Args:
        room: as drawn.
        rate: Hz.

    Raises:
        MissingExtraError: pyroomacoustics is not installed.
    """
    try:
        import pyroomacoustics
    except ModuleNotFoundError as error:
        raise MissingExtraError("a simulated room (pyroomacoustics)", "train") from error

    def box(absorption: float) -> Any:
        made = pyroomacoustics.ShoeBox(
            room.size,
            fs=rate,
            materials=pyroomacoustics.Material(absorption),
            max_order=room.reflections,
        )
        made.add_source(room.source)
        made.add_microphone(room.microphone)
        return made

    bare = box(0.0)
    bare.image_source_model()
    (source,) = bare.sources
    apart = np.linalg.norm(source.images - np.array(room.microphone)[:, None], axis=0)
    made = box(_absorption(apart, np.asarray(source.orders), room.rt60))
    with _one_thread(pyroomacoustics.constants):
        made.compute_rir()
    taps = np.asarray(made.rir[0][0], dtype=np.float64)
    delay = pyroomacoustics.constants.get("frac_delay_length") // 2
    first = round(delay + room.distance / _SPEED * rate)
    taps = taps[first : first + max(round(room.rt60 * rate), 1)]
    return np.asarray(taps / np.sqrt((taps**2).sum()), dtype=np.float32)


@contextmanager
def _one_thread(constants: Any) -> Iterator[None]:
    """Around what would give other last digits on a machine with more cores."""
    threads = constants.get("num_threads")
    constants.set("num_threads", 1)
    try:
        yield
    finally:
        constants.set("num_threads", threads)


def decay(energy: NDArray[np.float64], step: float) -> float:
    """Seconds in which energy dies away by 60 dB, from its backward integral (Schroeder, JASA
    1965) between -5 and -25 dB; 0 where there is no such stretch.

    Args:
        energy: `[n]`, of each step.
        step: seconds.
    """
    left = np.cumsum(energy[::-1])[::-1]
    level = 10 * np.log10(left / left[0] + 1e-12)
    start, end = (int(np.argmax(level < edge)) for edge in _HEARD)
    if end - start < 2:
        return 0.0
    slope = np.polyfit(np.arange(start, end) * step, level[start:end], 1)[0]
    return float(-60.0 / slope)


def _absorption(apart: NDArray[np.float64], orders: NDArray[np.int64], rt60: float) -> float:
    """The share of energy that walls take, with which images at distances `[n]`, after so many
    reflections `[n]`, die away in `rt60` seconds."""
    steps = ((apart - apart.min()) / _SPEED / _STEP).astype(np.int64)

    def seconds(absorption: float) -> float:
        energy = (1.0 - absorption) ** orders / apart**2
        return decay(np.bincount(steps, energy).astype(np.float64), _STEP)

    return _bisected(seconds, rt60, 0.01, 0.99)


def _bisected(falling: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a falling function has the value that is wanted, or the end that is nearest."""
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > wanted else (low, middle)
    return (low + high) / 2


def _place(values: NDArray[np.float64]) -> Place:
    x, y, z = values.tolist()
    return x, y, z
