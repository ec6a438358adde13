"""MSP-Podcast: `Labels/labels_consensus.csv`, `labels_detailed.csv`, `Audios`, `Transcripts`.

The partitions are the official ones. Speakers that the corpus calls unknown have none here.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import by_stem, missing, only, recordings, table_rows, utterance
from voicetone.corpora.msp import CODES, rating, scale, votes
from voicetone.errors import DataError
from voicetone.types import Rating, Utterance

HIGHEST = 7.0
TITLE = "MSP-Podcast"
CONSENSUS = (
    "FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set",
)  # fmt: skip
SEXES = {"Male": "male", "Female": "female"}


def read(folder: Path) -> list[Utterance]:
    """Every turn of the consensus table, also those without agreement."""
    table = only(folder, ["Labels/labels_consensus.csv", "labels_consensus.csv"], TITLE)
    root = table.parent.parent if table.parent.name == "Labels" else table.parent
    files = by_stem(recordings(only(root, ["Audios", "Audio"], TITLE)))
    ratings = _ratings(table.parent / "labels_detailed.csv")
    found, gone = [], []
    for line, row in table_rows(table, CONSENSUS):
        stem = Path(row["FileName"]).stem
        if row["EmoClass"] not in CODES:
            raise DataError(f"{table}:{line}: unknown label {row['EmoClass']!r}; "
                            "get the table again")  # fmt: skip
        if stem not in files:
            gone.append(row["FileName"])
            continue
        said = tuple(ratings.get(stem, ()))
        found.append(
            utterance(
                "msp-podcast", files[stem], _speaker(row["SpkrID"]), row["EmoClass"],
                CODES[row["EmoClass"]], sex=SEXES.get(row["Gender"]), language="en",
                partition=row["Split_Set"].lower() or None, transcript=_words(root, stem),
                arousal=scale(row["EmoAct"], HIGHEST), valence=scale(row["EmoVal"], HIGHEST),
                dominance=scale(row["EmoDom"], HIGHEST), ratings=said, votes=votes(said),
                session="_".join(stem.split("_")[:2]),
            )
        )  # fmt: skip
    missing(table, gone)
    return sorted(found, key=lambda u: u.id)


def _speaker(text: str) -> str | None:
    return None if text in ("", "Unknown", "unknown") else text


def _words(root: Path, stem: str) -> str | None:
    path = root / "Transcripts" / f"{stem}.txt"
    return " ".join(path.read_text("utf-8", errors="replace").split()) if path.is_file() else None


def _ratings(table: Path) -> dict[str, list[Rating]]:
    """What each rater said; the table has one column of text, or in some releases several."""
    found: dict[str, list[Rating]] = defaultdict(list)
    if not table.is_file():
        return found
    for _, row in table_rows(table, ("FileName",)):
        line = row.get("EmoDetail") or (
            f"{row.get('Workers', '')}; {row.get('EmoClass_Major', '')}; "
            f"{row.get('EmoClass_Second', '')}; A:{row.get('EmoAct', '')}; "
            f"V:{row.get('EmoVal', '')}; D:{row.get('EmoDom', '')};"
        )
        if one := rating(line, HIGHEST):
            found[Path(row["FileName"]).stem].append(one)
    return found


CORPUS = Corpus(
    name="msp-podcast",
    title=TITLE,
    licence="research use, by signed licence; a commercial one can be had",
    citation="Lotfian and Busso, IEEE Transactions on Affective Computing 10(4), 2019",
    labels=CODES,
    # Without the partition test3, whose labels are not given out.
    releases=(
        Release(
            "1.10", 104_267,
            partitions={
                "train": 63_076, "development": 10_999, "test1": 16_903, "test2": 13_289,
            },
        ),
        Release(
            "1.11", 149_307,
            partitions={
                "train": 84_030, "development": 19_815, "test1": 30_647, "test2": 14_815,
            },
        ),
        Release("1.12", 203_936),
        Release("2.0", 264_705),
    ),
    read=read,
)  # fmt: skip
