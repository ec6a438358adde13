"""Manifests: written, read back, and every planted problem found and named by file and line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voicetone.corpora.audformat import read_audformat, timedelta, write_audformat
from voicetone.corpora.emobox import read_emobox, write_emobox
from voicetone.corpora.manifest import Manifest, refuse
from voicetone.corpora.tables import inspect_manifest, read_manifest, write_manifest
from voicetone.errors import DataError, MissingExtraError
from voicetone.types import EMOTIONS, Rating, Utterance

RATE = 8_000
HEADER = "id,file,speaker,emotion,start,end\n"


def tone(path: Path, hertz: float = 200.0, seconds: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * times), RATE)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a manifest beside four recordings a.wav … d.wav of different sound."""
    for i, name in enumerate("abcd"):
        tone(tmp_path / f"{name}.wav", 100.0 + 50 * i)

    def write(text: str, name: str = "own.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def said(path: Path, contents: bool = True) -> list[str]:
    """Every problem, as `line: text`."""
    manifest, problems = inspect_manifest(path)
    found = [*problems, *manifest.validate(contents=contents)]
    return [str(p).removeprefix(f"{path}:") for p in found]


def full(folder: Path) -> Manifest:
    one = Utterance(
        id="own/a", audio=tone(folder / "x" / "a.wav"), corpus="own", speaker="own/anna",
        start=0.01, end=0.0999999999, channel=1, emotion="happiness", label_raw="exc",
        sentiment="positive", arousal=1 / 3, valence=0.1, dominance=0.7,
        votes={"happiness": 2.0, "excitement": 0.5}, transcript='so "happy",\nyes', sentence="s1",
        language="en", sex="female", age=31.5, session="1", duration=0.09, extra={"take": "2"},
        race="Asian", partition="train", sha256="ab", label="happiness",
        ratings=(Rating("E1", ("Happiness", "Excited"), 0.25), Rating("E2", (), None, 0.5, 1.0)),
    )  # fmt: skip
    two = Utterance("own/b", tone(folder / "b.wav", 300), "own", label_raw="contempt")
    return Manifest("own", "1", "CC0", "nobody, 2026", (one, two), rule="emotion")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    manifest, path = full(tmp_path), tmp_path / f"manifest{suffix}"
    write_manifest(manifest, path)
    again = read_manifest(path)
    assert replace(again, places=()) == manifest
    assert again.hash == manifest.hash
    assert again.places[0].startswith(str(path))


def test_a_manifest_moves_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    manifest = full(tmp_path / "one")
    write_manifest(manifest, tmp_path / "one" / "m.csv")
    (tmp_path / "one").rename(tmp_path / "two")
    again = read_manifest(tmp_path / "two" / "m.csv")
    assert all(u.audio.is_file() for u in again)
    assert again.hash == manifest.hash


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip),
    number=st.floats(0, 1, allow_subnormal=True),
    emotion=st.sampled_from([None, *EMOTIONS]),
)
def test_any_text_and_number_survive(
    tmp_path: Path, text: str, number: float, emotion: str | None
) -> None:
    u = Utterance(
        "own/a", tmp_path / "a.wav", "own", emotion=emotion, label_raw=emotion,
        transcript=text or None, arousal=number,
    )  # fmt: skip
    write_manifest(Manifest("own", "1", "l", "c", (u,)), tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv").utterances == (u,)


def test_a_clean_table_has_no_problem(table: Callable[[str], Path]) -> None:
    path = table(HEADER + "a,a.wav,anna,angry,,\nb,b.wav,ben,joy,0,0.05\n")
    assert said(path) == []
    manifest = read_manifest(path)
    assert [u.emotion for u in manifest] == ["anger", "happiness"]
    assert [u.label_raw for u in manifest] == ["angry", "joy"]
    assert [u.sentiment for u in manifest] == ["negative", "positive"]
    assert manifest.speakers == ("own/anna", "own/ben")
    assert manifest.require_valid() is manifest


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("a,a.wav,x,hapy,,", "2: unknown label 'hapy'; did you mean 'happy'?"),
        ("a,a.wav,x,zzzz,,", "2: unknown label 'zzzz'; known are anger, happiness"),
        ("a,gone.wav,x,sad,,", "2: gone.wav is gone; restore it or drop the row"),
        ("a,a.wav,x,sad,,\na,b.wav,x,sad,,", "3: the id 'a' is that of"),
        ("a,a.wav,x,sad,0.05,0.05", "2: start 0.05 s is not before end 0.05 s"),
        ("a,a.wav,x,sad,0.07,0.05", "2: start 0.07 s is not before end 0.05 s"),
        ("a,a.wav,x,sad,-1,0.05", "2: start -1 s is before the recording"),
        ("a,a.wav,x,sad,one,", "2: start 'one' is no number"),
        ("a,a.wav,x,sad,nan,", "2: start 'nan' is no number"),
        ("a,a.wav,,sad,,", "2: no speaker; it can't be in speaker-disjoint folds"),
        ("a,a.wav,x,sad,", "2: 5 fields where the header has 6"),
        ("a,a.wav,x,sad,,,7", "2: 7 fields where the header has 6"),
        ("a,,x,sad,,\nb,b.wav,y,joy,,", "2: no file named"),
        ("a,a.wav,x,sad,,\nb,a.wav,y,sad,,", "but the speakers are own/x and own/y"),
        ("a,a.wav,x,sad,,\nb,a.wav,x,joy,,", "but they are labelled sad and joy"),
        ("a,a.wav,x,sad,,\nb,a.wav,x,sad,,", "a.wav holds the same as a.wav"),
        ("a,a.wav,x,,,", "2: no label; only unsupervised training can use it"),
    ],
)
def test_each_planted_problem_is_named(
    table: Callable[[str], Path], rows: str, expected: str
) -> None:
    found = said(table(HEADER + rows + "\n"))
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize("column", ["file", "speaker", "emotion"])
def test_a_missing_column_is_named(table: Callable[[str], Path], column: str) -> None:
    names = [c for c in ("id", "file", "speaker", "emotion") if c != column]
    path = table(",".join(names) + "\n" + ",".join("a.wav" for _ in names) + "\n")
    with pytest.raises(DataError, match=rf"own\.csv:1: no column '{column}'"):
        read_manifest(path)


