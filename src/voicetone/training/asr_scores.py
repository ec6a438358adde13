"""How well a recogniser hears: word and character error rates, and the decoded sentiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import DataError
from voicetone.evaluation.metrics import Score, by_speakers, uar
from voicetone.evaluation.words import TextErrors, error_rate, text_errors
from voicetone.language.tokens import SENTIMENT_TOKENS, UNKNOWN, normalised
from voicetone.models.asr_tone import SENTIMENT_IDS
from voicetone.training.asr_fit import Decoded


@dataclass(frozen=True, slots=True)
class AsrScores:
    """Of one group of clips. Rates are pooled over clips; None where no clip has what they need.

    Args:
        group: its name.
        clips: in it.
        words: of its transcripts.
        wer: errors per word, by attention.
        cer: errors per character.
        ctc_wer: errors per word of greedy CTC.
        substitutions: per word, as the next two.
        deletions: words that were missed.
        insertions: words that nobody said.
        labelled: clips whose sentiment is known.
        sentiment_uar: mean recall over the sentiments there are.
    """

    group: str
    clips: int
    words: int
    wer: Score | None
    cer: Score | None
    ctc_wer: Score | None
    substitutions: float
    deletions: float
    insertions: float
    labelled: int
    sentiment_uar: Score | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def asr_scores(
    decoded: Sequence[Decoded],
    texts: Sequence[str],
    sentiment: NDArray[np.int64],
    speakers: Sequence[str],
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> list[AsrScores]:
    """Scores of all clips (`all`), then of each group in the order of the alphabet.

    Args:
        decoded: what was heard.
        texts: transcripts as written, empty where there is none.
        sentiment: tokens of sentiment, `UNKNOWN` where not known `[n]`.
        speakers: over whom the 95 % intervals are.
        groups: such as corpora.
        seed: of the intervals' draws.

    Raises:
        DataError: nothing to score, or sequences of different lengths.
    """
    count = len(decoded)
    if not count or any(len(x) != count for x in (texts, sentiment, speakers, groups)):
        raise DataError("decoded clips, transcripts and speakers must be as many, and some")
    truth = [normalised(text) for text in texts]
    heard = {
        "wer": text_errors(truth, [d.text for d in decoded]),
        "cer": text_errors(truth, [d.text for d in decoded], "characters"),
        "ctc_wer": text_errors(truth, [d.ctc_text for d in decoded]),
    }
    guessed = np.array(
        [SENTIMENT_IDS[int(np.argmax(d.sentiment))] if d.sentiment else -1 for d in decoded]
    )
    case = _Case(heard, np.asarray(sentiment), guessed, np.asarray(speakers, dtype=np.str_), seed)
    names = np.asarray(groups, dtype=np.str_)
    parts = [(str(group), np.flatnonzero(names == group)) for group in np.unique(names)]
    return [case.scored(group, rows) for group, rows in [("all", np.arange(count)), *parts]]


@dataclass(frozen=True, slots=True)
class _Case:
    """What groups are scored from, each array `[n]`."""

    heard: dict[str, TextErrors]
    sentiment: NDArray[np.int64]
    guessed: NDArray[np.int64]
    speakers: NDArray[np.str_]
    seed: int

    def scored(self, group: str, rows: NDArray[np.int64]) -> AsrScores:
        """The scores of some clips."""
        written = rows[self.heard["wer"].length[rows] > 0]
        labelled = rows[self.sentiment[rows] != UNKNOWN]
        label = None
        if len(labelled):
            said = self.sentiment[labelled], self.guessed[labelled]
            label = by_speakers(uar, *said, self.speakers[labelled].tolist(), seed=self.seed)
        rates: dict[str, Score | None] = dict.fromkeys(self.heard)
        if len(written):
            of = self.speakers[written].tolist()
            for name, errors in self.heard.items():
                rates[name] = error_rate(errors.of(written), of, seed=self.seed)
        errors = self.heard["wer"].of(written)
        words = int(errors.length.sum())
        return AsrScores(
            group=group,
            clips=len(rows),
            words=words,
            wer=rates["wer"],
            cer=rates["cer"],
            ctc_wer=rates["ctc_wer"],
            substitutions=float(errors.substitutions.sum() / max(words, 1)),
            deletions=float(errors.deletions.sum() / max(words, 1)),
            insertions=float(errors.insertions.sum() / max(words, 1)),
            labelled=len(labelled),
            sentiment_uar=label,
        )


def sentiment_tokens(names: Sequence[str | None]) -> NDArray[np.int64]:
    """The tokens of sentiments by name, `UNKNOWN` for None `[n]`."""
    return np.array([SENTIMENT_TOKENS.get(name or "", UNKNOWN) for name in names], dtype=np.int64)
