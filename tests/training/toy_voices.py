"""Made-up voices, noises and rooms, small enough for a test."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
_RECIPE = """kind = "{kind}"
name = "{name}"
version = "0.0.1"
licence = "CC0"
notice = "made-up voices"
steps = 4
speech_steps = 20
batch = 6
frames = 48
noise_clips = 3
noise_folds = [1, 2]
noise_validation = 2
noise_test = 3
jobs = 1
[[corpora]]
name = "{corpus}"
licence = "CC0"
folds = 2
validation = 1
[network]
width = 8
stem = [2, 4]
hidden = 8
heads = 2
dilations = [1, 2]
[augmentation]
variants = 2
"""


def voice(hertz: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A harmonic tone with silence around it `[n]`."""
    time = np.arange(int(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 6))
    loud = (time > 0.2) & (time < seconds - 0.2)
    return (0.2 * sound * loud + rng.normal(0, 1e-4, len(time))).astype(np.float32)


def table(folder: Path, rows: list[dict[str, object]]) -> None:
    """A folder's `manifest.csv`."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def made_world(root: Path) -> Path:
    """A data folder: `voices` of four speakers, three noises and a room."""
    rng = np.random.default_rng(0)
    for name in ("noise_esc10", "rir", "voices"):
        (root / name).mkdir()
    noises, voices = [], []
    for fold in (1, 2, 3):
        soundfile.write(root / f"noise_esc10/{fold}.flac", rng.normal(0, 0.05, RATE), RATE)
        noises.append({"file": f"{fold}.flac", "fold": fold, "label": "x", "attribution": "me"})
    soundfile.write(root / "rir/room.flac", np.exp(-np.arange(800) / 80), RATE)
    table(root / "noise_esc10", noises)
    table(root / "rir", [{"file": "room.flac", "source": "here", "licence": "CC0"}])
    for speaker in "abcd":
        for label, hertz in (("anger", 300.0), ("happy", 220.0), ("neutral", 150.0)):
            for take in range(2):
                file = f"{speaker}-{label}-{take}.flac"
                soundfile.write(root / "voices" / file, voice(hertz, 1.2, rng), RATE)
                said = {"file": file, "speaker": speaker, "label": label}
                voices.append({**said, "transcript": ("one", "two")[take], "sentence": take + 1})
    table(root / "voices", voices)
    return root


def recipe_text(kind: str, name: str, corpus: Path) -> str:
    """A recipe of a small network on a folder of voices; its last table is `[augmentation]`."""
    return _RECIPE.format(kind=kind, name=name, corpus=corpus)
