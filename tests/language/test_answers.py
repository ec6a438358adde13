"""Answers and names of languages."""

from __future__ import annotations

import pytest

from voicetone.language import Opinion, primary


@pytest.mark.parametrize(
    ("text", "code"),
    [("en", "en"), ("en-GB", "en"), ("EN_us", "en"), ("English", "en"), (" de ", "de"),
     ("", None), (" ", None), (None, None)],
)  # fmt: skip
def test_primary_language(text: str | None, code: str | None) -> None:
    assert primary(text) == code


def test_the_first_of_equal_scores_wins() -> None:
    opinion = Opinion({"positive": 0.1, "neutral": 0.45, "negative": 0.45})
    assert (opinion.sentiment, opinion.confidence) == ("neutral", 0.45)


def test_no_answer_has_no_sentiment() -> None:
    assert (Opinion().sentiment, Opinion().confidence) == (None, None)
