"""CREMA-D: `AudioWAV/1001_DFA_ANG_XX.wav`, demographics and the raters' votes.

The label is the emotion that the actor was asked for. What 2,443 raters heard without the picture
(modality voice) is in `votes`, its plurality in `extra["perceived"]`; the label rule `perceived`
takes it instead.
"""

from __future__ import annotations

from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import missing, named, only, table_rows, utterance
from voicetone.errors import DataError
from voicetone.types import Utterance

CODES = {
    "ANG": ("ANG", "anger"),
    "DIS": ("DIS", "disgust"),
    "FEA": ("FEA", "fear"),
    "HAP": ("HAP", "happiness"),
    "NEU": ("NEU", "neutral"),
    "SAD": ("SAD", "sadness"),
}
VOTES = {
    "A": "anger", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness",
}  # fmt: skip
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
NAME = rf"(\d{{4}})_({'|'.join(SENTENCES)})_({'|'.join(CODES)})_({'|'.join(LEVELS)})"
VOICE = 1  # first digit of a row's six-digit number: 1 voice, 2 face, 3 both


def read(folder: Path) -> list[Utterance]:
    """Names, `VideoDemographics.csv` and `tabulatedVotes.csv`."""
    people = _people(only(folder, ["VideoDemographics.csv"], CORPUS.title))
    table = only(
        folder, ["processedResults/tabulatedVotes.csv", "tabulatedVotes.csv"], CORPUS.title
    )
    votes = _votes(table)
    audio = only(folder, ["AudioWAV"], CORPUS.title)
    found = []
    for path, match in named(audio, NAME, "1001_DFA_ANG_XX.wav", CORPUS.title):
        actor, sentence, code, level = match.groups()
        if actor not in people:
            raise DataError(f"{path}: actor {actor} is not in VideoDemographics.csv; get it again")
        if path.stem not in votes:
            raise DataError(f"{path}: no votes on it in {table.name}; get that table again")
        raw, emotion = CODES[code]
        person = people[actor]
        counts = votes[path.stem]
        extra = {
            "perceived": perceived(counts),
            "level": LEVELS[level],
            "ethnicity": person["Ethnicity"],
        }
        found.append(
            utterance(
                "cremad", path, actor, raw, emotion, sex=person["Sex"].lower(),
                age=float(person["Age"]), race=person["Race"], language="en", sentence=sentence,
                transcript=SENTENCES[sentence], extra=extra,
                votes={VOTES[k]: float(n) for k, n in counts.items()},
            )
        )  # fmt: skip
    missing(table, sorted(votes.keys() - {u.audio.stem for u in found}))
    return found


def perceived(counts: dict[str, int]) -> str:
    """The emotion with most votes; those that share the first place, with a colon between."""
    most = max(counts.values())
    return ":".join(VOTES[k] for k, n in counts.items() if n == most)


def _people(table: Path) -> dict[str, dict[str, str]]:
    columns = ("ActorID", "Age", "Sex", "Race", "Ethnicity")
    return {row["ActorID"]: row for _, row in table_rows(table, columns)}


def _votes(table: Path) -> dict[str, dict[str, int]]:
    """Clip → letter → number of raters, from the rows on voice alone."""
    found: dict[str, dict[str, int]] = {}
    for line, row in table_rows(table, ("", *VOTES, "fileName")):
        try:
            if int(row[""]) // 100_000 == VOICE:
                found[row["fileName"]] = {k: int(row[k]) for k in VOTES}
        except ValueError:
            raise DataError(f"{table}:{line}: a vote is no number; get the table again") from None
    return found


CORPUS = Corpus(
    name="cremad",
    title="CREMA-D",
    licence="ODbL 1.0, contents DbCL 1.0",
    citation="Cao et al., CREMA-D, IEEE Transactions on Affective Computing 5(4), 2014",
    labels=dict(CODES.values()),
    releases=(
        Release(
            "1.0", 7442, 91,
            {"ANG": 1271, "DIS": 1271, "FEA": 1271, "HAP": 1271, "NEU": 1087, "SAD": 1271},
        ),
    ),
    read=read,
)  # fmt: skip
