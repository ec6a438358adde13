"""The page of voice and words, made of a toy run; and the manifest with VADER's word in it."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.test_fusion_run import corpus, four, recipe, say, system
from voicetone.corpora.tables import read_manifest
from voicetone.evaluation.results import recompute
from voicetone.evaluation.table import read_predictions
from voicetone.training.fusion_recipe import of_column
from voicetone.training.run import train

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
__all__ = ["corpus", "four"]  # fixtures


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("fusion")


def test_the_page_says_what_the_tables_hold(
    bench: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = importlib.import_module("systems")
    results = tmp_path / "docs" / "results"
    for module in (bench, systems):
        monkeypatch.setattr(module, "RESULTS", results)
        monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "recipes").mkdir()
    path = recipe(corpus, tmp_path, system("acoustic") + system("text") + system("late"))
    path.rename(tmp_path / "recipes" / "toy.toml")
    train(tmp_path / "recipes" / "toy.toml", [f"out={tmp_path / 'runs' / 'toy'}"])
    made = replace(bench.BENCH, recipes=("toy",), runs=tmp_path / "runs")
    made.main(["--page"])
    rows = json.loads((results / "fusion.json").read_text())["rows"]
    whole = {r["system"]: r for r in rows if r["metric"] == "uar" and "missing" not in r}
    assert set(whole) == {"acoustic", "text", "late"}
    apart = whole["late"]["mean"] - whole["text"]["mean"]
    assert whole["late"]["against_text"]["difference"] == pytest.approx(apart, abs=2e-4)
    assert whole["late"]["baseline"] == "fusion/toy-emotion-acoustic.parquet"
    left = {r["missing"]: r for r in rows if "missing" in r}
    assert set(left) == {"words", "voice"}
    for missing, single in (("words", "acoustic"), ("voice", "text")):
        apart = left[missing]["mean"] - whole[single]["mean"]
        assert left[missing]["apart"]["difference"] == pytest.approx(apart, abs=2e-4)
        kept = read_predictions(
            tmp_path / "runs" / "toy" / "emotion" / "late" / f"without-{missing}"
        )
        there = read_predictions(results / left[missing]["predictions"])
        assert there.predicted.tolist() == kept.predicted.tolist()
    text = (results / "fusion.md").read_text()
    assert "| late |" in text
    assert f"| {100 * left['words']['mean']:.2f} (" in text
    assert recompute(results / "fusion.json").mismatches == []


def test_the_made_corpus_gets_a_machines_word(bench: Any, corpus: Path) -> None:
    pytest.importorskip("vaderSentiment")
    say(corpus, lambda place, emotion: "you are wonderful" if place % 2 else "how terrible")
    out = bench.labelled(corpus)
    found = read_manifest(out, licence="CC0")
    said = {of_column(u, "sentiment") for u in found}
    assert said == {"positive", "negative"}
    stamp = out.stat().st_mtime_ns
    assert bench.labelled(corpus) == out
    assert out.stat().st_mtime_ns == stamp
    with pytest.raises(SystemExit, match="make it first"):
        bench.labelled(corpus.parent / "nowhere")
