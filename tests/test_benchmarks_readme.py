"""The README's table of numbers is what the committed results say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
readme = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))
RESULT = {
    "command": "python benchmarks/bench_speed.py",
    "machine": "2 cores",
    "date": "2026-11-21",
    "rows": [{"what": "long file", "measured": "412x", "wanted": "300x"}],
}


def test_readme_is_up_to_date() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert readme["fill"](text, readme["table"](ROOT / "benchmarks" / "results")) == text


def test_table_has_a_row_per_number(tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text(json.dumps(RESULT))
    made = readme["table"](tmp_path)
    assert "| long file | 412x | 300x | `python benchmarks/bench_speed.py` |" in made
    assert made.endswith("Machine and date: 2 cores, 2026-11-21.")


def test_a_result_without_a_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text(json.dumps({**RESULT, "rows": [{"what": "x"}]}))
    with pytest.raises(ValueError, match=r"speed\.json: the key 'measured' is missing"):
        readme["table"](tmp_path)


def test_marks_must_be_there() -> None:
    with pytest.raises(ValueError, match="once each"):
        readme["fill"]("no marks", "table")
