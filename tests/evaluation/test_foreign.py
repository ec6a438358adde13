"""Predictions in the formats of other tools, whose truth may lie in another file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voicetone.errors import DataError, UsageError
from voicetone.evaluation.scores import judge
from voicetone.evaluation.table import DimensionTable, concatenate, read_predictions
from voicetone.evaluation.table_files import read_table

CONSENSUS = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
a.wav,A,7.0,1.0,4.0,17,Male,Test1
b.wav,N,4.0,4.0,4.0,Unknown,Female,Test1
c.wav,X,1.0,7.0,2.5,18,Female,Test1
d.wav,H,1.0,7.0,2.5,18,Unknown,Test1
"""


BOTH = '{"key": "x", "pred": 1, "label": 1}'


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["pred", "prediction"])
@pytest.mark.parametrize("lines", [True, False])
def test_emobox(tmp_path: Path, name: str, lines: bool) -> None:
    said = [{"key": "x", name: 1}, {"key": "y", name: 0}, {"key": "z", name: 1}]
    real = [{"key": "z", "label": 1}, {"key": "x", "label": 1}, {"key": "y", "label": 2}]
    text = "\n".join(map(json.dumps, said)) if lines else json.dumps(said)
    path = write(tmp_path / "pred.jsonl", text)
    found = read_predictions(path, write(tmp_path / "labels.json", json.dumps(real)))
    assert found.id.tolist() == ["x", "y", "z"]
    assert found.truth.tolist() == ["1", "2", "1"]
    assert found.predicted.tolist() == ["1", "0", "1"]
    assert not found.probabilities


def test_emobox_metadata_as_truth(tmp_path: Path) -> None:
    meta = [{"key": "x", "dataset": "iemocap", "wav": "w/x.wav", "emo": "hap", "spk": "Ses01F"}]
    path = write(tmp_path / "pred.json", json.dumps([{"key": "x", "pred": "sad"}]))
    found = read_predictions(path, write(tmp_path / "iemocap.jsonl", json.dumps(meta)))
    assert (found.truth[0], found.predicted[0]) == ("hap", "sad")
    assert (found.speaker[0], found.corpus[0], found.audio[0]) == ("Ses01F", "iemocap", "w/x.wav")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "neither a JSON list nor JSON lines"),
        ("[1]", "no records with a key"),
        ('[{"key": "x"}]', "record 1: x has no pred"),
        (f"{BOTH}\n\n{BOTH}", ":3: x is there twice"),
        ('[{"key": "x", "pred": 1}]', "record 1: x has no label"),
        ('[{"key": "x", "pred": 1, "label": "hap"}]', "predictions are numbers and labels"),
    ],
)
def test_emobox_files_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_predictions(write(tmp_path / "pred.json", text))


def test_odyssey_classes(tmp_path: Path) -> None:
    truth = write(tmp_path / "labels_consensus.csv", CONSENSUS)
    path = write(tmp_path / "p.csv", "FileName,EmoClass\nb.wav,N\na.wav,S\nc.wav,H\nd.wav,H\n")
    found = read_predictions(path, truth)
    assert found.id.tolist() == ["b.wav", "a.wav", "d.wav"]  # c.wav has no agreement
    assert found.truth.tolist() == ["neutral", "anger", "happiness"]
    assert found.predicted.tolist() == ["neutral", "sadness", "happiness"]
    assert found.speaker.tolist() == ["", "17", "18"]
    assert found.groups["sex"].tolist() == ["female", "male", ""]
    assert len(found.labels) == 8


def test_odyssey_attributes(tmp_path: Path) -> None:
    truth = write(tmp_path / "labels_consensus.csv", CONSENSUS)
    path = write(tmp_path / "p.csv", "FileName,EmoAct,EmoVal,EmoDom\na.wav,7,4,1\nc.wav,1,1,1\n")
    found = read_table(path, truth)
    assert isinstance(found, DimensionTable)
    assert found.dimensions == ("arousal", "valence", "dominance")
    assert found.predicted[0].tolist() == [1.0, 0.5, 0.0]
    assert found.truth.tolist() == [[1.0, 0.0, 0.5], [0.0, 1.0, 0.25]]


def test_odyssey_baseline(tmp_path: Path) -> None:
    row = '{},"0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0","-1.2, 3.0, 0.1, 0, 0, 0, 0, -4"\n'
    path = write(tmp_path / "dev.csv", "Filename,Label,Prediction\n" + row.format("a.wav"))
    found = read_predictions(path)
    assert (found.truth[0], found.predicted[0], found.probabilities) == (
        "sadness",
        "sadness",
        False,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FileName,EmoClass\n\nz.wav,N\n", "p.csv:3: z.wav is not in the file of the truth"),
        ("FileName,EmoClass\na.wav,Q\n", "p.csv:2: 'Q' is none of the classes"),
        ("FileName,EmoClass\na.wav,N\na.wav,S\n", "p.csv:3: a.wav: this utterance is there twice"),
        ("FileName,EmoClass\nc.wav,N\n", "none of its files has one of the classes"),
        ("FileName,EmoAct,EmoVal,EmoDom\na.wav,x,1,1\n", "must be columns of numbers"),
    ],
)
def test_odyssey_files_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    truth = write(tmp_path / "labels_consensus.csv", CONSENSUS)
    with pytest.raises(DataError, match=message):
        read_predictions(write(tmp_path / "p.csv", text), truth)


