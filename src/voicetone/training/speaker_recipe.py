"""The recipe of the speaker-aware transformer: every way to bring the speaker in, and controls."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.errors import DataError
from voicetone.features.dvector import DVector
from voicetone.features.speaker import StatisticsEncoder
from voicetone.features.speaker_graph import GraphSettings
from voicetone.models.speaker_aware import SpeakerAwareConfig
from voicetone.training.classifier_recipe import CorpusChoice
from voicetone.training.systems_recipe import SystemFeatures, SystemsRecipe

_STRICT = ConfigDict(extra="forbid")
Seconds = Annotated[float, Field(ge=0, le=3600)]
_MOST_FRAMES = 6000  # that a network takes, if it was not trained on more


def _heard() -> SystemFeatures:
    return SystemFeatures(name="logmel", frames=96, step=4)


@dataclass(frozen=True, config=_STRICT)
class SpeakerSystem:
    """One network and how it is trained."""

    name: str
    integration: Literal[
        "none",
        "concatenation",
        "addition",
        "prefix",
        "conditional-norm",
        "cross-attention",
        "gradient-reversal",
    ] = "none"
    """How the speaker comes in; `none` with `features.normalise = "speaker"` is the row of
    normalisation per speaker."""
    control: Literal["none", "shuffled", "zero"] = "none"
    """`shuffled` gives every utterance the embedding of an utterance of another speaker, `zero`
    gives none, in training and test alike."""
    places: tuple[int, ...] = ()
    """Where the speaker comes in: i is before layer i, the number of layers behind the last; empty
    is everywhere. Not for prefix and gradient reversal."""
    tokens: int = Field(default=4, ge=1, le=64)
    """Made of an embedding for cross-attention."""
    reversal: float = Field(default=0.1, ge=0)
    """Strength that the reversed gradient grows to (lambda)."""
    hidden: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training utterances whose speaker is hidden in each step, so that what stands
    in for an unknown one is learnt."""
    context: int = Field(default=0, ge=0, le=64)
    """Utterances of the dialogue before this one that are heard too, by session."""
    features: SystemFeatures = field(default_factory=_heard)
    """Frames; of any number."""
    width: int = Field(default=64, ge=2, le=4096)
    layers: int = Field(default=2, ge=1, le=64)
    heads: int = Field(default=4, ge=1, le=64)
    expand: int = Field(default=2, ge=1, le=16)
    """Expansion of the feed-forward steps."""
    subsample: int = Field(default=4, ge=1, le=64)
    """Frames per step of the transformer."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    masks: int = Field(default=4, ge=0, le=8)
    """Stretches of an eighth of the bands and of the frames at most that are hidden in each
    training utterance (SpecAugment, Park et al., Interspeech 2019)."""
    loss: Literal["weighted", "focal"] = "weighted"
    """Cross-entropy weighed inverse to the classes' frequencies; `focal` also by (1 - p)^gamma."""
    gamma: float = Field(default=2.0, gt=0)
    """Of the focal loss."""
    smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of a label that is spread over all classes."""
    rate: float = Field(default=1e-3, gt=0)
    """Peak of the learning rate (AdamW), which rises over a tenth of the steps and falls to 0."""
    decay: float = Field(default=0.01, ge=0)
    """Of the weights."""
    clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 does not clip."""
    epochs: int = Field(default=40, ge=1)
    batch: int = Field(default=32, ge=2)

    any_frames = True  # its network takes any number of them

    @property
    def labelled(self) -> float:
        """All labels are used."""
        return 1.0

    @property
    def unlabelled(self) -> bool:
        """No foreign corpora."""
        return False

    @property
    def labels_only(self) -> bool:
        """It has no use for utterances without a label."""
        return True

    @property
    def only_labels(self) -> bool:
        """Whether it gives labels without probabilities."""
        return False

    @property
    def takes_speaker(self) -> bool:
        """Whether embeddings are inputs."""
        return self.integration not in ("none", "gradient-reversal")

    @property
    def needs_encoder(self) -> bool:
        """Whether embeddings have to be computed."""
        return self.takes_speaker and self.control != "zero"

    @property
    def has_curve(self) -> bool:
        """Whether seconds of enrolment change what it says."""
        hears = self.needs_encoder or self.features.normalise == "speaker"
        return hears and self.control == "none"

    def config(
        self, inputs: int, space: str, classes: int, embedding: int, speakers: int
    ) -> SpeakerAwareConfig:
        """Of its network.

        Args:
            inputs: values per frame.
            space: name of the classes.
            classes: how many.
            embedding: values of a speaker's.
            speakers: in training.

        Raises:
            DataError: sizes that can't be.
        """
        return SpeakerAwareConfig(
            inputs=inputs,
            classes={space: classes},
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            expand=self.expand,
            dropout=self.dropout,
            subsample=self.subsample,
            max_frames=max(_MOST_FRAMES, self.features.frames),
            integration=self.integration,
            speaker=embedding if self.takes_speaker else 0,
            places=self.places,
            tokens=self.tokens,
            speakers=speakers if self.integration == "gradient-reversal" else 0,
            reversal=self.reversal,
            context=self.context,
        )


