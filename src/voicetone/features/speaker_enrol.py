"""Enrolment: a speaker's embedding from some seconds of their speech, or from their other clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.decode import read_audio
from voicetone.audio.energy import EDGE, QUIETEST, energy_presence
from voicetone.audio.find import display
from voicetone.audio.units import FRAME, SAMPLE_RATE, frames_in, to_samples, to_seconds
from voicetone.errors import AudioError, DataError
from voicetone.features.speaker import LEAST_SECONDS, SpeakerEncoder, unit
from voicetone.features.speaker_clusters import clusters, likeness
from voicetone.types import Floats

LEAST_SPEECH = 1.0  # seconds to enrol from
PIECE_SECONDS = 2.0  # of speech, compared with each other
LEAST_SHARE = 0.2  # of the pieces that a second voice must have
_PRESENT = 0.5
_LOUD = 95  # percentile of the frames' levels
_WANTED = 10 ** (-25 / 20)  # RMS that they are raised to
_MOST_GAIN = 10 ** (40 / 20)

Active = Callable[[Floats], NDArray[np.bool_]]
"""Samples `[n]` at 16 kHz → whether each frame of 31.25 ms is speech `[ceil(n / 500)]`."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A voice that a model can be told of.

    Attributes:
        embedding: `[size]` of unit length; of `FrameStatistics` means and deviations. It is
            never printed.
        encoder: the id of what computed it.
        seconds: of speech that it was computed from.
        agreement: mean cosine between the two most different groups of its pieces; None where it
            was too short to tell.
        warnings: a line each, such as that two voices may be in it; for whoever asked to show.
    """

    embedding: Floats = field(repr=False)
    encoder: str
    seconds: float
    agreement: float | None = None
    warnings: tuple[str, ...] = ()


def by_energy(samples: Floats) -> NDArray[np.bool_]:
    """Which frames of 31.25 ms stand out from the background, with 125 ms around them.

    Any sound that stands out counts; a model's own speech presence is better where there is one.

    Args:
        samples: `[n]` at 16 kHz.

    Returns:
        `[ceil(n / 500)]`; the last frame may be a part of one.
    """
    count = frames_in(len(samples))
    if not count:
        return np.zeros(0, dtype=np.bool_)
    padded = np.pad(samples, (0, count * FRAME - len(samples)), mode="edge")
    frames = padded.reshape(1, count, FRAME)
    loud = float(np.percentile(np.sqrt(np.square(frames[0]).mean(axis=1)), _LOUD))
    if 0 < loud < _WANTED:  # a soft recording is one whose gain was low
        frames = frames * np.float32(min(_WANTED / loud, _MOST_GAIN))
    # Backwards first: so the background is known where the recording begins.
    _, floor = energy_presence(frames[:, ::-1], np.full((1, 1), -QUIETEST, dtype=np.float32))
    present = energy_presence(frames, floor)[0][0] >= _PRESENT
    reach = np.ones(2 * EDGE + 1)
    return np.asarray(np.convolve(present, reach)[EDGE : EDGE + count] > 0)


def active_speech(samples: Floats, active: Active = by_energy) -> Floats:
    """The speech in samples `[n]`, its pauses left out.

    Raises:
        DataError: `active` gives another number of frames.
    """
    frames = np.asarray(active(samples), dtype=np.bool_)
    if frames.shape != (frames_in(len(samples)),):
        raise DataError(
            f"speech said of {list(frames.shape)} frames where the audio has "
            f"{frames_in(len(samples))}: give one value per 31.25 ms"
        )
    return samples[np.repeat(frames, FRAME)[: len(samples)]]


def enrol(
    encoder: SpeakerEncoder,
    waves: Sequence[Floats],
    *,
    seconds: float | None = None,
    active: Active = by_energy,
    names: Sequence[str] = (),
) -> Enrolment:
    """A speaker's embedding from their speech.

    Args:
        encoder: what computes it.
        waves: `[n]` at 16 kHz; heard in their order, each counts by the speech in it.
        seconds: of speech to hear at most, from the start; all if not given.
        active: says where speech is.
        names: of the waves, for messages.

    Raises:
        AudioError: a wave without speech, or too little of it in all.
        DataError: nothing to hear, or seconds that leave nothing.
    """
    names = [*names] or [f"enrolment {i + 1}" for i in range(len(waves))]
    return _enrolled(encoder, zip(names, waves, strict=True), seconds, active)


def enrol_files(
    encoder: SpeakerEncoder,
    paths: Sequence[Path],
    *,
    seconds: float | None = None,
    active: Active = by_energy,
) -> Enrolment:
    """The same from files. What is not needed is not read.

    Raises:
        AudioError, DataError: as `enrol`, or a file that can't be read or has several channels.
    """
    named = ((display(p), one_voice(p)) for p in paths)
    return _enrolled(encoder, named, seconds, active)


def one_voice(path: Path) -> Floats:
    """A file's samples `[n]` at 16 kHz.

    Raises:
        AudioError: it can't be read, or its channels differ, which two people may share.
    """
    wave = read_audio(path)
    if not (wave.samples == wave.samples[:1]).all():
        raise AudioError(
            f"{display(path)}: {wave.channels} channels that differ, so perhaps several voices: "
            "give a recording of the one person's channel"
        )
    return np.ascontiguousarray(wave.mono().resample(SAMPLE_RATE).samples[0])


def _enrolled(
    encoder: SpeakerEncoder,
    named: Iterable[tuple[str, Floats]],
    seconds: float | None,
    active: Active,
) -> Enrolment:
    first, waves = enrolment_speech(named, seconds, active)
    lengths = np.array([len(wave) for wave in waves], dtype=np.float64)
    embedding = unit(lengths @ encoder.embed(waves).astype(np.float64))
    return enrolled(encoder, first, waves, embedding)


def enrolled(
    encoder: SpeakerEncoder, first: str, waves: Sequence[Floats], embedding: Floats, id: str = ""
) -> Enrolment:
    """An enrolment, with a warning where there may be two voices in it.

    Args:
        encoder: compares the voices.
        first: name of the first wave.
        waves: the speech.
        embedding: of it.
        id: of what computed the embedding, if not of the encoder.
    """
    alike = agreement(encoder, waves)
    warnings: tuple[str, ...] = ()
    if alike is not None and alike < encoder.same_voice:
        warnings = (
            f"{first}: perhaps two voices in the enrolment (cosine {alike:.2f}, under "
            f"{encoder.same_voice:.2f}): give speech of one person only",
        )
    return Enrolment(embedding, id or encoder.id, to_seconds(sum(map(len, waves))), alike, warnings)


def enrolment_speech(
    named: Iterable[tuple[str, Floats]], seconds: float | None, active: Active = by_energy
) -> tuple[str, list[Floats]]:
    """The speech of waves, from the first on, until there are so many seconds of it.

    Args:
        named: name and samples `[n]` at 16 kHz of each.
        seconds: of speech at most; all if not given.
        active: says where speech is.

    Returns:
        The name of the first, and the speech in each without its pauses.

    Raises:
        AudioError: a wave without speech, or too little of it in all.
        DataError: nothing to hear, or seconds that leave nothing.
    """
    if seconds is not None and not LEAST_SPEECH <= seconds < float("inf"):
        raise DataError(
            f"enrolment from {seconds:g} s of speech: give {LEAST_SPEECH:g} s or more, or all of it"
        )
    left = None if seconds is None else to_samples(seconds)
    waves: list[Floats] = []
    first = ""
    for name, wave in named:
        speech = active_speech(wave, active)[:left]
        if not len(speech):
            raise AudioError(f"{name}: no speech in it to enrol a speaker from: give another file")
        first = first or name
        if len(speech) >= to_samples(LEAST_SECONDS):
            waves.append(speech)
        if left is not None:
            left -= len(speech)
            if left <= 0:
                break
    if not first:
        raise DataError("nothing to enrol a speaker from: name a file")
    total = to_seconds(sum(map(len, waves)))
    if total < LEAST_SPEECH:
        raise AudioError(
            f"{first}: {total:.2f} s of speech, too little to enrol a speaker: give "
            f"{LEAST_SPEECH:g} s at least"
        )
    return first, waves


def agreement(encoder: SpeakerEncoder, waves: Sequence[Floats]) -> float | None:
    """How alike the most different voices in speech are: a cosine, low where there are two.

    The speech is cut into pieces of 2 s, which are parted into two groups (`clusters`), and the
    cosines of their embeddings across the groups are averaged. A group with less than a fifth of
    the pieces is no second voice.

    Args:
        encoder: what computes the embeddings.
        waves: speech without its pauses, `[n]` each.

    Returns:
        None where there are fewer than two pieces, or no second group of enough of them.
    """
    step = to_samples(PIECE_SECONDS)
    pieces = [w[at : at + step] for w in waves for at in range(0, len(w) - step + 1, step)]
    if len(pieces) < 2:
        return None
    rows = encoder.embed(pieces)
    labels = clusters(rows, threshold=1.0, count=2, least=LEAST_SHARE * len(rows))
    return likeness(rows, labels) if labels.any() else None