def test_every_problem_is_named_at_once(table: Callable[[str], Path]) -> None:
    rows = ["a,gone.wav,x,hapy,2,1", "a,b.wav,x,sadd,,", "c,c.wav,,joy,,", "d,c.wav,y,joy,,"]
    found = said(table(HEADER + "\n".join(rows) + "\n"))
    for text in (
        "2: unknown label 'hapy'",
        "2: gone.wav",
        "2: start 2 s",
        "3: the id 'a'",
        "3: unknown label 'sadd'",
        "4: no speaker",
        "5: c.wav holds the same as",
    ):
        assert any(line.startswith(text) for line in found), (text, found)
    assert len(found) == 7


def test_the_error_counts_what_it_does_not_name(table: Callable[[str], Path]) -> None:
    path = table(HEADER + "".join(f"{i},gone{i}.wav,x,sad,,\n" for i in range(9)))
    with pytest.raises(DataError, match=r"gone0.*gone1.*gone2.*and 6 problems more") as error:
        read_manifest(path).require_valid()
    assert "gone3" not in str(error.value)
    assert "\n" not in str(error.value)


def test_line_numbers_count_lines_not_rows(table: Callable[[str], Path]) -> None:
    text = 'file,speaker,emotion,transcript\na.wav,x,sad,"two\nlines"\n\ngone.wav,x,sad,\n'
    (line,) = said(table(text))
    assert line.startswith("5: gone.wav")


def test_the_same_sound_under_two_names_is_found(table: Callable[[str], Path]) -> None:
    path = table(HEADER + "a,a.wav,x,sad,,\nb,b.wav,y,sad,,\n")
    (path.parent / "b.wav").write_bytes((path.parent / "a.wav").read_bytes())
    (line,) = said(path)
    assert line.startswith("3: b.wav holds the same as a.wav")
    assert said(path, contents=False) == []


def test_duplicates_across_partitions_are_errors(table: Callable[[str], Path]) -> None:
    text = "id,file,speaker,emotion,partition\na,a.wav,x,sad,train\nb,a.wav,x,sad,test\n"
    manifest = read_manifest(table(text))
    found = {p.severity: p.text for p in manifest.validate()}
    assert "in the partitions train and test; drop one" in found["error"]
    assert "speaker own/x is in the partitions train and test" in found["warning"]
    with pytest.raises(DataError, match="partitions"):
        manifest.require_valid()


def test_warnings_do_not_refuse(table: Callable[[str], Path]) -> None:
    manifest = read_manifest(table(HEADER + "a,a.wav,,contempt,,\n"))
    assert [p.severity for p in manifest.validate()] == ["warning"]
    assert manifest.require_valid().utterances[0].emotion is None
    assert manifest.utterances[0].label_raw == "contempt"


