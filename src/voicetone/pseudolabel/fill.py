"""A manifest's gaps, filled step by step; what a person said stays as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as made
from typing import Any

from voicetone.corpora.manifest import Manifest
from voicetone.errors import DataError, VoicetoneError
from voicetone.pseudolabel.agreement import Agreement, of_labels, of_transcripts
from voicetone.pseudolabel.fields import Field, filled, human, missing
from voicetone.pseudolabel.journal import Entry, Journal
from voicetone.pseudolabel.steps import Step
from voicetone.types import Utterance

MOST_NAMED = 5  # reasons in a summary
NO_CONFIDENCE = "no confidence told"

Before = Callable[[Step, Sequence[Utterance]], None]
"""Called with what is about to be asked; it may raise to end the run."""


@dataclass(slots=True)
class Tally:
    """What became of one field.

    Attributes:
        field: which.
        source: who was asked.
        there: utterances that had a value before.
        filled: utterances that have one now.
        asked: questions that were asked now, people's utterances for the agreement among them.
        known: questions whose answer was in the journal.
        left: utterances without a value though nothing went wrong, by reason.
        failed: utterances of which the question went wrong, by reason.
        stopped: why no further utterance was asked about; empty if all were.
        agreement: with people's answers, where both are there.
    """

    field: Field
    source: str
    there: int = 0
    filled: int = 0
    asked: int = 0
    known: int = 0
    left: Counter[str] = made(default_factory=Counter)
    failed: Counter[str] = made(default_factory=Counter)
    stopped: str = ""
    agreement: Agreement | None = None

    def lines(self) -> Iterator[str]:
        """The summary, in words."""
        counts = f"{self.filled:,} filled, {self.there:,} kept as they were"
        asked = f"{self.asked:,} asked now, {self.known:,} known from earlier runs"
        yield f"{self.field} by {self.source}: {counts} ({asked})"
        for title, reasons in (("left empty", self.left), ("failed", self.failed)):
            for reason, count in reasons.most_common(MOST_NAMED):
                yield f"  {title}: {count:,}, {reason}"
            if len(reasons) > MOST_NAMED:
                more = reasons.total() - sum(n for _, n in reasons.most_common(MOST_NAMED))
                yield f"  {title}: {more:,}, for other reasons"
        if self.stopped:
            yield f"  stopped: {self.stopped}"
        if self.agreement is not None:
            yield f"  agreement: {self.agreement}"

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON."""
        measures = None
        if self.agreement is not None:
            names = ("compared", "accuracy", "uar", "kappa", "wer")
            measures = {name: getattr(self.agreement, name) for name in names}
        return {
            "field": self.field,
            "source": self.source,
            "there": self.there,
            "filled": self.filled,
            "asked": self.asked,
            "known": self.known,
            "left": dict(self.left),
            "failed": dict(self.failed),
            "stopped": self.stopped,
            "agreement": measures,
        }


@dataclass(frozen=True, slots=True)
class Filled:
    """The manifest as far as it could be filled, and what became of each field."""

    manifest: Manifest
    tallies: tuple[Tally, ...]

    @property
    def failures(self) -> int:
        """Questions that went wrong."""
        return sum(tally.failed.total() for tally in self.tallies)


def fill(
    manifest: Manifest,
    steps: Sequence[Step],
    journal: Journal,
    *,
    least: Mapping[str, float] | None = None,
    check: bool = False,
    before: Before | None = None,
    done: Callable[[int], None] = lambda index: None,
) -> Filled:
    """Fill the gaps of a manifest.

    Args:
        manifest: with an id of its own for each utterance.
        steps: in order; a later one sees what an earlier one filled in.
        journal: takes every answer, and has those of earlier runs.
        least: field → confidence from which on a value is taken.
        check: also ask about utterances that people labelled, for the agreement alone.
        before: called before the questions of each step, if there are any.
        done: called with a number for each answer.

    Raises:
        DataError: two utterances of one id, or the journal can't be written.
    """
    twice = [name for name, count in Counter(u.id for u in manifest).items() if count > 1]
    if twice:
        raise DataError(f"two rows have the id {twice[0]}: give each row an id of its own")
    rows = list(manifest.utterances)
    tallies = []
    for step in steps:
        tally = Tally(step.field, step.source)
        answers = _ask(rows, step, journal, tally, check, before, done)
        limit = (least or {}).get(step.field, 0.0)
        tally.agreement = _agreement(rows, step.field, answers, limit)
        rows = [_with(u, step, answers.get(u.id), limit, tally) for u in rows]
        tallies.append(tally)
    return Filled(replace(manifest, utterances=tuple(rows)), tuple(tallies))


def _ask(
    rows: Sequence[Utterance],
    step: Step,
    journal: Journal,
    tally: Tally,
    check: bool,
    before: Before | None,
    done: Callable[[int], None],
) -> dict[str, Entry]:
    """Utterance id → answer, of those that are known or could be asked for."""
    answers: dict[str, Entry] = {}
    ask: list[Utterance] = []
    for u in rows:
        gap = missing(u, step.field)
        if not gap and not (check and human(u, step.field)):
            continue
        if obstacle := step.obstacle(u):
            if gap:
                tally.left[obstacle] += 1
            continue
        entry = journal.find(u.id, step.field, step.source, step.input_of(u))
        if entry is None:
            ask.append(u)
        else:
            answers[u.id] = entry
            tally.known += 1
    if ask and before is not None:
        before(step, ask)
    given = step.entries(ask)
    for index in range(len(ask)):
        try:
            entry = next(given)
        except VoicetoneError as error:
            tally.stopped = str(error)
            if gaps := sum(missing(u, step.field) for u in ask[index:]):
                tally.failed["not asked about any more"] = gaps
            break
        tally.asked += 1
        journal.add(entry)
        answers[entry.id] = entry
        done(index)
    return answers


def _with(u: Utterance, step: Step, entry: Entry | None, least: float, tally: Tally) -> Utterance:
    """The utterance with the answer, if there is a gap and the answer is good enough."""
    if not missing(u, step.field):
        tally.there += 1
        return u
    if entry is None:  # counted when it was not asked about
        return u
    if entry.value is None:
        reasons = tally.failed if entry.failed else tally.left
        reasons[entry.problem] += 1
    elif not _enough(entry, least):
        told = entry.confidence is not None
        tally.left[f"confidence below {least:g}" if told else NO_CONFIDENCE] += 1
    else:
        tally.filled += 1
        return filled(u, step.field, entry.value, entry.source, entry.confidence)
    return u


def _enough(entry: Entry, least: float) -> bool:
    if entry.confidence is None:
        return least <= 0
    return entry.confidence >= least


def _agreement(
    rows: Sequence[Utterance], name: Field, answers: Mapping[str, Entry], least: float
) -> Agreement | None:
    """Of the answers that would be taken, with what people said of the same utterances."""
    truth, given = [], []
    for u in rows:
        entry, said = answers.get(u.id), human(u, name)
        if said and entry is not None and entry.value is not None and _enough(entry, least):
            truth.append(said)
            given.append(entry.value)
    if not truth:
        return None
    return of_transcripts(truth, given) if name == "transcript" else of_labels(truth, given)
