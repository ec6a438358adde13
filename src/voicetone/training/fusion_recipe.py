"""The recipe of fusion: the voice, the words, both together, and what a label of the words says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.corpora.provenance import source_of
from voicetone.errors import DataError
from voicetone.language.hub import pinned
from voicetone.models.fusion import FusionConfig
from voicetone.models.fusion_source import text_source
from voicetone.models.fusion_text import TextConfig, TextEncoder, load_text
from voicetone.training.fusion_words import WORDS
from voicetone.training.speaker_recipe import SpeakerRecipe, SpeakerSystem
from voicetone.types import Utterance

_STRICT = ConfigDict(extra="forbid")
_FIELDS = ("sentiment", "emotion")
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=_STRICT)
class FusionSystem(SpeakerSystem):
    """One network of voice, words or both; what is said of the voice holds as without words."""

    fusion: Literal[
        "acoustic", "text", "text-label", "early", "late", "gated", "cross-attention"
    ] = "gated"
    """`acoustic` hears the voice alone, `text` reads the words alone, `text-label` repeats the
    label that a machine gave the words; the others are ways to bring both together, see
    `voicetone.models.fusion`."""
    column: str = ""
    """With `text-label`: a column of the manifest's `extra`, or `sentiment` or `emotion` where a
    machine filled it."""
    drop_audio: Share = 0.2
    """Share of training utterances whose voice is hidden in each step, where both come in."""
    drop_text: Share = 0.2
    """Share of training utterances whose words are hidden in each step, where both come in."""
    context: Literal[0] = 0
    """The utterances before are not heard."""

    @property
    def hears(self) -> bool:
        """Whether the voice comes in."""
        return self.fusion not in ("text", "text-label")

    @property
    def reads(self) -> bool:
        """Whether the words come in."""
        return self.fusion not in ("acoustic", "text-label")

    @property
    def fused(self) -> bool:
        """Whether both come in."""
        return self.hears and self.reads

    @property
    def only_labels(self) -> bool:
        """Whether it gives labels without probabilities."""
        return self.fusion == "text-label"

    def fusion_config(self, text: int) -> FusionConfig:
        """Of the network, with so many values in the vector of a token.

        One modality alone is late fusion in which the other has no say.

        Raises:
            DataError: sizes that can't be.
        """
        return FusionConfig(
            text=text,
            fusion=self.fusion if self.fused else "late",
            heads=self.heads,
            expand=self.expand,
            dropout=self.dropout,
            drop_audio=self.drop_audio if self.fused else 0.0,
            drop_text=self.drop_text if self.fused else 0.0,
        )


@dataclass(frozen=True, config=_STRICT)
class TextChoice:
    """What reads the words."""

    model: str = ""
    """A folder, or NAME@REVISION of the hub, with a text encoder of the transformers library.
    Without one, a small encoder learns words from the transcripts of each fold's training set and
    from nothing else."""
    limit: int = Field(default=64, ge=3, le=512)
    """Tokens of a transcript at most."""
    trainable: bool = False
    """Of a `model`: train it further."""
    rate: float = Field(default=2e-5, gt=0)
    """Peak of its learning rate, if it is."""
    width: int = Field(default=64, ge=2, le=4096)
    """Of the small encoder, as the following."""
    layers: int = Field(default=1, ge=0, le=16)
    heads: int = Field(default=4, ge=1, le=64)
    vocabulary: int = Field(default=5000, ge=1, le=200_000)
    """Words at most, the most frequent ones."""

    def encoder(self) -> TextEncoder:
        """The given one, opened.

        Raises:
            DataError: it is not in order.
            UsageError: a name without a revision.
            MissingExtraError: transformers is not installed.
        """
        return load_text(TextConfig(self.model, self.limit, self.trainable))

    def decisive(self) -> dict[str, Any]:
        """What predictions depend on.

        Raises:
            DataError: a folder that is no text encoder's.
        """
        if not self.model:
            own = ("limit", "width", "layers", "heads", "vocabulary")
            return {"encoder": WORDS, **{name: getattr(self, name) for name in own}}
        name, revision = pinned(self.model, "text.model")
        told: dict[str, Any] = {"limit": self.limit, "trainable": self.trainable}
        told |= {"rate": self.rate} if self.trainable else {}
        if revision is not None:
            return {"encoder": self.model, **told}
        return {"encoder": Path(name).name, "sha256": text_source(Path(name)).digest, **told}


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class FusionRecipe(SpeakerRecipe):
    """Voice, words, and both, on every target."""

    kind: Literal["fusion"]  # type: ignore[assignment]
    systems: tuple[FusionSystem, ...] = Field(min_length=1)
    text: TextChoice = field(default_factory=TextChoice)

    def decides(self, system: SpeakerSystem) -> dict[str, Any]:
        """Also what reads the words."""
        assert isinstance(system, FusionSystem)
        told = {"text": self.text.decisive()} if system.reads else {}
        return super().decides(system) | told

    def reads(self, system: Any, utterances: Sequence[Utterance]) -> dict[str, Any]:
        """A hash of the transcripts, or of the column, where a system takes them."""
        if system.reads:
            return {"transcripts": _hash([(u.id, u.transcript) for u in utterances])}
        if system.only_labels:
            told = [(u.id, of_column(u, system.column)) for u in utterances]
            return {"column": _hash(told)}
        return {}


def of_column(utterance: Utterance, column: str) -> str | None:
    """What a machine said of the words; None where it said nothing.

    A sentiment or an emotion that a person gave is no such thing.
    """
    if column in _FIELDS:
        value = getattr(utterance, column)
        return value if value and source_of(utterance, column) is not None else None
    return utterance.extra.get(column) or None


def require_column(system: FusionSystem) -> None:
    """That a column is named where one is taken, and only there.

    Raises:
        DataError: it is not so.
    """
    if bool(system.column) != system.only_labels:
        raise DataError(
            f"{system.name}: fusion = {system.fusion!r}, column = {system.column!r}: a column is "
            "for text-label, which needs one"
        )


def _hash(values: Sequence[tuple[str, str | None]]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
