"""What `bundle.json` may say. Strict and bounded, because a bundle may come from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from voicetone.audio.units import FRAME, HOP_SECONDS, SAMPLE_RATE, WINDOW_SECONDS
from voicetone.errors import BundleError
from voicetone.features.spectral import SpectralConfig
from voicetone.types import SENTIMENTS, LabelSpace

FORMAT = 1
SPEC_NAME = "bundle.json"
MAX_SPEC_BYTES = 1 << 20
MAX_FILE_BYTES = 64 << 20
MAX_FILES = 32
MAX_LABELS = 64
MAX_WIDTH = 1 << 16  # values in a state or in the embedding of a frame

Line = Annotated[str, Field(max_length=1000, pattern=r"^[^\r\n]*$")]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Labels = Annotated[list[PlainName], Field(min_length=1, max_length=MAX_LABELS)]
Temperature = Annotated[float, Field(ge=0.01, le=100.0)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class LabelSpaces(_Part):
    """The labels of each head in the order of its outputs."""

    sentiment: Labels
    emotion: Labels

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.emotion)) < len(self.emotion):
            raise ValueError("an emotion is listed twice")
        if sorted(self.sentiment) != sorted(SENTIMENTS):
            raise ValueError(f"the sentiments must be {', '.join(SENTIMENTS)}")
        return self


class Graphs(_Part):
    """File names of the two networks."""

    encoder: PlainName
    head: PlainName


class Temperatures(_Part):
    """What the logits of each head are divided by."""

    sentiment: Temperature
    emotion: Temperature


class SpeechRule(_Part):
    """When a channel counts as speaking: see `voicetone.inference.speech`."""

    threshold: Share
    release: Share
    onset_frames: Annotated[int, Field(ge=1, le=1000)]
    hangover_frames: Annotated[int, Field(ge=0, le=1000)]


class DontKnow(_Part):
    """The least confidence that gets a label, and [threshold, coverage, accuracy] behind it."""

    sentiment: Share
    curve: Annotated[
        list[Annotated[list[Share], Field(min_length=3, max_length=3)]], Field(max_length=1000)
    ]


class TrainingCorpus(_Part):
    """One corpus that the weights were made from."""

    corpus: Line
    licence: Line
    utterances: Annotated[int, Field(ge=0)]
    hours: Annotated[float, Field(ge=0.0)]
    note: Line


class FileDigest(_Part):
    """What a file of the bundle must be."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=1, le=MAX_FILE_BYTES)]


class BundleSpec(_Part):
    """The whole of `bundle.json`."""

    format: Literal[1]
    name: PlainName
    version: PlainName
    created: Line
    label_spaces: LabelSpaces
    sample_rate: int
    window_seconds: float
    hop_seconds: float
    frame_samples: int
    features: dict[str, int | float]
    state_size: Width
    embedding_size: Width
    graphs: Graphs
    temperature: Temperatures
    speech: SpeechRule
    dont_know: DontKnow
    parameters: Annotated[int, Field(ge=0)]
    mac_per_second: Annotated[int, Field(ge=0)]
    training: Annotated[list[TrainingCorpus], Field(max_length=200)]
    licence: Line
    attribution: Annotated[list[Line], Field(max_length=5000)]
    notice: Line
    card: str
    metrics: dict[str, JsonValue]
    files: Annotated[dict[PlainName, FileDigest], Field(max_length=MAX_FILES)]

    @field_validator("features")
    @classmethod
    def _known_features(cls, value: dict[str, int | float]) -> dict[str, int | float]:
        whole = ("n_fft", "hop", "mels", "lags")
        if any(not isinstance(value.get(key, 0), int) for key in whole):
            raise ValueError(f"{', '.join(whole)} must be whole numbers")
        try:
            SpectralConfig.from_dict(value)
        except BundleError as error:
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _as_this_version_works(self) -> Self:
        fixed = {
            "sample_rate": SAMPLE_RATE,
            "window_seconds": WINDOW_SECONDS,
            "hop_seconds": HOP_SECONDS,
            "frame_samples": FRAME,
        }
        for key, value in fixed.items():
            if getattr(self, key) != value:
                raise ValueError(f"{key} must be {value:g}")
        for name in (self.graphs.encoder, self.graphs.head):
            if name not in self.files:
                raise ValueError(f"files has no hash for {name}")
        return self

    @property
    def id(self) -> str:
        """Name and version, as results carry it."""
        return f"{self.name} {self.version}"

    @property
    def spectral(self) -> SpectralConfig:
        """The settings of the features."""
        return SpectralConfig.from_dict(self.features)

    def space(self, name: Literal["sentiment", "emotion"]) -> LabelSpace:
        """One label space."""
        return LabelSpace(name, tuple(getattr(self.label_spaces, name)))


def parse_spec(data: bytes, where: Path) -> BundleSpec:
    """The specification in the bytes of a `bundle.json`.

    Raises:
        BundleError: not JSON, of another format, or a value that is missing, unknown or out of
            range.
    """
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not readable as JSON ({_line(error)}): {_AGAIN}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise BundleError(f"{where}: not a voicetone bundle (no format number): {_AGAIN}")
    if (number := content["format"]) != FORMAT or isinstance(number, bool):
        raise BundleError(
            f"{where}: bundle format {str(number)[:20]!r} is unknown to this version of voicetone, "
            f"which reads format {FORMAT}: update voicetone or take a bundle made for it"
        )
    try:
        return BundleSpec.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BundleError(f"{where}: {_line(place)}: {_line(first['msg'])}: {_AGAIN}") from error


_AGAIN = "get the bundle again or export it anew"


def _line(text: object) -> str:
    """Text as a short part of a single line."""
    return " ".join(str(text).split())[:200]
