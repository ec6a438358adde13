"""One utterance ↔ one row of text. The columns of a manifest, whatever file holds it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from voicetone.corpora.words import OTHERS, WORDS, emotion_of, hint, sentiment_of
from voicetone.types import EMOTIONS, Rating, Utterance

Row = Mapping[str, str]
Say = Callable[[str], None]

TEXTS = (
    "speaker", "emotion", "label_raw", "sentiment", "label", "transcript", "sentence", "language",
    "sex", "race", "session", "partition", "sha256",
)  # fmt: skip
NUMBERS = ("start", "end", "arousal", "valence", "dominance", "age", "duration")
OBJECTS = ("votes", "ratings", "extra")
PROVENANCE = ("corpus", "corpus_version", "licence", "citation", "label_rule")
COLUMNS = ("id", "file", *TEXTS, *NUMBERS, "channel", *OBJECTS, *PROVENANCE)
OTHER_LABELS = ("label", "sentiment", "arousal", "valence", "dominance")  # beside an emotion
ALWAYS = ("id", "file", "speaker", "emotion", "label_raw", "sentiment", *PROVENANCE)

# What other people call the same.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "file": ("path", "audio", "wav", "filename"),
    "emotion": ("label", "emo"),
    "speaker": ("speaker_id", "spk"),
    "sex": ("gender",),
    "transcript": ("text",),
    "duration": ("duration_s", "length"),
    "partition": ("split",),
    "arousal": ("activation",),
}


def to_row(utterance: Utterance, folder: Path) -> dict[str, str]:
    """The utterance's cells; what is unknown is an empty text.

    Args:
        utterance: the record.
        folder: the manifest's; audio below it is named relative to it, other audio by full path.
    """
    row = {name: getattr(utterance, name) or "" for name in TEXTS}
    for name in NUMBERS:
        value = getattr(utterance, name)
        row[name] = "" if value is None or (name == "start" and not value) else repr(float(value))
    row["id"] = utterance.id
    row["file"] = _relative(utterance.audio, folder)
    row["channel"] = "" if utterance.channel is None else str(utterance.channel)
    row["votes"] = "" if utterance.votes is None else _json(dict(utterance.votes))
    row["ratings"] = _json([_rating(r) for r in utterance.ratings]) if utterance.ratings else ""
    row["extra"] = _json(dict(utterance.extra)) if utterance.extra else ""
    row["corpus"] = utterance.corpus
    return row


_TOLD = ("source", "confidence")
"""What `extra` tells of a value that a machine gave."""


def from_row(row: Row, folder: Path, corpus: str, say: Say) -> Utterance:
    """The utterance of a row. What can't be read is told to `say` and left out of the record.

    Args:
        row: cells by the names of `COLUMNS`; `id` must be filled.
        folder: what relative paths start from.
        corpus: of rows that name none.
        say: takes each problem.
    """
    name = row.get("corpus") or corpus
    speaker = row.get("speaker") or None
    emotion, raw = _emotion(row, say)
    own = ("speaker", "emotion", "label_raw")
    texts: dict[str, Any] = {c: row.get(c) or None for c in TEXTS if c not in own}
    extra = _extra(row, say)
    if "sentiment" not in row:
        texts["sentiment"] = sentiment_of(emotion)
        if texts["sentiment"] is not None:  # whoever said the one has said the other
            said = {k: extra[f"emotion_{k}"] for k in _TOLD if f"emotion_{k}" in extra}
            extra |= {f"sentiment_{key}": value for key, value in said.items()}
    numbers: dict[str, Any] = {c: _number(row, c, say) for c in NUMBERS}
    start = numbers.pop("start")
    return Utterance(
        id=row["id"],
        audio=folder / row.get("file", ""),
        corpus=name,
        speaker=speaker if speaker is None or "/" in speaker else f"{name}/{speaker}",
        emotion=emotion,
        label_raw=raw,
        start=start or 0.0,
        channel=_channel(row, say),
        votes=_votes(row, say),
        ratings=tuple(_ratings(row, say)),
        extra=extra,
        **numbers,
        **texts,
    )


def _emotion(row: Row, say: Say) -> tuple[str | None, str | None]:
    """Our word and the corpus's: with a column `label_raw`, `emotion` holds ours only."""
    word = row.get("emotion") or None
    raw = row.get("label_raw") or word
    if word is None:
        if raw is not None and not any(row.get(c) for c in OTHER_LABELS):
            _known_raw(raw, row.get("corpus", ""), say)
        return None, raw
    emotion, known = emotion_of(word)
    if not known:
        say(f"unknown label {word!r}; {hint(word, (*WORDS, *OTHERS), EMOTIONS)}")
    return emotion, raw


def _known_raw(raw: str, corpus: str, say: Say) -> None:
    """Complain about a word that is no label of any kind, and so is probably misspelt."""
    from voicetone.corpora.registry import CORPORA

    own = CORPORA[corpus].labels if corpus in CORPORA else {}
    if not emotion_of(raw)[1] and raw not in own:
        known = (*WORDS, *OTHERS, *own)
        say(f"unknown label {raw!r} in label_raw, and no emotion; {hint(raw, known, EMOTIONS)}")


def _number(row: Row, column: str, say: Say) -> float | None:
    text = row.get(column, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        say(f"{column} {text!r} is no number; mend or empty it")
        return None
    return value


def _channel(row: Row, say: Say) -> int | None:
    value = _number(row, "channel", say)
    if value is None:
        return None
    if value != int(value) or value < 1:
        say(f"channel {row['channel']!r}: channels are counted 1, 2, …")
        return None
    return int(value)


def _object(row: Row, column: str, kind: type, say: Say) -> Any:
    text = row.get(column, "").strip()
    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        say(f"{column} is no JSON {'list' if kind is list else 'object'}; mend or empty it")
        return None
    return value


def _votes(row: Row, say: Say) -> dict[str, float] | None:
    value = _object(row, "votes", dict, say)
    if value is None:
        return None
    if not all(isinstance(v, int | float) for v in value.values()):
        say("votes must be numbers; mend or empty it")
        return None
    return {str(k): float(v) for k, v in value.items()}


def _extra(row: Row, say: Say) -> dict[str, str]:
    value = _object(row, "extra", dict, say) or {}
    return {str(k): str(v) for k, v in value.items()}


def _ratings(row: Row, say: Say) -> Iterator[Rating]:
    for item in _object(row, "ratings", list, say) or ():
        try:
            yield Rating(**{**item, "emotions": tuple(item.get("emotions", ()))})
        except (TypeError, AttributeError):
            say("a rating has unknown fields; mend or empty the column ratings")


def _rating(rating: Rating) -> dict[str, Any]:
    out: dict[str, Any] = {"rater": rating.rater}
    if rating.emotions:
        out["emotions"] = list(rating.emotions)
    for name in ("arousal", "valence", "dominance"):
        if getattr(rating, name) is not None:
            out[name] = getattr(rating, name)
    if rating.own:
        out["own"] = True
    return out


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _relative(audio: Path, folder: Path) -> str:
    absolute, base = (Path(os.path.abspath(p)) for p in (audio, folder))  # noqa: PTH100 - no links
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(absolute)
