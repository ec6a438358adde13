"""The sentences of `made_speech.py`: templates with one word that bears sentiment.

All were written for this project. The templates say nothing good or bad; the words do, or don't.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from voicetone.types import SENTIMENTS

PARTS = ("train", "validation", "test")

TEMPLATES = (
    "the meal was {}",
    "the service was {}",
    "the room was {}",
    "the film was {}",
    "the journey was {}",
    "the meeting was {}",
    "the weather was {}",
    "my day was {}",
    "the phone call was {}",
    "the lesson was {}",
    "the answer was {}",
    "the second half was {}",
    "I think it is {}",
    "they said it was {}",
    "we had {a} evening",
    "it was {a} morning",
    "she told {a} story",
    "he wrote {a} letter",
    "this is {a} place",
    "the view from here is {}",
    "the walk was {}",
    "the book was {}",
    "our visit was {}",
    "the soup looked {}",
    "that was {a} concert",
    "he gave {a} talk",
    "they made {a} film",
    "my new chair is {}",
)
"""`{}` is the word, `{a}` the word with its article."""
LATER = {"validation": 3, "test": 6}
"""Templates, from the list's end, that only this part has: first those of the test."""
KEPT = {"validation": 3, "test": 5}
"""Of the other templates, with how many each word is kept for this part."""

WORDS = {
    "positive": (
        "wonderful", "excellent", "fantastic", "brilliant", "lovely", "great", "delightful",
        "perfect", "beautiful", "amazing", "pleasant", "splendid", "superb", "good",
    ),
    "neutral": (
        "ordinary", "usual", "average", "typical", "standard", "regular", "normal", "similar",
        "short", "long", "early", "late", "brief", "different",
    ),
    "negative": (
        "terrible", "awful", "horrible", "dreadful", "bad", "disappointing", "disgusting",
        "miserable", "poor", "useless", "pathetic", "annoying", "nasty", "ugly",
    ),
}  # fmt: skip
AN = tuple("aeio")
"""Letters that ask for `an`; the words in u here say `you`, but for `ugly`."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One thing to say.

    Attributes:
        name: of template and word; equal sentences have equal names.
        text: without punctuation.
        words: their sentiment.
        template: its place in `TEMPLATES`.
        word: the one that bears the sentiment.
        held: what training has not heard: the `pair` of template and word, the `template`, or
            nothing of it.
    """

    name: str
    text: str
    words: str
    template: int
    word: str
    held: str = ""


def text_of(template: str, word: str) -> str:
    """A template with its word filled in."""
    article = "an" if word.startswith((*AN, "ugly")) else "a"
    return template.replace("{a}", f"{article} {word}").replace("{}", word)


def sentences(seed: int) -> dict[str, list[Sentence]]:
    """All sentences of each part; no sentence is in two.

    The last templates belong to one part alone. Of each other template the words are dealt to the
    parts, so that each word is in all of them.
    """
    rng = np.random.default_rng([seed, 0])
    common = len(TEMPLATES) - sum(LATER.values())
    out: dict[str, list[Sentence]] = {part: [] for part in PARTS}
    for words in SENTIMENTS:
        for word in WORDS[words]:
            order = iter(rng.permutation(common).tolist())
            end = len(TEMPLATES)
            for part in ("test", "validation"):
                own = range(end - LATER[part], end)
                end -= LATER[part]
                out[part] += [_sentence(t, words, word, "template") for t in own]
                kept = [next(order) for _ in range(KEPT[part])]
                out[part] += [_sentence(t, words, word, "pair") for t in kept]
            out["train"] += [_sentence(t, words, word, "") for t in order]
    return out


def _sentence(template: int, words: str, word: str, held: str) -> Sentence:
    name = f"t{template:02}-{word}"
    return Sentence(name, text_of(TEMPLATES[template], word), words, template, word, held)


class Deck:
    """Deals a part's sentences so that words and templates are said about equally often."""

    def __init__(self, there: list[Sentence], rng: np.random.Generator) -> None:
        self._there = there
        self._rng = rng
        self._said: Counter[str | int] = Counter()

    def deal(self, count: int) -> list[Sentence]:
        """So many different ones for a speaker, as many of each sentiment and of each `held`.

        Args:
            count: a multiple of the three sentiments.

        Raises:
            ValueError: there are fewer.
        """
        out: list[Sentence] = []
        for words in SENTIMENTS:
            own = [s for s in self._there if s.words == words]
            kinds = sorted({s.held for s in own})
            each = count // len(SENTIMENTS)
            for i, held in enumerate(kinds):
                share = (each + i) // len(kinds)
                out += self._some([s for s in own if s.held == held], share)
        return out

    def _some(self, own: list[Sentence], count: int) -> list[Sentence]:
        if count > len(own):
            raise ValueError(f"{count} of {len(own)} sentences")
        left = [own[i] for i in self._rng.permutation(len(own))]
        out = []
        for _ in range(count):
            least = min(left, key=lambda s: (self._said[s.word], self._said[s.template]))
            left.remove(least)
            self._said.update((least.word, least.template))
            out.append(least)
        return out
