"""What a recogniser may learn from: transcripts checked against their audio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.units import FRAME_SECONDS
from voicetone.errors import DataError
from voicetone.language.tokens import SENTIMENT_TOKENS, UNKNOWN, Tokens, normalised, train_tokens
from voicetone.training.asr_recipe import AsrSettings

LONGEST_TEXT = 2000
"""Characters of a transcript; more is no utterance."""
MOST_RATE = 2
"""Characters per frame of 31.25 ms; quick angry speech has hardly more than one."""
FEWEST = 20
"""Clips from which a group's own rates of characters are judged."""
SPREADS = 5.0
"""Robust standard deviations that a rate of characters may be off."""
LEAST_SPREAD = 0.1
"""Of the logarithm of the rate: corpora of a few fixed sentences spread less than speakers may."""
SHOWN = 5
"""Cases named in a line."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was kept and what was left out, in lines for people."""

    lines: tuple[str, ...]
    kept: int
    dropped: int


@dataclass(frozen=True, slots=True)
class AsrExamples:
    """Clips in the order of their store, each array or tuple `[n]`.

    Args:
        texts: normalised transcripts, empty where there is none to learn.
        sentiment: tokens of sentiment, `UNKNOWN` where it is not known.
        corpus: names of the clips' corpora.
        kept: whether a clip may be learnt from.
    """

    texts: tuple[str, ...]
    sentiment: NDArray[np.int64]
    corpus: NDArray[np.str_]
    kept: NDArray[np.bool_]

    def rows(self, among: Iterable[int]) -> NDArray[np.int64]:
        """Those of some rows that are kept, ascending."""
        chosen = np.unique(np.fromiter(among, dtype=np.int64))
        return chosen[self.kept[chosen]]


