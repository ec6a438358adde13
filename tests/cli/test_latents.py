"""`voicetone latents` on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from training.toy_aae import make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("latents")
    make_run(place, ("aae",), epochs=3)
    return place


@pytest.fixture
def run(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOICETONE_CACHE", str(made / "cache"))
    monkeypatch.setenv("VOICETONE_DATA", str(made))
    return made / "out" / "emotion" / "aae"


def test_help(voicetone: Run) -> None:
    done = voicetone("latents", "--help")
    assert done.code == 0
    assert "OUT/TARGET/SYSTEM" in done.out
    assert "latents" in voicetone().out


def test_the_page_is_printed(run: Path, voicetone: Run) -> None:
    done = voicetone("latents", run, "--fold", "toy s0-s1", "--no-figures", "--jobs", 1)
    assert done.code == 0, done.err
    assert done.out.startswith("# Latents of toy/emotion/aae\n")
    assert done.out.endswith(f"{run / 'latents'}\n")
    made = {p.name for p in (run / "latents").iterdir()}
    assert made == {"latents.json", "latents.md", "latents.parquet", "swapped.json"}


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--fold", "nobody"], 2, "--fold nobody: there are weights of these folds: toy s0-s1"),
        (["--seed", "9"], 2, "--seed 9: there are weights of these seeds: 3"),
        (["--jobs", "-1"], 2, "--jobs -1: give a number from 0 on"),
        (["--out", "{run}/predictions"], 3, "holds something else than latents"),
    ],
)
def test_mistakes(run: Path, voicetone: Run, words: list[str], code: int, line: str) -> None:
    done = voicetone("latents", run, *(w.format(run=run) for w in words))
    assert done.code == code
    (error,) = done.err.splitlines()
    assert line in error


def test_no_run(tmp_path: Path, voicetone: Run) -> None:
    done = voicetone("latents", tmp_path / "nowhere")
    assert done.code == 3
    assert "no system's folder of a run" in done.err


def test_extras_that_lack(run: Path, voicetone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = voicetone("latents", run, "--fold", "toy s0-s1")
    assert done.code == 4
    assert "figures needs an extra: pip install 'voicetone[report]'" in done.err
