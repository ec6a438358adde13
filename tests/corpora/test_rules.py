"""Label rules, and the numbers of utterances that papers print for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corpora import layouts

from voicetone.corpora.iemocap import CODES
from voicetone.corpora.manifest import Manifest
from voicetone.corpora.registry import CORPORA, read_corpus
from voicetone.corpora.rules import (
    ACTIVATION,
    ACTIVATION_BINARY,
    BINNINGS,
    RULES,
    apply_rule,
    rule,
)
from voicetone.corpora.tables import read_manifest, write_manifest
from voicetone.errors import DataError, UsageError
from voicetone.types import EMOTIONS, Utterance


def one(**fields: object) -> Utterance:
    return Utterance("c/a", Path("a.wav"), "c", "c/s", **fields)  # type: ignore[arg-type]


def manifest(*utterances: Utterance, corpus: str = "c") -> Manifest:
    return Manifest(corpus, "1", "l", "c", utterances)


def whole_iemocap() -> Manifest:
    """As many utterances of each label as the release has."""
    (release,) = CORPORA["iemocap"].releases
    return manifest(
        *(
            Utterance(f"iemocap/{raw}{i}", Path("x"), "iemocap", "iemocap/1",
                      emotion=CODES[raw], label_raw=raw)
            for raw, count in release.labels.items()
            for i in range(count)
        ),
        corpus="iemocap",
    )  # fmt: skip


@pytest.mark.parametrize(("name", "total"), [("iemocap-4class-exc", 5531), ("sahu-4490", 4490)])
def test_the_totals_of_iemocap(name: str, total: int) -> None:
    labelled = apply_rule(whole_iemocap(), name)
    assert len(labelled) == total
    assert labelled.rule == name
    assert list(rule(name).differences(labelled)) == []
    counts = Counter(u.label for u in labelled)
    assert counts == rule(name).totals
    assert counts["happiness"] == (1636 if "exc" in name else 595)
    assert all(u.emotion == u.label for u in labelled)
    less = replace(labelled, utterances=labelled.utterances[1:])
    assert len(list(rule(name).differences(less))) == 1


def test_a_rule_about_one_corpus_refuses_others() -> None:
    with pytest.raises(DataError, match="sahu-4490 is about iemocap only"):
        apply_rule(manifest(one(emotion="anger")), "sahu-4490")


def test_excited_becomes_happy_with_its_sentiment(tmp_path: Path) -> None:
    found = apply_rule(read_corpus("iemocap", layouts.iemocap(tmp_path)), "iemocap-4class-exc")
    assert Counter(u.label for u in found) == {"neutral": 1, "happiness": 1, "anger": 1}
    (excited,) = [u for u in found if u.label_raw == "exc"]
    assert (excited.emotion, excited.sentiment) == ("happiness", "positive")


# 1 to 5 → what each of the four rules says: le2-ge4, lt2.5-gt3.5, le2.5-ge3.5, lt3-gt3.
BINS = {
    1.0: "low low low low",
    2.0: "low low low low",
    2.25: "mid low low low",
    2.5: "mid mid low low",
    8 / 3: "mid mid mid low",
    3.0: "mid mid mid mid",
    10 / 3: "mid mid mid high",
    3.5: "mid mid high high",
    3.75: "mid high high high",
    4.0: "high high high high",
    5.0: "high high high high",
}


@pytest.mark.parametrize("value", BINS)
@pytest.mark.parametrize("attribute", ["arousal", "valence", "dominance"])
def test_the_four_binnings(attribute: str, value: float) -> None:
    u = one(**{attribute: (value - 1) / 4})
    found = [rule(f"{attribute}-{name}").choose(u) for name in BINNINGS]
    assert found == BINS[value].split()


@given(st.integers(2, 8), st.data())
def test_means_of_whole_ratings_fall_where_exact_arithmetic_says(
    n: int, data: st.DataObject
) -> None:
    from fractions import Fraction

    ratings = data.draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    exact = Fraction(sum(ratings), n)
    u = one(valence=(float(exact) - 1) / 4)
    assert rule("valence-lt3-gt3").choose(u) == (
        "low" if exact < 3 else "high" if exact > 3 else "mid"
    )
    assert rule("valence-lt2.5-gt3.5").choose(u) == (
        "low" if exact < Fraction(5, 2) else "high" if exact > Fraction(7, 2) else "mid"
    )


def test_perceived_and_agreement() -> None:
    plural = one(emotion="anger", votes={"neutral": 5.0, "anger": 4.0})
    tie = one(emotion="anger", votes={"neutral": 4.0, "anger": 4.0})
    thirds = one(votes={"sadness": 2.0, "frustration": 1 / 3, "anger": 2 / 3})
    other = one(votes={"frustration": 3.0})
    nobody = one(emotion="anger", votes={"anger": 0.0})
    everything = manifest(plural, tie, thirds, other, nobody, one(emotion="anger"))
    assert [u.label for u in apply_rule(everything, "perceived")] == ["neutral", "sadness"]
    agreed = apply_rule(everything, "agreement-2/3")
    assert [u.label for u in agreed] == ["sadness"]
    assert agreed.utterances[0].emotion == "sadness"


def test_sentiments() -> None:
    everything = manifest(*(one(emotion=e, sentiment=None) for e in EMOTIONS))
    plain = {u.emotion: u.label for u in apply_rule(everything, "sentiment")}
    assert plain == {
        "anger": "negative", "disgust": "negative", "fear": "negative", "sadness": "negative",
        "happiness": "positive", "neutral": "neutral", "calm": "neutral",
    }  # fmt: skip
    more = {u.emotion: u.label for u in apply_rule(everything, "sentiment-boredom")}
    assert more == {**plain, "boredom": "negative"}
    given_ = manifest(one(emotion="surprise", sentiment="positive"))
    assert apply_rule(given_, "sentiment-given").utterances[0].label == "positive"
    assert apply_rule(given_, "emotion").utterances[0].sentiment == "positive"
    with pytest.raises(DataError, match="gives no utterance a class"):
        apply_rule(given_, "sentiment")


def test_activation() -> None:
    assert set(ACTIVATION) == set(EMOTIONS)
    assert set(EMOTIONS) - set(ACTIVATION_BINARY) == {"calm"}
    for emotion, level in ACTIVATION_BINARY.items():
        assert ACTIVATION[emotion] in (level, "mid")
    everything = manifest(*(one(emotion=e) for e in EMOTIONS))
    found = {u.emotion: u.label for u in apply_rule(everything, "activation")}
    assert found == ACTIVATION


def test_the_documented_tables_are_those_of_the_code(root: Path) -> None:
    page = (root / "docs" / "corpora" / "label-rules.md").read_text("utf-8")
    for name in RULES:
        _, _, binning = name.partition("-")
        shown = f"…-{binning}" if binning in BINNINGS else name
        assert f"`{shown}`" in page, name
    for emotion in EMOTIONS:
        row = f"| {emotion} | {ACTIVATION[emotion]} | {ACTIVATION_BINARY.get(emotion, '–')} |"
        assert row in page, row
    for words, shares in BINNINGS.values():
        assert f"| {words} | {' | '.join(map(str, shares))} |" in page


def test_every_rule_is_data() -> None:
    for name, r in RULES.items():
        assert r.name == name
        assert r.about
        assert len(set(r.labels)) == len(r.labels) >= 2
        assert set(r.totals) <= set(r.labels)
        assert r.choose(one()) is None
    with pytest.raises(UsageError, match="sahu: no label rule of this name; did you mean"):
        rule("sahu")


def test_the_rule_goes_with_the_manifest(tmp_path: Path) -> None:
    found = apply_rule(read_corpus("cremad", layouts.cremad(tmp_path)), "activation")
    write_manifest(found, tmp_path / "m.csv")
    again = read_manifest(tmp_path / "m.csv")
    assert again.rule == "activation"
    assert [u.label for u in again] == [u.label for u in found]
    assert apply_rule(again, "activation").places == again.places


@pytest.mark.parametrize(
    ("name", "given_", "votes"),
    [
        ("sentiment", {"anger": 4, "sadness": 3, "neutral": 3}, {"negative": 7, "neutral": 3}),
        ("sentiment", {"surprise": 2, "happiness": 1}, {"surprise": 2, "positive": 1}),
        ("sentiment-boredom", {"boredom": 2}, {"negative": 2}),
        ("iemocap-4class-exc", {"excitement": 2, "neutral": 1}, {"happiness": 2, "neutral": 1}),
        ("sahu-4490", {"excitement": 2, "neutral": 1}, {"excitement": 2, "neutral": 1}),
        ("activation", {"anger": 1, "fear": 2, "calm": 1}, {"high": 3, "low": 1}),
        ("perceived", {"anger": 1, "contempt": 2}, {"anger": 1, "contempt": 2}),
        ("valence-le2-ge4", {"anger": 3}, None),
        ("valence-le2-ge4", {"low": 3}, {"low": 3}),
        ("sentiment-given", {"anger": 3, "neutral": 1}, None),
    ],
)
def test_votes_for_words_as_votes_for_classes(
    name: str, given_: dict[str, float], votes: dict[str, float] | None
) -> None:
    assert rule(name).votes(given_) == votes
    assert rule(name).votes(votes) == votes
    assert rule(name).votes(None) is None