def test_out_of_range_values_in_memory(tmp_path: Path) -> None:
    u = full(tmp_path).utterances[0]
    bad = replace(
        u, emotion="hapiness", sentiment="good", arousal=1.5, votes={"anger": -1.0}, age=300.0,
        sex="f", duration=0.0, id="", sha256=None,
    )  # fmt: skip
    found = [p.text for p in Manifest("own", "1", "l", "c", (bad,)).validate()]
    for text in (
        "an empty id",
        "did you mean 'happiness'",
        "unknown sentiment 'good'",
        "arousal 1.5",
        "a vote is negative",
        "age 300",
        "unknown sex 'f'",
        "duration 0",
    ):
        assert any(text in line for line in found), text
    assert len(found) == 8
    (empty,) = Manifest("own", "1", "l", "c", ()).validate()
    assert "no utterances" in empty.text


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("votes=notjson", "votes is no JSON object"),
        ('votes={"anger":"two"}', "votes must be numbers"),
        ('ratings=[{"rater":"E1","mood":1}]', "a rating has unknown fields"),
        ("ratings={}", "ratings is no JSON list"),
        ("channel=0", "channels are counted 1, 2"),
        ("age=old", "age 'old' is no number"),
    ],
)
def test_bad_cells_are_named(table: Callable[[str], Path], cells: str, expected: str) -> None:
    name, _, value = cells.partition("=")
    quoted = '"' + value.replace('"', '""') + '"'
    (line,) = said(table(f"file,speaker,emotion,{name}\na.wav,x,sad,{quoted}\n"))
    assert line.startswith("2: ")
    assert expected in line


def test_columns_by_other_names(table: Callable[[str], Path]) -> None:
    path = table("clip;who;mood;gender\na.wav;anna;sad;female\n")
    columns = {"file": "clip", "speaker": "who", "emotion": "mood"}
    (u,) = read_manifest(path, columns=columns, corpus="mine", licence="CC0")
    assert (u.id, u.speaker, u.emotion, u.sex) == ("mine/a", "mine/anna", "sadness", "female")
    with pytest.raises(DataError, match="no column 'klip'; did you mean 'clip'"):
        read_manifest(path, columns={**columns, "file": "klip"})
    with pytest.raises(DataError, match="no column of a manifest is 'fiel'; did you mean 'file'"):
        read_manifest(path, columns={**columns, "fiel": "clip"})


def test_a_manifest_without_a_name_has_its_folders(table: Callable[[str], Path]) -> None:
    path = table("file,speaker,emotion\na.wav,x,sad\n", "manifest.csv")
    (u,) = read_manifest(path)
    assert u.id == f"{path.parent.name}/a"


def test_ids_tell_files_and_segments_apart(table: Callable[[str], Path]) -> None:
    path = table("file,speaker,emotion,start,end\na.wav,x,sad,0,0.05\na.wav,x,joy,0.05,0.1\n")
    tone(path.parent / "sub" / "a.wav", 77)
    assert [u.id for u in read_manifest(path)] == ["own/a#0-0.05", "own/a#0.05-0.1"]
    path = table("file,speaker,emotion\na.wav,x,sad\nsub/a.wav,x,joy\n")
    assert [u.id for u in read_manifest(path)] == ["own/a", "own/sub/a"]
    assert said(path) == []


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("m.csv", b"", "empty; a manifest begins with the names of its columns"),
        ("m.csv", "file,émotion".encode("latin-1"), "its text is not UTF-8"),
        ("m.csv", b"x" * 140_000, r"m\.csv:1: the header is not readable as CSV"),
        ("m.csv", b"file,emotion,speaker\n", r"m\.csv: no rows; nothing can be trained"),
        ("m.parquet", b"nothing", "not readable as Parquet"),
        ("m.xlsx", b"x", "manifests are read from .csv, .tsv or .parquet"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=expected):
        read_manifest(tmp_path / name)
    with pytest.raises(DataError, match="no such manifest"):
        read_manifest(tmp_path / "other.csv")


def test_parquet_rows_are_counted_and_the_extra_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = full(tmp_path)
    path = tmp_path / "m.parquet"
    write_manifest(manifest, path)
    (tmp_path / "b.wav").unlink()
    errors = [p for p in read_manifest(path).validate() if p.severity == "error"]
    assert errors[0].place == f"{path}: row 2"
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"voicetone\[data\]"):
        read_manifest(path)
    with pytest.raises(DataError, match=r"written as \.csv"):
        write_manifest(manifest, tmp_path / "m.xls")


