"""What `bundle.json` may say of the words that a network reads beside the voice."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_LIMIT = 512  # words of a transcript
MOST_SIZE = 1 << 16  # values of a word's vector
MOST_WORDS = 200_000  # in the list
MOST_BYTES = 16 << 20  # of the list


class TextPart(BaseModel):
    """How a transcript becomes vectors. A missing one is a vector of zeros with `read` 0, for which
    the classifier has a stand-in."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    encoder: Literal["words-1"]
    """How a transcript is cut: `voicetone.language.words`. Words that are not in the list are left
    out, and a transcript of none but those is a missing one."""
    vocabulary: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """The file with the words that it knows, one a line, in UTF-8."""
    words: Annotated[int, Field(ge=1, le=MOST_WORDS)]
    """How many they are. They are numbered from 1 by their lines; 0 is padding."""
    limit: Annotated[int, Field(ge=1, le=MOST_LIMIT)]
    """Words of a transcript at most: those at its end are left out."""
    size: Annotated[int, Field(ge=1, le=MOST_SIZE)]
    """Values of a word's vector."""
