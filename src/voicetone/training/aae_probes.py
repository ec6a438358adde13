"""Linear probes: what codes still know of emotion, speaker, sex, age and sentence.

A probe is a logistic regression on frozen codes. It is tested on speakers it has not met, or,
where it is asked for the speaker, on sentences it has not met. Beside chance stands a control whose
labels were shuffled (after Hewitt and Liang, EMNLP 2019): what a probe reaches without knowledge.
What is one per speaker, such as sex, is shuffled over the speakers: ten speakers leave more to
chance than their hundreds of utterances.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.evaluation.metrics import uar
from voicetone.types import Floats, Utterance

_SPLITS = 5
_FEWEST = 4  # utterances of a class, where classes alone are balanced over the splits
# Of codes scaled to a mean squared length of 1, so that few and many dimensions are held back
# alike; on 6,373 standardised features this is what C = 0.0016 is without that scaling.
_STRENGTH = 10.0
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """Something a probe is asked of each utterance."""

    name: str
    classes: tuple[str, ...]
    rows: Integers
    """Of the utterances whose answer is known."""
    truth: Integers
    """Places in `classes`, of `rows`."""
    groups: Integers | None
    """Of `rows`: whoever is in one group is never in training and test at once."""
    grouped_by: str
    """`speaker`, `sentence`, or nothing."""
    splits: int
    note: str = ""
    """What was left out."""


def questions(
    utterances: Sequence[Utterance], target: str, labels: Sequence[str]
) -> tuple[list[Question], list[str]]:
    """What there is to ask, and a sentence for each thing that there is not.

    Args:
        utterances: of the run.
        target: name of what y stands for.
        labels: its classes, of each utterance.
    """
    speakers = _known([u.speaker for u in utterances])
    sentences = [u.sentence or u.transcript for u in utterances]
    several = len({s for s in sentences if s}) > 1
    age, boundary = _ages(utterances)
    asked: list[tuple[str, Sequence[str | None], list[str] | None, str]] = [
        ("emotion", [u.emotion for u in utterances], speakers, "speaker"),
        (
            "speaker",
            [u.speaker for u in utterances],
            _known(sentences) if several else None,
            "sentence" if several else "",
        ),
        ("sex", [u.sex for u in utterances], speakers, "speaker"),
        (f"age{boundary}", age, speakers, "speaker"),
        ("sentence", sentences, None, ""),
    ]
    if list(labels) != list(asked[0][1]):
        asked.insert(0, (target if target != "emotion" else "label", labels, speakers, "speaker"))
    found, without = [], []
    for name, answers, groups, by in asked:
        question = _question(name, answers, groups, by)
        if isinstance(question, str):
            without.append(question)
        else:
            found.append(question)
    return found, without


def _known(names: Sequence[str | None]) -> list[str]:
    """Names of groups; whoever has none is a group of its own."""
    return [f"={i}" if name is None else name for i, name in enumerate(names)]


def _ages(utterances: Sequence[Utterance]) -> tuple[list[str | None], str]:
    """Two groups, parted at the median of the speakers' ages: single years name the speaker."""
    of = {u.speaker: u.age for u in utterances if u.age is not None}
    if len(set(of.values())) < 2:
        return [None if u.age is None else f"{u.age:g}" for u in utterances], ""
    middle = float(np.median(list(of.values())))
    middle = middle if middle > min(of.values()) else float(np.nextafter(middle, np.inf))
    older = [v for v in of.values() if v >= middle]
    told = f"{min(older):g}"
    words = (f"below {told}", f"{told} and over")
    return [
        None if u.age is None else words[int(u.age >= middle)] for u in utterances
    ], f" ({words[1]})"


def _question(
    name: str, answers: Sequence[str | None], groups: Sequence[str] | None, by: str
) -> Question | str:
    places: dict[str, list[int]] = defaultdict(list)
    for index, answer in enumerate(answers):
        if answer:
            places[answer].append(index)
    word = name.partition(" ")[0]
    if not places:
        return f"{word} is not asked: the corpus does not say it"
    if len(places) == 1:
        return f"{word} is not asked: all utterances have the same"

    def enough(rows: Sequence[int]) -> int:
        return len(rows) if groups is None else len({groups[i] for i in rows})

    least = _FEWEST if groups is None else 2
    kept = [c for c, rows in places.items() if enough(rows) >= least]
    dropped = sorted(set(places) - set(kept))
    unit = f"{by}s" if by else "utterances"
    if len(kept) < 2:
        return f"{word} is not asked: fewer than two answers have {least} {unit} or more"
    classes = tuple(sorted(kept))
    rows = np.array(sorted(i for c in classes for i in places[c]), dtype=np.int64)
    truth = np.array([classes.index(str(answers[i])) for i in rows], dtype=np.int64)
    codes = None
    if groups is not None:
        codes = np.unique([groups[i] for i in rows], return_inverse=True)[1].astype(np.int64)
    splits = min(_SPLITS, *(enough(places[c]) for c in classes))
    note = f"{len(dropped)} with fewer than {least} {unit} left out" if dropped else ""
    return Question(name, classes, rows, truth, codes, by, splits, note)


