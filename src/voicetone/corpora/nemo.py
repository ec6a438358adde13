"""nEMO, Polish: `data.tsv` and `samples/EB0_anger_1.wav`."""

from __future__ import annotations

from pathlib import Path

from voicetone.corpora.corpus import Corpus, Release
from voicetone.corpora.layout import by_stem, missing, only, recordings, table_rows, utterance
from voicetone.errors import DataError
from voicetone.types import Utterance

WORDS = {
    "anger": "anger",
    "fear": "fear",
    "happiness": "happiness",
    "neutral": "neutral",
    "sadness": "sadness",
    "surprised": "surprise",
}
COLUMNS = (
    "file_id", "emotion", "raw_text", "normalized_text", "speaker_id", "gender", "age",
)  # fmt: skip


def read(folder: Path) -> list[Utterance]:
    """All stands in `data.tsv`; the sentence's number is the end of the file's name."""
    table = only(folder, ["data.tsv"], CORPUS.title)
    files = by_stem(recordings(table.parent))
    found, gone = [], []
    # Quotation marks in the texts are part of them.
    for line, row in table_rows(table, COLUMNS, "\t", quoted=False):
        name = Path(row["file_id"]).stem
        if row["emotion"] not in WORDS:
            raise DataError(
                f"{table}:{line}: unknown label {row['emotion']!r}; get the table again"
            )
        if name not in files:
            gone.append(row["file_id"])
            continue
        found.append(
            utterance(
                "nemo", files[name], row["speaker_id"], row["emotion"], WORDS[row["emotion"]],
                sex=row["gender"], age=float(row["age"]) if row["age"] else None, language="pl",
                sentence=name.rpartition("_")[2], transcript=row["raw_text"],
                extra={"normalised": row["normalized_text"]},
            )
        )  # fmt: skip
    missing(table, gone)
    return sorted(found, key=lambda u: u.id)


CORPUS = Corpus(
    name="nemo",
    title="nEMO",
    licence="CC BY-NC-SA 4.0",
    citation="Christop, nEMO: Dataset of Emotional Speech in Polish, LREC-COLING 2024",
    labels=WORDS,
    releases=(Release("1.0", 4481, 9),),
    read=read,
)
