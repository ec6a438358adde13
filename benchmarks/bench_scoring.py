"""Measure how long predictions take to be scored, on one core.

    python benchmarks/bench_scoring.py [--rows N] [--out FILE]

100,000 made-up predictions of eight labels and 500 speakers are written to a table; then a process
pinned to one core reads it, scores it with 1,000 bootstraps over speakers, with all that the report
shows, and writes the page. The bootstrap of the confidence_intervals package is timed over a few
draws of one score beside it. `benchmarks/results/scoring.json` is written at full size; other
measurements are written where `--out` says.
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

from bench_speed import BUSY, machine, pin

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "scoring.json"
ROWS = 100_000
SPEAKERS = 500
DRAWS = 1_000
PACKAGE_DRAWS = 5
LABELS = ("anger", "happiness", "sadness", "neutral", "fear", "disgust", "surprise", "calm")


def make_table(path: Path, rows: int) -> None:
    """Write made-up predictions, two in three of them right."""
    from voicetone.evaluation.table import PredictionTable

    rng = np.random.default_rng(0)
    who = rng.integers(0, SPEAKERS, rows)
    truth = rng.integers(0, len(LABELS), rows)
    scores = rng.normal(size=(rows, len(LABELS)))
    scores[np.arange(rows), truth] += 2.0
    scores = np.exp(scores)
    PredictionTable(
        id=np.array([f"utterance{i:07d}" for i in range(rows)]),
        truth=np.array(LABELS)[truth],
        labels=LABELS,
        scores=scores / scores.sum(1, keepdims=True),
        speaker=np.char.add("speaker", who.astype(str)),
        groups={"sex": np.array(["female", "male"])[who % 2]},
        meta={"protocol": "made up"},
    ).write(path)


def score(path: str, out: str) -> dict[str, float]:
    """Seconds of each step, in this process."""
    from voicetone.evaluation.report_files import write_report
    from voicetone.evaluation.scores import headline
    from voicetone.evaluation.table import read_predictions

    start = time.perf_counter()
    table = read_predictions(Path(path))
    read = time.perf_counter()
    headline(table, DRAWS)
    scored = time.perf_counter()
    write_report(table, Path(out), title="made up", draws=DRAWS)
    done = time.perf_counter()
    return {"read": read - start, "headline": scored - read, "report": done - scored}


def package(path: str) -> float:
    """Seconds that the package would take for the draws of one score, from a few of them."""
    from confidence_intervals import Bootstrap

    from voicetone.evaluation.metrics import uar
    from voicetone.evaluation.table import read_predictions

    table = read_predictions(Path(path))
    _, who = np.unique(table.speaker, return_inverse=True)
    start = time.perf_counter()
    Bootstrap(PACKAGE_DRAWS, uar).run(table.predicted_codes, table.truth_codes, who)
    return (time.perf_counter() - start) * DRAWS / PACKAGE_DRAWS


def in_child(function: str, *arguments: str) -> dict[str, float] | float:
    """What `score` or `package` returns in a new process on one core."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", function, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=pin,
    )
    return json.loads(done.stdout)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="How long predictions take to be scored.")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"other programs are busy (load {load:.1f}): the times will be too long")
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name) / "predictions.parquet")
        make_table(Path(path), asked.rows)
        took = in_child("score", path, name)
        theirs = in_child("package", path)
    what = f"{asked.rows:,} predictions, {DRAWS:,} bootstraps over {SPEAKERS} speakers"
    rows = [
        {
            "what": f"{what}: UAR, WA, F1 and their intervals, one core",
            "measured": f"{took['read'] + took['headline']:.1f} s",
            "wanted": "≤ 30 s",
        },
        {
            "what": "the same with everything that the report shows, and its page",
            "measured": f"{took['read'] + took['report']:.1f} s",
            "wanted": "≤ 30 s",
        },
        {
            "what": "one of these scores by the confidence_intervals package",
            "measured": f"{theirs:.0f} s (from {PACKAGE_DRAWS} bootstraps)",
            "wanted": "–",
        },
    ]
    for row in rows:
        print(f"{row['what']}: {row['measured']} (wanted {row['wanted']})")
    out = asked.out or (RESULT if asked.rows == ROWS else None)
    if out is not None:
        result = {
            "command": "python benchmarks/bench_scoring.py",
            "machine": machine(),
            "date": date.today().isoformat(),
            "rows": rows,
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


CHILDREN = {"score": score, "package": package}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(CHILDREN[sys.argv[2]](*json.loads(sys.argv[3]))))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
