"""What `bundle.json` may say. Strict and bounded, because a bundle may come from anywhere.

There are two kinds. Of format 1 are networks that hear a stream frame by frame, from spectral
features; of format 2 those that hear a whole window at once, from features of all of it, as
openSMILE's functionals.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

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
from voicetone.features.sets import OPENSMILE, SETS, FeatureConfig, extractor
from voicetone.features.spectral import SpectralConfig
from voicetone.pretrained.speaker_part import GRAPHS, SpeakerPart
from voicetone.pretrained.text_part import TextPart
from voicetone.types import EMOTION_TO_SENTIMENT, SENTIMENTS, LabelSpace

STREAM, WINDOW = 1, 2
SPEC_NAME = "bundle.json"
MAX_SPEC_BYTES = 1 << 20
MAX_FILE_BYTES = 64 << 20
MAX_FILES = 32
MAX_LABELS = 64
MAX_WIDTH = 1 << 16  # values in a state or in the embedding of a frame

Line = Annotated[str, Field(max_length=1000, pattern=r"^[^\r\n]*$")]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Labels = Annotated[list[PlainName], Field(max_length=MAX_LABELS)]
Space = Literal["sentiment", "emotion"]
Temperature = Annotated[float, Field(ge=0.01, le=100.0)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class LabelSpaces(_Part):
    """The labels of each head in the order of its outputs."""

    sentiment: Labels
    emotion: Labels
    """Empty where the network names none, which only format 2 may."""

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


class WindowGraph(_Part):
    """File names of the network, of the one that makes a voice of speech, and of the one that
    makes vectors of words."""

    classifier: PlainName
    speaker: PlainName | None = None
    text: PlainName | None = None


class WindowFeatures(_Part):
    """What a network of format 2 hears of a window: a feature set of `voicetone features`."""

    name: PlainName
    cut_seconds: Annotated[float, Field(gt=0.0)] | None
    """Only so many seconds from the window's start."""
    size: Width
    """Values of the vector, or of each frame."""
    frames: Annotated[int, Field(ge=0, le=MAX_WIDTH)]
    """0 for functionals; else so many frames, by zeros at the end or the cut to the middle."""
    step: Annotated[int, Field(ge=1, le=1000)]
    """So many frames of 10 ms are one, their mean."""
    opensmile: Line | None
    """The version that the network was trained with; null for sets that are not openSMILE's."""

    @property
    def config(self) -> FeatureConfig:
        """The set as `voicetone.features` takes it."""
        return FeatureConfig(
            self.name, "frames" if self.frames else "functionals", self.cut_seconds
        )

    @property
    def decisive(self) -> dict[str, object]:
        """All that decides the frames, `step` apart."""
        told = ("name", "cut_seconds", "size", "opensmile")
        return {key: getattr(self, key) for key in told}

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in SETS:
            raise ValueError(f"name is none of {', '.join(SETS)}")
        if (self.opensmile is None) == (self.name in OPENSMILE):
            raise ValueError("opensmile must be the version for openSMILE's sets, else null")
        return self


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


class Shapes(NamedTuple):
    """What a session keeps per stream for a predictor, in numbers of float32 values."""

    context: int
    """Samples to the left of a job's own."""
    state: int
    frame: int


class BundleSpec(_Part):
    """What every `bundle.json` says."""

    name: PlainName
    version: PlainName
    created: Line
    label_spaces: LabelSpaces
    sample_rate: int
    window_seconds: float
    hop_seconds: float
    frame_samples: int
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
    speaker: SpeakerPart | None = None
    """For a network that can be told whose voice it hears, which only format 2 may."""
    text: TextPart | None = None
    """For a network that reads words, which only format 2 may."""

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
        for name in self.graph_names:
            if name not in self.files:
                raise ValueError(f"files has no hash for {name}")
        return self

    @property
    @abstractmethod
    def graph_names(self) -> tuple[str, ...]:
        """The files that are graphs."""

    @property
    @abstractmethod
    def shapes(self) -> Shapes:
        """What a session keeps per stream."""

    @property
    @abstractmethod
    def hears(self) -> str:
        """The features, in words."""

    @property
    @abstractmethod
    def speech_from(self) -> Literal["model", "energy"]:
        """What says where speech is."""

    def require_extras(self) -> None:
        """Make sure that all is installed that running it takes, as it was in training.

        Raises:
            MissingExtraError: openSMILE is not installed.
            BundleError: it is of another version.
        """

    @property
    def id(self) -> str:
        """Name and version, as results carry it."""
        return f"{self.name} {self.version}"

    def space(self, name: Space) -> LabelSpace:
        """One label space."""
        return LabelSpace(name, tuple(getattr(self.label_spaces, name)))


