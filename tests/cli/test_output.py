"""Where results go."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetone.cli.output import OutputError, Outputs, atomic, own_names, write_text
from voicetone.errors import UsageError


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")

    def interrupted() -> None:
        with atomic(path) as out:
            out.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_parents_are_made_and_a_link_is_written_through(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "x.txt", "one")
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "a" / "b" / "x.txt")
    write_text(link, "two")
    assert (tmp_path / "a" / "b" / "x.txt").read_text() == "two"
    assert link.is_symlink()


def test_a_place_that_is_no_place_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"x\.json: can't be written") as caught:
        write_text(tmp_path / "file" / "x.json", "")
    assert "\n" not in str(caught.value)
    with pytest.raises(OutputError):
        write_text(tmp_path, "")


def test_names_mirror_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    root = tmp_path / "calls"
    inputs = [root / "mon" / "a.wav", root / "tue" / "a.wav", Path("b.v2.wav")]
    assert own_names(inputs, [str(root), "b.v2.wav"]) == ["mon/a", "tue/a", "b.v2"]


def test_names_that_collide_become_full_names() -> None:
    inputs = [Path("x/a.wav"), Path("x/a.flac"), Path("y/A.wav"), Path("y/b.wav")]
    names = own_names(inputs, [str(path) for path in inputs])
    assert names == ["x/a.wav", "x/a.flac", "y/A.wav", "b"]


@given(
    st.lists(st.from_regex(r"\A[ab]{1,2}(/[aB]{1,2})?(\.wav|\.WAV|\.a)?\Z"), unique_by=str.lower)
)
def test_names_never_collide(paths: list[str]) -> None:
    names = own_names([Path(path) for path in paths], paths)
    assert len({name.lower() for name in names}) == len(paths)


def outputs(**wanted: str) -> Outputs:
    return Outputs(wanted)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"json": "-", "csv": "-"}, "only one output"),
        ({"json": "-"}, "use --jsonl -"),
        ({"html": "-"}, "name a folder"),
        ({"json": "out.json"}, "end it with /"),
        ({"csv": "a.wav"}, "overwrite an input"),
        ({"csv": "same", "jsonl": "same"}, "another output"),
    ],
)
def test_what_cannot_work_is_refused(
    wanted: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        outputs(**wanted).check([Path("a.wav"), Path("b.wav")], many=True)


def test_one_input_takes_a_file_or_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = outputs(json="x.json", html="new/", rttm="noending")
    wanted.check([Path("a.wav")], many=False)
    assert wanted.targets([Path("a.wav")], ["a.wav"], many=False) == [
        {"json": Path("x.json"), "html": Path("new/a.html"), "rttm": Path("noending")}
    ]
