"""The measurement of speed runs, on little audio, and writes what the README's table needs."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.toy import make_toy_bundle

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "bench_speed.py"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="measures with wait4")


@pytest.fixture
def short(tmp_path: Path) -> list[str]:
    """A command line that takes little time."""
    model = make_toy_bundle(tmp_path / "toy")
    lengths = ["--minutes", "0.2", "--hours", "0.01", "--live-minutes", "0.2"]
    return ["--model", str(model), *lengths, "--repeats", "1", "--starts", "1"]


def test_it_writes_rows_for_the_table(short: list[str], tmp_path: Path) -> None:
    out = tmp_path / "results" / "speed.json"
    words = [sys.executable, str(SCRIPT), *short, "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text("utf-8"))
    assert result["command"] == "python benchmarks/bench_speed.py"
    wanted = [row["wanted"] for row in result["rows"] if row["wanted"]]
    assert wanted == ["≥ 300x", "≥ 300x", "≤ 1.5 s", "≤ 300 MB", "≤ 12 MB", "≤ 4 M parameters"]
    table = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))["table"](out.parent)
    assert table.count("\n| ") == len(result["rows"])
    assert result["machine"] in table


def test_the_audio_is_the_call_again_and_again(tmp_path: Path) -> None:
    make_audio = runpy.run_path(str(SCRIPT))["make_audio"]
    call, rate = soundfile.read(ROOT / "examples" / "call.flac", dtype="int16")
    made, made_rate = soundfile.read(
        make_audio(tmp_path / "long.flac", 150, rate, 2), dtype="int16"
    )
    assert (made_rate, made.shape) == (rate, (150 * rate, 2))
    np.testing.assert_array_equal(made, np.tile(call, (4, 1))[: len(made)])


def test_a_failing_command_is_no_measurement(tmp_path: Path) -> None:
    speed = runpy.run_path(str(SCRIPT))
    with pytest.raises(SystemExit, match="exit code"):
        speed["run_command"](speed["command"](None, tmp_path / "none.wav"))
