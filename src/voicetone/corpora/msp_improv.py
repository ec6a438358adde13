"""MSP-IMPROV: `Evalution.txt` (so spelt) and `session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav`."""

from __future__ import annotations

import re
from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import by_stem, missing, nothing, only, recordings, text_of, utterance
from voicetone.corpora.msp import CODES, attributes, rating, votes
from voicetone.errors import DataError
from voicetone.types import Rating, Utterance

HIGHEST = 5.0
HEAD = re.compile(
    r"UTD-IMPROV-(?P<name>(?P<sentence>S\d\d)(?P<wanted>[AHNS])-(?P<speaker>[FM]0(?P<session>[1-6]))"
    r"-(?P<kind>[PRST])-[FM]{2}\d+)\.avi *; *(?P<label>\w) *;(?P<means>.*)"
)
KINDS = {"P": "natural", "R": "target read", "S": "improvised", "T": "target improvised"}
WANTED = {"A": "anger", "H": "happiness", "N": "neutral", "S": "sadness"}
TITLE = "MSP-IMPROV"


def read(folder: Path) -> list[Utterance]:
    """Every evaluated turn: the label with most votes, all ratings, attributes from 1 to 5."""
    table = only(folder, ["Evalution.txt", "Evaluation.txt"], TITLE)
    files = by_stem(recordings(folder))
    found, gone = [], []
    for head, ratings in _blocks(table):
        name = f"MSP-IMPROV-{head['name']}"
        if name not in files:
            gone.append(f"{name}.wav")
            continue
        found.append(
            utterance(
                "msp-improv", files[name], head["speaker"], head["label"], CODES[head["label"]],
                sex={"F": "female", "M": "male"}[head["speaker"][0]], language="en",
                session=head["session"],
                sentence=head["sentence"] if head["kind"] in "RT" else None,
                extra={"kind": KINDS[head["kind"]], "wanted": WANTED[head["wanted"]]},
                ratings=ratings, votes=votes(ratings), **attributes(head["means"], HIGHEST),
            )
        )  # fmt: skip
    missing(table, gone)
    if not found:
        raise nothing(folder, "lines like UTD-IMPROV-S01A-F01-P-FM01.avi; A; … in its table", TITLE)
    return sorted(found, key=lambda u: u.id)


def _blocks(table: Path) -> list[tuple[re.Match[str], tuple[Rating, ...]]]:
    """Each turn's first line and the raters' lines that follow it."""
    heads: list[re.Match[str]] = []
    said: list[list[Rating]] = []
    for line, text in enumerate(text_of(table).splitlines(), start=1):
        head = HEAD.match(text.strip())
        if head is None and "UTD-IMPROV" in text:
            raise DataError(f"{table}:{line}: not a turn of {TITLE}; get the table again")
        if head is not None:
            if head["label"] not in CODES:
                raise DataError(f"{table}:{line}: unknown label {head['label']!r}; "
                                "get the table again")  # fmt: skip
            heads.append(head)
            said.append([])
        elif heads and (one := rating(text, HIGHEST)):
            said[-1].append(one)
    return [(head, tuple(ratings)) for head, ratings in zip(heads, said, strict=True)]


CORPUS = Corpus(
    name="msp-improv",
    title=TITLE,
    licence="research use, by signed licence",
    citation="Busso et al., MSP-IMPROV, IEEE Transactions on Affective Computing 8(1), 2017",
    labels={code: CODES[code] for code in "AHNSOX"},
    releases=(Release("1.0", 8438, 12, {"A": 792, "H": 2644, "N": 3477, "S": 885}),),
    read=read,
)
