"""The records that flow between rooms: frozen, numpy only, unknown is `None`.

Times are seconds from the start of the audio; arrays of audio are float32 `[channels, n]` in
[-1, 1]; scores are probabilities that sum to one over a label space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voicetone.errors import AudioError

Floats = NDArray[np.float32]

EMOTIONS = (
    "anger",
    "happiness",
    "sadness",
    "neutral",
    "fear",
    "disgust",
    "surprise",
    "boredom",
    "calm",
)
SENTIMENTS = ("positive", "neutral", "negative")

# What the shared corpora and MELD's double labels agree on; surprise goes both ways and so has
# no sentiment, boredom is negative only where a recipe asks for it.
EMOTION_TO_SENTIMENT: Mapping[str, str] = {
    "anger": "negative",
    "disgust": "negative",
    "fear": "negative",
    "sadness": "negative",
    "happiness": "positive",
    "neutral": "neutral",
    "calm": "neutral",
}


@dataclass(frozen=True, slots=True)
class Waveform:
    """Samples and their rate, inseparable.

    Args:
        samples: float32 `[channels, n]`, full scale is ±1.
        sample_rate: Hz.

    Raises:
        AudioError: the array is not two-dimensional or not finite.
    """

    samples: Floats
    sample_rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2:
            raise AudioError("a waveform is [channels, n]: give a two-dimensional array")
        if not np.isfinite(self.samples).all():
            raise AudioError("the audio holds NaN or infinite samples: repair or re-export it")

    @property
    def channels(self) -> int:
        return int(self.samples.shape[0])

    @property
    def duration(self) -> float:
        """Seconds."""
        return int(self.samples.shape[1]) / self.sample_rate

    def mono(self) -> Waveform:
        """The mean of all channels, `[1, n]`."""
        return Waveform(self.samples.mean(axis=0, keepdims=True), self.sample_rate)

    def resample(self, sample_rate: int) -> Waveform:
        """The same audio at another rate (soxr, quality HQ)."""
        if sample_rate == self.sample_rate:
            return self
        import soxr

        out = soxr.resample(self.samples.T, self.sample_rate, sample_rate, quality="HQ")
        return Waveform(np.ascontiguousarray(out.T, dtype=np.float32), sample_rate)

    def slice(self, start: float, end: float) -> Waveform:
        """The audio between two times in seconds, cut at the ends of the recording."""
        first, last = round(max(start, 0.0) * self.sample_rate), round(end * self.sample_rate)
        return Waveform(self.samples[:, first:last], self.sample_rate)


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """A name (`emotion`, `sentiment`) and its labels in the order of a model's outputs."""

    name: str
    labels: tuple[str, ...]

    def index(self, label: str) -> int:
        return self.labels.index(label)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of audio, in seconds."""

    start: float
    end: float
    label: str = "speech"


@dataclass(frozen=True, slots=True)
class Said:
    """Words from `start` to `end` seconds, of a person or a recogniser."""

    start: float
    end: float
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rating:
    """What one person said of an utterance: the corpus's words, attributes in [0, 1].

    `own` says that the person is the speaker.
    """

    rater: str
    emotions: tuple[str, ...] = ()
    arousal: float | None = None
    valence: float | None = None
    dominance: float | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class Utterance:
    """One labelled stretch of audio. Labels are voicetone's words, `label_raw` the corpus's.

    `channel` counts from 1. `votes` are numbers of raters per label. `label` is the class that a
    label rule gave, `partition` the corpus's own split, `sha256` that of the file's bytes.
    """

    id: str
    audio: Path
    corpus: str
    speaker: str | None = None
    start: float = 0.0
    end: float | None = None
    channel: int | None = None
    emotion: str | None = None
    label_raw: str | None = None
    sentiment: str | None = None
    arousal: float | None = None
    valence: float | None = None
    dominance: float | None = None
    votes: Mapping[str, float] | None = None
    transcript: str | None = None
    sentence: str | None = None
    language: str | None = None
    sex: str | None = None
    age: float | None = None
    session: str | None = None
    duration: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    race: str | None = None
    partition: str | None = None
    ratings: tuple[Rating, ...] = ()
    sha256: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one stretch of audio: scores per label space, speech probability."""

    model: str
    start: float
    end: float
    scores: Mapping[str, Mapping[str, float]]
    speech: float | None = None


Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Window:
    """One analysed window of a channel.

    `speech_seconds` are the seconds of active speech in the window's newest part, the seconds
    that this window alone stands for. Without speech there are no scores.
    """

    start: float
    end: float
    speech: bool
    speech_seconds: float
    sentiment: Scores | None
    emotion: Scores | None

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object; times in seconds."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "speech": self.speech,
            "speech_seconds": round(self.speech_seconds, 3),
            "sentiment": _scores(self.sentiment),
            "emotion": _scores(self.emotion),
        }


@dataclass(frozen=True, slots=True)
class Current:
    """Tone over the newest 30 s of active speech, as it stood at `end`."""

    end: float
    label: str | None
    sentiment: Scores | None
    emotion: Scores | None

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object; times in seconds."""
        return {
            "end": round(self.end, 3),
            "label": self.label,
            "sentiment": _scores(self.sentiment),
            "emotion": _scores(self.emotion),
        }


@dataclass(frozen=True, slots=True)
class Overall:
    """Tone over the whole channel. `label` is None without speech or with low confidence."""

    speech_seconds: float
    label: str | None
    confidence: float | None
    sentiment: Scores | None
    emotion: Scores | None

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object."""
        return {
            "speech_seconds": round(self.speech_seconds, 3),
            "label": self.label,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "sentiment": _scores(self.sentiment),
            "emotion": _scores(self.emotion),
        }


