"""VADER's score as scores of three sentiments."""

from __future__ import annotations

import sys

import pytest

from voicetone.errors import MissingExtraError
from voicetone.language import Opinion
from voicetone.language.vader import CLEAR, VaderLabeller, scores_of


@pytest.mark.parametrize("compound", [-1.0, -0.5, -0.05, -0.0499, 0.0, 0.0499, 0.05, 0.3, 1.0])
def test_the_highest_score_is_on_the_side_that_the_authors_say(compound: float) -> None:
    wanted = "neutral" if abs(compound) < CLEAR else "positive" if compound > 0 else "negative"
    scores = scores_of(compound)
    assert Opinion(scores).sentiment == wanted
    assert sum(scores.values()) == pytest.approx(1)
    assert min(scores.values()) >= 0


def test_confidence_rises_with_the_compound() -> None:
    values = [scores_of(c / 100)["negative"] for c in range(-100, -4)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(1)
    assert values[-1] == pytest.approx(0.51)


def test_plain_sentences() -> None:
    texts = ["I love this, thank you so much!", "the table has four legs", "this is terrible", "…"]
    found = VaderLabeller().label(texts, "en")
    assert [o.sentiment for o in found] == ["positive", "neutral", "negative", None]
    assert found[3] == Opinion(problem="no words in the transcript")


def test_absence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(MissingExtraError, match=r"voicetone\[label\]"):
        VaderLabeller()
