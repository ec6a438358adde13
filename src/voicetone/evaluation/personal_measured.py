"""What personal calibration gains and costs, measured on a table of predictions.

Half of each speaker's clips are for enrolment, the other half is tested; nothing of a judged
speaker chooses anything. What is compared with is the same model without it, after a temperature
that comes from other speakers, so that no method gains what all speakers could be given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from voicetone.errors import DataError
from voicetone.evaluation import calibration
from voicetone.evaluation.bootstrap import DRAWS
from voicetone.evaluation.counts import count, uar
from voicetone.evaluation.personal import moments, others_of
from voicetone.evaluation.personal_fits import LABELLED as WITH_LABELS
from voicetone.evaluation.personal_fits import (
    METHODS,
    Clips,
    Map,
    Others,
    Values,
    centred,
    softmax,
)
from voicetone.evaluation.personal_fits import UNLABELLED as WITHOUT_LABELS
from voicetone.evaluation.personal_splits import (
    ALIKE,
    CALL,
    HALF,
    LABELLED,
    NONE,
    ONE,
    UNLABELLED,
    Split,
    make_splits,
)
from voicetone.evaluation.significance import difference, seed_scores
from voicetone.evaluation.table import Bools, Ints, PredictionTable
from voicetone.types import Floats

FEWEST_CLIPS = 4  # of a speaker: two to learn from, two to test
FEWEST_SPEAKERS = 3
MOST_CLIPS = 1_000  # of an enrolment
MOST_SPLITS = 50
MOST_GROUPS = 8
"""Speakers are judged in so many groups at most, each by what comes from the other groups."""
ENOUGH = 0.75
"""An enrolment is left out where speakers have on average less than this share of its clips."""
HALF_AT_LEAST = 0.4
"""So is one that should be half of one label, where that label's share is less on average."""
EVEN = 0.9


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried.

    Args:
        clips: numbers of unlabelled clips.
        per_label: numbers of labelled clips of each label.
        splits: how often each speaker's clips are split anew.
        strengths: pseudo-counts among which the other speakers choose; infinite changes nothing.
        draws: of the bootstrap over speakers.
        seed: of the splits and the draws.
    """

    clips: tuple[int, ...] = (2, 4, 8, 16)
    per_label: tuple[int, ...] = (1, 2, 4)
    splits: int = 4
    strengths: tuple[float, ...] = (0.5, 2.0, 8.0, 32.0, np.inf)
    draws: int = DRAWS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Gain:
    """One method with one enrolment.

    Args:
        method: a name in `METHODS`.
        enrolment: `LABELLED` or one of `UNLABELLED`.
        clips: how many; of each label where they are labelled.
        used: how many clips speakers had on average.
        most_of_one: mean share of the commonest label among them.
        strengths: how often each pseudo-count was chosen, by the other speakers' NLL.
        uar, wa, ece, nll: with it; `_without` for the model as it is. Means over seeds and splits.
        difference, low, high, p: in UAR, paired over speakers.
        over_control: the UAR less that with another speaker's calibration, which tells whether it
            is the speaker that helps; `control_low`, `control_high` its interval.
        speakers: judged; `worse` of them have a lower UAR with it.
        verdict: "better" or "worse" where the interval says so, else "open"; "no change" where
            the other speakers always chose to leave all as it is.
    """

    method: str
    enrolment: str
    clips: int
    used: float
    most_of_one: float
    strengths: dict[str, int]
    uar_without: float
    uar: float
    wa_without: float
    wa: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    over_control: float
    control_low: float | None
    control_high: float | None
    ece_without: float
    ece: float
    nll_without: float
    nll: float
    speakers: int
    worse: int
    verdict: str


@dataclass(frozen=True, eq=False)
class _Corpus:
    """The clips of all models: `scores` `[models, n, labels]`, the others `[n]`."""

    scores: Values
    truth: Ints
    who: Ints
    first: PredictionTable

    @property
    def labels(self) -> int:
        return int(self.scores.shape[2])

    @property
    def speakers(self) -> int:
        return int(self.who.max()) + 1


@dataclass(frozen=True, slots=True)
class _Cell:
    """A method, a kind of enrolment and its amount."""

    method: str
    kind: str
    amount: int


class _Said:
    """What was found for one cell: probabilities of tested clips, NaN for the others."""

    def __init__(self, models: int, splits: int, clips: int, labels: int) -> None:
        shape = (models, splits, clips, labels)
        self.own = np.full(shape, np.nan, dtype=np.float32)
        self.wrong = np.full(shape, np.nan, dtype=np.float32)
        self.strengths: list[float] = []


def measure(table: PredictionTable, plan: Plan | None = None) -> dict[str, Any]:
    """What each method gains with each enrolment.

    Returns:
        Data for JSON: `rows` of `Gain`, facts of the table, `cautions`.

    Raises:
        DataError: fewer than three speakers with clips to split, or a plan that can't be.
    """
    plan = plan or Plan()
    _check(plan)
    corpus, cautions = _corpus(table)
    splits = make_splits(corpus.truth, corpus.who, corpus.labels, plan.splits, plan.seed)
    cells = [c for c in _cells(plan) if _reached(c, splits, corpus)]
    if not cells:
        raise DataError(
            "no speaker has clips enough for any of these enrolments: ask for fewer clips"
        )
    plain = np.full((len(corpus.scores), plan.splits, *corpus.scores.shape[1:]), np.nan, np.float32)
    said = {
        c: _Said(len(corpus.scores), plan.splits, len(corpus.truth), corpus.labels) for c in cells
    }
    for model in range(len(corpus.scores)):
        for group in _groups(corpus.speakers):
            _judge_group(corpus, model, group, splits, said, plain, plan)
    rows = [_gain(corpus, splits, c, said[c], plain, plan) for c in cells]
    return {
        "labels": list(table.labels),
        "meta": {k: v for k, v in table.meta.items() if k in ("model", "features", "protocol")},
        "speakers": corpus.speakers,
        "utterances": len(corpus.truth),
        "seeds": len(corpus.scores),
        "splits": plan.splits,
        "draws": plan.draws,
        "seed": plan.seed,
        "evenness": evenness(corpus.truth, corpus.who, corpus.labels),
        "cautions": [*cautions, *_cautions(corpus, rows)],
        "rows": [asdict(row) for row in rows],
    }


def evenness(truth: Ints, who: Ints, labels: int) -> float:
    """Entropy of a speaker's labels over that of equal shares, the mean over speakers: 0 to 1."""
    found = []
    for speaker in np.unique(who):
        shares = np.bincount(truth[who == speaker], minlength=labels) / (who == speaker).sum()
        kept = shares[shares > 0]
        found.append(-(kept * np.log(kept)).sum() / np.log(labels))
    return float(np.mean(found))


