"""A corpus that tests make: tones whose emotion can be heard, in the prepared layout."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
EMOTIONS = {"anger": 900.0, "happiness": 450.0, "sadness": 150.0}
COLUMNS = ("file", "label", "speaker", "sentence", "sex", "duration_s")


def make(folder: Path, speakers: int = 5, each: int = 4, seconds: float = 0.4) -> Path:
    """`folder/manifest.csv` and its recordings; every tone differs."""
    rng = np.random.default_rng(7)
    (folder / "audio").mkdir(parents=True)
    rows = []
    for speaker in range(speakers):
        for emotion, hertz in EMOTIONS.items():
            for take in range(each):
                time = np.arange(round(RATE * seconds)) / RATE
                pitch = hertz * rng.uniform(0.85, 1.15)
                sound = 0.2 * np.sin(2 * np.pi * pitch * time)
                sound += 0.02 * rng.standard_normal(len(time))
                name = f"audio/{speaker}-{emotion}-{take}.wav"
                soundfile.write(folder / name, sound.astype(np.float32), RATE, subtype="FLOAT")
                sex = "female" if speaker % 2 else "male"
                rows.append((name, emotion, f"s{speaker}", f"line {take}", sex, f"{seconds}"))
    write(folder, rows)
    return folder


def write(folder: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS) -> None:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def rows(folder: Path) -> list[list[str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def recipe(folder: Path, path: Path, text: str = "") -> Path:
    """A recipe over the corpus; `text` is its protocol, features and model."""
    head = f"""
kind = "classifier"
name = "toy"
jobs = 1
out = "{path.parent / "run"}"
[[corpora]]
name = "{folder}"
licence = "CC0"
"""
    path.write_text(head + (text or SVM), encoding="utf-8")
    return path


SVM = """
[protocol]
name = "speakers"
[features]
name = "mfcc"
level = "functionals"
[model]
name = "linear-svm"
C = 0.01
"""
