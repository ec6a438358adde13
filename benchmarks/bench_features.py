"""Measure how much faster features come on two cores than on one, and how fast the second time.

    python benchmarks/bench_features.py [--files N] [--seconds S] [--out FILE]

Made-up recordings, each of another length, go through openSMILE's ComParE_2016 functionals; every
time is that of a whole process from its start, into an empty cache. It wants two idle cores.
`benchmarks/results/features.json` is written at full size; other measurements are written where
`--out` says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import soundfile

from bench_speed import machine

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "features.json"
FILES, SECONDS = 600, 2.8  # about as much as EMO-DB
RATE = 16_000
IDLE = 0.5  # load from which others are busy

CHILD = """
import sys
from pathlib import Path
from voicetone.features.extract import extract
from voicetone.features.sets import FeatureConfig
from voicetone.types import Utterance

if __name__ == "__main__":
    audio, cache, jobs = sys.argv[1:4]
    files = sorted(Path(audio).glob("*.wav"))
    utterances = [Utterance(path.stem, path, "made up") for path in files]
    found = extract(utterances, FeatureConfig(), cache=Path(cache), jobs=int(jobs))
    assert len(found.values) == len(files)
    print(found.computed)
"""


def make_audio(folder: Path, files: int, seconds: float) -> None:
    """Voice-like sounds: harmonics of a wandering pitch in pulses, and noise."""
    rng = np.random.default_rng(0)
    for number in range(files):
        time_ = np.arange(round(RATE * seconds * rng.uniform(0.5, 1.5))) / RATE
        pitch = rng.uniform(90, 250) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 4) * time_))
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        sound = sum(np.sin(k * phase) / k for k in range(1, 12))
        sound = 0.1 * sound * (np.sin(2 * np.pi * 3 * time_) > -0.5)
        sound += 0.003 * rng.standard_normal(len(time_))
        soundfile.write(folder / f"{number:05d}.wav", sound, RATE)


def took(folder: Path, script: Path, cache: str, jobs: int, wanted: int) -> float:
    """Seconds of a process that computes `wanted` of the files' features."""
    start = time.perf_counter()
    words = [sys.executable, str(script), str(folder), str(folder / cache), str(jobs)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    elapsed = time.perf_counter() - start
    if int(done.stdout) != wanted:
        raise RuntimeError(f"{done.stdout.strip()} were computed where {wanted} were to be")
    return elapsed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    if (load := os.getloadavg()[0]) > IDLE:
        print(f"other programs are busy (load {load:.1f}): the times will be too long")
    with tempfile.TemporaryDirectory() as name:
        folder, script = Path(name), Path(name) / "child.py"
        script.write_text(CHILD, encoding="utf-8")
        make_audio(folder, asked.files, asked.seconds)
        one = took(folder, script, "one", 1, asked.files)
        two = took(folder, script, "two", 2, asked.files)
        again = took(folder, script, "two", 2, 0)
    minutes = asked.files * asked.seconds / 60
    what = f"ComParE_2016 functionals of {asked.files} recordings ({minutes:.0f} min)"
    rows = [
        {
            "what": f"{what}: two cores against one",
            "measured": f"{one / two:.2f}x ({one:.1f} s, {two:.1f} s)",
            "wanted": "≥ 1.8x",
        },
        {
            "what": "the same again, from the cache, start of the process included",
            "measured": f"{again:.1f} s",
            "wanted": "free",
        },
    ]
    for row in rows:
        print(f"{row['what']}: {row['measured']} (wanted {row['wanted']})")
    full = (asked.files, asked.seconds) == (FILES, SECONDS)
    if (out := asked.out or (RESULT if full else None)) is not None:
        result = {
            "command": "python benchmarks/bench_features.py",
            "machine": machine(),
            "date": date.today().isoformat(),
            "rows": rows,
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
