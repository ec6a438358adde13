"""Recordings that tests make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from voicetone.types import Utterance

RATE = 16_000


def tone(hertz: float, seconds: float, rate: int = RATE, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def record(folder: Path, name: str, samples: np.ndarray, rate: int = RATE) -> Utterance:
    """A WAV file (float, so that nothing is rounded) and its row."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return Utterance(id=name, audio=path, corpus="toy")