@dataclass(frozen=True, slots=True)
class SpeakerUse:
    """What a model that takes a speaker was told of a channel's.

    `enrolled` beforehand, `auto` from the channel's own first `seconds` of speech, or `unknown`.
    Windows that end after `since` are scored with it; None where none is.
    """

    source: Literal["enrolled", "auto", "unknown"]
    seconds: float
    since: float | None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object; times in seconds."""
        return {
            "source": self.source,
            "seconds": round(self.seconds, 3),
            "from": None if self.since is None else round(self.since, 3),
            "warnings": list(self.warnings),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> SpeakerUse:
        """The record again from its JSON object."""
        return SpeakerUse(data["source"], data["seconds"], data["from"], tuple(data["warnings"]))


@dataclass(frozen=True, slots=True)
class ChannelResult:
    """All that one channel gave.

    `channel` is its number in the recording, from 1; `speech` are its turns of active speech;
    `speaker` is None where the model takes none. `estimated` says that this is one party of a
    channel that was split by voice. `windows_with_words` are those whose scores know words of a
    transcript; None where the model reads none.
    """

    channel: int
    name: str | None
    flags: tuple[str, ...]
    windows: tuple[Window, ...]
    current: tuple[Current, ...]
    overall: Overall
    speech: tuple[Segment, ...]
    speaker: SpeakerUse | None = None
    estimated: bool = False
    windows_with_words: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """How one channel was split into its parties: by their voices alone, so it is an estimate.

    Attributes:
        encoder: what the voices were told apart by.
        asked: how many there were said to be; None if that was to be found out.
        speakers: how many were found.
        turns: who spoke when: start and end in seconds, and the speaker's number from 1.
    """

    encoder: str
    asked: int | None
    speakers: int
    turns: tuple[tuple[float, float, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """Its JSON object."""
        return {
            "estimated": True,
            "encoder": self.encoder,
            "asked": self.asked,
            "speakers": self.speakers,
            "turns": [[round(a, 3), round(b, 3), speaker] for a, b, speaker in self.turns],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Split:
        """The record again from its JSON object."""
        turns = tuple((start, end, speaker) for start, end, speaker in data["turns"])
        return Split(data["encoder"], data["asked"], data["speakers"], turns)


@dataclass(frozen=True, slots=True)
class FileResult:
    """The analysis of one recording.

    `flags`: `short` (under 1 s), `silent` (nothing but zeros), `clipped`, each said of the
    file when it holds for any analysed channel. `speech_from` says whether the model heard where
    speech is, or it was estimated from the energy. With `split` the channels are the parties of one
    channel of the recording, in order of first speech.
    """

    file: str
    duration: float
    model: str
    flags: tuple[str, ...]
    channels: tuple[ChannelResult, ...]
    speech_from: Literal["model", "energy"] = "model"
    split: Split | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `voicetone analyze --json`."""
        return {
            "file": self.file,
            "duration": round(self.duration, 3),
            "model": self.model,
            "flags": list(self.flags),
            "channels": [_channel_dict(c) for c in self.channels],
            "speech_from": self.speech_from,
            **({} if self.split is None else {"split": self.split.to_dict()}),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> FileResult:
        """The record again from its JSON object."""
        return FileResult(
            file=data["file"],
            duration=data["duration"],
            model=data["model"],
            flags=tuple(data["flags"]),
            channels=tuple(_channel_from(c) for c in data["channels"]),
            speech_from=data.get("speech_from", "model"),
            split=Split.from_dict(data["split"]) if data.get("split") else None,
        )


def _scores(scores: Scores | None) -> dict[str, float] | None:
    return None if scores is None else {k: round(float(v), 4) for k, v in scores.items()}


def _known(**fields: Any) -> dict[str, Any]:
    """Fields without those that are None."""
    return {key: value for key, value in fields.items() if value is not None}


def _channel_dict(c: ChannelResult) -> dict[str, Any]:
    return {
        "channel": c.channel,
        "name": c.name,
        "flags": list(c.flags),
        "windows": [w.to_dict() for w in c.windows],
        "current": [x.to_dict() for x in c.current],
        "overall": c.overall.to_dict(),
        "speech": [[round(s.start, 3), round(s.end, 3)] for s in c.speech],
        **({} if c.speaker is None else {"speaker": c.speaker.to_dict()}),
        **({"estimated": True} if c.estimated else {}),
        **_known(windows_with_words=c.windows_with_words),
    }


def _channel_from(c: Mapping[str, Any]) -> ChannelResult:
    return ChannelResult(
        channel=c["channel"],
        name=c["name"],
        flags=tuple(c["flags"]),
        windows=tuple(Window(**w) for w in c["windows"]),
        current=tuple(Current(**x) for x in c["current"]),
        overall=Overall(**c["overall"]),
        speech=tuple(Segment(start, end) for start, end in c["speech"]),
        estimated=c.get("estimated", False),
        speaker=SpeakerUse.from_dict(c["speaker"]) if c.get("speaker") else None,
        windows_with_words=c.get("windows_with_words"),
    )
