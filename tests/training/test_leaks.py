"""What training and test must not share, and what they may."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from voicetone.errors import DataError
from voicetone.training.leaks import Heard, check_heard, check_names, sentence_overlap
from voicetone.training.protocol import Fold, FoldTable
from voicetone.types import Utterance

TABLE = FoldTable("p", (Fold("f", ("a", "b"), ("v",), ("t",)),))
PLACES = {key: f"m.csv:{n}" for n, key in enumerate("abvt", 2)}


def _heard(**changed: Heard) -> dict[str, Heard]:
    return {key: Heard(f"sound of {key}", 0.0, 2.0) for key in "abvt"} | changed


@pytest.mark.parametrize(
    "other",
    [
        Heard("sound of a", 0.0, 2.0),
        Heard("sound of a", 0.01, 2.0),
        Heard("sound of a", 0.5, 2.5),
        Heard("sound of a", 0.0, 2.0, channel=2),
        Heard("sound of a", 0.9, 1.1),
    ],
)
def test_one_recording_on_two_sides_is_named(other: Heard) -> None:
    check_heard(TABLE, _heard(), PLACES)
    said = r"m\.csv:5 \(t\): the same recording as m\.csv:2 \(a\), .*in train .* in test of fold f"
    with pytest.raises(DataError, match=said):
        check_heard(TABLE, _heard(t=other), PLACES)
    check_heard(TABLE, _heard(b=other), PLACES)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Heard("s", 0.0, 2.0, 1), Heard("s", 0.0, 2.0, 2)),
        (Heard("s", 0.0, 2.0), Heard("s", 2.0, 4.0)),
        (Heard("s", 0.0, 2.0), Heard("s", 1.5, 4.0)),
        (Heard("s", 0.0, 2.0), Heard("r", 0.0, 2.0)),
    ],
)
def test_other_parts_and_channels_are_other_speech(one: Heard, other: Heard) -> None:
    check_heard(TABLE, _heard(a=one, t=other))


def _of(corpus: str, speaker: str | None, key: str, **fields: object) -> Utterance:
    name = None if speaker is None else f"{corpus}/{speaker}"
    return Utterance(key, Path("x.wav"), corpus, speaker=name, **fields)  # type: ignore[arg-type]


def test_one_name_in_two_corpora_of_ones_own() -> None:
    rows = [_of("tr", "1", "a"), _of("tr", "2", "b"), _of("tr", "3", "v"), _of("te", "1", "t")]
    with pytest.raises(
        DataError, match=r"m\.csv:5 \(t\): a speaker 1 is in test .* tr is in train"
    ):
        check_names(TABLE, rows, ["emodb"], PLACES)
    said = check_names(TABLE, rows, ["emodb"], PLACES, other_people=True)
    assert said.startswith("speaker names on two sides of a fold, in different corpora: 1 (1);")
    assert "1 (1)" in check_names(TABLE, rows, ["te"], PLACES)
    for name in ("4", None):
        other = [*rows[:3], _of("te", name, "t")]
        assert check_names(TABLE, other, ["emodb"], PLACES) == ""


def _saying(words: str, corpus: str = "c", **more: str) -> list[Utterance]:
    return [
        _of("c", "1", "a", transcript="Good morning!"),
        _of("c", "2", "b", transcript="Good night"),
        _of("c", "3", "v", transcript="Only here."),
        _of(corpus, "4", "t", transcript=words, **more),
    ]


@pytest.mark.parametrize(
    ("words", "refit", "share"),
    [
        ("Good morning!", False, 1.0),
        ("good  MORNING", False, 1.0),
        ("good evening", False, 0.0),
        ("only here", False, 0.0),
        ("only here", True, 1.0),
    ],
)
def test_transcripts_in_training_and_test(words: str, refit: bool, share: float) -> None:
    for corpus in ("c", "other"):
        assert sentence_overlap(TABLE, _saying(words, corpus), refit=refit).share == share


def test_names_of_sentences_count_within_a_corpus() -> None:
    rows = [replace(u, transcript=None, sentence="01") for u in _saying("", sentence="x")]
    overlap = sentence_overlap(TABLE, rows)
    assert (overlap.sentences, overlap.shared, overlap.share) == (1, 1, 1.0)
    rows[3] = replace(rows[3], corpus="other")
    assert sentence_overlap(TABLE, rows).share == 0.0


def test_words_are_compared_where_sentences_have_other_names() -> None:
    overlap = sentence_overlap(TABLE, _saying("good morning", "other", sentence="17"))
    assert (overlap.sentences, overlap.shared) == (1, 1)


def test_what_nobody_knows_is_said() -> None:
    rows = [replace(u, transcript="...") for u in _saying("")]
    overlap = sentence_overlap(TABLE, rows)
    assert (overlap.sentences, overlap.unknown) == (0, 1)
    assert "unknown" in str(overlap)
    assert str(sentence_overlap(TABLE, _saying("new"))).startswith("sentences: 0 of 1 tested ones")
