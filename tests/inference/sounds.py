"""Sounds for tests, and events compared by value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, is_dataclass
from typing import Any

import numpy as np
import pytest

from voicetone.inference.live import CurrentEvent, Event, LiveSession, WindowEvent
from voicetone.pretrained import Predictor
from voicetone.types import Current, Floats, Window

TOLERANCE = 1e-5


def noise(seconds: float, rate: int = 16000, level: float = 0.1, seed: int = 0) -> Floats:
    """What the toy model takes for speech, `[n]`."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate)
    return np.asarray(level * rng.uniform(-1.7, 1.7, count), dtype=np.float32)


def silence(seconds: float, rate: int = 16000) -> Floats:
    return np.zeros(round(seconds * rate), dtype=np.float32)


def call(rate: int, spans: Sequence[tuple[float, bool]], channels: int, seed: int) -> Floats:
    """Speech and pauses in turn, another mixture in each channel, `[channels, n]`."""
    rows = []
    for channel in range(channels):
        parts = [
            noise(seconds, rate, 0.02 * 3 ** ((seed + i) % 4), seed + i)
            if speech == (channel % 2 == 0)
            else silence(seconds, rate)
            for i, (seconds, speech) in enumerate(spans)
        ]
        rows.append(np.concatenate([silence(0), *parts]))
    return np.stack(rows)


def analyse(
    predictor: Predictor, samples: Floats, rate: int = 16000, cuts: Iterable[int] = (), **named: Any
) -> list[Event]:
    """All events of a recording pushed in pieces."""
    samples = np.atleast_2d(samples)
    session = LiveSession(predictor, rate, len(samples), **named)
    events: list[Event] = []
    for piece in np.split(samples, sorted(cuts), axis=1):
        events += session.push(piece)
    return events + session.close()


def windows(events: Iterable[Event], channel: int = 1) -> list[Window]:
    return [e.window for e in events if isinstance(e, WindowEvent) and e.channel == channel]


def currents(events: Iterable[Event], channel: int = 1) -> list[Current]:
    return [e.current for e in events if isinstance(e, CurrentEvent) and e.channel == channel]


def assert_same(found: Any, wanted: Any) -> None:
    """Records of one shape, whose numbers agree to 1e-5."""
    if is_dataclass(found) and not isinstance(found, type):
        assert type(found) is type(wanted)
        assert_same(astuple(found), astuple(wanted))
    elif isinstance(found, (list, tuple)):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert_same(a, b)
    elif isinstance(found, dict):
        assert list(found) == list(wanted)
        assert_same(list(found.values()), list(wanted.values()))
    elif isinstance(found, float):
        assert found == pytest.approx(wanted, abs=TOLERANCE)
    else:
        assert found == wanted
