"""What `bundle.json` may say of the speaker whom a network can be told of."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from voicetone.features.speaker_graph import GraphSettings

Kind = Literal["statistics", "dvector", "onnx", "frames"]
GRAPHS: tuple[Kind, ...] = ("dvector", "onnx")
"""Kinds whose network lies in the bundle."""
ENROL_SECONDS = 10.0
MOST_SIZE = 1 << 16  # values of a voice


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class SpeakerNetwork(_Part):
    """What a network of the kind `onnx` hears; see `voicetone.features.speaker_graph`."""

    input: Literal["wave", "logmel"]
    output: Annotated[str, Field(max_length=200, pattern=r"^[^\r\n]*$")]
    bands: Annotated[int, Field(ge=1, le=256)]
    window_ms: Annotated[float, Field(ge=5.0, le=100.0)]
    hop_ms: Annotated[float, Field(ge=1.0, le=100.0)]
    subtract_mean: bool
    shortest: Annotated[float, Field(ge=0.1, le=60.0)]
    longest: Annotated[float, Field(ge=0.1, le=600.0)]

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.longest < self.shortest:
            raise ValueError("longest is under shortest")
        return self

    def settings(self, path: str, same_voice: float) -> GraphSettings:
        """The same as `GraphEncoder` takes it.

        Args:
            path: name of the graph's file.
            same_voice: see `GraphSettings`.
        """
        return GraphSettings(path=path, same_voice=same_voice, **self.model_dump())


class SpeakerPart(_Part):
    """How a voice becomes what the network is told of it."""

    kind: Kind
    """`frames` is for a network whose features are normalised per speaker: the voice is mean and
    standard deviation of each of them. The others are embeddings."""
    encoder: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """The id of what computes it: a voice of another one is refused."""
    size: Annotated[int, Field(ge=1, le=MOST_SIZE)]
    """Values of a voice."""
    same_voice: Annotated[float, Field(ge=-1.0, le=1.0)]
    """The cosine of two stretches of about 2 s under which they rather are of two voices."""
    enrol_seconds: Annotated[float, Field(ge=1.0, le=60.0)]
    """Seconds of speech that a call's own voice is taken from."""
    network: SpeakerNetwork | None
    """With the kind `onnx`, else null."""

    @model_validator(mode="after")
    def _network_where_it_is_needed(self) -> Self:
        if (self.network is not None) != (self.kind == "onnx"):
            raise ValueError("network goes with the kind onnx, and is null for the others")
        return self