def _check(plan: Plan) -> None:
    if not 1 <= plan.splits <= MOST_SPLITS:
        raise DataError(f"{plan.splits} splits: 1 to {MOST_SPLITS} can be made")
    amounts = (*plan.clips, *plan.per_label)
    if not amounts or not all(1 <= n <= MOST_CLIPS for n in amounts):
        raise DataError(f"numbers of enrolment clips must lie between 1 and {MOST_CLIPS}")
    if not plan.strengths or not all(s > 0 for s in plan.strengths):
        raise DataError("strengths must be pseudo-counts above 0, such as 2, 8 and 32")


def _corpus(table: PredictionTable) -> tuple[_Corpus, list[str]]:
    """The clips that all seeds have, of speakers with enough of them; and what was left out."""
    ids, counts = np.unique(table.id, return_counts=True)
    shared = np.isin(table.id, ids[counts == len(table.seeds)]) & (table.speaker != "")
    _, places, clips = np.unique(table.speaker, return_inverse=True, return_counts=True)
    few = clips[places] < FEWEST_CLIPS * max(1, len(table.seeds))
    kept = table.select(shared & ~few)
    if len(kept.speakers) < FEWEST_SPEAKERS:
        raise DataError(
            f"personal calibration is measured over speakers: {FEWEST_SPEAKERS} or more with "
            f"{FEWEST_CLIPS} or more clips each are needed, here are {len(kept.speakers)}"
        )
    parts = [t.select(np.argsort(t.id)) for t in kept.by_seed()]
    _, who = np.unique(parts[0].speaker, return_inverse=True)
    scores = np.array([t.scores for t in parts], dtype=np.float64)
    if not kept.probabilities:
        scores = softmax(scores)  # the temperature follows, from other speakers
    left_out = len(np.unique(table.id)) - len(parts[0])
    cautions = [f"{left_out} utterances were left out: no speaker, too few clips of theirs, or not "
                "in all seeds."] if left_out else []  # fmt: skip
    return _Corpus(scores, parts[0].truth_codes, who.astype(np.int64), parts[0]), cautions


def _cells(plan: Plan) -> list[_Cell]:
    return [
        *(_Cell(m, k, n) for k in UNLABELLED for n in plan.clips for m in WITHOUT_LABELS),
        *(_Cell(m, LABELLED, n) for n in plan.per_label for m in WITH_LABELS),
    ]


