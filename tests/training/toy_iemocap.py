"""A made-up folder in IEMOCAP's exact layout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
EACH = 8  # turns of a speaker


@dataclass(frozen=True)
class Kind:
    """How one kind of turn is labelled and sounds."""

    code: str
    value: float
    """Activation and dominance; valence is its mirror."""
    pitch: float
    loud: float


LOW, MIDDLE, HIGH, HAPPY = (
    Kind("sad", 1.5, 110, 0.05),
    Kind("neu", 3.0, 190, 0.15),
    Kind("ang", 4.5, 320, 0.4),
    Kind("hap", 4.0, 500, 0.2),
)


def make(root: Path, kinds: Sequence[Kind] = (LOW, MIDDLE, HIGH)) -> Path:
    """Five sessions of two speakers; what is active is loud and high."""
    rng = np.random.default_rng(5)
    for session in range(1, 6):
        home = root / f"Session{session}"
        dialog = f"Ses{session:02d}F_impro01"
        turns, words = [], []
        for sex in "FM":
            for take in range(EACH):
                kind = kinds[take % len(kinds)]
                name = f"{dialog}_{sex}{take:03d}"
                _sound(home / "sentences" / "wav" / dialog / f"{name}.wav", kind, rng)
                means = f"[{6 - kind.value:.4f}, {kind.value:.4f}, {kind.value:.4f}]"
                turns.append(f"[{take}.0000 - {take}.6000]\t{name}\t{kind.code}\t{means}\n")
                turns.append("C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n")
                words.append(f"{name} [00{take}.0000-00{take}.6000]: So it is.\n")
        header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        for part, text in (
            ("EmoEvaluation", header + "".join(turns)),
            ("transcriptions", "".join(words)),
        ):
            path = home / "dialog" / part / f"{dialog}.txt"
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
    return root


def _sound(path: Path, kind: Kind, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(0.6 * RATE)) / RATE
    pitch = kind.pitch * rng.uniform(0.9, 1.1)
    sound = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 9))
    sound = kind.loud * sound / 2 + 0.005 * rng.standard_normal(len(time))
    soundfile.write(path, sound.astype(np.float32), RATE, subtype="PCM_16")


def run(folder: Path, words: str) -> None:
    """A command as a user would type it in `folder`; what it says goes into `printed.txt`."""
    environment = {**os.environ, "VOICETONE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "voicetone", *words.split()],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stderr, encoding="utf-8")
