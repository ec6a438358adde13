"""IEMOCAP: `SessionN/dialog/EmoEvaluation/*.txt`, transcriptions and `sentences/wav`.

An evaluation file says of each turn the label on which the raters agree (`xxx`: they don't), the
mean attributes, and then what each rater said:

    [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
    C-E2:	Neutral;	()
    A-E3:	val 3; act 2; dom  2;	()

Raters E… listened; F… and M… are the actors rating themselves, who are kept in `ratings` but don't
count in `votes`. A rater who names several emotions gives each an equal part of one vote.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import by_stem, missing, nothing, recordings, scaled, utterance
from voicetone.corpora.words import WORDS
from voicetone.errors import DataError
from voicetone.types import Rating, Utterance

CODES: dict[str, str | None] = {
    "ang": "anger",
    "dis": "disgust",
    "exc": None,  # excited
    "fea": "fear",
    "fru": None,  # frustrated
    "hap": "happiness",
    "neu": "neutral",
    "oth": None,
    "sad": "sadness",
    "sur": "surprise",
    "xxx": None,  # no agreement
}
LOWEST, HIGHEST = 1.0, 5.0
ATTRIBUTES = {"act": "arousal", "val": "valence", "dom": "dominance"}
TURN = re.compile(
    r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\s+(?P<name>Ses\d\d[FM]_\w+_[FM]\w*\d+)\s+"
    r"(?P<label>\w+)\s+\[(?P<val>[\d.]+), *(?P<act>[\d.]+), *(?P<dom>[\d.]+)\]"
)
RATING = re.compile(r"(?P<kind>[CA])-(?P<rater>\w+):(?P<said>[^(]*)")
ATTRIBUTE = re.compile(r"(act|val|dom)\s+(\d+(?:\.\d+)?)")
SPOKEN = re.compile(r"(?P<name>Ses\w+) \[[\d.]+-[\d.]+\]: ?(?P<words>.*)")
TITLE, EXAMPLE = "IEMOCAP", "Session1/dialog/EmoEvaluation"


@dataclass
class _Turn:
    """One turn as its evaluation file describes it; times are of the whole dialogue."""

    name: str
    label: str
    start: float
    end: float
    means: dict[str, float]
    said: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def ratings(self) -> tuple[Rating, ...]:
        return tuple(
            Rating(who, self.words.get(who, ()), **self.said.get(who, {}), own=_is_actor(who))
            for who in sorted({*self.said, *self.words})
        )

    def votes(self) -> dict[str, float] | None:
        counts: dict[str, float] = defaultdict(float)
        for rater, words in self.words.items():
            if not _is_actor(rater):
                for word in words:
                    counts[_vote(word)] += 1 / len(words)
        return dict(sorted(counts.items())) or None


def _is_actor(rater: str) -> bool:
    return not rater.startswith("E")


def read(folder: Path) -> list[Utterance]:
    """Every turn that was evaluated, also those without agreement."""
    root = next((p for p in (folder, *sorted(folder.iterdir())) if (p / "Session1").is_dir()), None)
    sessions = sorted(p for p in (root or folder).glob("Session[1-5]") if p.is_dir())
    if not sessions:
        raise nothing(folder, EXAMPLE, TITLE)
    found: list[Utterance] = []
    for session in sessions:
        evaluations = session / "dialog" / "EmoEvaluation"
        if not evaluations.is_dir():
            raise nothing(session, "dialog/EmoEvaluation", TITLE)
        files = by_stem(recordings(session / "sentences" / "wav"))
        spoken = _spoken(session / "dialog" / "transcriptions")
        gone = []
        for turn in _turns(_texts(evaluations)):
            if turn.name not in files:
                gone.append(f"{turn.name}.wav")
                continue
            words = spoken.get(turn.name)
            found.append(_utterance(turn, files[turn.name], session.name[-1], words))
        missing(evaluations, gone)
    if not found:
        raise nothing(folder, "evaluated turns", TITLE)
    return sorted(found, key=lambda u: u.id)


def _utterance(turn: _Turn, path: Path, session: str, words: str | None) -> Utterance:
    scripted = "_script" in turn.name
    sex = turn.name.rpartition("_")[2][0]
    plain = re.sub(r"[^a-z' ]", "", (words or "").lower()).strip()
    return utterance(
        "iemocap", path, f"{turn.name[:5]}{sex}", turn.label, CODES[turn.label],
        sex={"F": "female", "M": "male"}[sex], language="en", session=session, transcript=words,
        sentence=plain if scripted and plain else None, duration=round(turn.end - turn.start, 4),
        votes=turn.votes(), ratings=turn.ratings(), **turn.means,
        extra={
            "kind": "scripted" if scripted else "improvised",
            "dialog": turn.name.rpartition("_")[0],
            "dialog_start": f"{turn.start:g}",
        },
    )  # fmt: skip


def _turns(texts: Iterable[tuple[Path, str]]) -> Iterator[_Turn]:
    for path, text in texts:
        turn = None
        for line, words in enumerate(text.splitlines(), start=1):
            if match := TURN.match(words):
                if turn:
                    yield turn
                turn = _begin(match, f"{path}:{line}")
            elif turn and (rating := RATING.match(words)):
                _add(turn, rating)
        if turn:
            yield turn


def _begin(match: re.Match[str], place: str) -> _Turn:
    if match["label"] not in CODES:
        raise DataError(f"{place}: unknown label {match['label']!r}; get the evaluations again")
    means = {ours: _attribute(match[theirs]) for theirs, ours in ATTRIBUTES.items()}
    times = float(match["start"]), float(match["end"])
    return _Turn(match["name"], match["label"], *times, means)


def _add(turn: _Turn, rating: re.Match[str]) -> None:
    rater = rating["rater"]
    if rating["kind"] == "C":
        words = tuple(w for part in rating["said"].split(";") if (w := part.strip()))
        if words:
            turn.words[rater] = words
    else:
        for name, value in ATTRIBUTE.findall(rating["said"]):  # a rater may have left one out
            turn.said[rater][ATTRIBUTES[name]] = _attribute(value)


def _attribute(text: str) -> float:
    value = scaled(float(text), LOWEST, HIGHEST)
    assert value is not None
    return min(max(value, 0.0), 1.0)


def _vote(word: str) -> str:
    first = word.lower().split()[0]  # "Neutral state"
    return WORDS.get(first, {"excited": "excitement"}.get(first, first))


def _texts(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.glob("*.txt")):
        if not path.name.startswith("."):
            yield path, path.read_text("utf-8", errors="replace")


def _spoken(folder: Path) -> dict[str, str]:
    found = {}
    for _, text in _texts(folder):
        for line in text.splitlines():
            if match := SPOKEN.match(line):
                found[match["name"]] = match["words"].strip()
    return found


CORPUS = Corpus(
    name="iemocap",
    title=TITLE,
    licence="research use, by signed licence",
    citation="Busso et al., IEMOCAP, Language Resources and Evaluation 42(4), 2008",
    labels=CODES,
    releases=(
        Release(
            "full release", 10_039, 10,
            {"ang": 1103, "dis": 2, "exc": 1041, "fea": 40, "fru": 1849, "hap": 595, "neu": 1708,
             "oth": 3, "sad": 1084, "sur": 107, "xxx": 2507},
        ),
    ),
    read=read,
)  # fmt: skip