def _reached(cell: _Cell, splits: Sequence[Split], corpus: _Corpus) -> bool:
    wanted = cell.amount * (corpus.labels if cell.kind == LABELLED else 1)
    places = [s.enrolment(cell.kind, cell.amount) for s in splits]
    if np.mean([(p != NONE).sum(1).mean() for p in places]) < ENOUGH * wanted:
        return False
    skewed = cell.kind in (HALF, CALL)
    return not skewed or float(np.mean([_most(corpus, p) for p in places])) >= HALF_AT_LEAST


def _groups(speakers: int) -> list[Bools]:
    """Masks of the speakers that are judged at once."""
    place = np.arange(speakers) % min(speakers, MOST_GROUPS)
    return [place == g for g in range(int(place.max()) + 1)]


def _judge_group(
    corpus: _Corpus,
    model: int,
    group: Bools,
    splits: Sequence[Split],
    said: Mapping[_Cell, _Said],
    plain: Floats,
    plan: Plan,
) -> None:
    """Fill in what is said of a group's speakers, all else coming from the other groups."""
    probabilities = corpus.scores[model]
    outside = ~group[corpus.who]
    by = calibration.temperature(probabilities[outside], corpus.truth[outside])
    logs = centred(calibration.scale(probabilities, by))
    probabilities = softmax(logs)
    others = _others(corpus, logs, probabilities, group)
    for k, split in enumerate(splits):
        judged = split.tested & ~outside
        plain[model, k, judged] = probabilities[judged]
    chosen: dict[_Cell, int] = {}
    for cell, found in said.items():
        clips = _clips(corpus, logs, splits, cell)
        maps = [METHODS[cell.method](clips, others, strength) for strength in plan.strengths]
        best = chosen.get(_chooser(cell))
        if best is None:
            losses = [_loss(m, logs, corpus, splits, cell.kind, outside) for m in maps]
            best = chosen[cell] = int(np.argmin(losses))
        found.strengths.append(plan.strengths[best])
        for k, split in enumerate(splits):
            judged = split.judged(cell.kind) & ~outside
            who = corpus.who[judged]
            found.own[model, k, judged] = _changed(maps[best], k, who, logs[judged])
            found.wrong[model, k, judged] = _changed(maps[best], k, split.wrong[who], logs[judged])


def _chooser(cell: _Cell) -> _Cell:
    """Where the strength for a cell is chosen: nobody knows beforehand that clips are of one tone.

    That calls are may be known, so `CALL` chooses for itself.
    """
    return replace(cell, kind=ALIKE) if cell.kind in (HALF, ONE) else cell


def _others(corpus: _Corpus, logs: Values, probabilities: Values, group: Bools) -> Others:
    """Each speaker's reference: all speakers but this group's and the speaker.

    All arrays have a leading axis of speakers.
    """
    sums = np.array(
        [
            moments(logs[own], probabilities[own], corpus.truth[own], corpus.labels)
            for own in (corpus.who == s for s in range(corpus.speakers))
        ]
    )
    outside = sums[~group].sum(0)
    each = [
        others_of(outside if group[s] else outside - sums[s], corpus.labels)
        for s in range(corpus.speakers)
    ]
    return Others(
        np.array([o.shares for o in each]),
        np.array([o.logs for o in each]),
        np.array([o.centres for o in each]),
        np.array([o.spread for o in each]),
    )


def _clips(corpus: _Corpus, logs: Values, splits: Sequence[Split], cell: _Cell) -> Clips:
    """Enrolment of all splits and speakers `[splits, speakers, clips]`."""
    places = np.array([s.enrolment(cell.kind, cell.amount) for s in splits])
    there = (places != NONE).astype(np.float64)
    return Clips(logs[places], there, corpus.truth[places] if cell.kind == LABELLED else None)


def _changed(how: Map, split: int, who: Ints, logs: Values) -> Values:
    """Probabilities of clips `[n, labels]` by the maps of these speakers `[n]`."""
    turned = np.einsum("nij,nj->ni", how.weights[split, who], logs)
    return softmax(turned + how.bias[split, who])


def _loss(
    how: Map, logs: Values, corpus: _Corpus, splits: Sequence[Split], kind: str, outside: Bools
) -> float:
    """NLL of the tested clips of the speakers who choose."""
    found = []
    for k, split in enumerate(splits):
        rows = split.judged(kind) & outside
        said = _changed(how, k, corpus.who[rows], logs[rows])
        found.append(calibration.nll(said.astype(np.float32), corpus.truth[rows]))
    return float(np.mean(found))


