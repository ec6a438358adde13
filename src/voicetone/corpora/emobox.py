"""EmoBox's JSONL: one JSON object per utterance, without speakers unless they are added."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from voicetone.corpora.columns import from_row
from voicetone.corpora.manifest import Manifest, Problem
from voicetone.corpora.tables import UNKNOWN, rows_of
from voicetone.errors import DataError
from voicetone.types import Utterance

_KEYS = {
    "key": "id",
    "wav": "file",
    "emo": "emotion",
    "dataset": "corpus",
    "start_time": "start",
    "end_time": "end",
    "length": "duration",
    "spk": "speaker",
}
NEEDED = ("key", "wav", "emo")


def read_emobox(
    path: Path, *, root: Path | None = None, licence: str = "", speaker: str = ""
) -> tuple[Manifest, list[Problem]]:
    """The manifest of an EmoBox JSONL file, with every problem in it.

    Args:
        path: as in EmoBox's `data/iemocap/iemocap.jsonl`.
        root: what its `wav` paths start from (they begin with `downloads/`); the file's folder if
            not given.
        licence: of the corpus, which the file does not say.
        speaker: a regular expression with one group that finds the speaker in `key`. EmoBox's
            lines don't name speakers, and without them no fold is speaker-disjoint.

    Raises:
        DataError: no such file, one that is not UTF-8, or an expression without a group.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such EmoBox file; check the path")
    pattern = _pattern(speaker)
    problems: list[Problem] = []
    utterances: list[Utterance] = []
    places: list[str] = []
    try:
        lines = path.read_text("utf-8-sig").split("\n")  # a transcript may hold U+2028
    except UnicodeDecodeError:
        raise DataError(f"{path}: its text is not UTF-8; save it again in UTF-8") from None
    for line, text in enumerate(lines, start=1):
        place = f"{path}:{line}"
        if not text.strip():
            continue
        entry = _entry(text)
        if entry is None:
            problems.append(Problem(place, "no JSON object; mend or drop the line"))
            continue
        missing = [key for key in NEEDED if not entry.get(key)]
        if missing:
            problems += [Problem(place, f"no {key!r}; mend or drop the line") for key in missing]
            continue
        row = {_KEYS.get(k, k): "" if v is None else str(v) for k, v in entry.items()}
        if pattern and (match := pattern.search(row["id"])):
            row["speaker"] = match[1]
        row["id"] = f"{row.get('corpus') or path.stem}/{row['id'].rpartition('/')[2]}"
        found: list[str] = []
        folder = root or path.parent
        utterances.append(from_row(_own(row), folder, path.stem, found.append))
        problems += [Problem(place, text) for text in found]
        places.append(place)
    corpus = " + ".join(sorted({u.corpus for u in utterances})) or path.stem
    manifest = Manifest(
        corpus, UNKNOWN, licence or UNKNOWN, UNKNOWN, tuple(utterances), places=tuple(places)
    )
    return manifest, problems


def write_emobox(manifest: Manifest, path: Path) -> None:
    """Write EmoBox's JSONL. `spk`, which EmoBox lacks and ignores, holds the speaker.

    Raises:
        DataError: an utterance without a label.
        AudioError: a file whose length is not known can't be opened.
        OSError: the file can't be written.
    """
    lines = []
    for row, utterance in zip(rows_of(manifest, path.parent), manifest, strict=True):
        label = utterance.label or utterance.emotion or utterance.label_raw
        if label is None:
            raise DataError(f"{utterance.id}: no label, which EmoBox needs; drop the row")
        rate, length = _extent(utterance)
        entry: dict[str, Any] = {
            "key": utterance.id.rpartition("/")[2],
            "dataset": utterance.corpus,
            "wav": row["file"],
            "type": "raw",
            "sample_rate": rate,
            "num_frame": round(length * rate),
            "task": "category",
            "length": length,
            "emo": label,
            "channel": utterance.channel or 1,
        }
        if utterance.end is not None or utterance.start:
            entry |= {"start_time": utterance.start, "end_time": utterance.start + length}
        if utterance.speaker is not None:
            entry["spk"] = utterance.speaker.removeprefix(f"{utterance.corpus}/")
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def _pattern(speaker: str) -> re.Pattern[str] | None:
    if not speaker:
        return None
    try:
        pattern = re.compile(speaker)
    except re.error as error:
        raise DataError(f"{speaker}: not a regular expression ({error})") from None
    if pattern.groups != 1:
        raise DataError(f"{speaker}: needs one group, in brackets, around the speaker")
    return pattern


def _entry(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _own(row: dict[str, str]) -> dict[str, str]:
    """Without what means something else here: `type`, `task`, and channel 1 of mono files."""
    kept = {k: v for k, v in row.items() if k not in ("type", "task", "label")}
    if kept.get("channel") == "1":
        del kept["channel"]
    return kept


def _extent(utterance: Utterance) -> tuple[int, float]:
    """Sample rate of the file and seconds of the utterance."""
    from voicetone.audio import open_audio

    with open_audio(utterance.audio) as source:
        whole = source.duration or sum(b.shape[1] for b in source.blocks()) / source.rate
        return source.rate, (whole if utterance.end is None else utterance.end) - utterance.start