def answers(codes: Floats, question: Question, truth: Integers, seed: int) -> Integers:
    """A probe's answers for the question's rows, each by a probe that has not met its group.

    Args:
        codes: `[n, dimensions]` of all utterances.
        question: whose splits.
        truth: what it learns, of the question's rows: the right labels, or shuffled ones.
        seed: of the splits.
    """
    x = codes[question.rows].astype(np.float64)
    found = np.full(len(truth), -1, dtype=np.int64)
    for train, test in _splits(question, seed):
        found[test] = _fitted(x[train], truth[train], x[test])
    return found


def _splits(question: Question, seed: int) -> Iterator[tuple[Integers, Integers]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedKFold if question.groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer utterances than splits
        made = kind(question.splits, shuffle=True, random_state=seed)
        yield from made.split(question.truth, question.truth, question.groups)


def _fitted(x: NDArray[np.float64], truth: Integers, test: NDArray[np.float64]) -> Integers:
    from sklearn.linear_model import LogisticRegression

    if len(set(truth.tolist())) < 2:
        return np.full(len(test), truth[0], dtype=np.int64)
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 1e-12, scale, 1.0) * np.sqrt(x.shape[1])
    x, test = (x - mean) / scale, (test - mean) / scale
    if x.shape[1] > len(x):  # the solution lies in the span of the examples: turn them into it
        basis = np.linalg.qr(x.T)[0]
        x, test = x @ basis, test @ basis
    model = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=2000)
    return np.asarray(model.fit(x, truth).predict(test), dtype=np.int64)


def shuffled_truth(question: Question, rng: np.random.Generator) -> Integers:
    """The answers of a question's rows, shuffled: over its groups where each has one answer."""
    truth, groups = question.truth, question.groups
    if groups is not None:
        _, first, of = np.unique(groups, return_index=True, return_inverse=True)
        if bool((truth == truth[first][of]).all()):
            return np.asarray(rng.permutation(truth[first])[of], dtype=np.int64)
    return rng.permutation(truth)


class Probes:
    """Answers of the probes on one network after another.

    Args:
        asked: the questions.
        seed: of splits and of shuffled labels.
    """

    def __init__(self, asked: Sequence[Question], seed: int) -> None:
        self.asked, self.seed, self._networks = asked, seed, 0
        self._scores: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._controls: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._held: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)

    def add(self, codes: Mapping[str, Floats], test: Integers) -> None:
        """Probe what one network makes of all utterances.

        Args:
            codes: name → `[n, dimensions]`.
            test: utterances whose speakers the network has not met.
        """
        self._networks += 1
        for question in self.asked:
            held = np.isin(question.rows, test)
            rng = np.random.default_rng([self.seed, self._networks])
            shuffled = shuffled_truth(question, rng)
            for name, values in codes.items():
                key = (question.name, name)
                said = answers(values, question, question.truth, self.seed)
                guess = answers(values, question, shuffled, self.seed)
                self._scores[key].append(uar(question.truth, said))
                self._controls[key].append(uar(shuffled, guess))
                pairs = zip(question.rows[held].tolist(), said[held].tolist(), strict=True)
                self._held[key].update(pairs)

    def results(self) -> list[dict[str, Any]]:
        """One entry per question: classes, chance, and UAR from each kind of codes."""
        found = []
        for question in self.asked:
            count = Counter(question.truth.tolist())
            named = len(question.classes) <= 20
            entry: dict[str, Any] = {
                "question": question.name,
                "classes": list(question.classes) if named else len(question.classes),
                "utterances": len(question.rows),
                "smallest_class": min(count.values()),
                "chance": 1 / len(question.classes),
                "tested_on": f"other {question.grouped_by}s" if question.grouped_by else "others",
                "splits": question.splits,
                "note": question.note,
                "from": {},
            }
            for (name, kind), scores in self._scores.items():
                if name == question.name:
                    entry["from"][kind] = {
                        "uar": _spread(scores),
                        "shuffled": _spread(self._controls[name, kind]),
                        "held_out_uar": self._held_out(question, kind),
                    }
            found.append(entry)
        return found

    def _held_out(self, question: Question, kind: str) -> float | None:
        """UAR over utterances as seen by networks that have not met their speakers."""
        said = self._held[question.name, kind]
        inside = np.isin(question.rows, list(said))
        truth = question.truth[inside]
        if len(set(truth.tolist())) < len(question.classes):
            return None
        return uar(truth, np.array([said[int(row)] for row in question.rows[inside]]))


def _spread(scores: Sequence[float]) -> dict[str, Any]:
    sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return {"mean": float(np.mean(scores)), "sd": sd, "each": [round(s, 4) for s in scores]}
