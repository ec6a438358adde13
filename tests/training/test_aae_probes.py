"""Linear probes find what is there, and nothing by meeting the same person or words again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from voicetone.evaluation.metrics import uar
from voicetone.training.aae_probes import Probes, Question, answers, questions, shuffled_truth
from voicetone.types import Floats, Utterance

RNG = np.random.default_rng(0)
EMOTIONS = ("anger", "neutral", "sadness")


def corpus(speakers: int = 6, sentences: int = 4) -> list[Utterance]:
    """Every speaker says every sentence in every emotion."""
    return [
        Utterance(
            id=f"{s}-{t}-{e}",
            audio=Path("x.wav"),
            corpus="made",
            speaker=f"s{s}",
            emotion=e,
            sentence=f"t{t}",
            sex="female" if s % 2 else "male",
            age=20.0 + 5 * s,
        )
        for s in range(speakers)
        for t in range(sentences)
        for e in EMOTIONS
    ]


def asked(utterances: list[Utterance], name: str) -> Question:
    found, _ = questions(utterances, "emotion", [str(u.emotion) for u in utterances])
    return next(q for q in found if q.name.startswith(name))


def one_hot(words: list[str], noise: float = 0.05) -> Floats:
    codes = np.unique(words, return_inverse=True)[1]
    hot = np.eye(codes.max() + 1)[codes]
    return (hot + noise * RNG.standard_normal(hot.shape)).astype(np.float32)


def score(codes: Floats, question: Question) -> float:
    return uar(question.truth, answers(codes, question, question.truth, 0))


def test_what_is_asked_and_how() -> None:
    found, without = questions(corpus(), "emotion", [str(u.emotion) for u in corpus()])
    assert [(q.name, q.grouped_by, q.splits) for q in found] == [
        ("emotion", "speaker", 5),
        ("speaker", "sentence", 4),
        ("sex", "speaker", 3),
        ("age (35 and over)", "speaker", 3),
        ("sentence", "", 5),
    ]
    assert without == []
    assert found[3].classes == ("35 and over", "below 35")


def test_another_target_is_asked_too() -> None:
    labels = ["high" if u.emotion == "anger" else "low" for u in corpus()]
    found, _ = questions(corpus(), "activation", labels)
    assert [q.name for q in found[:2]] == ["activation", "emotion"]
    assert found[0].classes == ("high", "low")


def test_what_can_not_be_asked_is_said() -> None:
    plain = [replace(u, sex="female", age=None, sentence=None) for u in corpus(speakers=2)]
    found, without = questions(plain, "emotion", [str(u.emotion) for u in plain])
    assert [q.name for q in found] == ["emotion", "speaker"]
    assert found[1].grouped_by == ""  # no sentences to hold out
    assert without == [
        "sex is not asked: all utterances have the same",
        "age is not asked: the corpus does not say it",
        "sentence is not asked: the corpus does not say it",
    ]
    _, without = questions(corpus(speakers=2), "emotion", ["x"] * 24)
    assert "sex is not asked: fewer than two answers have 2 speakers or more" in without


def test_a_rare_answer_is_left_out_and_said() -> None:
    made = corpus()
    made[0] = replace(made[0], emotion="fear")
    question = asked(made, "emotion")
    assert question.classes == EMOTIONS
    assert 0 not in question.rows
    assert question.note == "1 with fewer than 2 speakers left out"


def test_what_is_there_is_found() -> None:
    made = corpus()
    assert score(one_hot([str(u.emotion) for u in made]), asked(made, "emotion")) == 1
    assert score(one_hot([str(u.sentence) for u in made]), asked(made, "sentence")) == 1
    assert score(one_hot([str(u.speaker) for u in made]), asked(made, "speaker")) == 1


def test_nothing_is_found_in_noise() -> None:
    made = corpus(speakers=10, sentences=6)
    noise = RNG.standard_normal((len(made), 8)).astype(np.float32)
    for name in ("emotion", "speaker", "sex"):
        question = asked(made, name)
        assert abs(score(noise, question) - 1 / len(question.classes)) < 0.15


def test_knowing_the_speaker_is_not_knowing_the_sex() -> None:
    made = corpus(speakers=8)
    codes = one_hot([str(u.speaker) for u in made], noise=0.0)
    question = asked(made, "sex")
    assert score(codes, replace(question, groups=None)) == 1  # had they met before
    assert score(codes, question) <= 0.5


def test_knowing_the_utterance_is_not_knowing_the_speaker() -> None:
    made = corpus()
    codes = one_hot([f"{u.speaker} {u.sentence}" for u in made], noise=0.0)
    question = asked(made, "speaker")
    assert score(codes, replace(question, groups=None)) > 0.8
    assert score(codes, question) < 0.3


def test_many_dimensions_give_what_the_plain_solution_gives() -> None:
    from sklearn.linear_model import LogisticRegression

    made = corpus()
    question = asked(made, "emotion")
    x = np.concatenate(
        [one_hot([str(u.emotion) for u in made], 0.6), RNG.standard_normal((len(made), 200))], 1
    ).astype(np.float32)
    found = answers(x, question, question.truth, 0)
    speakers = sorted({u.speaker for u in made})
    train = np.array([u.speaker not in speakers[:2] for u in made])
    alone = replace(question, splits=2, groups=train.astype(np.int64))
    expected = np.empty(len(made), dtype=np.int64)
    for part in (train, ~train):
        mean, scale = x[part].astype(float).mean(0), x[part].astype(float).std(0) * np.sqrt(203)
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000, tol=1e-8)
        model.fit((x[part] - mean) / scale, question.truth[part])
        expected[~part] = model.predict((x[~part] - mean) / scale)
    assert (answers(x, alone, question.truth, 0) == expected).mean() > 0.98
    assert found.shape == (len(made),)


def test_strangers_and_shuffled_labels() -> None:
    made = corpus()
    right = one_hot([str(u.emotion) for u in made])
    question = asked(made, "emotion")
    probes = Probes([question], seed=0)
    strangers = [np.array([i for i, u in enumerate(made) if u.speaker == f"s{s}"]) for s in (0, 1)]
    broken = right.copy()
    broken[strangers[0]] = broken[strangers[0]][::-1]  # this network does not know its stranger
    probes.add({"z": broken}, strangers[0])
    probes.add({"z": right}, strangers[1])
    (entry,) = probes.results()
    z = entry["from"]["z"]
    assert z["uar"]["each"][1] == 1
    assert 0.8 < z["uar"]["each"][0] < 1
    assert z["held_out_uar"] < z["uar"]["mean"]
    assert z["shuffled"]["mean"] < 0.55
    assert entry["chance"] == pytest.approx(1 / 3)
    assert entry["utterances"] == len(made)


def test_what_is_one_per_speaker_is_shuffled_over_speakers() -> None:
    made = corpus()
    for name in ("sex", "age"):
        question = asked(made, name)
        assert question.groups is not None
        found = [shuffled_truth(question, np.random.default_rng(i)) for i in range(20)]
        for truth in found:
            of = {(int(g), int(t)) for g, t in zip(question.groups, truth, strict=True)}
            assert len(of) == 6  # every speaker has one answer
            assert sorted(truth) == sorted(question.truth)
        assert len({tuple(t.tolist()) for t in found}) > 5
    question = asked(made, "emotion")
    assert question.groups is not None
    truth = shuffled_truth(question, np.random.default_rng(0))
    counts = [tuple(np.bincount(truth[question.groups == g], minlength=3)) for g in range(6)]
    assert len(set(counts)) > 1  # over utterances: speakers had four of each


def test_no_score_of_strangers_where_a_class_lacks() -> None:
    made = corpus()
    probes = Probes([asked(made, "sex")], seed=0)
    probes.add({"z": one_hot([str(u.sex) for u in made])}, np.arange(12))  # one man
    assert probes.results()[0]["from"]["z"]["held_out_uar"] is None
