"""The published gains of personal calibration come out again from the predictions beside them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
NAME = "acoustic-emodb"


def test_rows_are_what_the_predictions_give() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "speaker_personal.py"))
    said = json.loads((RESULTS / "personal.json").read_text("utf-8"))
    assert list(said) == [name for name in script["TABLES"] if name in said]
    wanted = [
        row
        for row in said[NAME]["rows"]
        if row["clips"] == (1 if row["enrolment"] == "labelled" else 4)
    ]
    found = script["measure"](NAME, clips=(4,), per_label=(1,))
    assert len(found["rows"]) == len(wanted) > 8
    for row, other in zip(found["rows"], wanted, strict=True):
        assert row == {k: pytest.approx(v, abs=1e-4) if isinstance(v, float) else v
                       for k, v in other.items()}  # fmt: skip
    text = (RESULTS / "personal.md").read_text("utf-8")
    assert script["page"](said) == text