def test_odyssey_needs_its_truth(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "FileName,EmoClass\na.wav,N\n")
    with pytest.raises(DataError, match=r"labels_consensus\.csv as --truth"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Filename,Prediction\na.wav,1\n", "column Label is missing"),
        ('Filename,Label,Prediction\na.wav,"1,0","0,1"\n', "must hold eight numbers"),
    ],
)
def test_odyssey_baselines_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_predictions(write(tmp_path / "p.csv", text))


# Utterances that are not scored


def test_emobox_predictions_that_leave_out_say_so(tmp_path: Path) -> None:
    real = [{"key": str(i), "emo": "hap"} for i in range(60)]
    truth = write(tmp_path / "truth.jsonl", json.dumps(real))
    said = [{"key": str(i), "pred": "hap" if i else "sad"} for i in range(40)]
    found = read_predictions(write(tmp_path / "pred.json", json.dumps(said)), truth)
    (first, *_) = judge(found, 0)["cautions"]
    assert first.startswith("20 of the 60 utterances that truth.jsonl has labels for have no")
    whole = [{"key": str(i), "pred": "hap" if i else "sad"} for i in range(60)]
    found = read_predictions(write(tmp_path / "whole.json", json.dumps(whole)), truth)
    assert "cautions" not in found.meta


def test_odyssey_predictions_that_leave_out_say_so(tmp_path: Path) -> None:
    other = "e.wav,H,1.0,7.0,2.5,18,Female,Test2\n"  # a partition that is not asked for
    truth = write(tmp_path / "labels_consensus.csv", CONSENSUS + other)
    path = write(tmp_path / "p.csv", "FileName,EmoClass\na.wav,S\nc.wav,H\n")
    (said, *_) = judge(read_predictions(path, truth), 0)["cautions"]
    assert said.startswith("2 of the 3 utterances that labels_consensus.csv has labels for")
    assert "1 of the 2 predictions are not scored: raters agreed on no class (X)" in said
    path = write(tmp_path / "d.csv", "FileName,EmoAct,EmoVal,EmoDom\na.wav,7,4,1\n")
    found = read_table(path, truth)
    assert found.meta["cautions"].startswith("3 of the 4 utterances")


def test_what_tables_leave_out_stays_when_they_are_put_together(tmp_path: Path) -> None:
    real = [{"key": str(i), "emo": "hap"} for i in range(9)]
    truth = write(tmp_path / "truth.jsonl", json.dumps(real))
    tables = []
    for keys in (range(2), range(2, 5)):
        said = [{"key": str(i), "pred": "hap" if i % 2 else "sad"} for i in keys]
        path = write(tmp_path / "pred.json", json.dumps(said))
        tables.append(read_predictions(path, truth))
    both = concatenate(tables)
    assert "7 of the 9" in both.meta["cautions"]
    assert "6 of the 9" in both.meta["cautions"]
    both.write(tmp_path / "both.parquet")
    assert read_predictions(tmp_path / "both.parquet").meta == both.meta


def test_a_folder_of_predictions_takes_the_truth(tmp_path: Path) -> None:
    truth = write(tmp_path / "labels_consensus.csv", CONSENSUS)
    (tmp_path / "said").mkdir()
    write(tmp_path / "said" / "p.csv", "FileName,EmoClass\na.wav,S\n")
    assert read_predictions(tmp_path / "said", truth).id.tolist() == ["a.wav"]


def test_truth_for_a_table_that_has_its_own_is_refused(tmp_path: Path) -> None:
    truth = write(tmp_path / "labels_consensus.csv", CONSENSUS)
    own = write(tmp_path / "p.csv", "id,truth,predicted\na,x,y\n")
    with pytest.raises(UsageError, match=r"--truth .*p\.csv has its truth in it"):
        read_predictions(own, truth)


def test_a_truth_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "FileName,EmoClass\na.wav,N\n")
    with pytest.raises(DataError, match="not a CSV table in UTF-8"):
        read_predictions(path, tmp_path)


def test_lines_of_json_end_at_line_feeds_only(tmp_path: Path) -> None:
    record = {"key": "x", "pred": "hap", "label": "sad", "text": "oh\u2028my\x85god"}
    path = write(tmp_path / "p.jsonl", json.dumps(record, ensure_ascii=False) + "\n")
    assert read_predictions(path).id.tolist() == ["x"]
