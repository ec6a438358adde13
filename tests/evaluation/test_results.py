"""Published rows are computed again from the predictions beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.evaluation.tables import made

from voicetone.errors import DataError
from voicetone.evaluation.results import ROW, read_results, recompute, result_row, write_results
from voicetone.evaluation.table import DimensionTable


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A results file of two rows, one against the other."""
    folder = tmp_path / "results" / "predictions"
    made(seeds=(0, 1)).write(folder / "a.parquet")
    made(seeds=(0, 1), skill=1.2).write(folder / "b.parquet")
    place = tmp_path / "results"
    rows = [
        result_row(folder / "a.parquet", place, "uar", folder / "b.parquet", labels="made up"),
        result_row(folder / "b.parquet", place, "macro_f1"),
    ]
    write_results(place / "x.json", rows)
    return place / "x.json"


def change(path: Path, **values: object) -> None:
    data = json.loads(path.read_text("utf-8"))
    data["rows"][0].update(values)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_rows_have_all_keys_and_come_out_again(published: Path) -> None:
    rows = read_results(published)
    assert list(rows[0])[: len(ROW)] == list(ROW)
    assert rows[0]["predictions"] == "predictions/a.parquet"
    assert rows[0]["seeds"] == 2
    assert rows[0]["p"] < 0.05
    assert rows[0]["test"] == "paired bootstrap over speakers"
    assert rows[1]["p"] is None
    found = recompute(published)
    assert (found.rows, found.numbers, found.mismatches) == (2, 12, [])
    assert found.words == 9  # corpus, protocol, features and model of both; the test of one


def test_a_plain_list_of_rows_will_do(published: Path) -> None:
    published.write_text(json.dumps(read_results(published)), encoding="utf-8")
    assert recompute(published).mismatches == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("mean", 0.999), ("sd", None), ("low", 0.1), ("high", 1.0), ("p", 0.5), ("seeds", 3)],
)
def test_each_changed_number_is_found(published: Path, key: str, value: object) -> None:
    change(published, **{key: value})
    (line,) = recompute(published).mismatches
    assert f"row 1 (made, uar): {key} is {value} in the file" in line


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("corpus", "MSP-Podcast", "made"),
        ("protocol", "speaker-independent on MSP-Podcast", "leave-one-speaker-out"),
        ("features", "of my own", "made"),
        ("model", "GPT", "made"),
        ("test", "one-tailed t-test over seeds", "paired bootstrap over speakers"),
    ],
)
def test_each_changed_fact_is_found(published: Path, key: str, value: str, told: str) -> None:
    change(published, **{key: value})
    (line,) = recompute(published).mismatches
    assert f"{key} is {value!r} in the file and {told!r} in the table" in line


def test_labels_and_folds_are_checked_where_the_table_tells_them(tmp_path: Path) -> None:
    meta = {"label_rule": "4 classes", "folds": "abc"}
    made(meta=meta).write(tmp_path / "a.parquet")
    row = result_row(tmp_path / "a.parquet", tmp_path, fold_hash="abc", model="any")
    write_results(tmp_path / "x.json", [row])
    assert recompute(tmp_path / "x.json").mismatches == []
    change(tmp_path / "x.json", labels="7 classes", fold_hash="abd")
    assert len(recompute(tmp_path / "x.json").mismatches) == 2
    with pytest.raises(DataError, match="labels can't be '7 classes', the table says '4 classes'"):
        result_row(tmp_path / "a.parquet", tmp_path, labels="7 classes")


def test_several_corpora_may_be_named_in_any_order(tmp_path: Path) -> None:
    import numpy as np

    made(corpus=np.array(["b", "a"])[np.arange(400) % 2]).write(tmp_path / "a.parquet")
    write_results(tmp_path / "x.json", [result_row(tmp_path / "a.parquet", tmp_path)])
    change(tmp_path / "x.json", corpus="b, a")
    assert recompute(tmp_path / "x.json").mismatches == []


def test_rounding_is_no_mismatch(published: Path) -> None:
    change(published, mean=read_results(published)[0]["mean"] + 5e-5, seeds=[0, 1])
    assert recompute(published).mismatches == []


def test_changed_predictions_are_found(published: Path) -> None:
    made(seeds=(0, 1), skill=2.3).write(published.parent / "predictions" / "a.parquet")
    assert len(recompute(published).mismatches) >= 3
    made(seeds=(0, 1), number=5).write(published.parent / "predictions" / "a.parquet")
    (line,) = recompute(published).mismatches
    assert "its true label is" in line


def test_a_missing_table_is_a_mismatch(published: Path) -> None:
    (published.parent / "predictions" / "b.parquet").unlink()
    lines = recompute(published).mismatches
    assert len(lines) == 2
    assert all("no such file of predictions" in line for line in lines)


def test_an_unknown_metric_is_a_mismatch(published: Path) -> None:
    change(published, metric="wisdom")
    (line,) = recompute(published).mismatches
    assert "metric 'wisdom' is unknown" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "not a JSON file of results"),
        ("{}", "no list of rows"),
        ("[1]", "no list of rows"),
        ("[]", "its list of rows is empty"),
        ('{"rows": []}', "its list of rows is empty"),
        ('[{"corpus": "x"}]', "row 1 lacks labels, protocol"),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        recompute(path)
    with pytest.raises(DataError, match="no such file of results"):
        recompute(tmp_path / "y.json")


def test_concordance_rows(tmp_path: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    truth = rng.random((80, 1))
    table = DimensionTable(
        id=np.arange(80).astype(str),
        dimensions=("arousal",),
        truth=truth,
        predicted=truth + 0.1 * rng.normal(size=(80, 1)),
        speaker=np.array([f"s{i % 8}" for i in range(80)]),
    )
    table.write(tmp_path / "d.parquet")
    rows = [
        result_row(tmp_path / "d.parquet", tmp_path, m)
        for m in ("ccc:arousal", "speaker_ccc:arousal")
    ]
    write_results(tmp_path / "x.json", rows)
    assert rows[0]["mean"] > 0.8
    assert rows[0]["low"] < rows[0]["mean"] < rows[0]["high"]
    assert recompute(tmp_path / "x.json").mismatches == []
    with pytest.raises(DataError, match="known are: ccc:arousal"):
        result_row(tmp_path / "d.parquet", tmp_path, "uar")
