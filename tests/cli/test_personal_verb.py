"""`voicetone personal`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.evaluation.tables import made

QUICK = ("--clips", "4", "--per-label", "1", "--splits", "1", "--draws", "20")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    made(speakers=5, each=24).write(tmp_path / "made.csv")
    return tmp_path / "made.csv"


def test_what_it_gains_is_printed(table: Path, voicetone: Run) -> None:
    done = voicetone("personal", table, *QUICK)
    assert (done.code, done.errors) == (0, [])
    assert done.out.startswith("# made\n\n120 utterances, 5 speakers, 1 seed, 1 split.")
    for method in ("centre", "match", "prior", "bias", "means"):
        assert f" {method} " in done.out


def test_it_is_written(table: Path, tmp_path: Path, voicetone: Run) -> None:
    done = voicetone("personal", table, *QUICK, "--per-label", "", "--out", tmp_path / "o")
    assert (done.code, done.out) == (0, f"{tmp_path / 'o' / 'personal.md'}\n")
    found = json.loads((tmp_path / "o" / "personal.json").read_text("utf-8"))
    assert {row["clips"] for row in found["rows"]} == {4}
    assert {row["method"] for row in found["rows"]} == {"centre", "match", "prior"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--clips", "two"), 2, "--clips two: give numbers such as 2,4,8"),
        (("--draws", "0"), 2, "--draws 0"),
        (("--splits", "0"), 3, "0 splits"),
        (("--clips", "999"), 0, ""),
        (("--clips", "0"), 3, "between 1 and 1000"),
    ],
)
def test_bad_words(
    table: Path, voicetone: Run, words: tuple[str, ...], code: int, said: str
) -> None:
    done = voicetone("personal", table, *QUICK, *words)
    assert done.code == code
    assert len(done.errors) == (1 if code else 0)
    assert said in "".join(done.errors)
