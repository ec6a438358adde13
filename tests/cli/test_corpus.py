"""`voicetone corpus`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.corpora import layouts
from tests.corpora.layouts import MAKERS, sound, text

from voicetone.corpora.registry import CORPORA
from voicetone.corpora.rules import RULES
from voicetone.corpora.tables import read_manifest


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        sound(tmp_path / f"{name}.wav")
    rows = "file,speaker,emotion\na.wav,anna,joy\nb.wav,ben,angry\n"
    return text(tmp_path / "mine.csv", rows)


def test_list_names_corpora_and_rules(voicetone: Run) -> None:
    done = voicetone("corpus", "list")
    assert done.code == 0
    for name in (*CORPORA, *RULES, "table", "audformat", "emobox", "prepared"):
        assert name in done.out
    assert voicetone("corpus").code == 2


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_prepare_then_check(voicetone: Run, tmp_path: Path, name: str) -> None:
    folder = MAKERS[name](tmp_path / "copy")
    out = tmp_path / "made" / "manifest.csv"
    done = voicetone("corpus", "prepare", name, folder, "--out", out)
    assert (done.code, done.errors) == (0, []), done.err
    manifest = read_manifest(out)
    assert all(u.duration and u.sha256 for u in manifest)
    assert f"{len(manifest)} utterances" in done.out
    done = voicetone("corpus", "check", out)
    assert done.code == 0, done.out
    assert f"{CORPORA[name].title} " in done.out
    assert "not complete: " in done.out
    assert "0 errors" in done.out


def test_check_names_each_problem_and_fails(voicetone: Run, table: Path) -> None:
    with table.open("a") as more:
        more.write("gone.wav,ben,sad\na.wav,ben,joy\nb.wav,ben,hapy\n")
    sound(table.parent / "c.wav")
    done = voicetone("corpus", "check", table)
    assert done.code == 3
    for line in (
        f"error: {table}:4: gone.wav is gone",
        f"error: {table}:6: unknown label 'hapy'; did you mean 'happy'?",
        f"error: {table}:5: a.wav holds the same as a.wav ({table}:2), but the speakers are",
    ):
        assert line in done.out, done.out
    assert "errors," in done.out
    assert "Traceback" not in done.err


def test_check_as_json(voicetone: Run, table: Path, tmp_path: Path) -> None:
    (table.parent / "b.wav").unlink()
    done = voicetone("corpus", "check", table, "--json", "-", "--quick")
    found = json.loads(done.out)
    assert done.code == 3
    assert [p["severity"] for p in found["problems"]] == ["error"]
    assert found["labels"] == {"anger": 1, "happiness": 1}
    assert voicetone("corpus", "stats", table, "--json", tmp_path / "s.json").code == 0
    assert json.loads((tmp_path / "s.json").read_text())["utterances"] == 2


def test_prepare_a_table_with_its_own_columns(voicetone: Run, table: Path, tmp_path: Path) -> None:
    text(table, "clip,who,mood\na.wav,anna,joy\nb.wav,ben,contempt\n")
    out = tmp_path / "m.parquet"
    options = [word for pair in ("file=clip", "speaker=who", "emotion=mood")
               for word in ("--column", pair)]  # fmt: skip
    done = voicetone(
        "corpus", "prepare", "table", table, "--out", out, "--licence", "CC0", *options
    )
    assert done.code == 0, done.err
    manifest = read_manifest(out)
    assert manifest.licence == "CC0"
    assert [u.emotion for u in manifest] == ["happiness", None]
    assert [u.label_raw for u in manifest] == ["joy", "contempt"]


def test_prepare_with_a_rule(voicetone: Run, tmp_path: Path) -> None:
    layouts.iemocap(tmp_path / "copy")
    arguments = ("corpus", "prepare", "iemocap", tmp_path / "copy", "--out", tmp_path / "m.csv")
    assert voicetone(*arguments, "--rule", "iemocap-4class-exc", "--quick").code == 0
    assert read_manifest(tmp_path / "m.csv").rule == "iemocap-4class-exc"
    done = voicetone("corpus", "check", tmp_path / "m.csv", "--quick")
    assert "Label rule iemocap-4class-exc: not complete: 1 of anger instead of 1,103" in done.out


@pytest.mark.parametrize(("form", "reader"), [("audformat", "audformat"), ("emobox", "emobox")])
def test_other_formats_there_and_back(
    voicetone: Run, table: Path, tmp_path: Path, form: str, reader: str
) -> None:
    out = table.parent / ("out.csv" if form == "audformat" else "out.jsonl")
    assert voicetone("corpus", "prepare", "table", table, "--as", form, "--out", out).code == 0
    back = table.parent / "back.csv"
    assert voicetone("corpus", "prepare", reader, out, "--out", back).code == 0
    assert [u.emotion for u in read_manifest(back)] == ["happiness", "anger"]
    assert [u.speaker.rpartition("/")[2] for u in read_manifest(back) if u.speaker] == [
        "anna",
        "ben",
    ]


def test_a_broken_recording_costs_one_line(voicetone: Run, table: Path, tmp_path: Path) -> None:
    (table.parent / "a.wav").write_bytes(b"nothing")
    out = tmp_path / "m.csv"
    done = voicetone("corpus", "prepare", "table", table, "--out", out)
    assert done.code == 3
    (line,) = done.errors
    assert f"{table}:2: " in line
    assert "no sound file" in line
    assert [u.duration is None for u in read_manifest(out)] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["prepare", "iemocp", ".", "--out", "m.csv"], 2, "did you mean 'iemocap'"),
        (["prepare", "iemocap", "nowhere", "--out", "m.csv"], 3, "nowhere: no such folder"),
        (["prepare", "table", "no.csv", "--out", "m.csv"], 3, "no.csv: no such manifest"),
        (["prepare", "table", "mine.csv", "--out", "m.xls"], 3, "manifests are written as"),
        (["prepare", "table", "mine.csv", "--out", "a.wav/m.csv"], 3, "can't be written"),
        (["prepare", "table", "mine.csv", "--out", "m.csv", "--as", "x"], 2, "no such format"),
        (["prepare", "table", "mine.csv", "--out", "m.csv", "--rule", "x"], 2, "no label rule"),
        (["prepare", "table", "mine.csv", "--out", "m.csv", "--column", "x"], 2, "ours=theirs"),
        (["prepare", "tess", ".", "--out", "m.csv", "--column", "a=b"], 2, "fixed names"),
        (["check", "no.csv"], 3, "no.csv: no such manifest"),
        (["stats", "mine.csv", "--figures", "a.wav"], 3, "can't be written"),
    ],
)
def test_wrong_usage_is_one_line(
    voicetone: Run, table: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(table.parent)
    done = voicetone("corpus", *arguments)
    assert done.code == code, done.err
    (line,) = done.errors
    assert said in line


def test_stats_and_figures(voicetone: Run, tmp_path: Path) -> None:
    layouts.cremad(tmp_path / "copy")
    out = tmp_path / "m.csv"
    assert voicetone("corpus", "prepare", "cremad", tmp_path / "copy", "--out", out).code == 0
    done = voicetone("corpus", "stats", out, "--figures", tmp_path / "figures")
    assert done.code == 0
    for line in ("sex: female 1, male 1", "fleiss kappa: ", "krippendorff nominal: ", "labels.png"):
        assert line in done.out
    assert (tmp_path / "figures" / "agreement.png").is_file()


def test_a_table_with_mistakes_makes_no_manifest(
    voicetone: Run, table: Path, tmp_path: Path
) -> None:
    with table.open("a") as more:
        more.write("b.wav,ben,angr\n")
    out = tmp_path / "made.csv"
    done = voicetone("corpus", "prepare", "table", table, "--out", out)
    assert done.code == 3
    assert done.errors[0].endswith(f"{table}:4: unknown label 'angr'; did you mean 'angry'?")
    assert "not written: mend the table first, 1 error" in done.errors[1]
    assert not out.exists()


def test_an_emptied_label_stays_a_mistake(voicetone: Run, table: Path) -> None:
    text(table, "file,speaker,emotion,label_raw\na.wav,anna,,angr\nb.wav,ben,,contempt\n")
    done = voicetone("corpus", "check", table)
    assert done.code == 3
    assert f"error: {table}:2: unknown label 'angr' in label_raw, and no emotion" in done.out
    assert "1 error, " in done.out


def test_labels_beside_the_emotion_are_nobodys_mistake(voicetone: Run, table: Path) -> None:
    text(table, "file,speaker,emotion,label_raw,label\na.wav,anna,,froh,up\nb.wav,ben,,x,down\n")
    assert voicetone("corpus", "check", table).code == 0


def test_equal_warnings_are_one_line(voicetone: Run, table: Path) -> None:
    rows = [f"a.wav,,,{i / 100:.2f}\n" for i in range(4)]
    text(table, "file,speaker,emotion,start\n" + "".join(rows) + "gone.wav,anna,joy,\n")
    done = voicetone("corpus", "check", table)
    lines = [line for line in done.out.splitlines() if line.startswith(("error", "warning"))]
    assert lines[0].startswith(f"error: {table}:6: gone.wav is gone")
    assert f"warning: 4 rows, the first is {table}:2: no label; only" in "\n".join(lines)
    assert len(lines) == 3
    assert "1 error, 8 warnings" in done.out


def test_misspelt_classes_and_partitions_are_warned_of(voicetone: Run, table: Path) -> None:
    rows = [f"a.wav,anna,joy,{i / 100:.2f},{'midd' if i == 3 else 'mid'},"
            f"{'tain' if i == 5 else 'train'}\n" for i in range(24)]  # fmt: skip
    text(table, "file,speaker,emotion,start,label,partition\n" + "".join(rows))
    done = voicetone("corpus", "check", table)
    assert f"{table}:5: label 'midd' is in 1 of 24 rows, 'mid' in 23" in done.out
    assert f"{table}:7: partition 'tain' is in 1 of 24 rows, 'train' in 23" in done.out
    assert done.code == 0


@pytest.mark.realdata
def test_the_prepared_corpora(voicetone: Run, data_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "emodb.csv"
    done = voicetone("corpus", "prepare", "prepared", data_folder / "emodb", "--out", out)
    assert done.code == 0
    done = voicetone("corpus", "check", out)
    assert done.code == 0
    assert "EMO-DB 1.3: totals as released" in done.out
    assert "0 errors, 1 warning\n" in done.out
    assert "of boredom, disgust, fear many recordings end at 2 s" in done.out
