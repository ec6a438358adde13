"""The report of an evaluation: complete, closed to anything foreign, and the same twice."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.evaluation.tables import LABELS, made

from voicetone.evaluation import compare as comparing
from voicetone.evaluation import report_picture as picture
from voicetone.evaluation.leaderboard import leaderboard
from voicetone.evaluation.leaderboard import markdown as board
from voicetone.evaluation.report import facts_of, render, render_comparison
from voicetone.evaluation.report_clips import Clip, clip_player, find_clip
from voicetone.evaluation.report_files import write_report
from voicetone.evaluation.report_text import markdown
from voicetone.evaluation.robustness import LIMITS, Condition, robustness
from voicetone.evaluation.scores import judge, judge_dimensions
from voicetone.evaluation.significance import better_over_seeds, different_over_seeds
from voicetone.evaluation.table import DimensionTable, PredictionTable, concatenate

DRAWS = 50
HOSTILE = '<script>alert(1)</script>"\u202e&'


def judged(table: PredictionTable | None = None) -> dict[str, Any]:
    table = table or made()
    effects = robustness(table, [Condition("gain", table, LIMITS["gain"])], DRAWS)
    return {**judge(table, DRAWS), "robustness": [asdict(e) for e in effects]}


def dimensions(n: int = 60) -> DimensionTable:
    rng = np.random.default_rng(0)
    truth = rng.random((n, 2))
    return DimensionTable(
        id=np.arange(n).astype(str),
        dimensions=("arousal", "valence"),
        truth=truth,
        predicted=truth + 0.1 * rng.normal(size=(n, 2)),
        speaker=np.array([f"s{i % 6}" for i in range(n)]),
        meta={"protocol": "official"},
    )


# The page


def test_the_page_says_all_there_is() -> None:
    data = judged(made(seeds=(0, 1)))
    page = render(data, title="A model")
    for words in (
        "A model",
        "400 utterances",
        "10 speakers",
        "2 seeds",
        "leave-one-speaker-out",
        "Confusion",
        "Calibration",
        "Saying “don't know”",
        "Sets of labels",
        "Where raters disagree",
        "By sex",
        "Robustness",
        "Worst errors",
        f"{data['scores']['uar']['mean']:.3f}",
        f"{data['scores']['uar']['low']:.3f}–{data['scores']['uar']['high']:.3f}",
    ):
        assert words in page, words
    assert page.count("<li><p class") == 20


def test_the_page_runs_and_fetches_nothing() -> None:
    page = render(judged(), title="A model")
    policy = re.search(r'Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; style-src &#39;sha256-")
    assert "unsafe" not in policy[1]
    assert "media-src" not in policy[1]
    assert "<script" not in page
    assert not re.search(r'\bstyle="|\bon\w+="|https?:', page)


def test_hostile_words_stay_words() -> None:
    labels = (HOSTILE, *LABELS[1:])
    t = made()
    truth = np.array([HOSTILE if v == "anger" else str(v) for v in t.truth])
    table = made(
        truth=truth,
        labels=labels,
        speaker=np.array([HOSTILE + v for v in t.speaker]),
        id=np.array([f"{HOSTILE}{i}" for i in range(len(t))]),
        groups={HOSTILE: np.array(["a" + HOSTILE, "b"])[np.arange(len(t)) % 2]},
        audio=np.full(len(t), HOSTILE),
        meta={HOSTILE: HOSTILE, "protocol": HOSTILE},
    )
    page = render(judged(table), title=HOSTILE)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    comparison = comparing.compare([(HOSTILE, table), ("b", table)], draws=DRAWS)
    assert "<script" not in render_comparison(comparison)


def test_a_table_that_tells_little() -> None:
    t = made(speakers=2, each=5)
    little = PredictionTable(
        id=t.id, truth=t.truth, labels=LABELS, scores=np.eye(4)[t.predicted_codes]
    )
    data = judge(little, DRAWS)
    page = render(data, title="little")
    for absent in ("Calibration</h2>", "don't know”</h2>", "Where raters", "By sex", "Robustness"):
        assert absent not in page
    assert "No intervals: some utterances name no speaker." in page
    assert "no interval" in page
    assert "by which protocol" in markdown(data, "little")


def test_what_was_measured() -> None:
    meta = {
        "name": "svm",
        "protocol": "official",
        "sentence_overlap": "10 of the 10 tested sentences are also in training (100 %)",
        "refit": "True",
        "training_speakers": "8",
        "cautions": "caution: some are cut",
    }
    data = judge(made(seeds=(0, 3), meta=meta), DRAWS)
    facts = facts_of(data["table"], "svm")
    assert facts == [
        ("Corpus", "made"),
        ("Protocol", "official"),
        ("Validation set learnt in the end", "yes"),
        ("Sentences in training and test", meta["sentence_overlap"]),
        ("Seeds", "0, 3"),
        ("Training speakers", "8"),
    ]
    assert ("Name", "svm") in facts_of(data["table"], "Another title")
    for text in (render(data, title="svm"), markdown(data, "svm")):
        assert "10 of the 10 tested sentences" in text
        assert "Some are cut." in text


def test_verdicts_name_their_reasons() -> None:
    data = judge(made(speakers=10, each=12), DRAWS)
    (kind,) = data["fairness"]
    assert any("precision of" in g["beyond"] for g in kind["groups"])
    page = render(data, title="t")
    assert "beyond the limits, perhaps by chance" in page
    for group in kind["groups"]:
        if group["beyond"]:
            assert f"✗ beyond: {group['beyond']} (perhaps by chance)" in page
            assert f"**beyond**: {group['beyond']} (perhaps by chance)" in markdown(data, "t")
    worse = made(speakers=20, each=80)
    scores = worse.scores.copy()
    men = np.flatnonzero(worse.groups["sex"] == "male")[::2]
    scores[men] = scores[men][:, [1, 2, 3, 0]]
    page = render(judge(made(speakers=20, each=80, scores=scores), DRAWS), title="t")
    assert ">beyond the limits</span>" in page
    assert "by chance" not in page


def test_decision_values_are_called_so() -> None:
    values = render(judge(made(scores=np.log(made().scores)), 0), title="t")
    assert "decision values: no probabilities" in values
    assert re.search(r"said <b>\w+</b> −\d\.\d\d, truth", values)
    alone = render(judge(made(scores=np.eye(4)[made().predicted_codes]), 0), title="t")
    assert "labels alone, so none is worse" in alone
    assert re.search(r"said <b>\w+</b>, truth", alone)


def test_seeds_that_make_no_difference() -> None:
    t = made()
    twice = concatenate([t, replace(t, seed=np.ones(len(t)))])
    page = render(judge(twice, DRAWS), title="t")
    assert "seeds make no difference" in page
    assert "± 0.000" not in page
    side = render_comparison(comparing.compare([("a", twice), ("b", twice)], draws=DRAWS))
    assert side.count("seeds make no difference") == 2


def test_concordance_below_zero_is_drawn_and_written_with_minus() -> None:
    t = dimensions()
    worse = replace(t, predicted=1 - t.predicted)
    page = render(judge_dimensions(worse, DRAWS), title="t")
    assert re.search(r"−0\.\d{3} to −0\.\d{3}", page)
    assert not re.search(r"[> ]-0\.\d", page.split("<main>")[1])
    assert "−1 to 1" in page
    assert "−1 to 1" not in render(judge_dimensions(t, DRAWS), title="t")
    assert re.search(r"-0\.\d{3} to -0\.\d{3}", markdown(judge_dimensions(worse, DRAWS), "t"))


def test_axes_say_where_they_begin() -> None:
    curve = judge(made(skill=3.0), 0)
    assert "score, from 0." in render(curve, title="t")


def test_dimensions_page() -> None:
    page = render(judge_dimensions(dimensions(), DRAWS), title="dimensions")
    for words in ("Concordance", "arousal", "valence", "Per speaker", "official"):
        assert words in page
    assert "Confusion" not in page


def test_many_labels_and_one_without_cases() -> None:
    n = 300
    rng = np.random.default_rng(0)
    labels = tuple(f"label-number-{k}" for k in range(12))
    table = PredictionTable(
        id=np.arange(n).astype(str),
        truth=np.array(labels)[rng.integers(0, 11, n)],
        labels=labels,
        scores=rng.dirichlet(np.ones(12), n),
        speaker=rng.integers(0, 9, n).astype(str),
    )
    page = render(judge(table, DRAWS), title="many")
    assert "No utterance is label-number-11" in page
    assert "nan" not in page.lower().replace("resonan", "")


# Pictures


def test_bars_stay_inside() -> None:
    bar = picture.bar({"mean": 1.0, "low": 0.9, "high": 1.2}, 0.25)
    assert bar == picture.Bar(90.0, 10.0, 100.0, 25.0)
    assert picture.bar({"mean": None, "low": None, "high": None}) is None
    assert picture.bar({"mean": 0.5, "low": None, "high": None}) == picture.Bar(50, 0, 50, None)


def test_axes_start_where_curves_fill_them() -> None:
    assert picture.foot_of([0.63, 0.9]) == pytest.approx(0.6)
    assert picture.foot_of([0.05]) == 0
    assert picture.foot_of([1.0]) == 0.8
    assert picture.foot_of([]) == 0
    assert picture.line([(0.0, 0.6), (1.0, 1.0)], 0.6) == "M40.0 224.0L348.0 12.0"
    assert [picture.shade(v) for v in (None, 0.0, 0.04, 0.5, 1.0)] == [0, 0, 0, 5, 10]


def test_reliability_bars_show_which_side_is_ahead() -> None:
    bins = [
        {"low": 0.8, "high": 0.9, "accuracy": 0.5, "confidence": 0.85},
        {"low": 0.3, "high": 0.4, "accuracy": 0.5, "confidence": 0.35},
    ]
    sure, unsure = picture.reliability(bins)
    assert sure["too_sure"]
    assert not unsure["too_sure"]
    assert sure["y"] == picture.y(0.5)
    assert sure["gap_y"] == picture.y(0.85)
    assert unsure["y"] == picture.y(0.35)


# Recordings


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "wav" / "a b.wav"
    path.parent.mkdir()
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=8000 * 10), 8000)
    return path


def test_recordings_are_found_by_table_or_absolutely(wav: Path, tmp_path: Path) -> None:
    assert find_clip("wav/a b.wav", [tmp_path]) == Clip(wav, 0.0, None)
    assert find_clip(str(wav), [tmp_path]) == Clip(wav, 0.0, None)
    assert find_clip("wav/a b.wav#t=1.5,4", [tmp_path]) == Clip(wav, 1.5, 4.0)
    assert find_clip("wav/a b.wav#t=2", [tmp_path]) == Clip(wav, 2.0, None)
    for nothing in ("", "wav/b.wav", "wav"):
        assert find_clip(nothing, [tmp_path]) is None


def test_short_clips_go_into_the_page(wav: Path, tmp_path: Path) -> None:
    whole = clip_player(Clip(wav, 0.0, None), tmp_path)
    part = clip_player(Clip(wav, 1.0, 3.0), tmp_path)
    assert whole is not None
    assert part is not None
    assert whole.embedded
    assert part.embedded
    assert len(part.source) < len(whole.source) / 3
    assert part.source.startswith("data:audio/mpeg;base64,")


def test_long_recordings_are_linked(tmp_path: Path) -> None:
    path = tmp_path / "long ü.wav"
    soundfile.write(path, np.zeros(8000 * 40, np.int16), 8000)
    whole = clip_player(Clip(path, 0.0, None), tmp_path)
    assert whole is not None
    assert (whole.embedded, whole.source) == (False, "long%20%C3%BC.wav")
    part = clip_player(Clip(path, 2.0, 38.0), tmp_path)
    assert part is not None
    assert part.source.endswith("#t=2,38")
    short = clip_player(Clip(path, 30.0, None), tmp_path)
    assert short is not None
    assert short.embedded


def test_what_is_no_sound_has_no_player(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"nothing")
    assert clip_player(Clip(path, 0.0, None), tmp_path) is None


def test_the_page_plays_its_errors(wav: Path, tmp_path: Path) -> None:
    table = made(audio=np.full(len(made()), "wav/a b.wav#t=0,1"))
    page = render(judged(table), title="t", places=[tmp_path])
    assert page.count("<audio controls") == 20
    assert "media-src data:" in page
    assert "it contains recordings" in page
    page = render(judged(table), title="t", places=[tmp_path], audio=False)
    assert "<audio" not in page
    assert "it contains recordings" not in page


# Files


def test_a_folder_of_everything(tmp_path: Path) -> None:
    page = write_report(made(), tmp_path / "out", title="t", draws=DRAWS, figures=True)
    names = sorted(p.relative_to(page.parent).as_posix() for p in page.parent.rglob("*.*"))
    figures = ("confusion", "coverage", "groups", "labels", "reliability")
    assert names == sorted(
        ["report.html", "scores.json", "scores.md"]
        + [f"figures/{f}.{e}" for f in figures for e in ("png", "pdf")]
    )
    data = json.loads((tmp_path / "out" / "scores.json").read_text("utf-8"))
    assert data == judge(made(), DRAWS)
    assert (tmp_path / "out" / "figures" / "labels.png").stat().st_size > 5000
    before = {p: p.read_bytes() for p in page.parent.rglob("*.*")}
    write_report(made(), tmp_path / "out", title="t", draws=DRAWS, figures=True)
    assert {p: p.read_bytes() for p in page.parent.rglob("*.*")} == before


def test_figures_of_dimensions(tmp_path: Path) -> None:
    write_report(dimensions(), tmp_path, title="t", draws=DRAWS, figures=True)
    assert (tmp_path / "figures" / "concordance.pdf").read_bytes().startswith(b"%PDF")


def test_figures_of_a_dimension_that_never_changes(tmp_path: Path) -> None:
    n = 60
    table = DimensionTable(
        id=np.arange(n).astype(str),
        dimensions=("arousal", "valence"),
        truth=np.full((n, 2), 0.5),
        predicted=np.full((n, 2), 0.5),
        speaker=np.array([f"s{i % 6}" for i in range(n)]),
    )
    page = write_report(table, tmp_path, title="t", draws=DRAWS, figures=True)
    assert (tmp_path / "figures" / "concordance.pdf").exists()
    assert "nan" not in page.read_text("utf-8").lower()


def test_markdown_reads_as_it_is() -> None:
    text = markdown(judged(), "A | B")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0].startswith("| score")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    for one in tables:
        assert len({len(line) for line in one.splitlines()}) == 1
    assert "| gain" in text


def test_markdown_has_no_tags_and_loads_no_pictures() -> None:
    word = "<img src=x> ![a](http://x/y.png) a < b"
    data = judge(made(meta={"protocol": word, "cautions": word}), DRAWS)
    text = markdown(data, word)
    assert "<img" not in text.replace("\\<", "")
    assert "![" not in text
    assert text.count(r"\<img src=x> !\[a](http://x/y.png) a < b") == 3
    runs = [("<script>", made()), ("b", made())]
    assert r"\<script>" in comparing.markdown(comparing.compare(runs, draws=DRAWS))


# Several runs


def test_a_comparison() -> None:
    runs = [("a", made(skill=1.2)), ("b", made(skill=3.0)), ("c", made(skill=1.2))]
    found = comparing.compare(runs, draws=200)
    _, better, same = found["runs"]
    assert better["difference"]["low"] > 0
    assert same["difference"]["p"] == 1
    assert found["cautions"] == []
    text = comparing.markdown(found)
    assert "(reference)" in text
    page = render_comparison(found)
    assert "<script" not in page
    for run in found["runs"]:
        assert f"{run['scores']['uar']['mean']:.3f}" in page
        assert f"{run['scores']['uar']['mean']:.3f}" in text


def test_a_comparison_of_unlike_runs_says_so() -> None:
    few = made(meta={"protocol": "official"}).select(np.arange(320))
    said = comparing.compare([("a", made()), ("b", few)], draws=DRAWS)["cautions"]
    assert any("Protocol: not the same" in line for line in said)
    assert any("80 were left out" in line for line in said)
    said = comparing.compare([("a", made(speakers=3)), ("b", made(speakers=3))])["cautions"]
    assert any("3 speakers are too few" in line for line in said)


def test_p_over_seeds_is_that_this_run_is_better_than_the_first() -> None:
    """The tail is set before looking: the better run is not put first."""
    good, bad = made(seeds=(0, 1, 2), skill=2.5), made(seeds=(0, 1, 2), skill=1.5)
    up, down = (
        comparing.compare(runs, draws=DRAWS)["runs"][1]
        for runs in ([("a", bad), ("b", good)], [("a", good), ("b", bad)])
    )
    assert up["t_test"] < 0.05
    assert down["t_test"] == pytest.approx(1 - up["t_test"])
    assert up["t_test_two_sided"] == down["t_test_two_sided"] == pytest.approx(2 * up["t_test"])


def test_equal_runs_are_called_better_at_the_level_asked_for() -> None:
    """Two models of one skill, five seeds each: p < 0.05 in 5 % of cases, not in 10 %."""
    rng = np.random.default_rng(0)
    made_up = rng.normal(size=(4000, 2, 5))
    found = np.mean([(better_over_seeds(a, b) or 0) < 0.05 for a, b in made_up])
    sides = np.mean([(different_over_seeds(a, b) or 0) < 0.05 for a, b in made_up])
    assert found == pytest.approx(0.05, abs=0.01)
    assert sides == pytest.approx(0.05, abs=0.01)


def test_a_leaderboard(tmp_path: Path) -> None:
    made(skill=1.0).write(tmp_path / "weak" / "predictions" / "f-0.csv")
    made(skill=3.0).write(tmp_path / "group" / "strong" / "predictions" / "f-0.parquet")
    (tmp_path / "told").mkdir()
    metrics = {
        "uar": {"mean": 0.99, "sd": None, "low": 0.9, "high": 1.0},
        "label_rule": "4 classes",
        "fold_hash": "0123456789abcdef",
    }
    (tmp_path / "told" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text('{"speech": 1}', encoding="utf-8")
    found = leaderboard(tmp_path)
    assert [e["run"] for e in found] == ["told", "group/strong", "weak"]
    text = board(found)
    assert "01234567 " in text
    assert "only rows with the same labels and folds" in text
    assert [e["run"] for e in leaderboard(tmp_path, "wa")] == ["group/strong", "weak"]


def test_a_leaderboard_of_foreign_metrics(tmp_path: Path) -> None:
    for name, text in (
        ("plain", '{"uar": 0.9}'),
        ("words", '{"uar": {"mean": "high"}}'),
        ("partly", '{"uar": {"mean": 0.7, "low": 0.1}, "wa": 0.8}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text, encoding="utf-8")
    found = leaderboard(tmp_path)
    assert [e["run"] for e in found] == ["partly"]
    assert "0.700" in board(found)
