"""A run's folder on its own: what it refuses, what it names files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from voicetone.errors import DataError
from voicetone.evaluation.table import PredictionTable
from voicetone.training.protocol import Fold, FoldTable
from voicetone.training.runs import RunFolder

TABLE = FoldTable("p", (Fold("mine a/1", ("x",), (), ("y",)), Fold("mine b", ("y",), (), ("x",))))


def _run(path: Path, table: FoldTable = TABLE, **settings: object) -> RunFolder:
    return RunFolder(path, {"C": 1.0, "out": str(path), **settings}, table)


def _predictions(run: RunFolder) -> PredictionTable:
    return PredictionTable(
        id=np.array(["y"]),
        truth=np.array(["sadness"]),
        labels=("anger", "sadness"),
        scores=np.array([[0.2, 0.8]]),
        meta={"recipe": run.recipe_hash, "folds": run.table.hash},
    )


def test_what_is_missing(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    run.start(())
    assert run.missing([0, 1]) == [(0, 0), (1, 0), (0, 1), (1, 1)]
    run.keep("mine a/1", 0, _predictions(run))
    assert [p.name for p in (run.path / "predictions").iterdir()] == ["mine-a-1-0.parquet"]
    assert run.missing([0]) == [(1, 0)]
    assert not [p for p in run.path.iterdir() if p.name.startswith(".")]


def test_the_same_run_goes_on_and_others_are_refused(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", model={"name": "svm", "C": 1.0}, labelled_data="x")
    run.start(())
    run.keep("mine b", 0, _predictions(run))
    same = {"model": {"name": "svm", "C": 1.0}, "labelled_data": "x"}
    for inert in ({"jobs": 4}, {"seeds": [0, 1, 2]}):
        _run(tmp_path / "run", **same, **inert).start(())
    assert json.loads((run.path / "recipe.json").read_text())["seeds"] == [0, 1, 2]
    assert _run(tmp_path / "run", **same, seeds=[0, 1]).missing([0, 1]) == [(0, 0), (0, 1), (1, 1)]
    for changed, said in (
        ({"model": {"name": "svm", "C": 2.0}}, r"other settings: model\.C was 1\.0, is 2\.0; "),
        ({"labelled_data": "y"}, "the labels, speakers or recordings have changed since"),
        ({"more": 1}, "more was null, is 1"),
    ):
        with pytest.raises(DataError, match=said):
            _run(tmp_path / "run", **{**same, **changed}).start(())
    other = FoldTable("p", TABLE.folds[:1])
    with pytest.raises(DataError, match="its folds are others"):
        _run(tmp_path / "run", other, **same).start(())


def test_a_folder_that_holds_nothing_but_settings_is_taken_over(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    run.start(())
    run.log("nothing came of it")
    other = _run(tmp_path / "run", C=2.0)
    other.start(())
    assert json.loads((run.path / "recipe.json").read_text())["C"] == 2.0


def test_damaged_settings_are_written_again(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    run.start(())
    run.keep("mine b", 0, _predictions(run))
    for name in ("recipe.json", "folds.json"):
        (run.path / name).write_text('{"half')
        run.start(())
        assert json.loads((run.path / name).read_text())


def test_a_place_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="a run can't be kept here"):
            _run(place).start(())


def test_predictions_of_another_run_are_refused(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    run.start(())
    run.keep("mine b", 0, _predictions(_run(tmp_path / "other", C=2.0)))
    with pytest.raises(DataError, match="predictions of another recipe"):
        run.missing([0])


def test_folds_whose_names_would_be_one_file(tmp_path: Path) -> None:
    alike = FoldTable("p", (Fold("a b", (), (), ()), Fold("a/b", (), (), ())))
    run = _run(tmp_path / "run", alike)
    assert run.predictions_path("a b", 0) != run.predictions_path("a/b", 0)


def test_the_environment_is_told(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    run.start(("numpy", "no-such-package"))
    told = json.loads((run.path / "environment.json").read_text())
    assert {"python", "machine", "numpy", "started"} <= set(told)
    assert "no-such-package" not in told
