"""From names to files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetone.audio import find_audio, open_audio
from voicetone.audio.find import display, natural_key
from voicetone.errors import AudioError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "call10.wav",
        "call2.WAV",
        "call2b.flac",
        "notes.txt",
        "dump.ulaw",
        ".hidden.wav",
        "._call2.wav",
        ".git/x.wav",
        "b/x.mp3",
        "b/deep/er/y.opus",
        "empty/readme.md",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*paths: str, raw: bool = False) -> list[str]:
    return [path.as_posix() for path in find_audio(paths, raw=raw)]


def test_a_folder_is_searched_to_the_bottom_in_natural_order(tree: Path) -> None:
    assert names(".") == ["b/deep/er/y.opus", "b/x.mp3", "call2.WAV", "call2b.flac", "call10.wav"]


def test_a_file_may_have_any_name(tree: Path) -> None:
    assert names("notes.txt", ".hidden.wav") == ["notes.txt", ".hidden.wav"]


def test_headerless_audio_is_looked_for_when_asked(tree: Path) -> None:
    assert names(".", raw=True) == ["dump.ulaw"]


def test_a_glob_that_the_shell_left(tree: Path) -> None:
    assert names("call*") == ["call2.WAV", "call2b.flac", "call10.wav"]
    assert names("b/**/*.opus") == ["b/deep/er/y.opus"]
    assert names("[b]") == ["b/deep/er/y.opus", "b/x.mp3"]


def test_a_file_whose_name_looks_like_a_glob(tree: Path) -> None:
    (tree / "take[2].wav").write_bytes(b"x")
    assert names("take[2].wav") == ["take[2].wav"]


def test_nothing_twice(tree: Path) -> None:
    (tree / "link.wav").symlink_to("call10.wav")
    found = names("call10.wav", str(tree / "call10.wav"), "link.wav", "b/../call10.wav", "-", "-")
    assert found == ["call10.wav", "-"]
    assert names("b/x.mp3", "b", "b") == ["b/x.mp3", "b/deep/er/y.opus"]


def test_the_order_given_is_kept(tree: Path) -> None:
    assert names("call10.wav", "-", "b", "call2.WAV") == [
        "call10.wav",
        "-",
        "b/deep/er/y.opus",
        "b/x.mp3",
        "call2.WAV",
    ]


def test_links_that_lead_in_circles(tree: Path) -> None:
    (tree / "b" / "deep" / "up").symlink_to(tree)
    (tree / "b" / "again").symlink_to(tree / "b" / "deep")
    (tree / "self").symlink_to("self")
    assert sorted(Path(n).name for n in names("b")) == [
        "call10.wav",
        "call2.WAV",
        "call2b.flac",
        "x.mp3",
        "y.opus",
    ]


def test_a_file_named_minus(tree: Path) -> None:
    (tree / "-").write_bytes(b"x")
    assert find_audio(["./-"]) == [tree / "-"]


def test_folders_without_audio(tree: Path) -> None:
    with pytest.raises(AudioError, match=r"^empty: no audio in this folder .*: name the files"):
        find_audio(["empty"])
    (tree / "none").mkdir()
    with pytest.raises(AudioError, match=r"^empty, none: no audio"):
        find_audio(["empty", "none", "./empty"])


def test_what_is_wrong_with_one_name_does_not_cost_the_others(tree: Path) -> None:
    found = find_audio(["gone.wav", "empty", "no*match", "call10.wav"])
    assert [path.as_posix() for path in found] == ["gone.wav", "empty", "no*match", "call10.wav"]
    for path, says in zip(
        found, ("no such file", "no audio in this", "no such file"), strict=False
    ):
        with pytest.raises(AudioError, match=says):
            open_audio(path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs file permissions")
def test_a_folder_that_must_not_be_listed_is_not_lost(tree: Path) -> None:
    (tree / "b" / "closed").mkdir(mode=0)
    root = os.geteuid() == 0
    for folder in (tree, *tree.parents[:3]):
        folder.chmod(0o755)
    if root:
        os.seteuid(65534)
    try:
        found = find_audio(["b"])
        with pytest.raises(AudioError, match="permission denied"):
            open_audio("b/closed")
    finally:
        if root:
            os.seteuid(0)
    assert Path("b/closed") in found
    assert Path("b/x.mp3") in found


def test_no_name_at_all() -> None:
    with pytest.raises(AudioError, match="no audio named"):
        find_audio([])


@pytest.mark.parametrize(
    "ordered",
    [
        ["call.wav", "call1.wav", "Call2.wav", "call10.wav", "call10b.wav"],
        ["2024-9-1.wav", "2024-10-1.wav"],
        ["01.wav", "1.wav", "a.wav"],
        ["x.9", "x.10"],
    ],
)
def test_natural_order(ordered: list[str]) -> None:
    assert sorted(ordered, key=natural_key) == ordered
    assert sorted(ordered, key=natural_key, reverse=True) == ordered[::-1]


@given(st.lists(st.text(max_size=12)))
def test_every_name_has_a_place(some: list[str]) -> None:
    assert sorted(some, key=natural_key) == sorted(some, key=natural_key, reverse=True)[::-1]


@given(st.text())
def test_every_name_can_be_printed(name: str) -> None:
    shown = display(name)
    assert shown.isprintable()
    shown.encode()
    assert shown == name or not name.isprintable()
