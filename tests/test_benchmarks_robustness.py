"""The published robustness comes out again from the predictions beside it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"


def test_the_page_is_what_the_predictions_give() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "robustness.py"))
    said = json.loads((RESULTS / "robustness.json").read_text("utf-8"))
    found = script["measure"]()
    assert found["utterances"] == 339
    assert "the model learnt from" in found["protocol"]
    assert found["uar"] == pytest.approx(said["uar"], abs=1e-6)
    assert len(found["rows"]) == len(said["rows"]) > 20
    for row, other in zip(found["rows"], said["rows"], strict=True):
        assert row == {k: pytest.approx(v, abs=1e-6) if isinstance(v, float) else v
                       for k, v in other.items()}  # fmt: skip
    assert script["page"](said) == (RESULTS / "robustness.md").read_text("utf-8")
