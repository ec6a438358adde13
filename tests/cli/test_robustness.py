"""`voicetone robustness`: tables and report, resumed, refused; a broken recording costs itself."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.cli.conftest import Run

from training import toy_corpus
from voicetone.cli import sweep
from voicetone.cli.sweep import NO_SPEECH
from voicetone.evaluation.table import PredictionTable, read_predictions

RATE = 16_000


def sounds(folder: Path, rows: Sequence[tuple[str, str]]) -> Path:
    """A folder of noises in the layout of the prepared ones: (label, fold)."""
    (folder / "audio").mkdir(parents=True)
    lines = [("file", "label", "fold")]
    for number, (label, fold) in enumerate(rows):
        name = f"audio/{number}.wav"
        noise = 0.1 * np.random.default_rng(number).standard_normal(RATE // 2)
        soundfile.write(folder / name, noise.astype(np.float32), RATE, subtype="FLOAT")
        lines.append((name, label, fold))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return toy_corpus.make(tmp_path / "corpus", speakers=5, each=1, seconds=0.6)


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    return sounds(tmp_path / "noises", [("rain", "1"), ("dog", "2"), ("coughing", "2")])


def table(out: Path, name: str) -> PredictionTable:
    return read_predictions(out / "tables" / f"{name}.parquet")


def same(one: PredictionTable, two: PredictionTable) -> bool:
    order = [two.id.tolist().index(i) for i in one.id.tolist()]
    return np.array_equal(one.scores, two.scores[order])


def test_a_whole_sweep(
    voicetone: Run, toy: Path, corpus: Path, noises: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    rooms = sounds(tmp_path / "rooms", [("room", ""), ("filter", "")])
    done = voicetone(
        "robustness", toy, corpus, "--out", out, "--noise", noises, "--rooms", rooms, "--jobs", 1
    )
    assert done.code == 0, done.err
    assert done.errors == ["voicetone: music: left out, it needs --music FOLDER"]
    assert done.out.startswith(f"{out / 'report.html'}: 15 utterances, 26 conditions, ")
    scores = json.loads((out / "scores.json").read_text("utf-8"))
    effects = {e["name"]: e for e in scores["robustness"]}
    assert len(effects) == 26
    assert effects["cough 10 dB"]["limit"] == {"delta_uar": -0.05, "unchanged": 0.9}
    assert effects["telephone GSM"]["limit"] == {"delta_uar": -0.05, "unchanged": None}
    assert effects["reverberation"]["passed"] is None
    clean, changed = table(out, "clean"), table(out, "babble-0-dB")
    assert clean.labels == ("anger", "happiness", "sadness")
    unchanged = float((clean.predicted == changed.predicted).mean())
    assert effects["babble 0 dB"]["unchanged"] == pytest.approx(unchanged)
    assert not same(clean, changed)
    assert changed.meta["condition"] == "babble 0 dB"
    page, text = (out / "report.html").read_text("utf-8"), (out / "scores.md").read_text("utf-8")
    assert "babble 0 dB" in page
    assert "Δ ≥ −0.05, ≥ 90%" in page
    assert "Δ ≥ −0.05, ≥ 90%" in text
    assert str(tmp_path) not in json.dumps(scores)


def test_clean_scores_are_those_of_analyze(
    voicetone: Run, toy: Path, corpus: Path, tmp_path: Path
) -> None:
    from voicetone import analyze, load

    out = tmp_path / "out"
    assert (
        voicetone("robustness", toy, corpus, "--out", out, "--conditions", "gain", "--jobs", 1).code
        == 0
    )
    clean = table(out, "clean")
    for row, audio in enumerate(clean.audio.tolist()):
        overall = analyze(corpus / "audio" / audio, load(toy)).channels[0].overall
        assert overall.emotion is not None
        found = np.array([overall.emotion[label] for label in clean.labels])
        np.testing.assert_allclose(clean.scores[row], found / found.sum(), atol=1e-6)


def test_neither_order_nor_processes_change_a_score(
    voicetone: Run, toy: Path, corpus: Path, noises: Path, tmp_path: Path
) -> None:
    given = ("--conditions", "babble 5 dB,environment 0 dB,crop", "--noise", noises)
    one, two = tmp_path / "one", tmp_path / "two"
    assert voicetone("robustness", toy, corpus, "--out", one, *given, "--jobs", 1).code == 0
    rows = toy_corpus.rows(corpus)
    toy_corpus.write(corpus, [tuple(r) for r in reversed(rows)])
    assert voicetone("robustness", toy, corpus, "--out", two, *given, "--jobs", 2).code == 0
    for name in ("clean", "babble-5-dB", "environment-0-dB", "crop"):
        assert same(table(one, name), table(two, name)), name
    other = tmp_path / "other"
    assert (
        voicetone("robustness", toy, corpus, "--out", other, *given, "--seed", 1, "--jobs", 1).code
        == 0
    )
    assert same(table(one, "clean"), table(other, "clean"))
    assert not same(table(one, "babble-5-dB"), table(other, "babble-5-dB"))


def test_it_goes_on_and_never_overwrites(
    voicetone: Run, toy: Path, corpus: Path, noises: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "out"

    def sweep_of(*more: object) -> list[str]:
        done = voicetone("robustness", toy, corpus, "--out", out, "--jobs", 1, *more)
        return [str(done.code), *done.errors]

    assert sweep_of("--conditions", "gain,pad") == ["0"]
    asked: list[str] = []
    score = sweep.Scorer.score

    def counted(self: sweep.Scorer, place: int, change: object) -> sweep.Outcome:
        asked.append(getattr(change, "name", "clean"))
        return score(self, place, change)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep.Scorer, "score", counted)
    (out / "tables" / "pad.parquet").unlink()
    assert sweep_of("--conditions", "gain,pad") == ["0"]
    assert asked == ["pad"] * 15
    kept = (out / "tables" / "clean.parquet").read_bytes()
    for more, what in (
        (("--seed", 1), "its seed of draws is 0, not 1"),
        (("--limit", 10), "its manifest is"),
        (("--space", "sentiment"), "its manifest is|its label space is"),
    ):
        code, line = sweep_of("--conditions", "gain,pad", *more)
        assert code == "3"
        assert "of another sweep (" in line
        assert any(words in line for words in what.split("|"))
    noisy = ("--conditions", "environment 5 dB", "--noise", noises)
    assert sweep_of(*noisy) == ["0"]
    code, line = sweep_of(*noisy, "--noise-folds", "2")
    assert "of another sweep (its sounds is" in line
    assert (out / "tables" / "clean.parquet").read_bytes() == kept
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    done = voicetone("robustness", toy, corpus, "--out", full)
    assert "holds something else than a robustness sweep" in done.err


def test_what_no_speech_is_heard_in(
    voicetone: Run, toy: Path, corpus: Path, tmp_path: Path
) -> None:
    quiet = corpus / "audio" / "0-anger-0.wav"
    soundfile.write(quiet, np.zeros(RATE, dtype=np.float32), RATE)
    out = tmp_path / "out"
    assert (
        voicetone("robustness", toy, corpus, "--out", out, "--conditions", "gain", "--jobs", 1).code
        == 0
    )
    clean = table(out, "clean")
    assert clean.labels[-1] == NO_SPEECH
    silent = clean.predicted == NO_SPEECH
    assert clean.audio[silent].tolist() == ["0-anger-0.wav"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_broken_recording_costs_itself(
    voicetone: Run, toy: Path, corpus: Path, tmp_path: Path, jobs: int
) -> None:
    (corpus / "audio" / "1-sadness-0.wav").write_bytes(b"RIFF")
    out = tmp_path / "out"
    done = voicetone(
        "robustness", toy, corpus, "--out", out, "--conditions", "babble 20 dB", "--jobs", jobs
    )
    assert done.code == 3
    assert len(done.errors) == 1
    assert "1-sadness-0.wav" in done.errors[0]
    assert len(table(out, "clean")) == len(table(out, "babble-20-dB")) == 14
    assert (out / "report.html").is_file()


def test_labels_rules_and_limits(voicetone: Run, toy: Path, corpus: Path, tmp_path: Path) -> None:
    given = ("robustness", toy, corpus, "--conditions", "gain", "--jobs", 1)
    assert voicetone(*given, "--out", tmp_path / "a", "--labels", "anger,sadness").code == 0
    assert set(table(tmp_path / "a", "clean").truth.tolist()) == {"anger", "sadness"}
    space = ("--space", "sentiment", "--rule", "sentiment")
    assert voicetone(*given, "--out", tmp_path / "b", *space).code == 0
    clean = table(tmp_path / "b", "clean")
    assert clean.labels == ("positive", "negative")
    assert clean.meta["label_rule"] == "sentiment"
    assert voicetone(*given, "--out", tmp_path / "c", "--limit", 7).code == 0
    assert len(table(tmp_path / "c", "clean")) == 7


def test_the_report_says_that_the_model_knows_the_corpus(
    voicetone: Run, toy: Path, corpus: Path, tmp_path: Path
) -> None:
    known = tmp_path / "none"  # the corpus that the toy model says it learnt from
    shutil.copytree(corpus, known)
    for folder, words in ((corpus, "cross-corpus: no corpus"), (known, "the model learnt from")):
        out = tmp_path / f"out-{folder.name}"
        done = voicetone("robustness", toy, folder, "--out", out, "--conditions", "gain")
        assert done.code == 0
        assert words in (out / "report.html").read_text("utf-8")


def test_input_that_cannot_be(
    voicetone: Run, toy: Path, corpus: Path, noises: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    broken = sounds(tmp_path / "broken", [("rain", "1")])
    (broken / "audio" / "0.wav").write_bytes(b"RIFF")
    single = tmp_path / "single"
    shutil.copytree(corpus, single)
    toy_corpus.write(single, [tuple(r) for r in toy_corpus.rows(single) if r[2] == "s0"])
    foreign = tmp_path / "foreign"
    shutil.copytree(corpus, foreign)
    rows = [(r[0], "boredom", *r[2:]) for r in toy_corpus.rows(foreign)]
    toy_corpus.write(foreign, rows)
    cases: list[tuple[tuple[object, ...], int, str]] = [
        ((corpus, "--conditions", "babbel 20 dB"), 2, "'babbel 20 dB': not known: use any of"),
        ((corpus, "--conditions", "music 20 dB"), 2, "music 20 dB: needs --music FOLDER"),
        ((single, "--conditions", "babble"), 2, "needs two or more speakers, all of them named"),
        ((corpus, "--noise", tmp_path / "empty"), 3, "no such manifest"),
        ((corpus, "--noise", noises, "--noise-folds", "9"), 3, "names no sound of the folds 9"),
        ((corpus, "--noise", broken), 3, "0.wav"),
        ((foreign,), 3, "0 of the labels of toy 0.1.0 (anger, happiness, sadness, neutral)"),
        ((corpus, "--labels", "anger,rage"), 2, "--labels rage: toy 0.1.0 knows anger"),
        ((corpus, "--labels", "anger"), 3, "1 of the labels of toy 0.1.0"),
        ((corpus, "--rule", "emotions"), 2, "no label rule of this name"),
        ((corpus, "--space", "tone"), 2, "give emotion or sentiment"),
        ((corpus, "--jobs", "-1"), 2, "--jobs -1: give a number from 0 on"),
        ((corpus, "--limit", "-1"), 2, "--limit -1: give a number from 0 on"),
        ((tmp_path / "gone.csv",), 3, "no such manifest"),
    ]
    for words, code, message in cases:
        done = voicetone("robustness", toy, *words, "--out", out)
        assert (done.code, len(done.errors)) == (code, 1), (words, done.err)
        assert message in done.errors[0]
        assert not out.exists()
    for path in (corpus / "audio").iterdir():
        path.write_bytes(b"RIFF")
    done = voicetone("robustness", toy, corpus, "--out", out, "--conditions", "gain", "--jobs", 1)
    assert done.code == 3
    assert "no utterance could be scored; the first: " in done.err
