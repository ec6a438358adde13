"""`evaluate`, `compare` and `leaderboard` on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Run, in_process
from tests.evaluation.tables import made

from voicetone.evaluation.results import result_row, write_results


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two run folders."""
    place = tmp_path / "runs"
    for name, skill in (("weak", 1.0), ("strong", 2.5)):
        t = made(seeds=(0, 1), skill=skill, meta={"protocol": "official", "model": name})
        for seed, part in enumerate(t.by_seed()):
            part.write(place / name / "predictions" / f"all-{seed}.parquet")
    return place


@pytest.fixture
def results(tmp_path: Path, runs: Path) -> Path:
    """A results file that names the runs' tables."""
    rows = [result_row(runs / name / "predictions", tmp_path) for name in ("weak", "strong")]
    write_results(tmp_path / "x.json", rows)
    return tmp_path / "x.json"


@pytest.mark.parametrize("verb", ["evaluate", "compare", "leaderboard"])
def test_help(verb: str, voicetone: Run) -> None:
    done = voicetone(verb, "--help")
    assert done.code == 0
    assert verb in voicetone().out


def test_scores_are_printed(runs: Path, voicetone: Run) -> None:
    done = voicetone("evaluate", runs / "weak", "--draws", 50)
    assert (done.code, done.errors) == (0, [])
    assert done.out.startswith("# weak\n\n400 utterances, 10 speakers, 2 seeds.")
    assert "UAR (= UA, balanced accuracy)" in done.out


def test_a_folder_is_written(runs: Path, tmp_path: Path, voicetone: Run) -> None:
    out = tmp_path / "out"
    words = ("--title", "My model", "--draws", 50, "--changed", f"gain={runs / 'weak'}")
    done = voicetone("evaluate", runs / "weak", "--out", out, *words)
    assert (done.code, done.out) == (0, f"{out / 'report.html'}\n")
    assert "<h1><bdi>My model</bdi></h1>" in (out / "report.html").read_text("utf-8")
    scores = json.loads((out / "scores.json").read_text("utf-8"))
    assert scores["robustness"][0]["passed"] is True
    assert (out / "figures" / "confusion.pdf").exists()


def test_recordings_can_be_left_out(tmp_path: Path, voicetone: Run) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    made(audio=np.full(400, str(tmp_path / "a.wav"))).write(tmp_path / "t.csv")
    for word, players in (("--audio", 20), ("--no-audio", 0)):
        out = tmp_path / word
        voicetone("evaluate", tmp_path / "t.csv", "--out", out, "--no-figures", "--draws", 0, word)
        assert (out / "report.html").read_text("utf-8").count("<audio") == players


def test_without_figures(runs: Path, tmp_path: Path, voicetone: Run) -> None:
    done = voicetone(
        "evaluate", runs / "weak", "--out", tmp_path / "o", "--draws", 9, "--no-figures"
    )
    assert done.code == 0
    assert not (tmp_path / "o" / "figures").exists()


def test_tables_are_judged_together(runs: Path, voicetone: Run) -> None:
    tables = sorted((runs / "weak" / "predictions").iterdir())
    done = voicetone("evaluate", *tables, "--draws", 50)
    assert done.code == 0
    assert (
        done.out.split("\n", 1)[1]
        == voicetone("evaluate", runs / "weak", "--draws", 50).out.split("\n", 1)[1]
    )
    assert done.out.startswith("# all-0 and 1 more")


def test_foreign_predictions(tmp_path: Path, voicetone: Run) -> None:
    said, real = tmp_path / "pred.json", tmp_path / "labels.json"
    said.write_text(json.dumps([{"key": str(i), "pred": i % 2} for i in range(9)]), "utf-8")
    real.write_text(json.dumps([{"key": str(i), "label": i % 3 % 2} for i in range(9)]), "utf-8")
    done = voicetone("evaluate", said, "--truth", real)
    assert done.code == 0
    assert "> No intervals: some utterances name no speaker." in done.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "no predictions named"),
        (("nowhere.csv",), "nowhere.csv: no such file of predictions"),
        (("--draws", "-1", "WEAK"), "--draws -1"),
        (("--truth", "x.csv", "WEAK"), "has its truth in it: leave the option out"),
        (("--changed", "gain", "WEAK"), "not of the form NAME=PREDICTIONS"),
        (("--recompute", "x.json", "WEAK"), "name nothing else"),
        (("--recompute", "nowhere.json"), "no such file of results"),
        (("--out", "FILE", "--no-figures", "WEAK"), "can't be written"),
    ],
)
def test_one_line_for_what_can_not_be(
    words: tuple[str, ...], line: str, runs: Path, tmp_path: Path, voicetone: Run
) -> None:
    (tmp_path / "file").touch()
    places = {"WEAK": runs / "weak", "FILE": tmp_path / "file"}
    done = voicetone("evaluate", *[places.get(w, w) for w in words])
    assert done.code in (2, 3)
    (said,) = done.errors
    assert line in said


