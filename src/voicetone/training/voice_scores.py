"""How well the recognisers of a run's folds hear the clips that they did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voicetone.errors import DataError
from voicetone.training.asr_fit import Decoded
from voicetone.training.asr_scores import asr_scores, sentiment_tokens
from voicetone.types import SENTIMENTS


def read_words_heard(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The rows of the folds' `words.parquet`.

    Raises:
        DataError: a table that can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = []
    for folder in folders:
        path = folder / "words.parquet"
        try:
            found += pq.read_table(path).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{path}: can't be read; delete {folder} and {folder.parent.parent / 'folds'}, and "
                "train again"
            ) from error
    return found


def words_scores(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Error rates and the sentiment of the decoded token, by corpus and by what is new.

    A clip of the words' test part is decoded by each fold that learns from its speaker, and counts
    once for each. Validation clips are left out.

    Args:
        rows: of `read_words_heard`.
    """
    tested = [row for row in rows if row["part"] != "validation"]
    if not tested:
        return []
    groups = [_group(row) for row in tested]
    scored = asr_scores(
        [_decoded(row) for row in tested],
        [row["truth"] for row in tested],
        sentiment_tokens([row["sentiment"] for row in tested]),
        [row["speaker"] for row in tested],
        groups,
    )
    return [part.to_dict() for part in scored if part.group != "all"]


def words_line(part: Mapping[str, Any]) -> str:
    """One group's scores in a line, as in `fsdd, known speaker: WER 4.0 % of 300 words`."""
    rates = [
        f"{name.upper()} {100 * part[name]['value']:.1f} %"
        for name in ("wer", "cer")
        if part[name] is not None
    ]
    line = f"{part['group']}: {', '.join(rates) or 'no words'} of {part['words']} words"
    label = part["sentiment_uar"]
    return line if label is None else f"{line}; sentiment's token UAR {label['value']:.3f}"


def _group(row: dict[str, Any]) -> str:
    """As in `nemo, new speaker, new sentence`."""
    said = [row["corpus"], row["part"]]
    if row["part"] == "new speaker" and row["unseen_sentence"]:
        said.append("new sentence")
    return ", ".join(said)


def _decoded(row: dict[str, Any]) -> Decoded:
    scores = [row[name] for name in SENTIMENTS]
    sentiment = None if scores[0] is None else (scores[0], scores[1], scores[2])
    return Decoded(row["heard"], 0.0, sentiment, row["heard_ctc"])
