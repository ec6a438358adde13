"""The measurement of feature extraction runs, on few files, and writes what the table needs."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "bench_features.py"


def test_it_writes_rows_for_the_table(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    out = tmp_path / "results" / "features.json"
    words = [sys.executable, str(SCRIPT), "--files", "4", "--seconds", "1", "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text("utf-8"))
    assert [row["wanted"] for row in result["rows"]] == ["≥ 1.8x", "free"]
    table = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))["table"](out.parent)
    assert table.count("\n| ") == len(result["rows"])
