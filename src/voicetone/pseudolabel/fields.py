"""The fields that can be filled, and what says of a value that a machine gave it.

`extra` of an utterance keeps the provenance: `FIELD_source` names provider, model and version,
`FIELD_confidence` is in [0, 1]. A value without a source is a person's, and stays as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from voicetone.corpora.provenance import source_of
from voicetone.types import Utterance

Field = Literal["transcript", "sentiment", "emotion"]
FIELDS: tuple[Field, ...] = get_args(Field)


def value_of(utterance: Utterance, field: Field) -> str | None:
    """What stands there, whoever gave it; blanks are nothing."""
    value: str | None = getattr(utterance, field)
    return value if value is not None and value.strip() else None


def human(utterance: Utterance, field: Field) -> str | None:
    """The value that a person gave.

    A person's word that is none of the nine emotions (`label_raw`) is an answer too: then it is
    the empty text, which is nothing to compare with and nothing to fill.
    """
    if source_of(utterance, field) is not None:
        return None
    value = value_of(utterance, field)
    if value is None and field == "emotion" and utterance.label_raw:
        return ""
    return value


def missing(utterance: Utterance, field: Field) -> bool:
    """Is there nothing, of a person or of a machine?"""
    return value_of(utterance, field) is None and human(utterance, field) is None


def filled(
    utterance: Utterance, field: Field, value: str, source: str, confidence: float | None
) -> Utterance:
    """The utterance with a value in an empty field, and where it is from.

    Raises:
        ValueError: the field is not empty.
    """
    if not missing(utterance, field):
        raise ValueError(f"{utterance.id} has a {field}")
    extra = {**utterance.extra, f"{field}_source": source}
    if confidence is not None:
        extra[f"{field}_confidence"] = f"{confidence:.4f}"
    changes: dict[str, str] = {field: value}
    return replace(utterance, extra=extra, **changes)  # type: ignore[arg-type]
