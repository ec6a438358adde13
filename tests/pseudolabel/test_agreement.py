"""Measures of agreement, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from voicetone.pseudolabel.agreement import of_labels, of_transcripts, word_errors, words_of


def test_labels_by_hand() -> None:
    found = of_labels(["a", "a", "b", "b"], ["a", "b", "b", "b"])
    assert (found.accuracy, found.uar) == (0.75, 0.75)
    # Of all eight words three are a: 1 - (3/8)² - (5/8)² = 30/64 disagree by chance.
    assert found.kappa == pytest.approx(1 - 0.25 / (30 / 64))


def test_one_label_alone_has_no_kappa() -> None:
    assert of_labels(["a", "a"], ["a", "a"]).kappa is None


@pytest.mark.parametrize(
    ("truth", "heard", "errors"),
    [("a b c", "a b c", 0), ("a b c", "a c", 1), ("a b c", "x a b c", 1), ("a b", "b a", 2),
     ("", "a b", 2), ("a b", "", 2), ("a b c d", "a x c", 2)],
)  # fmt: skip
def test_word_errors(truth: str, heard: str, errors: int) -> None:
    assert word_errors(truth.split(), heard.split()) == errors


def test_words_without_case_and_punctuation() -> None:
    assert words_of("(Don't!) she said: It's 'fine'.") == ["don't", "she", "said", "it's", "fine"]


def test_word_error_rate_is_over_all_words() -> None:
    assert of_transcripts(["a b c", "d"], ["a b c", "e"]).wer == pytest.approx(0.25)
    assert of_transcripts([""], ["a"]).wer is None