@dataclass(frozen=True, config=_STRICT)
class SpeakerChoice:
    """Where speakers' embeddings come from."""

    encoder: Literal["statistics", "dvector", "onnx"] = "statistics"
    path: str = ""
    """With `onnx`: the network; see `voicetone.features.speaker_graph` for what it takes."""
    input: Literal["wave", "logmel"] = "wave"
    """With `onnx`, as the following."""
    output: str = ""
    bands: int = Field(default=80, ge=1, le=256)
    window_ms: float = Field(default=25.0, ge=5, le=100)
    hop_ms: float = Field(default=10.0, ge=1, le=100)
    subtract_mean: bool = True
    shortest: float = Field(default=0.5, ge=0.1, le=60)
    longest: float = Field(default=30.0, ge=0.1, le=600)
    same_voice: float = Field(default=0.5, ge=-1, le=1)
    enrolment: Literal["leave-one-out"] | Annotated[float, Field(gt=0, le=3600)] = "leave-one-out"
    """The mean embedding of the speaker's other clips in the same part of the fold, or that of so
    many seconds of them, in whole clips, drawn once."""
    curve: tuple[Seconds, ...] = (0, 2, 5, 10, 30)
    """The test clips are predicted again with so many seconds of enrolment."""

    @property
    def what(self) -> str | GraphSettings:
        """As `voicetone.pretrained.speakers.speaker_encoder` takes it."""
        if self.encoder != "onnx":
            return self.encoder
        return GraphSettings(**{f.name: getattr(self, f.name) for f in fields(GraphSettings)})

    def decisive(self) -> dict[str, Any]:
        """What embeddings depend on, but for the curve.

        Raises:
            DataError: a network that can't be read, or one named where none is taken.
        """
        if bool(self.path) != (self.encoder == "onnx"):
            raise DataError(
                f"speaker.encoder = {self.encoder!r}, speaker.path = {self.path!r}: a path is for "
                "the encoder onnx, which needs one"
            )
        if self.encoder != "onnx":
            told = {"encoder": StatisticsEncoder.id, "enrolment": self.enrolment}
            return told | ({"encoder": DVector.id} if self.encoder == "dvector" else {})
        path = Path(self.path)  # wherever it lies: what is in it decides
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(
                f"{path}: the speaker network can't be read ({error.strerror}): check the path"
            ) from None
        return asdict(self) | {"path": path.name, "sha256": digest}


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class SpeakerRecipe(SystemsRecipe):
    """Speaker-aware transformers on every target."""

    kind: Literal["speaker-aware"]
    systems: tuple[SpeakerSystem, ...] = Field(min_length=1)
    speaker: SpeakerChoice = field(default_factory=SpeakerChoice)
    joint: Literal[False] = False
    unlabelled: Annotated[tuple[CorpusChoice, ...], Field(max_length=0)] = ()
    """None of these systems learns from audio alone."""

    def decides(self, system: SpeakerSystem) -> dict[str, Any]:
        """Embeddings decide where they are taken, with the lengths that are tested."""
        told = self.speaker.decisive() if system.needs_encoder else {}
        told["curve"] = list(self.speaker.curve) if system.has_curve else []
        return {"speaker": told} if system.needs_encoder or system.has_curve else {}
