"""The page of results, made of a toy run."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.test_speaker_run import PREFIX, SHUFFLED, corpus, recipe, six, system
from voicetone.evaluation.table import read_predictions
from voicetone.training.run import train

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
__all__ = ["corpus", "six"]  # fixtures


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("speaker_aware")


def test_the_page_says_what_the_tables_hold(
    bench: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = importlib.import_module("systems")
    results = tmp_path / "docs" / "results"
    for module in (bench, systems):
        monkeypatch.setattr(module, "RESULTS", results)
        monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "recipes").mkdir()
    shuffled = SHUFFLED.replace('name = "shuffled"', 'name = "prefix-shuffled"')
    path = recipe(corpus, tmp_path, system("none") + PREFIX + shuffled)
    path.rename(tmp_path / "recipes" / "toy.toml")
    train(tmp_path / "recipes" / "toy.toml", [f"out={tmp_path / 'runs' / 'toy'}"])
    made = replace(bench.BENCH, recipes=("toy",), runs=tmp_path / "runs")
    made.main(["--page"])
    rows = json.loads((results / "speaker-aware.json").read_text())["rows"]
    whole = {r["system"]: r for r in rows if r["metric"] == "uar" and "seconds" not in r}
    assert set(whole) == {"none", "prefix", "prefix-shuffled"}
    apart = whole["prefix"]["mean"] - whole["prefix-shuffled"]["mean"]
    assert whole["prefix"]["against_shuffled"]["difference"] == pytest.approx(apart, abs=2e-4)
    assert "against_shuffled" not in whole["none"]
    assert set(whole["none"]["by_sex"]) == {"female", "male"}
    points = [r for r in rows if "seconds" in r]
    assert [(r["system"], r["seconds"]) for r in points] == [("prefix", 0), ("prefix", 0.6)]
    kept = read_predictions(tmp_path / "runs" / "toy" / "emotion" / "prefix" / "enrolment-0s")
    there = read_predictions(results / points[0]["predictions"])
    assert there.predicted.tolist() == kept.predicted.tolist()
    text = (results / "speaker-aware.md").read_text()
    assert "| prefix |" in text
    assert "of the ways to bring the embedding in, prefix scored highest" in text
    assert "| system | 0 s | 0.6 s | heard |" in text