def asr_examples(
    texts: Sequence[str | None],
    languages: Sequence[str | None],
    sentiments: Sequence[str | None],
    lengths: Sequence[int] | NDArray[np.int64],
    settings: AsrSettings,
    *,
    corpora: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> tuple[AsrExamples, Summary]:
    """Examples of clips, those left out that would teach something wrong.

    Left out are clips of languages that the settings don't name, longer ones than they allow,
    transcripts with more characters than can be said or with far more or far fewer characters a
    second than is usual in their corpus, and clips with neither words nor sentiment. A clip whose
    transcript is empty teaches its sentiment alone.

    Args:
        texts: transcripts as written, None where there is none.
        languages: of the transcripts, None where not known.
        sentiments: `positive`, `neutral`, `negative` or None.
        lengths: of the clips as recorded, in model frames of 31.25 ms.
        settings: the recipe's.
        corpora: of the clips; one for all if not given.
        names: of the clips, for the summary; their numbers if not given.

    Raises:
        DataError: sequences of different lengths, an unknown sentiment, or nothing left.
    """
    count = len(texts)
    corpora = ["all"] * count if corpora is None else corpora
    names = [str(k) for k in range(count)] if names is None else names
    others = (languages, sentiments, lengths, corpora, names)
    if any(len(other) != count for other in others):
        raise DataError("transcripts, languages, sentiments and lengths must be as many as clips")
    unknown = sorted({s for s in sentiments if s is not None and s not in SENTIMENT_TOKENS})
    if unknown:
        raise DataError(f"sentiment {unknown[0]!r}: use one of {', '.join(SENTIMENT_TOKENS)}")
    plain = [normalised(text or "") for text in texts]
    frames = np.asarray(lengths, dtype=np.int64)
    labels = np.array([SENTIMENT_TOKENS.get(s or "", UNKNOWN) for s in sentiments], dtype=np.int64)
    examples = AsrExamples(
        tuple(plain), labels, np.asarray(corpora, dtype=np.str_), np.ones(count, dtype=bool)
    )
    lines = _language_lines(languages, settings)
    for reason, bad in _faults(examples, languages, frames, settings):
        found = np.flatnonzero(bad & examples.kept)
        examples.kept[found] = False
        if len(found):
            lines.append(f"left out: {_cases(len(found))} {reason} ({_some(names, found)})")
    kept = int(examples.kept.sum())
    if not kept:
        raise DataError(
            f"none of {count} clips can be learnt from: {'; '.join(lines) or 'there are none'}; "
            "give clips with transcripts or sentiments"
        )
    return examples, Summary((*_kept_lines(examples, frames), *lines), kept, count - kept)


def tokens_of(examples: AsrExamples, train: Iterable[int], settings: AsrSettings) -> Tokens:
    """The vocabulary of the kept transcripts among the training clips.

    Raises:
        DataError: they hold no word.
    """
    texts = [examples.texts[row] for row in examples.rows(train)]
    return train_tokens(texts, settings.tokens, settings.subwords)


def outside_lines(
    examples: AsrExamples, tokens: Tokens, rows: Iterable[int], what: str
) -> tuple[str, ...]:
    """What a network can't write of the transcripts of some clips, in lines for people.

    Args:
        examples: of all clips.
        tokens: learnt from the training clips.
        rows: such as those of validation or test.
        what: their name in the line.
    """
    chosen = [row for row in rows if examples.texts[row]]
    texts = [examples.texts[row] for row in chosen]
    counts = tokens.outside(texts)
    if not counts:
        return ()
    touched = sum(bool(tokens.outside([text])) for text in texts)
    listed = ", ".join(f"{c!r} ×{n}" for c, n in sorted(counts.items())[: 2 * SHOWN])
    more = ", …" if len(counts) > 2 * SHOWN else ""
    return (
        f"{what}: {_cases(touched)} of {len(chosen)} with characters that no training transcript "
        f"holds ({listed}{more}); they count as errors",
    )


def _faults(
    examples: AsrExamples,
    languages: Sequence[str | None],
    frames: NDArray[np.int64],
    settings: AsrSettings,
) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    """Reasons to leave clips out, with the clips that each holds for `[n]`; what came before it
    is already left out when the next is looked for."""
    sizes = np.array([len(text) for text in examples.texts], dtype=np.int64)
    if settings.languages:
        named = np.array([name in settings.languages for name in languages], dtype=bool)
        # A clip that only teaches its sentiment may be of a language that nobody wrote down.
        said = (sizes > 0) | np.array([name is not None for name in languages], dtype=bool)
        yield f"not in {', '.join(settings.languages)}", ~named & said
    yield "without audio", frames <= 0
    yield f"longer than {settings.longest:g} s", frames * FRAME_SECONDS > settings.longest
    yield f"with a transcript of more than {LONGEST_TEXT} characters", sizes > LONGEST_TEXT
    yield "without words and without sentiment", (sizes == 0) & (examples.sentiment == UNKNOWN)
    yield "with a transcript of more characters than can be said", sizes > MOST_RATE * frames
    low, high = _rate_bounds(examples, sizes, frames)
    rate = sizes / np.maximum(frames, 1) / FRAME_SECONDS
    spoken = sizes > 0
    yield "with far more characters a second than usual in their corpus", spoken & (rate > high)
    yield "with far fewer characters a second than usual in their corpus", spoken & (rate < low)


def _rate_bounds(
    examples: AsrExamples, sizes: NDArray[np.int64], frames: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the most characters a second that are plausible for each clip `[n]`.

    By median and median absolute deviation of the logarithm, over the clip's corpus or, where that
    is small, over all; no bounds below `FEWEST` clips.
    """
    known = examples.kept & (sizes > 0) & (frames > 0)
    logs = np.log(np.maximum(sizes, 1) / np.maximum(frames, 1) / FRAME_SECONDS)
    low = np.zeros(len(sizes))
    high = np.full(len(sizes), np.inf)
    for name in np.unique(examples.corpus):
        own = examples.corpus == name
        judged = known & own if (known & own).sum() >= FEWEST else known
        if judged.sum() < FEWEST:
            continue
        middle = np.median(logs[judged])
        spread = max(1.4826 * float(np.median(np.abs(logs[judged] - middle))), LEAST_SPREAD)
        low[own] = np.exp(middle - SPREADS * spread)
        high[own] = np.exp(middle + SPREADS * spread)
    return low, high


def _language_lines(languages: Sequence[str | None], settings: AsrSettings) -> list[str]:
    """A caution where several languages are mixed and none is named."""
    counts = Counter(name or "not named" for name in languages)
    if settings.languages or len(counts) < 2:
        return []
    listed = ", ".join(f"{name} {n}" for name, n in counts.most_common())
    return [
        f"caution: clips of several languages are learnt together ({listed}); name those that are "
        "meant with languages = [...]"
    ]


def _kept_lines(examples: AsrExamples, frames: NDArray[np.int64]) -> list[str]:
    """How many clips there are, with words and of each sentiment."""
    kept = examples.kept
    dense = np.array([len(text) for text in examples.texts]) > frames
    quick = int((kept & dense).sum())
    words = sum(bool(text) for text, good in zip(examples.texts, kept, strict=True) if good)
    shares = [
        f"{name} {int((examples.sentiment[kept] == token).sum())}"
        for name, token in (*SENTIMENT_TOKENS.items(), ("unknown", UNKNOWN))
    ]
    total = int(kept.sum())
    line = f"{total} of {len(kept)} clips, {words} of them with a transcript; "
    lines = [line + f"sentiment: {', '.join(shares)}"]
    if quick:
        lines.append(
            f"kept: {_cases(quick)} with more characters than frames; by characters CTC can't "
            "learn them, the attention decoder does"
        )
    return lines


def _cases(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _some(names: Sequence[str], found: NDArray[np.int64]) -> str:
    shown = ", ".join(names[int(k)] for k in found[:SHOWN])
    return shown + (", …" if len(found) > SHOWN else "")


def chances(
    examples: AsrExamples, rows: NDArray[np.int64], settings: AsrSettings
) -> NDArray[np.float64]:
    """How often each of some clips is drawn `[n]`, all together one.

    Sentiments equally often, and `unknown_share` of clips without one; inside each, clips by the
    weight of their corpus.

    Raises:
        DataError: weights of a corpus that there is none of, or no clip that may be drawn.
    """
    strange = sorted(set(settings.weights) - set(examples.corpus.tolist()))
    if strange:
        raise DataError(
            f"weights name the corpus {strange[0]!r}, of which there is no clip: "
            f"there are {', '.join(sorted(set(examples.corpus.tolist())))}"
        )
    weight = np.array([settings.weights.get(str(c), 1.0) for c in examples.corpus[rows]])
    labels = examples.sentiment[rows]
    if settings.balance == "sentiment":
        there = [t for t in SENTIMENT_TOKENS.values() if weight[labels == t].sum() > 0]
        unknown = weight[labels == UNKNOWN].sum() > 0
        share = (settings.unknown_share if there else 1.0) if unknown else 0.0
        parts = {UNKNOWN: share, **{t: (1.0 - share) / len(there) for t in there}}
        for token, part in parts.items():
            own = labels == token
            weight[own] *= part / max(float(weight[own].sum()), 1e-12)
    if not weight.sum() > 0:
        raise DataError(
            "no clip may be drawn for training: give clips, and weights above 0 to their corpora"
        )
    return np.asarray(weight / weight.sum(), dtype=np.float64)
