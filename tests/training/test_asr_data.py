"""What a recogniser may learn from: every clip that is left out is said."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from voicetone.errors import DataError
from voicetone.language.tokens import UNKNOWN
from voicetone.training.asr_data import (
    AsrExamples,
    Summary,
    asr_examples,
    chances,
    outside_lines,
    tokens_of,
)
from voicetone.training.asr_recipe import AsrSettings


def examples(
    texts: list[str | None],
    lengths: list[int],
    settings: AsrSettings | None = None,
    languages: list[str | None] | None = None,
    sentiments: list[str | None] | None = None,
    corpora: list[str] | None = None,
) -> tuple[AsrExamples, Summary]:
    count = len(texts)
    return asr_examples(
        texts,
        languages or ["en"] * count,
        sentiments or [None] * count,
        lengths,
        settings or AsrSettings(),
        corpora=corpora,
        names=[f"clip{k}" for k in range(count)],
    )


def test_each_reason_is_counted_and_named() -> None:
    found, summary = examples(
        ["one", "", None, "?!", "seven eight nine", "two", "x" * 2001, "six"],
        [30, 30, 30, 30, 7, 0, 1500, 961],
        sentiments=[None, "positive", None, "negative", None, None, None, None],
    )
    assert found.kept.tolist() == [True, True, False, True, False, False, False, False]
    assert found.texts[:4] == ("one", "", "", "")
    assert (summary.kept, summary.dropped) == (3, 5)
    assert summary.lines == (
        "3 of 8 clips, 1 of them with a transcript; "
        "sentiment: positive 1, neutral 0, negative 1, unknown 1",
        "left out: 1 clip without audio (clip5)",
        "left out: 2 clips longer than 30 s (clip6, clip7)",
        "left out: 1 clip without words and without sentiment (clip2)",
        "left out: 1 clip with a transcript of more characters than can be said (clip4)",
    )


def test_long_transcripts_are_left_out_and_quick_ones_kept() -> None:
    found, summary = examples(["x" * 2001, "one two three"], [900, 12])
    assert found.kept.tolist() == [False, True]
    assert summary.lines[1:] == (
        "kept: 1 clip with more characters than frames; by characters CTC can't learn them, the "
        "attention decoder does",
        "left out: 1 clip with a transcript of more than 2000 characters (clip0)",
    )


def test_transcripts_of_other_audio_stand_out() -> None:
    rng = np.random.default_rng(0)
    lengths = [int(k) for k in rng.integers(32, 41, 40)] + [900, 12]
    texts: list[str | None] = ["one two three"] * 40 + ["one two three"] + ["one two fou"]
    found, summary = examples(texts, lengths)
    assert found.kept[:40].all()
    assert found.kept[40:].tolist() == [False, False]
    assert any("far fewer characters a second" in x and "clip40" in x for x in summary.lines)
    assert any("far more characters a second" in x and "clip41" in x for x in summary.lines)


def test_each_corpus_has_its_own_rate() -> None:
    texts: list[str | None] = ["one two three"] * 60
    lengths = [30 + k % 5 for k in range(30)] + [300 + k % 50 for k in range(30)]
    lengths[29] = 400  # as slow as the other corpus
    corpora = ["quick"] * 30 + ["slow"] * 30
    found, _ = examples(texts, lengths, corpora=corpora)
    assert np.flatnonzero(~found.kept).tolist() == [29]


def test_languages_are_named_or_cautioned() -> None:
    texts: list[str | None] = ["one", "zwei", "drei", "cztery", None, None]
    languages: list[str | None] = ["en", "de", "de", None, "de", None]
    sentiments: list[str | None] = [None, None, None, None, "positive", "positive"]
    lengths = [30] * 6
    found, summary = examples(texts, lengths, languages=languages, sentiments=sentiments)
    assert found.kept.all()
    assert any(x.startswith("caution") and "de 3, not named 2, en 1" in x for x in summary.lines)
    named = AsrSettings(languages=("en",))
    found, summary = examples(texts, lengths, named, languages, sentiments)
    # What nobody wrote down can still teach its sentiment.
    assert found.kept.tolist() == [True, False, False, False, False, True]
    assert "left out: 4 clips not in en (clip1, clip2, clip3, clip4)" in summary.lines
    _, alone = examples(["one"], [30])
    assert len(alone.lines) == 1


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(DataError, match="none of 1 clips can be learnt from: left out"):
        examples([""], [30])
    with pytest.raises(DataError, match="as many as clips"):
        asr_examples(["one"], [], [], [], AsrSettings())
    with pytest.raises(DataError, match="sentiment 'happy'"):
        examples(["one"], [30], sentiments=["happy"])


def test_tokens_are_of_training_clips_and_others_are_held_against_them() -> None:
    found, _ = examples(["one", "two", "xyz", "??"], [30] * 4, sentiments=["positive"] * 4)
    tokens = tokens_of(found, [0, 1], AsrSettings())
    assert len(tokens) == 8 + len("entow") + 1
    assert outside_lines(found, tokens, [0, 1, 3], "validation") == ()
    assert outside_lines(found, tokens, [1, 2], "test") == (
        "test: 1 clip of 2 with characters that no training transcript holds "
        "('x' ×1, 'y' ×1, 'z' ×1); they count as errors",
    )


def test_sentiments_are_drawn_equally_often() -> None:
    sentiments: list[str | None] = ["positive"] * 8 + ["negative"] * 2 + [None] * 10
    corpora = (["a", "b"] * 10)[:20]
    found, _ = examples(["one"] * 20, [30] * 20, sentiments=sentiments, corpora=corpora)
    rows = np.arange(20)
    settings = AsrSettings(unknown_share=0.4, weights={"b": 3.0})
    chance = chances(found, rows, settings)
    np.testing.assert_allclose(chance.sum(), 1.0)
    np.testing.assert_allclose(
        [chance[:8].sum(), chance[8:10].sum(), chance[10:].sum()], [0.3, 0.3, 0.4]
    )
    np.testing.assert_allclose(chance[1] / chance[0], 3.0)
    plain = chances(found, rows, AsrSettings(balance="none"))
    np.testing.assert_allclose(plain, 1 / 20)
    known = chances(found, rows[:10], settings)
    np.testing.assert_allclose([known[:8].sum(), known[8:].sum()], [0.5, 0.5])
    unknown = chances(found, rows[10:], settings)
    assert found.sentiment[10:].tolist() == [UNKNOWN] * 10
    np.testing.assert_allclose(unknown.sum(), 1.0)
    with pytest.raises(DataError, match="no clip may be drawn"):
        chances(found, rows, AsrSettings(weights={"a": 0.0, "b": 0.0}))
    with pytest.raises(DataError, match="no clip may be drawn"):
        chances(found, rows[:0], AsrSettings())
    with pytest.raises(DataError, match="weights name the corpus 'c'"):
        chances(found, rows, AsrSettings(weights={"c": 1.0}))