def _gain(
    corpus: _Corpus, splits: Sequence[Split], cell: _Cell, said: _Said, plain: Floats, plan: Plan
) -> Gain:
    own, wrong, without = (
        _table(corpus, splits, cell.kind, v) for v in (said.own, said.wrong, plain)
    )
    unchanged = bool(np.isinf(said.strengths).all())
    draws = 1 if unchanged else plan.draws  # every draw of no difference is none
    apart = difference(own, without, "uar", draws, plan.seed)
    control = difference(own, wrong, "uar", draws, plan.seed)
    scores = {
        key: [float(np.mean([of(t.scores, t.truth_codes) for t in table.by_seed()]))
              for table in (without, own)]
        for key, of in (("ece", calibration.ece), ("nll", calibration.nll))
    }  # fmt: skip
    places = [s.enrolment(cell.kind, cell.amount) for s in splits]
    verdict = "no change" if unchanged else "open"
    if apart.low is not None and apart.high is not None:
        verdict = "better" if apart.low > 0 else "worse" if apart.high < 0 else verdict
    chosen = [f"{s:g}" for s in said.strengths]
    return Gain(
        method=cell.method,
        enrolment=cell.kind,
        clips=cell.amount,
        used=float(np.mean([(p != NONE).sum(1).mean() for p in places])),
        most_of_one=float(np.mean([_most(corpus, p) for p in places])),
        strengths={f"{s:g}": chosen.count(f"{s:g}") for s in plan.strengths},
        uar_without=float(np.mean(seed_scores(without))),
        uar=float(np.mean(seed_scores(own))),
        wa_without=float(np.mean(seed_scores(without, "wa"))),
        wa=float(np.mean(seed_scores(own, "wa"))),
        difference=apart.value,
        low=apart.low,
        high=apart.high,
        p=apart.p,
        over_control=control.value,
        control_low=control.low,
        control_high=control.high,
        ece_without=scores["ece"][0],
        ece=scores["ece"][1],
        nll_without=scores["nll"][0],
        nll=scores["nll"][1],
        speakers=corpus.speakers,
        worse=int((_by_speaker(own) < _by_speaker(without)).sum()),
        verdict=verdict,
    )


def _table(corpus: _Corpus, splits: Sequence[Split], kind: str, said: Floats) -> PredictionTable:
    """The tested clips of all models and splits, each pair of them as one seed."""
    rows, seeds = [], []
    for model in range(len(said)):
        for k, split in enumerate(splits):
            rows.append(np.flatnonzero(split.judged(kind)))
            seeds.append(np.full(len(rows[-1]), model * len(splits) + k))
    scores = [said[n // len(splits), n % len(splits), r] for n, r in enumerate(rows)]
    picked = np.concatenate(rows)
    return PredictionTable(
        id=corpus.first.id[picked],
        truth=corpus.first.truth[picked],
        labels=corpus.first.labels,
        scores=np.concatenate(scores),
        speaker=corpus.first.speaker[picked],
        seed=np.concatenate(seeds),
        probabilities=True,
    )


def _most(corpus: _Corpus, places: Ints) -> float:
    shares = []
    for own in places:
        labels = corpus.truth[own[own != NONE]]
        shares.append(np.bincount(labels).max() / len(labels) if len(labels) else np.nan)
    return float(np.nanmean(shares))


def _by_speaker(table: PredictionTable) -> Values:
    """UAR of each speaker over all seeds and splits together."""
    return np.array(
        [
            float(uar(count(t.truth_codes, t.predicted_codes, len(t.labels))))
            for t in (table.select(table.speaker == name) for name in table.speakers)
        ]
    )


def _cautions(corpus: _Corpus, rows: Sequence[Gain]) -> list[str]:
    said = []
    even = evenness(corpus.truth, corpus.who, corpus.labels)
    if even > EVEN:
        said.append(
            f"These speakers have all labels almost equally often (evenness {even:.2f}), tested "
            "clips too: centre and match gain from that what a call, which is mostly of one tone, "
            "would not give."
        )
    for row in rows:
        per = " of each label" if row.enrolment == LABELLED else f", {row.enrolment}"
        name = f"{row.method}, {row.clips} clip{'s' if row.clips > 1 else ''}{per}"
        if row.verdict == "worse":
            said.append(f"{name}: makes it worse ({100 * row.difference:+.1f} points of UAR).")
        if row.ece > row.ece_without + 0.02:
            said.append(
                f"{name}: probabilities are less to be trusted than without (ECE {row.ece:.3f}, "
                f"was {row.ece_without:.3f})."
            )
    return said
