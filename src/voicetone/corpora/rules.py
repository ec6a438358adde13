"""Label rules: named ways from what a corpus says of an utterance to a class, or to none.

A rule is printed with every result: 5,531 and 4,490 utterances of IEMOCAP are two tasks. Applying
one drops the utterances that it gives no class, puts the class into `label`, and writes its name
into the manifest's provenance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

from voicetone.corpora.manifest import Manifest
from voicetone.corpora.words import hint, sentiment_of
from voicetone.errors import DataError, UsageError
from voicetone.types import EMOTION_TO_SENTIMENT, EMOTIONS, SENTIMENTS, Utterance

LEVELS = ("low", "mid", "high")
FOUR = ("anger", "happiness", "sadness", "neutral")
AGREED = 2 / 3  # of the votes

# Three levels of activation, from the order of emotions along the arousal axis of J. A. Russell,
# A circumplex model of affect, Journal of Personality and Social Psychology 39(6), 1980: what lies
# clearly on one side is low or high; neutral, the origin, and disgust, which is near it, are mid.
ACTIVATION: Mapping[str, str] = MappingProxyType(
    {
        "sadness": "low",
        "boredom": "low",
        "calm": "low",
        "neutral": "mid",
        "disgust": "mid",
        "anger": "high",
        "fear": "high",
        "happiness": "high",
        "surprise": "high",
    }
)
# Two levels as in cross-corpus work: B. Schuller et al., Acoustic Emotion Recognition: A Benchmark
# Comparison of Performances, ASRU 2009. It has no calm, so calm has no level here.
ACTIVATION_BINARY: Mapping[str, str] = MappingProxyType(
    {
        "boredom": "low",
        "disgust": "low",
        "neutral": "low",
        "sadness": "low",
        "anger": "high",
        "fear": "high",
        "happiness": "high",
        "surprise": "high",
    }
)
# On a scale from 1 to 5, "{1, 2} low, 3 neutral, {4, 5} high" leaves open what means between them
# are: four readings, with the share of the largest class over IEMOCAP's 10,039 utterances.
BINNINGS: Mapping[str, tuple[str, tuple[float, float, float]]] = MappingProxyType(
    {
        "le2-ge4": ("up to 2 / between / from 4", (73.7, 49.6, 66.8)),
        "lt2.5-gt3.5": ("below 2.5 / 2.5 to 3.5 / above 3.5", (65.7, 42.6, 58.4)),
        "le2.5-ge3.5": ("up to 2.5 / between / from 3.5", (36.8, 50.6, 43.5)),
        "lt3-gt3": ("below 3 / exactly 3 / above 3", (41.9, 55.4, 48.5)),
    }
)
ATTRIBUTES = ("arousal", "valence", "dominance")


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to label.

    Attributes:
        name: what reports print.
        about: one line that says what it does.
        labels: the classes, in the order of a model's outputs.
        choose: the class of an utterance; None drops it.
        corpus: the only corpus it is about, if any.
        totals: per class what the full release must give, where that is known.
        words: a rater's word → class; what is not in it is a vote for none of the classes. None
            where no word says the class.
    """

    name: str
    about: str
    labels: tuple[str, ...]
    choose: Callable[[Utterance], str | None]
    corpus: str | None = None
    totals: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, str] | None = None

    def apply(self, manifest: Manifest) -> Manifest:
        """The utterances that have a class, with it in `label`; emotions also in `emotion`.

        Raises:
            DataError: the rule is about another corpus, or no utterance has a class.
        """
        if self.corpus is not None and any(u.corpus != self.corpus for u in manifest):
            raise DataError(
                f"{manifest.corpus}: the label rule {self.name} is about {self.corpus} only; "
                "choose another rule"
            )
        labels = [self.choose(u) for u in manifest]
        kept = [i for i, label in enumerate(labels) if label is not None]
        if not kept:
            raise DataError(
                f"{manifest.corpus}: the label rule {self.name} gives no utterance a class; "
                "choose one that fits its labels"
            )
        return replace(
            manifest,
            utterances=tuple(self._labelled(manifest.utterances[i], labels[i]) for i in kept),
            places=tuple(manifest.places[i] for i in kept) if manifest.places else (),
            rule=self.name,
        )

    def votes(self, given: Mapping[str, float] | None) -> Mapping[str, float] | None:
        """Votes for words as votes for classes; words that say no class keep their own votes.

        Votes that are for classes already stay as they are, so that it may be asked twice. None
        where the words don't say the class, as with rules about ratings.
        """
        if given is None or set(given) <= set(self.labels):
            return given
        if self.words is None:
            return None
        counted: dict[str, float] = {}
        for word, number in given.items():
            name = self.words.get(word, word)
            counted[name] = counted.get(name, 0.0) + number
        return counted

    def _labelled(self, u: Utterance, label: str | None) -> Utterance:
        if label is None or not set(self.labels) <= set(EMOTIONS):  # "neutral" is a sentiment too
            return replace(u, label=label)
        if label == u.emotion:  # whose sentiment may be the corpus's own
            return replace(u, label=label)
        return replace(u, label=label, emotion=label, sentiment=sentiment_of(label))

    def differences(self, manifest: Manifest) -> Iterator[str]:
        """Where a labelled manifest has other totals than the full release."""
        found = Counter(u.label for u in manifest)
        for label, count in self.totals.items():
            if found[label] != count:
                yield f"{found[label]:,} of {label} instead of {count:,}"


