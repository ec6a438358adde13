"""Answers on disk: found again, torn lines dropped, strangers' files left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicetone.errors import DataError, UsageError
from voicetone.pseudolabel import Entry, Journal

ENTRY = Entry("u0", "sentiment", "fake 1", "00", "positive", 0.9, {"positive": 0.9})


def test_an_answer_is_found_again_under_its_whole_key(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.jsonl") as journal:
        journal.add(ENTRY)
    with Journal(tmp_path / "a.jsonl") as journal:
        assert journal.find("u0", "sentiment", "fake 1", "00") == ENTRY
        assert journal.find("u1", "sentiment", "fake 1", "00") is None
        assert journal.find("u0", "emotion", "fake 1", "00") is None
        assert journal.find("u0", "sentiment", "fake 2", "00") is None
        assert journal.find("u0", "sentiment", "fake 1", "01") is None


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_dropped(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path) as journal:
        journal.add(ENTRY)
        journal.add(Entry("u1", "sentiment", "fake 1", "00", "neutral"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with Journal(path) as journal:
        assert len(journal) == 1
        journal.add(Entry("u1", "sentiment", "fake 1", "00", "neutral"))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"my notes\n", b"my notes", b'{"file":"x"}\n', b"[1]\n"])
def test_another_file_is_refused_and_untouched(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="something else than pseudo-labels"):
        Journal(path)
    assert path.read_bytes() == content


def test_two_runs_do_not_share_a_file(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.jsonl"), pytest.raises(UsageError, match="another run"):
        Journal(tmp_path / "a.jsonl")


def test_a_place_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be written"):
        Journal(tmp_path)


def test_names_that_are_no_utf8_do_not_end_a_run(tmp_path: Path) -> None:
    name = b"u\xff".decode("utf-8", "surrogateescape")
    for _ in range(2):
        with Journal(tmp_path / "a.jsonl") as journal:
            journal.add(Entry(name, "transcript", "fake 1", "00", "x"))
            assert journal.find(name, "transcript", "fake 1", "00") is not None
    with Journal(tmp_path / "a.jsonl") as journal:
        assert journal.find(name, "transcript", "fake 1", "00") is not None
