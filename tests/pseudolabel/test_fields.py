"""Whose a value is."""

from __future__ import annotations

import pytest
from tests.pseudolabel.fakes import rows

from voicetone.pseudolabel.fields import filled, human, missing


def test_a_persons_value_can_not_be_overwritten() -> None:
    (u,) = rows({"sentiment": "neutral"})
    with pytest.raises(ValueError, match="has a sentiment"):
        filled(u, "sentiment", "positive", "fake 1", 1.0)


def test_a_machines_value_is_not_a_persons_and_no_gap() -> None:
    (u,) = rows({})
    u = filled(u, "emotion", "anger", "fake 1", None)
    assert human(u, "emotion") is None
    assert not missing(u, "emotion")
    assert u.extra == {"emotion_source": "fake 1"}


def test_a_word_that_is_no_emotion_is_still_a_persons() -> None:
    (u,) = rows({"label_raw": "contempt"})
    assert human(u, "emotion") == ""
    assert not missing(u, "emotion")
    assert missing(u, "sentiment")
