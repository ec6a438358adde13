"""The prepared folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from voicetone.corpora.prepared import data_root, read_prepared, rows
from voicetone.errors import DataError

HEADER = "file,speaker,sex,age,language,label,sentence,transcript,complete,duration_s\n"


def _folder(root: Path, *lines: str) -> Path:
    folder = root / "emodb"
    (folder / "audio").mkdir(parents=True)
    (folder / "audio" / "03a01Fa.flac").write_bytes(b"x")
    (folder / "manifest.csv").write_text(HEADER + "\n".join(lines), encoding="utf-8")
    return root


def test_a_row_becomes_an_utterance(tmp_path: Path) -> None:
    row = "audio/03a01Fa.flac,03,male,31,de,happy,a01,Der Lappen,yes,1.8982"
    (utterance,) = read_prepared("emodb", _folder(tmp_path, row))
    assert utterance.id == "emodb/03a01Fa"
    assert (utterance.emotion, utterance.label_raw, utterance.sentiment) == (
        "happiness",
        "happy",
        "positive",
    )
    assert utterance.speaker == "emodb/03"
    assert utterance.age == 31.0
    assert utterance.extra["complete"] == "yes"


def test_a_label_typo_is_named_by_line(tmp_path: Path) -> None:
    row = "audio/03a01Fa.flac,03,male,31,de,hapy,a01,Der Lappen,yes,1.8982"
    with pytest.raises(DataError, match=r"manifest\.csv:2: unknown label 'hapy'"):
        read_prepared("emodb", _folder(tmp_path, row))


def test_a_lost_file_is_named_by_line(tmp_path: Path) -> None:
    row = "audio/gone.flac,03,male,31,de,happy,a01,Der Lappen,yes,1.8982"
    with pytest.raises(DataError, match=r"manifest\.csv:2: gone\.flac is gone"):
        read_prepared("emodb", _folder(tmp_path, row))


def test_unknown_corpus_and_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="mood: no such corpus folder"):
        read_prepared("mood", tmp_path)
    monkeypatch.delenv("VOICETONE_DATA", raising=False)
    with pytest.raises(DataError, match="VOICETONE_DATA"):
        data_root()


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    row = "audio/03a01Fa.flac,anna,female,,en,calm,,,,"
    folder = _folder(tmp_path, row) / "emodb"
    with pytest.raises(DataError, match="licence"):
        read_prepared(str(folder))
    manifest = read_prepared(str(folder), licence="CC0")
    assert manifest.licence == "CC0"
    assert manifest.utterances[0].speaker == "emodb/anna"
    assert manifest.utterances[0].age is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("audio/03a01Fa.flac,,male,31,de,happy,,,,", "manifest.csv:2: no speaker"),
        ("audio/03a01Fa.flac,03,male,31,de,,,,,", "manifest.csv:2: no label"),
        (",03,male,31,de,happy,,,,", "manifest.csv:2: no file named"),
        ("audio/03a01Fa.flac,03,male,31,de,excited,,,,", "manifest.csv:2: label 'excited' is none"),
        ("audio/03a01Fa.flac,03,male,31,de", "manifest.csv:2: 5 fields where the header has 10"),
        ("audio/03a01Fa.flac,03,male,old,de,happy,,,,", "age 'old' is no number"),
        ("audio/03a01Fa.flac,03,male,1,de,sad,,,,\naudio/03a01Fa.flac,04,male,1,de,sad,,,,", ":3:"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(DataError, match=said.replace(".", r"\.")):
        read_prepared("emodb", _folder(tmp_path, row))


def test_missing_columns_and_tables_are_named(tmp_path: Path) -> None:
    root = _folder(tmp_path)
    table = root / "emodb" / "manifest.csv"
    for column in ("file", "speaker", "label"):
        table.write_text(HEADER.replace(column, "x") + "a,b,c,,,,,,,\n", encoding="utf-8")
        wanted = "emotion" if column == "label" else column
        with pytest.raises(DataError, match=rf"manifest\.csv:1: no column '{wanted}'"):
            read_prepared("emodb", root)
    table.unlink()
    with pytest.raises(DataError, match=r"manifest\.csv: no such manifest"):
        read_prepared("emodb", root)


@pytest.mark.parametrize("spoil", [lambda t: "\ufeff" + t, lambda t: t.replace(",", ";")])
def test_what_spreadsheets_make_of_a_table(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    root = _folder(tmp_path, "audio/03a01Fa.flac,03,male,31,de,happy,a01,,yes,1.9")
    table = root / "emodb" / "manifest.csv"
    table.write_text(spoil(table.read_text()), encoding="utf-8")
    assert read_prepared("emodb", root).utterances[0].emotion == "happiness"
    table.write_bytes(table.read_text("utf-8").replace("a01", "ä01").encode("latin-1", "replace"))
    with pytest.raises(DataError, match="its text is not UTF-8"):
        read_prepared("emodb", root)


def test_tables_of_noises_and_rooms(tmp_path: Path) -> None:
    table = tmp_path / "manifest.csv"
    (tmp_path / "a.flac").write_bytes(b"x")
    table.write_text('file,fold,attribution\na.flac,3,"by\nme"\n', encoding="utf-8")
    (row,) = rows(tmp_path)
    assert row == {"file": "a.flac", "fold": "3", "attribution": "by\nme",
                   "path": str(tmp_path / "a.flac")}  # fmt: skip
    table.write_text("file,fold\na.flac,3\nb.flac,3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.csv:3: b\.flac is gone"):
        rows(tmp_path)
    table.write_text("fold\n3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.csv:1: no column 'file'"):
        rows(tmp_path)
    table.unlink()
    with pytest.raises(DataError, match="no such manifest"):
        rows(tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "count", "speakers", "anger"),
    [("emodb", 535, 10, 127), ("ravdess", 960, 16, 128), ("nemo", 1617, 3, 270)],
)
def test_the_real_folders(
    data_folder: Path, name: str, count: int, speakers: int, anger: int
) -> None:
    manifest = read_prepared(name, data_folder)
    assert len(manifest) == count
    assert len(manifest.speakers) == speakers
    assert Counter(u.emotion for u in manifest)["anger"] == anger
    assert all(u.sentiment is None for u in manifest if u.emotion == "surprise")


def test_words_need_no_labels_and_sentiments_alone_are_labels(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    table = tmp_path / "manifest.csv"
    table.write_text("file,speaker,transcript\na.wav,s,zero\n")
    found = read_prepared(str(tmp_path), licence="CC0", words=True)
    assert found.utterances[0].transcript == "zero"
    with pytest.raises(DataError, match="no column 'emotion'"):
        read_prepared(str(tmp_path), licence="CC0")
    table.write_text("file,speaker,sentiment\na.wav,s,positive\n")
    assert read_prepared(str(tmp_path), licence="CC0").utterances[0].sentiment == "positive"
    table.write_text("file,speaker,sentiment\na.wav,s,\n")
    with pytest.raises(DataError, match="2: no label"):
        read_prepared(str(tmp_path), licence="CC0")