class StreamSpec(BundleSpec):
    """Format 1: an encoder of frames with speech presence, and a head over a window of them."""

    format: Literal[1]
    features: dict[str, int | float]
    state_size: Width
    embedding_size: Width
    graphs: Graphs

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

    @field_validator("speaker")
    @classmethod
    def _nobody(cls, value: SpeakerPart | None) -> None:
        if value is not None:
            raise ValueError("a bundle of format 1 is told of no speaker")

    @field_validator("text")
    @classmethod
    def _no_words(cls, value: TextPart | None) -> None:
        if value is not None:
            raise ValueError("a bundle of format 1 reads no words")

    @field_validator("label_spaces")
    @classmethod
    def _both_spaces(cls, value: LabelSpaces) -> LabelSpaces:
        if not value.emotion:
            raise ValueError("label_spaces.emotion has no labels")
        return value

    @property
    def graph_names(self) -> tuple[str, ...]:
        """Encoder and head."""
        return self.graphs.encoder, self.graphs.head

    @property
    def shapes(self) -> Shapes:
        """What a session keeps per stream."""
        return Shapes(self.spectral.context, self.state_size, self.embedding_size)

    @property
    def hears(self) -> str:
        """The features, in words."""
        return f"{self.spectral.mels} log-mel energies and {self.spectral.lags} pitch values"

    @property
    def speech_from(self) -> Literal["model", "energy"]:
        """The encoder gives speech presence."""
        return "model"

    @property
    def spectral(self) -> SpectralConfig:
        """The settings of the features."""
        return SpectralConfig.from_dict(self.features)


class WindowSpec(BundleSpec):
    """Format 2: one network over the features of a whole window. Speech presence is energy's."""

    format: Literal[2]
    features: WindowFeatures
    graphs: WindowGraph
    head: Space
    """What the network gives. Sentiment is else the sum over the emotions, emotion is else none."""

    @model_validator(mode="after")
    def _head_has_labels(self) -> Self:
        emotions = self.label_spaces.emotion
        if (self.head == "emotion") != bool(emotions):
            raise ValueError("label_spaces.emotion must have labels if head is emotion, else not")
        if emotions and not set(emotions) & set(EMOTION_TO_SENTIMENT):
            raise ValueError("none of the emotions has a sentiment")
        return self

    @model_validator(mode="after")
    def _speaker_fits(self) -> Self:
        part, features = self.speaker, self.features
        named = self.graphs.speaker is not None
        if named != (part is not None and part.kind in GRAPHS):
            raise ValueError(f"graphs.speaker goes with a speaker of the kinds {', '.join(GRAPHS)}")
        if part is not None and part.kind == "frames":
            if not features.frames:
                raise ValueError("a speaker of the kind frames needs features with frames")
            if part.size != 2 * features.size:
                raise ValueError(f"speaker.size must be {2 * features.size}, twice the features'")
        return self

    @model_validator(mode="after")
    def _text_fits(self) -> Self:
        if (self.graphs.text is None) != (self.text is None):
            raise ValueError("graphs.text goes with text")
        if self.text is None:
            return self
        if not self.features.frames:
            raise ValueError("a network that reads words needs features with frames")
        if self.text.vocabulary not in self.files:
            raise ValueError(f"files has no hash for {self.text.vocabulary}")
        if self.text.vocabulary in self.graph_names:
            raise ValueError("text.vocabulary is no graph")
        return self

    @property
    def graph_names(self) -> tuple[str, ...]:
        """The classifier, then the speaker's and that of words if there are any."""
        graphs = self.graphs.classifier, self.graphs.speaker, self.graphs.text
        return tuple(name for name in graphs if name is not None)

    @property
    def shapes(self) -> Shapes:
        """Frames are the samples themselves; the state is the floor of the energy."""
        return Shapes(0, 1, FRAME)

    @property
    def hears(self) -> str:
        """The features, in words."""
        said = f"{self.features.config} of each window"
        if self.features.opensmile is None:
            return said
        return f"{said}, by openSMILE {self.features.opensmile} (for research and education only)"

    @property
    def speech_from(self) -> Literal["model", "energy"]:
        """The network does not say where speech is."""
        return "energy"

    def require_extras(self) -> None:
        """See the base; features of another openSMILE are not those that the network learnt."""
        found = extractor(self.features.config).settings.get("opensmile")
        trained = self.features.opensmile
        if trained is not None and str(found).split(".")[:2] != trained.split(".")[:2]:
            raise BundleError(
                f"{self.id}: openSMILE {found} is installed and it was trained with {trained}, "
                f"whose features may differ: pip install opensmile=={trained}"
            )


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
    number = content["format"]
    if isinstance(number, bool) or number not in (STREAM, WINDOW):
        raise BundleError(
            f"{where}: bundle format {str(number)[:20]!r} is unknown to this version of voicetone, "
            f"which reads formats {STREAM} and {WINDOW}: update voicetone or take a bundle made "
            "for it"
        )
    try:
        kind = StreamSpec if number == STREAM else WindowSpec
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BundleError(f"{where}: {_line(place)}: {_line(first['msg'])}: {_AGAIN}") from error


_AGAIN = "get the bundle again or export it anew"


def _line(text: object) -> str:
    """Text as a short part of a single line."""
    return " ".join(str(text).split())[:200]
