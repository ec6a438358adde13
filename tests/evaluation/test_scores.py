"""The judgement as a whole: plain, complete, and honest about what it can't know."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.evaluation.tables import LABELS, made

from voicetone.evaluation.errors_made import worst_errors
from voicetone.evaluation.metrics import macro_f1, uar, wa
from voicetone.evaluation.scores import headline, judge, judge_dimensions
from voicetone.evaluation.table import DimensionTable, PredictionTable

DRAWS = 100


def test_headline_is_the_mean_over_seeds() -> None:
    t = made(seeds=(0, 1, 2))
    found = headline(t, DRAWS)
    for name, metric in (("uar", uar), ("wa", wa), ("macro_f1", macro_f1)):
        each = [metric(s.truth_codes, s.predicted_codes) for s in t.by_seed()]
        assert found[name].mean == pytest.approx(np.mean(each))
        assert found[name].sd == pytest.approx(np.std(each, ddof=1))
        assert found[name].low is not None
        assert found[name].high is not None
        assert found[name].low < found[name].mean < found[name].high


def test_one_seed_has_no_sd_and_few_speakers_no_interval() -> None:
    score = headline(made(speakers=4), DRAWS)["uar"]
    assert (score.sd, score.low, score.high) == (None, None, None)
    found = judge(made(speakers=4), DRAWS)
    assert "4 speakers are too few" in found["no_intervals"]
    assert found["cautions"][0].startswith("No intervals: 4 speakers")


def test_the_judgement_is_plain_json_and_the_same_twice() -> None:
    first = judge(made(seeds=(0, 1)), DRAWS)
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert judge(made(seeds=(0, 1)), DRAWS) == first
    assert judge(made(seeds=(0, 1)), DRAWS, seed=1)["scores"] != first["scores"]


def test_a_label_without_cases() -> None:
    t = made()
    rows = t.truth != "sadness"
    found = judge(t.select(rows), DRAWS)
    sad = found["labels"][3]
    assert (sad["label"], sad["cases"]) == ("sadness", 0)
    assert sad["recall"]["mean"] is None
    assert sad["precision"]["mean"] == 0
    assert any("No utterance is sadness" in line for line in found["cautions"])
    assert found["majority"]["uar"] == pytest.approx(1 / 3)


def test_cautions() -> None:
    assert judge(made(), DRAWS)["cautions"] == []
    said = judge(made(meta={"protocol": "speaker-dependent 5 folds"}), DRAWS)["cautions"]
    assert "speaker-dependent" in said[0]
    said = judge(made(meta={}, scores=np.log(made().scores)), DRAWS)["cautions"]
    assert "by which protocol" in said[0]
    assert "no probabilities" in said[1]
    assert "7 speakers are few" in judge(made(speakers=7), DRAWS)["cautions"][0]


@pytest.mark.parametrize(
    ("protocol", "warned"),
    [
        ("speaker-independent 6 folds, speaker-dependent", True),
        ("Speaker Dependent", True),
        ("dependent", True),
        ("speaker_dependent", True),
        ("speaker-independent", False),
        ("Independent of the speaker", False),
        ("leave one speaker out, text-dependent", False),
    ],
)
def test_no_other_word_switches_the_warning_of_known_speakers_off(
    protocol: str, warned: bool
) -> None:
    said = judge(made(meta={"protocol": protocol}), 0)["cautions"]
    assert any("learnt from the speakers it is judged on" in line for line in said) == warned


def test_what_a_table_leaves_out_is_told_first() -> None:
    meta = {"protocol": "official", "cautions": "3 of 72 utterances have no emotion."}
    assert judge(made(meta=meta), 0)["cautions"] == ["3 of 72 utterances have no emotion."]


def test_without_intervals_none_is_called_wide() -> None:
    assert judge(made(speakers=7), 0)["cautions"] == []


def test_one_is_not_many() -> None:
    t = made(speakers=1, each=60)
    first = {name: np.flatnonzero(t.truth == name) for name in LABELS}
    rows = np.concatenate([first["anger"][:1], *[first[name] for name in LABELS[1:]]])
    said = judge(t.select(rows), DRAWS)["cautions"]
    assert said[0].startswith("No intervals: 1 speaker is too few")
    assert "Only 1 utterance is anger: its scores are rough." in said


def test_the_surest_errors_come_first() -> None:
    t = made(seeds=(0, 1))
    found = worst_errors(t, 10)
    assert len(found) == 10
    lead = [m.score - m.truth_score for m in found]
    assert lead == sorted(lead, reverse=True)
    for mistake in found:
        assert mistake.truth != mistake.predicted
        rows = t.id == mistake.id
        mean = t.scores[rows].mean(0)
        assert LABELS[int(mean.argmax())] == mistake.predicted
        assert mistake.score == pytest.approx(float(mean.max()), abs=1e-6)


def test_no_errors() -> None:
    t = made()
    right = PredictionTable(
        id=t.id, truth=t.truth, labels=LABELS, scores=np.eye(4)[t.truth_codes], speaker=t.speaker
    )
    assert worst_errors(right) == []
    assert judge(right, DRAWS)["scores"]["uar"]["low"] == 1


def test_dimensions() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((60, 1))
    t = DimensionTable(
        id=np.arange(60).astype(str),
        dimensions=("arousal",),
        truth=truth,
        predicted=truth + 0.1 * rng.normal(size=(60, 1)),
        speaker=np.arange(60).astype(str),
    )
    found = judge_dimensions(t, DRAWS)
    assert found["concordance"][0]["mean"] > 0.8
    assert found["concordance"][0]["speaker_mean"] is None  # one utterance each
    json.dumps(found, allow_nan=False)


def test_a_dimension_that_never_changes_has_no_score() -> None:
    rng = np.random.default_rng(0)
    same = np.full((80, 1), 0.5)
    varied = rng.random((80, 1))
    found = judge_dimensions(
        DimensionTable(
            id=np.arange(80).astype(str),
            dimensions=("arousal", "valence"),
            truth=np.concatenate([varied, same], axis=1),
            predicted=np.concatenate([varied, same], axis=1),
            speaker=np.array([f"s{i % 8}" for i in range(80)]),
        ),
        DRAWS,
    )
    arousal, valence = found["concordance"]
    assert arousal["low"] == pytest.approx(1)
    assert {valence[k] for k in ("mean", "low", "high", "speaker_low")} == {None}
