"""The results of a run on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.results import result, silent

from voicetone.cli.journal import Journal, fingerprint
from voicetone.errors import UsageError


def entry(file: str, print_: str = "p") -> dict[str, object]:
    return result(file).to_dict() | {"fingerprint": print_}


def files(path: Path) -> list[str]:
    return [json.loads(line)["file"] for line in path.read_text().splitlines()]


def test_results_come_back_equal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.add(entry("a.wav"))
        journal.add(silent().to_dict())
        assert list(journal.results(["silent.wav", "a.wav", "none.wav"])) == [
            silent(),
            result("a.wav"),
        ]


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.add(entry("a.wav"))
        journal.add(entry("b.wav"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with Journal(path) as journal:
        assert journal.holds("a.wav", "p")
        assert not journal.holds("b.wav", "p")
        journal.add(entry("b.wav"))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("length", [1, 5, 8, 30])
def test_a_file_with_only_half_a_line_starts_anew(tmp_path: Path, length: int) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.add(entry("a.wav"))
    path.write_bytes(path.read_bytes()[:length])
    with Journal(path) as journal:
        assert not journal.holds("a.wav", "p")
    assert path.read_bytes() == b""


@pytest.mark.parametrize("content", [b"file,start\n", b"RIFF....", b'{"a": 1}\n', b"[1]\n"])
def test_a_foreign_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="something else than results"):
        Journal(path)
    assert path.read_bytes() == content


def test_a_changed_file_is_not_held_and_its_new_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.add(entry("a.wav", "old"))
        journal.add(entry("other.wav"))
        assert not journal.holds("a.wav", "new")
        assert not journal.holds("a.wav", None)
        journal.add(entry("a.wav", "new"))
        assert journal.holds("a.wav", "new")
        journal.finish(["a.wav"])
    assert files(path) == ["other.wav", "a.wav"]


def test_a_complete_run_is_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        for name in ("c", "a", "b"):
            journal.add(entry(name))
        journal.finish(["a", "b", "c"])
    assert files(path) == ["a", "b", "c"]


def test_two_runs_do_not_share_a_file(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "j.jsonl"
    with Journal(path), pytest.raises(UsageError, match="another run"):
        Journal(path)


def test_names_that_are_not_utf8_come_back(tmp_path: Path) -> None:
    name = "caf\udce9 \u00e9.wav"
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.add(entry(name))
    assert json.loads((tmp_path / "j.jsonl").read_bytes())["file"] == name
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.holds(name, "p")


def test_the_fingerprint_follows_file_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"1")
    first = fingerprint(path, "x")
    assert first == fingerprint(path, "x") != fingerprint(path, "y")
    path.write_bytes(b"12")
    assert fingerprint(path, "x") != first
    assert fingerprint(tmp_path / "none", "x") is None
