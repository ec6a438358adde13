"""`voicetone features`: into the cache and into files; a broken recording costs one line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from training import toy_corpus
from voicetone.cli.main import run


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOICETONE_CACHE", str(tmp_path / "cache"))
    return toy_corpus.make(tmp_path / "toy", speakers=2, each=1)


def test_into_files(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(corpus), "--set", "mfcc", "--jobs", "1"]
    assert (
        run(["features", *given, "--level", "functionals", "--out", f"{tmp_path / 'f.csv'}"]) == 0
    )
    assert "6 utterances, 26 features, 6 computed, 0 failed" in capsys.readouterr().out
    with (tmp_path / "f.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["emotion"] for r in rows][:3] == ["anger", "happiness", "sadness"]
    assert (
        run(["features", *given, "--level", "functionals", "--out", f"{tmp_path / 'f.parquet'}"])
        == 0
    )
    assert "0 computed" in capsys.readouterr().out
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "f.parquet")
    assert table["mfcc_3_sd"].to_pylist() == pytest.approx(
        [float(r["mfcc_3_sd"]) for r in rows], rel=1e-5
    )
    assert run(["features", *given, "--out", f"{tmp_path / 'f.npz'}"]) == 0
    with np.load(tmp_path / "f.npz") as arrays:
        assert arrays["names"].shape == (13,)
        assert arrays[rows[0]["id"]].shape == (38, 13)


def test_a_broken_recording(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((corpus / "audio").iterdir()).write_bytes(b"RIFF")
    assert run(["features", str(corpus), "--set", "logmel", "--jobs", "1"]) == 3
    out = capsys.readouterr()
    assert "5 utterances" in out.out
    assert out.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "mffc"], "no feature set 'mffc'"),
        (["--set", "mfcc", "--out", "f.csv"], "frames are written as .npz"),
        (["--set", "mfcc", "--out", "f.txt"], "features are written as"),
        (["--set", "mfcc", "--jobs", "-1"], "give a number of processes"),
    ],
)
def test_options_that_cannot_be(
    corpus: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["features", str(corpus), *options]) in (2, 3)
    assert message in capsys.readouterr().err