def test_audformat_and_back(table: Callable[[str], Path]) -> None:
    text = (
        "file,start,end,emotion,speaker\n"
        "a.wav,0 days 00:00:00.010000,0 days 00:00:00.050000,anger,1\n"
        "b.wav,0 days,NaT,happiness,2\n"
    )
    path = table(text, "db.emotion.csv")
    manifest, problems = read_audformat(path, corpus="db", licence="CC0")
    assert problems == []
    first, second = manifest
    assert (first.start, first.end, first.emotion) == (0.01, 0.05, "anger")
    assert (second.start, second.end, second.speaker) == (0.0, None, "db/2")
    write_audformat(manifest, path.parent / "out.csv")
    again, _ = read_audformat(path.parent / "out.csv", corpus="db", licence="CC0")
    assert [replace(u, id="") for u in again] == [replace(u, id="") for u in manifest]
    bad = table("file,start,end,mood\na.wav,soon,,anger\n", "bad.csv")
    _, found = read_audformat(bad, columns={"emotion": "mood"})
    assert any("start 'soon' is no number" in p.text for p in found)
    with pytest.raises(DataError):
        refuse(found)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of audformat's use of pandas
def test_audformat_itself_reads_what_is_written(tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat")
    manifest = full(tmp_path)
    write_audformat(manifest, tmp_path / "out.csv")
    frame = audformat.utils.read_csv(tmp_path / "out.csv")
    assert list(frame.index.names) == ["file", "start", "end"]
    assert frame["emotion"].tolist()[0] == "happiness"
    assert frame.index.get_level_values("start")[0].total_seconds() == 0.01


@given(st.integers(0, 10**12))
def test_times_survive_audformat(micros: int) -> None:
    from voicetone.corpora.audformat import _seconds

    assert float(_seconds(timedelta(micros / 1e6))) == pytest.approx(micros / 1e6, abs=1e-6)


def test_emobox_and_back(table: Callable[[str], Path]) -> None:
    text = (
        '{"key": "Ses01F_impro01_F000", "dataset": "iemocap", "wav": "a.wav", "type": "raw", '
        '"sample_rate": 8000, "length": 0.1, "task": "category", "emo": "hap", "channel": 1}\n'
        '{"key": "x-2", "dataset": "iemocap", "wav": "b.wav", "emo": "neutral", '
        '"start_time": 0.02, "end_time": 0.05, "channel": 2, "length": 0.03}\n'
        "not json\n"
        '{"key": "x-3", "wav": "c.wav"}\n'
    )
    path = table(text, "iemocap.jsonl")
    manifest, problems = read_emobox(path, speaker=r"^(Ses\d\d\w)_")
    assert [p.place for p in problems] == [f"{path}:1", f"{path}:3", f"{path}:4"]
    first, second = manifest
    assert "unknown label 'hap'" in problems[0].text
    assert first.speaker == "iemocap/Ses01F"
    assert first.channel is None
    assert (second.start, second.end, second.channel) == (0.02, 0.05, 2)
    write_emobox(manifest.where(lambda u: u.emotion is not None), path.parent / "out.jsonl")
    again, problems = read_emobox(path.parent / "out.jsonl")
    assert problems == []
    assert replace(again.utterances[0], duration=0.03) == second
    for pattern, said in (("(", "not a regular expression"), ("Ses", "needs one group")):
        with pytest.raises(DataError, match=said):
            read_emobox(path, speaker=pattern)
    with pytest.raises(DataError, match="no such EmoBox file"):
        read_emobox(path.with_name("none.jsonl"))


def test_emobox_needs_labels_and_gets_lengths(tmp_path: Path) -> None:
    manifest = full(tmp_path)
    write_emobox(manifest, tmp_path / "out.jsonl")
    again, _ = read_emobox(tmp_path / "out.jsonl")
    assert again.utterances[1].duration == pytest.approx(0.1)
    assert again.utterances[1].label_raw == "contempt"
    none = replace(manifest.utterances[1], label_raw=None)
    with pytest.raises(DataError, match="no label, which EmoBox needs"):
        write_emobox(replace(manifest, utterances=(none,)), tmp_path / "x.jsonl")


def test_places_follow_a_filter(table: Callable[[str], Path]) -> None:
    path = table(HEADER + "a,a.wav,x,sad,,\nb,b.wav,y,joy,,\n")
    kept = read_manifest(path).where(lambda u: u.emotion == "happiness")
    assert kept.places == (f"{path}:3",)


def test_emobox_may_hold_line_separators_and_must_be_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    line = '{"key": "a", "wav": "a.wav", "emo": "happy", "transcript": "oh\u2028my"}\n'
    path.write_text(line, encoding="utf-8")
    (utterance,), problems = read_emobox(path)
    assert (utterance.transcript, problems) == ("oh\u2028my", [])
    path.write_bytes(line.replace("oh", "öh").encode("latin-1", "replace"))
    with pytest.raises(DataError, match=r"m\.jsonl: its text is not UTF-8"):
        read_emobox(path)
