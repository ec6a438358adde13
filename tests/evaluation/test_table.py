"""Tables of predictions: what they hold, what they refuse, and that files give them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voicetone.errors import DataError
from voicetone.evaluation.table import (
    DimensionTable,
    PredictionTable,
    concatenate,
    read_dimensions,
    read_predictions,
)

LABELS = ("anger", "neutral", "sadness")


def table(n: int = 12, number: int = 0, **changes: Any) -> PredictionTable:
    rng = np.random.default_rng(number)
    scores = rng.dirichlet(np.ones(3), n).astype(np.float32)
    votes = rng.integers(0, 4, (n, 3)).astype(np.float32)
    votes[0] = 0
    values: dict[str, Any] = {
        "id": np.array([f"u{i:02d}" for i in range(n)]),
        "truth": np.array(LABELS)[rng.integers(0, 3, n)],
        "labels": LABELS,
        "scores": scores,
        "speaker": np.array([f"sp{i % 5}" for i in range(n)]),
        "corpus": np.full(n, "emodb"),
        "fold": np.array([f"f{i % 5}" for i in range(n)]),
        "seed": np.full(n, number),
        "groups": {"sex": np.array(["female", "male"] * (n // 2))},
        "audio": np.array([f"wav/ä {i}.wav" for i in range(n)]),
        "votes": votes,
        "meta": {"protocol": "leave-one-speaker-out", "folds": "abc"},
    }
    return PredictionTable(**{**values, **changes})


def same(a: PredictionTable, b: PredictionTable) -> None:
    for name in ("id", "truth", "speaker", "corpus", "fold", "seed", "predicted", "audio"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    np.testing.assert_array_equal(a.scores, b.scores)
    assert (a.labels, a.probabilities) == (b.labels, b.probabilities)
    assert a.groups.keys() == b.groups.keys()
    for name in a.groups:
        np.testing.assert_array_equal(a.groups[name], b.groups[name])
    assert (a.votes is None) == (b.votes is None)
    if a.votes is not None:
        np.testing.assert_allclose(a.votes, b.votes, atol=1e-7)


def test_the_highest_score_is_the_prediction() -> None:
    t = table()
    assert t.probabilities
    assert [LABELS.index(p) for p in t.predicted] == t.scores.argmax(1).tolist()
    np.testing.assert_array_equal(np.array(LABELS)[t.truth_codes], t.truth)
    np.testing.assert_array_equal(t.predicted_codes, t.scores.argmax(1))


def test_codes_follow_the_order_of_the_labels_not_of_the_alphabet() -> None:
    t = table(labels=("sadness", "anger", "neutral"))
    np.testing.assert_array_equal(np.array(t.labels)[t.truth_codes], t.truth)


def test_votes_are_shares() -> None:
    votes = table().votes
    assert votes is not None
    assert votes[0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(votes[1:].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_files_give_back_what_was_written(tmp_path: Path, ending: str) -> None:
    t = table()
    t.write(tmp_path / f"t.{ending}")
    back = read_predictions(tmp_path / f"t.{ending}")
    same(t, back)
    assert [p.name for p in tmp_path.iterdir()] == [f"t.{ending}"]
    if ending == "parquet":
        assert back.meta == t.meta


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_decision_values_and_other_predictions(tmp_path: Path, ending: str) -> None:
    t = table(
        scores=np.random.default_rng(1).normal(size=(12, 3)), predicted=np.full(12, "neutral")
    )
    assert not t.probabilities
    t.write(tmp_path / f"t.{ending}")
    same(t, read_predictions(tmp_path / f"t.{ending}"))


def test_labels_alone_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,truth,predicted\na,anger,anger\nb,neutral,sadness\n", encoding="utf-8")
    t = read_predictions(path)
    assert t.labels == ("anger", "neutral", "sadness")
    assert t.predicted.tolist() == ["anger", "sadness"]
    assert not t.probabilities
    assert t.speakers == ()


def test_a_folder_is_its_folds_and_seeds(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "predictions"
    for seed in (0, 1):
        t = table(number=seed)
        for fold in ("f0", "f1", "f2", "f3", "f4"):
            t.select(t.fold == fold).write(folder / f"{fold}-{seed}.parquet")
    whole = read_predictions(tmp_path / "run")
    assert len(whole) == 24
    assert whole.seeds == (0, 1)
    assert whole.meta["folds"] == "abc"
    first = whole.by_seed()[0]
    same(first.select(np.argsort(first.id)), table(number=0))


def test_tables_with_other_labels_and_groups_fit_together() -> None:
    a = table()
    b = PredictionTable(
        id=np.array(["x"]),
        truth=np.array(["joy"]),
        labels=("joy", "anger"),
        scores=np.array([[0.7, 0.3]]),
        groups={"age": np.array(["old"])},
    )
    both = concatenate([a, b])
    assert both.labels == (*LABELS, "joy")
    assert both.scores[-1].tolist() == pytest.approx([0.3, 0, 0, 0.7])
    assert both.groups["age"].tolist() == [""] * 12 + ["old"]
    assert both.groups["sex"][-1] == ""


def test_dimensions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    t = DimensionTable(
        id=np.array(["a", "b", "c"]),
        dimensions=("arousal", "valence"),
        truth=np.array([[0.1, 0.2], [0.3, np.nan], [0.5, 0.6]]),
        predicted=rng.random((3, 2)),
        speaker=np.array(["x", "y", "x"]),
        meta={"model": "m"},
    )
    for ending in ("parquet", "csv"):
        t.write(tmp_path / f"t.{ending}")
        back = read_dimensions(tmp_path / f"t.{ending}")
        np.testing.assert_array_equal(back.truth, t.truth)
        np.testing.assert_array_equal(back.predicted, t.predicted)
        assert back.speakers == ("x", "y")
        with pytest.raises(DataError, match="holds dimensions"):
            read_predictions(tmp_path / f"t.{ending}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": np.array(["anger"] * 11 + ["angre"])}, r"row 12 \(u11\): truth is 'angre'"),
        ({"id": np.array(["a"] * 12)}, r"row 2 \(a\): this utterance is there twice for seed 0"),
        ({"speaker": np.array(["a"])}, "column speaker has 1 values, the table 12 rows"),
        ({"scores": np.zeros((12, 2))}, r"shape \[12, 2\]"),
        ({"scores": np.full((12, 3), np.nan)}, "a score is not a number"),
        ({"scores": np.ones((12, 3)), "probabilities": True}, "sum to one"),
        ({"labels": ("anger",)}, "two or more labels"),
        ({"votes": np.full((12, 3), -1.0)}, "a vote is negative"),
        ({"seed": np.zeros(3)}, "column seed has 3 values"),
    ],
)
def test_what_a_table_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("id,truth,predicted\n", "no rows"),
        ("truth,predicted\na,b\n", "column id is missing"),
        ("id,predicted\na,b\n", "column truth is missing"),
        ("id,truth\na,b\n", "score_<label> or predicted is missing"),
        ("id,truth,predicted\na,b\n", r"t.csv:2: 2 values for 3 columns"),
        ("id,truth,score_a,score_b\nx,a,0.5,much\n", "t.csv:2: score_b is 'much', not a number"),
        ("id,id,truth,predicted\na,b,c,d\n", "column id is there twice"),
        ("id,truth,predicted,seed\na,b,c,1.5\n", "seed is a whole number"),
        ("id,truth,score_a,score_b,vote_c\nx,a,1,0,1\n", "vote_c is for a label"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_predictions(path)
    assert "t.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"nothing of the kind")
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "t.xlsx").write_bytes(b"")
    for name, message in (
        ("t.parquet", "not a readable Parquet table"),
        ("t.csv", "not a CSV table in UTF-8"),
        ("t.xlsx", "predictions are read from"),
        ("missing.csv", "no such file"),
    ):
        with pytest.raises(DataError, match=message):
            read_predictions(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no predictions here"):
        read_predictions(tmp_path / "empty")
    with pytest.raises(DataError, match="written as"):
        table().write(tmp_path / "t.xlsx")


# Lines of text files


ROWS = "id{0}truth{0}score_a{0}score_b\n\nx{0}a{0}0.5{0}0.5\n\n"


@pytest.mark.parametrize("sign", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_signs_between_values(tmp_path: Path, sign: str, mark: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(mark + ROWS.format(sign), encoding="utf-8")
    assert read_predictions(path).scores.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("y,a,nan,0.5", r"t\.csv:5: y: a score is not a number"),
        ("y,c,0.5,0.5", r"t\.csv:5: y: truth is 'c'"),
        ("x,a,0.5,0.5", r"t\.csv:5: x: this utterance is there twice"),
        ("y,a,much,0.5", r"t\.csv:5: score_a is 'much'"),
        ("y,a,0.5", r"t\.csv:5: 3 values for 4 columns"),
        ('"y\nz",a,0.5,0.5\nv,a,x,0.5', r"t\.csv:7: score_a is 'x'"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(ROWS.format(",") + row + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_predictions(path)


def test_a_seed_that_is_none_is_named_by_its_line(tmp_path: Path) -> None:
    for seed in ("0.5", "inf", ""):
        path = tmp_path / "t.csv"
        path.write_text(f"id,truth,predicted,seed\n\nx,a,b,{seed}\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"t\.csv:3: x: a seed is a whole number"):
            read_predictions(path)


def test_parquet_has_rows_not_lines(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": ["x", "x"], "truth": ["a", "b"], "predicted": ["a", "b"]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: row 2 \(x\): this utterance is there twice"):
        read_predictions(tmp_path / "t.parquet")