def rule(name: str) -> Rule:
    """A rule by its name.

    Raises:
        UsageError: no such rule.
    """
    if name not in RULES:
        raise UsageError(f"{name}: no label rule of this name; {hint(name, RULES)}")
    return RULES[name]


def apply_rule(manifest: Manifest, name: str) -> Manifest:
    """A manifest labelled by the rule of this name; see `Rule.apply`."""
    return rule(name).apply(manifest)


def _emotion(u: Utterance) -> str | None:
    return u.emotion


def _iemocap_exc(u: Utterance) -> str | None:
    return "happiness" if u.label_raw == "exc" else _one_of(FOUR, u)


def _one_of(labels: tuple[str, ...], u: Utterance) -> str | None:
    return u.emotion if u.emotion in labels else None


def _plurality(least: float, u: Utterance) -> str | None:
    """The label with most votes, if no other has as many and its share is at least this."""
    if not u.votes or not any(u.votes.values()):
        return None
    most = max(u.votes.values())
    first = [label for label, n in u.votes.items() if n == most]
    enough = most >= least * sum(u.votes.values()) - 1e-9  # thirds of a vote don't add up exactly
    return first[0] if len(first) == 1 and enough and first[0] in EMOTIONS else None


def _level(table: Mapping[str, str], u: Utterance) -> str | None:
    return table.get(u.emotion or "")


def _given_sentiment(u: Utterance) -> str | None:
    return u.sentiment


def _bin(attribute: str, binning: str, u: Utterance) -> str | None:
    value = getattr(u, attribute)
    if value is None:
        return None
    x = round(1 + 4 * value, 6)  # on the scale from 1 to 5
    low, high = {
        "le2-ge4": (x <= 2, x >= 4),
        "lt2.5-gt3.5": (x < 2.5, x > 3.5),
        "le2.5-ge3.5": (x <= 2.5, x >= 3.5),
        "lt3-gt3": (x < 3, x > 3),
    }[binning]
    return "low" if low else "high" if high else "mid"


def _rules() -> Iterator[Rule]:
    own = {name: name for name in EMOTIONS}
    yield Rule(
        "emotion", "the corpus's label, where it is one of the nine", EMOTIONS, _emotion, words=own
    )
    yield Rule(
        "iemocap-4class-exc",
        "anger, happiness with excited, sadness, neutral: 5,531 utterances",
        FOUR, _iemocap_exc, "iemocap",
        {"anger": 1103, "happiness": 1636, "sadness": 1084, "neutral": 1708},
        {**own, "excitement": "happiness", "excited": "happiness"},
    )  # fmt: skip
    yield Rule(
        "sahu-4490",
        "anger, happiness without excited, sadness, neutral where two of three raters agree, "
        "which the release's own label says: 4,490 utterances",
        FOUR, partial(_one_of, FOUR), "iemocap",
        {"anger": 1103, "happiness": 595, "sadness": 1084, "neutral": 1708}, own,
    )  # fmt: skip
    yield Rule(
        "perceived", "the emotion with most votes; ties have none", EMOTIONS,
        partial(_plurality, 0.0), words=own,
    )  # fmt: skip
    yield Rule(
        "agreement-2/3", "the emotion with at least two thirds of the votes", EMOTIONS,
        partial(_plurality, AGREED), words=own,
    )  # fmt: skip
    with_boredom = {**EMOTION_TO_SENTIMENT, "boredom": "negative"}
    yield Rule(
        "sentiment", "from the emotion; surprise and boredom have none", SENTIMENTS,
        partial(_level, EMOTION_TO_SENTIMENT), words=EMOTION_TO_SENTIMENT,
    )  # fmt: skip
    yield Rule(
        "sentiment-boredom", "from the emotion; boredom is negative, surprise has none",
        SENTIMENTS, partial(_level, with_boredom), words=with_boredom,
    )  # fmt: skip
    yield Rule("sentiment-given", "the corpus's own sentiment", SENTIMENTS, _given_sentiment)
    yield Rule(
        "activation", "three levels, from the emotion", LEVELS, partial(_level, ACTIVATION),
        words=ACTIVATION,
    )  # fmt: skip
    yield Rule(
        "activation-binary", "two levels, from the emotion; calm has none", ("low", "high"),
        partial(_level, ACTIVATION_BINARY), words=ACTIVATION_BINARY,
    )  # fmt: skip
    for attribute in ATTRIBUTES:
        for binning, (words, _) in BINNINGS.items():
            yield Rule(
                f"{attribute}-{binning}", f"{attribute} on a scale from 1 to 5: {words}", LEVELS,
                partial(_bin, attribute, binning),
            )  # fmt: skip


RULES: Mapping[str, Rule] = MappingProxyType({r.name: r for r in _rules()})
