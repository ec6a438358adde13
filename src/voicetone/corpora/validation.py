"""What can be wrong with a manifest: each problem named, none raised."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from voicetone.corpora.manifest import Manifest, Problem
from voicetone.corpora.rules import RULES
from voicetone.corpora.words import hint
from voicetone.types import EMOTIONS, SENTIMENTS, Utterance

SEXES = ("female", "male", "other")
OLDEST = 120  # years
BLOCK = 2**20  # bytes read at a time
RARE, RARE_SHARE = 2, 0.01  # utterances of a misspelt word; share of those of the right one
LIKE = 0.75  # difflib's ratio of two words, from which one may be the other misspelt
TIMES = 10  # so many times more frequent is the right word
CUT_SHARE, CUT_LEAST = 1 / 3, 10  # of a class's utterances, as long as its longest, to the ms
LONGER = 0.05  # s


def problems_of(manifest: Manifest, *, contents: bool = True) -> Iterator[Problem]:
    """Every problem of every row, then those between rows."""
    present: dict[Path, bool] = {}
    rule = RULES.get(manifest.rule)
    for index, utterance in enumerate(manifest):
        place = manifest.place(index)
        if utterance.audio not in present:
            present[utterance.audio] = utterance.audio.is_file()
        if not present[utterance.audio]:
            text = f"{utterance.audio.name} is gone; restore it or drop the row"
            yield Problem(place, f"{text} (looked for {utterance.audio})")
        for text in _wrong(utterance):
            yield Problem(place, text)
        if rule is not None and utterance.label not in (None, *rule.labels):
            text = f"unknown label {utterance.label!r} of the label rule {rule.name}"
            yield Problem(place, f"{text}; {hint(str(utterance.label), rule.labels)}")
        for text in _doubtful(utterance):
            yield Problem(place, text, "warning")
    if not len(manifest):
        yield Problem(manifest.corpus, "no utterances; nothing can be trained or tested on it")
    yield from _same_id(manifest)
    yield from _speakers_over_partitions(manifest)
    yield from misspelt(manifest, "label")
    yield from misspelt(manifest, "partition")
    if caution := uneven_cuts(manifest.utterances, [u.label or u.emotion for u in manifest]):
        yield Problem(manifest.corpus, caution, "warning")
    if contents:
        unsaid = {u.audio for u in manifest if u.sha256 is None and present[u.audio]}
        read = {path: sha256_of(path) for path in sorted(unsaid)}
        hashes = [u.sha256 or read.get(u.audio) for u in manifest]
        yield from same_contents(manifest, hashes)


def sha256_of(path: Path) -> str | None:
    """SHA-256 of a file's bytes; None if it can't be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as handle:
            while block := handle.read(BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def _wrong(u: Utterance) -> Iterator[str]:
    if not u.id:
        yield "an empty id; give each row one"
    if u.start < 0:
        yield f"start {u.start:g} s is before the recording; times count from its start"
    if u.end is not None and u.start >= u.end:
        yield f"start {u.start:g} s is not before end {u.end:g} s; mend one of them"
    if u.duration is not None and u.duration <= 0:
        yield f"duration {u.duration:g} s; mend or empty it"
    if u.emotion is not None and u.emotion not in EMOTIONS:
        yield f"unknown emotion {u.emotion!r}; {hint(u.emotion, EMOTIONS)}"
    if u.sentiment is not None and u.sentiment not in SENTIMENTS:
        yield f"unknown sentiment {u.sentiment!r}; {hint(u.sentiment, SENTIMENTS)}"
    for name in ("arousal", "valence", "dominance"):
        value = getattr(u, name)
        if value is not None and not 0 <= value <= 1:
            yield f"{name} {value:g} is outside 0 to 1; rescale it"
    if u.votes is not None and any(not math.isfinite(v) or v < 0 for v in u.votes.values()):
        yield "a vote is negative or no number; votes are counts of raters"
    if u.age is not None and not 0 <= u.age <= OLDEST:
        yield f"age {u.age:g} is outside 0 to {OLDEST}; mend or empty it"


def _doubtful(u: Utterance) -> Iterator[str]:
    if u.speaker is None:
        yield "no speaker; it can't be in speaker-disjoint folds"
    if u.sex is not None and u.sex not in SEXES:
        yield f"unknown sex {u.sex!r}; {hint(u.sex, SEXES)}"
    if u.emotion is None and u.label_raw is None:
        yield "no label; only unsupervised training can use it"


def misspelt(manifest: Manifest, column: str) -> Iterator[Problem]:
    """Words that are probably another one misspelt; words of known label rules are not guessed at.

    Two words that differ in case or punctuation alone are one. Otherwise the misspelt one is rare
    (at most two rows, or 1 % of the right one's), the right one ten times as frequent, and they
    are alike (difflib's ratio from 0.75). Words that differ in their digits (`test1`, `test2`), or
    in a prefix (`happy`, `unhappy`), are two words.

    Args:
        manifest: the utterances.
        column: `label` or `partition`.
    """
    if column == "label" and manifest.rule in RULES:
        return
    counts = Counter(word for u in manifest if (word := getattr(u, column)))
    for word, number in counts.items():
        others = ((n, other) for other, n in counts.items() if _means(word, number, other, n))
        right = max(others, default=None)
        if right is None:
            continue
        index = next(i for i, u in enumerate(manifest) if getattr(u, column) == word)
        text = f"{column} {word!r} is in {number} of {sum(counts.values())} rows"
        text += f", {right[1]!r} in {right[0]}: did you mean {right[1]!r}?"
        yield Problem(manifest.place(index), text, "warning")


def _means(word: str, number: int, other: str, count: int) -> bool:
    """Whether the first of two words and their numbers of rows is probably meant as the other."""
    a, b = ("".join(c for c in w.casefold() if c.isalnum()) for w in (word, other))
    if word == other or (count, other) < (number, word):
        return False
    if a == b:
        return True
    digits, others = ("".join(c for c in w if c.isdigit()) for w in (a, b))
    prefixed = (a.endswith(b) or b.endswith(a)) and abs(len(a) - len(b)) > 1
    rare = number <= max(RARE, RARE_SHARE * count) and count >= TIMES * number
    alike = SequenceMatcher(None, a, b).ratio() >= LIKE
    return rare and alike and digits == others and not prefixed


def uneven_cuts(utterances: Sequence[Utterance], labels: Sequence[str | None]) -> str:
    """A line about classes that were cut to one length where others are longer; else empty.

    A class is taken for cut if a third of its utterances, and at least ten, are as long as its
    longest to the millisecond, and another class has longer ones.

    Args:
        utterances: whose `duration` is known.
        labels: the class of each.
    """
    lengths: Mapping[str, list[float]] = defaultdict(list)
    for u, label in zip(utterances, labels, strict=True):
        if label is not None and u.duration is not None:
            lengths[label].append(round(u.duration, 3))
    longest = {label: max(times) for label, times in lengths.items()}
    cut = []
    for label, times in lengths.items():
        same = times.count(longest[label])
        often = same >= CUT_LEAST and same >= CUT_SHARE * len(times)
        if often and max(longest.values()) > longest[label] + LONGER:
            cut.append(label)
    if not cut:
        return ""
    seconds = ", ".join(f"{s:g}" for s in sorted({longest[label] for label in cut}))
    return (
        f"of {', '.join(sorted(cut))} many recordings end at {seconds} s and none is longer, "
        f"others are: a classifier can learn the cut; cut all with features.cut_seconds = "
        f"{min(longest[label] for label in cut):g}"
    )


def _same_id(manifest: Manifest) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, utterance in enumerate(manifest):
        before = first.setdefault(utterance.id, index)
        if before != index:
            text = f"the id {utterance.id!r} is that of {manifest.place(before)} too; rename one"
            yield Problem(manifest.place(index), text)


def _speakers_over_partitions(manifest: Manifest) -> Iterator[Problem]:
    parts: dict[str, dict[str, int]] = defaultdict(dict)
    for index, utterance in enumerate(manifest):
        if utterance.partition and utterance.speaker:
            parts[utterance.speaker].setdefault(utterance.partition, index)
    for speaker, seen in parts.items():
        if len(seen) > 1:
            text = f"speaker {speaker} is in the partitions {' and '.join(seen)}"
            place = manifest.place(list(seen.values())[1])
            yield Problem(place, f"{text}: results on them are speaker-dependent", "warning")


def same_contents(manifest: Manifest, hashes: Sequence[str | None]) -> Iterator[Problem]:
    """Utterances that are the same sound: an error across speakers, labels or partitions.

    Args:
        manifest: the utterances.
        hashes: what their files hold, one for each utterance.
    """
    first: dict[tuple[object, ...], int] = {}
    for index, (u, digest) in enumerate(zip(manifest, hashes, strict=True)):
        if digest is None:
            continue
        before = first.setdefault((digest, u.start, u.end, u.channel), index)
        if before == index:
            continue
        v = manifest.utterances[before]
        text = f"{u.audio.name} holds the same as {v.audio.name} ({manifest.place(before)})"
        place = manifest.place(index)
        if v.speaker != u.speaker:
            yield Problem(place, f"{text}, but the speakers are {v.speaker} and {u.speaker}")
        elif v.partition != u.partition:
            where = f"{v.partition} and {u.partition}"
            yield Problem(place, f"{text}, but they are in the partitions {where}; drop one")
        elif v.emotion != u.emotion:
            labels = f"{v.label_raw or v.emotion} and {u.label_raw or u.emotion}"
            yield Problem(place, f"{text}, but they are labelled {labels}; drop both", "warning")
        else:
            yield Problem(place, f"{text}; drop one", "warning")