def test_recompute(results: Path, voicetone: Run) -> None:
    done = voicetone("evaluate", "--recompute", results)
    assert (done.code, done.errors) == (0, [])
    assert "all 12 numbers of 2 rows come out again, and 6 facts are as their" in done.out


def test_recompute_names_each_number_that_differs(results: Path, voicetone: Run) -> None:
    data = json.loads(results.read_text("utf-8"))
    data["rows"][0]["mean"] += 0.01
    data["rows"][1]["high"] = 0.5
    data["rows"][1]["seeds"] = 5
    results.write_text(json.dumps(data), encoding="utf-8")
    done = voicetone("evaluate", "--recompute", results)
    assert done.code == 3
    first, second, third = sorted(done.errors)
    assert "row 1 (weak, uar): mean is" in first
    assert "row 2 (strong, uar): high is 0.5 in the file and" in second
    assert "row 2 (strong, uar): seeds is 5 in the file and 2 computed" in third


def test_compare(runs: Path, tmp_path: Path, voicetone: Run) -> None:
    done = voicetone("compare", runs / "weak", runs / "strong", "--draws", 50)
    assert done.code == 0
    assert "(reference)" in done.out
    out = tmp_path / "cmp"
    done = voicetone("compare", runs / "weak", runs / "strong", "--draws", 50, "--out", out)
    assert done.out == f"{out / 'comparison.html'}\n"
    names = [run["name"] for run in json.loads((out / "comparison.json").read_text())["runs"]]
    assert names == ["weak", "strong"]
    assert (out / "comparison.md").exists()


def test_runs_of_one_name_are_told_apart(runs: Path, tmp_path: Path, voicetone: Run) -> None:
    made().write(tmp_path / "other" / "weak" / "predictions" / "a.csv")
    done = voicetone("compare", runs / "weak", tmp_path / "other" / "weak", "--draws", 9)
    assert done.code == 0
    assert str(tmp_path / "other" / "weak") in done.out


def test_what_can_not_be_compared(runs: Path, tmp_path: Path, voicetone: Run) -> None:
    made(id=np.array([f"x{i}" for i in range(400)])).write(tmp_path / "t.csv")
    for words, line in (
        ((runs / "weak",), "one run can't be compared"),
        ((runs / "weak", runs / "strong", "--metric", "luck"), "--metric luck"),
        ((runs / "weak", runs / "strong", "--draws", "0"), "--draws 0"),
        ((runs / "weak", tmp_path / "t.csv"), "no utterance in common"),
    ):
        done = voicetone("compare", *words)
        assert done.code in (2, 3)
        assert line in done.errors[0]


def test_leaderboard(runs: Path, voicetone: Run) -> None:
    done = voicetone("leaderboard", runs)
    assert done.code == 0
    assert done.out.index("strong") < done.out.index("weak")
    found = json.loads(voicetone("leaderboard", runs, "--json", "--metric", "wa").out)
    assert [e["run"] for e in found] == ["strong", "weak"]
    assert found[0]["wa"]["mean"] > found[1]["wa"]["mean"]


def test_leaderboard_without_runs(tmp_path: Path, voicetone: Run) -> None:
    assert "no run in it has uar" in voicetone("leaderboard", tmp_path).errors[0]
    assert "no such folder" in voicetone("leaderboard", tmp_path / "x").errors[0]


def test_scoring_loads_nothing_heavy(tmp_path: Path) -> None:
    """The light install scores CSV: without pyarrow, scipy, scikit-learn and matplotlib."""
    made(speakers=5, each=8).write(tmp_path / "t.csv")
    site = tmp_path / "site"
    site.mkdir()
    for name in ("pyarrow", "scipy", "sklearn", "matplotlib", "torch", "confidence_intervals"):
        (site / f"{name}.py").write_text("raise ImportError('left out')", encoding="utf-8")
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from voicetone.cli.main import run\n"
        f"sys.exit(run(['evaluate', {str(tmp_path / 't.csv')!r}, '--out', "
        f"{str(tmp_path / 'o')!r}, '--no-figures', '--draws', '20']))"
    )
    import subprocess

    from tests.cli.conftest import environment

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "o" / "report.html").exists()


def test_in_a_process_of_its_own(results: Path) -> None:
    done = in_process(["evaluate", "--recompute", results])
    assert (done.returncode, done.stderr) == (0, "")
