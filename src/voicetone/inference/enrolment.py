"""Voices that a session is told of: enrolled beforehand, or heard in the call's first seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.find import display
from voicetone.audio.units import SAMPLE_RATE, to_samples
from voicetone.errors import AudioError, BundleError, DataError, UsageError
from voicetone.features.speaker import SpeakerEncoder, checked, require_size
from voicetone.features.speaker_enrol import Active, Enrolment, by_energy, enrol, one_voice
from voicetone.features.speaker_frames import FrameStatistics
from voicetone.pretrained.predictor import Predictor
from voicetone.pretrained.window_predictor import WindowPredictor
from voicetone.types import Floats, SpeakerUse

__all__ = ["Enrolment", "Speakers", "enrol_files_for", "enrol_for", "require_voice"]

MOST_SECONDS = 60.0
"""Of speech that is heard of an enrolment: more tells a network no more."""

Speakers = Mapping[int, Enrolment] | Enrolment | Literal["auto"] | None
"""Whose voices a session knows: by channel, counted from 1 (channels that are not named are as
with `auto`); one for the only channel that is analysed; `auto` for what the call's own first
seconds tell; None for nobody. `auto` is nobody, too, where the model takes no speaker."""


def enrol_for(
    predictor: Predictor,
    waves: Sequence[Floats],
    *,
    seconds: float | None = MOST_SECONDS,
    active: Active = by_energy,
    names: Sequence[str] = (),
) -> Enrolment:
    """A voice as the model takes it, from speech of one person.

    Args:
        predictor: the model.
        waves: `[n]` at 16 kHz; heard in their order.
        seconds: of speech to hear at most, from the start; all if None.
        active: says where speech is.
        names: of the waves, for messages.

    Returns:
        The enrolment; its `warnings` say where there may be two voices in it.

    Raises:
        UsageError: the model takes no speaker.
        AudioError: a wave that is no audio or without speech, or under 1 s of it in all.
        DataError: nothing to hear, or seconds that leave nothing.
        BundleError: the model's network of voices fails.
    """
    encoder = _encoder(predictor)
    waves = [checked(wave) for wave in waves]
    names = [*names] or [f"enrolment {i + 1}" for i in range(len(waves))]
    if isinstance(encoder, FrameStatistics):
        return encoder.enrol(zip(names, waves, strict=True), seconds, active)
    return enrol(encoder, waves, seconds=seconds, active=active, names=names)


def enrol_files_for(
    predictor: Predictor, paths: Sequence[Path], *, seconds: float | None = MOST_SECONDS
) -> Enrolment:
    """The same from files.

    Raises:
        UsageError, AudioError, DataError, BundleError: as `enrol_for`, or a file that can't be
            read or has several channels.
    """
    _encoder(predictor)
    waves = [one_voice(path) for path in paths]
    return enrol_for(predictor, waves, seconds=seconds, names=[display(p) for p in paths])


def require_voice(predictor: Predictor, voice: Enrolment) -> Floats:
    """What the model is told of a voice `[size]`.

    Raises:
        UsageError: the model takes no speaker.
        DataError: the voice was enrolled for another model, or holds no numbers.
    """
    encoder, part = _encoder(predictor), predictor.spec.speaker
    assert part is not None
    if voice.encoder != encoder.id:
        raise DataError(
            f"a voice enrolled with {voice.encoder[:80]}, and {predictor.spec.id} takes those of "
            f"{encoder.id}: enrol it again with this model"
        )
    found = require_size(voice.embedding, encoder.size, "the enrolled voice")
    if part.kind == "frames" and not (found[part.size // 2 :] > 0).all():
        raise DataError("the enrolled voice: deviations that are not over 0: enrol it again")
    return found


def _encoder(predictor: Predictor) -> SpeakerEncoder | FrameStatistics:
    encoder = predictor.encoder if isinstance(predictor, WindowPredictor) else None
    if encoder is None:
        raise UsageError(
            f"{predictor.spec.id} takes no speaker: leave the enrolment out, or choose a model "
            "that knows speakers"
        )
    return encoder


def own_voice(predictor: Predictor, speech: Floats) -> Enrolment | None:
    """The voice of a call's own speech `[n]`; None where nothing in it is a voice.

    Raises:
        BundleError: the model's network of voices fails.
    """
    try:
        return enrol_for(predictor, [speech], names=["the first seconds"])
    except AudioError:
        return None
    except DataError as error:
        raise BundleError(str(error)) from error


def voices_of(
    predictor: Predictor, channels: Sequence[int], speakers: Speakers
) -> dict[int, Enrolment]:
    """The voices that are known beforehand, by channel.

    Raises:
        UsageError: the model takes no speaker; a channel that is not analysed; one voice for
            several channels.
        DataError: see `require_voice`.
    """
    if speakers is None or isinstance(speakers, str):
        if speakers not in (None, "auto"):
            raise UsageError(f"speakers = {speakers[:40]!r}: give auto, nothing, or voices")
        return {}
    if isinstance(speakers, Enrolment):
        if len(channels) != 1:
            raise UsageError(
                f"one enrolled voice, and {len(channels)} channels are analysed: say whose it is "
                "by the channel's number, or analyse one channel"
            )
        speakers = {channels[0]: speakers}
    for channel, voice in speakers.items():
        if channel not in channels:
            there = ", ".join(map(str, channels))
            raise UsageError(
                f"a voice for channel {channel}, which is not analysed: there are {there}"
            )
        require_voice(predictor, voice)
    return dict(speakers)


class Listening:
    """What one channel's session knows of its speaker, and how it comes to know it.

    The first seconds of active speech are held, `enrol_seconds` of them; then the next job is to
    make a voice of them. Where that fails, as of noise, it begins again. Nothing is held after
    that, and nothing of a known voice.

    Args:
        predictor: the model.
        voice: if it is known beforehand.
        auto: whether to learn it of the call itself.
    """

    def __init__(self, predictor: Predictor, voice: Enrolment | None, auto: bool) -> None:
        part = predictor.spec.speaker
        self._wanted = 0 if part is None else to_samples(part.enrol_seconds)
        self._context = predictor.spec.shapes.context
        self._there = part is not None
        self.voice = None if voice is None else require_voice(predictor, voice)
        self.open = self._there and auto and voice is None
        """Whether it listens still: then a job may hold one chunk only."""
        self._held: list[Floats] = []
        self._count = 0
        self._use = SpeakerUse("unknown", 0.0, None)
        if voice is not None:
            self._use = SpeakerUse("enrolled", voice.seconds, 0.0, voice.warnings)

    @property
    def use(self) -> SpeakerUse | None:
        """What the results say of it; None where the model takes no speaker."""
        if not self._there:
            return None
        if self.open:
            return SpeakerUse("unknown", self._count / SAMPLE_RATE, None)
        return self._use

    @property
    def speech(self) -> Floats | None:
        """The speech that the next job is to make a voice of, if there is enough."""
        if not self.open or self._count < self._wanted:
            return None
        return np.concatenate(self._held)

    def hear(self, samples: Floats, active: NDArray[np.float64]) -> None:
        """Take a job's samples and which of its frames are active speech.

        Args:
            samples: as the job has them, `[context + 500 n]`.
            active: seconds of active speech in each frame `[n]`.
        """
        if not self.open:
            return
        frames = samples[self._context :].reshape(len(active), -1)
        speech = frames[active > 0].reshape(-1)[: self._wanted - self._count]
        if speech.size:
            self._held.append(speech)
            self._count += len(speech)

    def learn(self, found: Enrolment | None, since: float) -> SpeakerUse | None:
        """Take what a job made of the speech; what is known by it, if anything is.

        Args:
            found: the voice, if there was one.
            since: seconds from which scores are given with it.
        """
        self._held, self._count = [], 0
        if found is None:
            return None
        self.open, self.voice = False, found.embedding
        self._use = SpeakerUse("auto", found.seconds, since, found.warnings)
        return self._use
