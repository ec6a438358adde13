"""One channel with several voices in it, split: who speaks when, as far as voices tell.

Turns of speech are cut into pieces of 1.5 to 3 s, each piece gets an embedding, and the pieces are
grouped by voice. What comes out is an estimate: voices that are alike, or one voice in two moods,
are confused, and where two speak at once only one is heard. Nothing says whose voice it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicetone.audio.units import FRAME, FRAME_SECONDS, SAMPLE_RATE, to_samples
from voicetone.errors import AudioError, UsageError
from voicetone.features.speaker_clusters import MOST_VOICES, clusters, in_order
from voicetone.inference.speech import Activity, Turns, TurnStart
from voicetone.pretrained.spec import SpeechRule
from voicetone.types import Floats, Segment

SHORTEST_PIECE = 1.5  # seconds; a turn, or what lies between two pauses in it, may be shorter
LONGEST_PIECE = 3.0
ANCHOR = 1.0  # seconds; shorter pieces found no voice, but go to the nearest one
LEAST_PIECE = 0.4  # seconds; too short to tell a voice: it goes with its neighbour in time
PAUSE = 0.3  # seconds that part pieces within a turn
_BLOCK = 4096 * FRAME  # samples whose levels are taken at once, so that long turns need no memory
_QUIET = 25.0  # dB under the turn's loud frames (95th percentile): a pause
_FEW = 3.0  # seconds of speech, or a tenth of it all if that is less: no voice of its own

Embed = Callable[[Sequence[Floats]], Floats]
"""Waves `[n]` at 16 kHz → `[waves, size]` of unit length, such as `SpeakerEncoder.embed`."""


class Turn(NamedTuple):
    """One voice from `start` to `end`, in seconds; speakers are numbered from 1 as they come."""

    start: float
    end: float
    speaker: int


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """How a channel is split.

    Args:
        threshold: the mean cosine under which two groups of pieces are of two voices; it belongs to
            the encoder, see its `same_voice`.
        speakers: how many voices there are, if that is known.
        most: how many there may be at most, where it is not.

    Raises:
        UsageError: a number out of range.
    """

    threshold: float
    speakers: int | None = None
    most: int = MOST_VOICES

    def __post_init__(self) -> None:
        for value in (self.most, 1 if self.speakers is None else self.speakers):
            if not 1 <= value <= MOST_VOICES:
                raise UsageError(f"{value} speakers on one channel: give 1 to {MOST_VOICES}")
        if not -1 <= self.threshold <= 1:
            raise UsageError(f"threshold {self.threshold:g}: a cosine is from -1 to 1")


def speech_turns(probability: Floats, rule: SpeechRule, samples: int) -> list[Segment]:
    """Turns of active speech, as a live session finds them.

    Args:
        probability: of speech per frame of 31.25 ms `[frames]`.
        rule: of the bundle.
        samples: of the audio at 16 kHz.
    """
    turns = Turns()
    found = turns.push(Activity(rule).push(probability))
    return [t for t in found if not isinstance(t, TurnStart)] + turns.close(samples)


def tightened(turns: Sequence[Segment], rule: SpeechRule, seconds: float) -> list[Segment]:
    """Turns without the delays of a live decision.

    Speech is taken for such with the last of `onset_frames` frames, and for ended
    `hangover_frames` after its last one. Who knows the rest of the recording can say better.

    Args:
        turns: of active speech, in order.
        rule: by which they were found.
        seconds: of the audio; a turn that lasts until its end has no hangover to lose.
    """
    out: list[Segment] = []
    for turn in turns:
        start = max(0.0, turn.start - (rule.onset_frames - 1) * FRAME_SECONDS)
        end = turn.end
        if end < seconds - FRAME_SECONDS:
            end -= rule.hangover_frames * FRAME_SECONDS
        start = max(start, out[-1].end) if out else start
        if end > start:
            out.append(Segment(start, end))
    return out


def split_speakers(
    samples: Floats, speech: Sequence[Segment], embed: Embed, settings: SplitSettings
) -> list[Turn]:
    """Who speaks when.

    Args:
        samples: `[n]` at 16 kHz.
        speech: turns of active speech, in order, not overlapping.
        embed: makes embeddings.
        settings: how.

    Returns:
        Turns in order that together cover `speech`; neighbours of one speaker, with no pause
        between them, are joined.

    Raises:
        AudioError: turns out of order or outside of the audio.
        UsageError: `embed` gives another number of embeddings than it got pieces.
    """
    _check(samples, speech)
    pieces = [piece for turn in speech for piece in cut(samples, turn)]
    seconds = np.array([piece.end - piece.start for piece in pieces])
    least = LEAST_PIECE if (seconds >= LEAST_PIECE).any() else FRAME_SECONDS / 2
    sounding = np.array([_wave(samples, piece).any() for piece in pieces], dtype=np.bool_)
    heard = np.flatnonzero((seconds >= least) & sounding)  # digital silence is nobody's voice
    if not heard.size:
        return []
    waves = [_wave(samples, pieces[i]) for i in heard]
    rows = np.asarray(embed(waves), dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(waves):
        raise UsageError(
            f"embeddings of shape {list(rows.shape)} for {len(waves)} pieces of speech: give one "
            "row for each"
        )
    labels = grouped(rows, seconds[heard], settings)
    centres = np.array([(pieces[i].start + pieces[i].end) / 2 for i in heard])
    voices = [
        int(labels[np.abs(centres - (piece.start + piece.end) / 2).argmin()]) for piece in pieces
    ]
    return _joined(pieces, in_order(np.array(voices)))


def cut(samples: Floats, turn: Segment) -> list[Segment]:
    """A turn as pieces that together cover it: parted at pauses, then where it is quietest."""
    first, last = (round(t / FRAME_SECONDS) for t in (turn.start, turn.end))
    levels = _levels(samples[first * FRAME : last * FRAME])
    if not levels.size:
        return [turn]
    edges = [0, *_pauses(levels), len(levels)]
    marks: list[int] = []
    for start, end in pairwise(edges):
        marks.append(start)
        while (end - start) * FRAME_SECONDS > LONGEST_PIECE:
            shortest, longest = (round(s / FRAME_SECONDS) for s in (SHORTEST_PIECE, LONGEST_PIECE))
            low, high = start + shortest, min(start + longest, end - shortest)
            start = low + int(levels[low : high + 1].argmin())
            marks.append(start)
    times = [turn.start, *((first + m) * FRAME_SECONDS for m in marks[1:]), turn.end]
    return [Segment(a, b) for a, b in pairwise(times) if b > a]


def _levels(samples: Floats) -> NDArray[np.float64]:
    """Level of each frame in dB, smoothed over three; the last may be a part of one."""
    count = -(-len(samples) // FRAME)
    if not count:
        return np.zeros(0)
    power = np.concatenate(
        [_powers(samples[at : at + _BLOCK]) for at in range(0, len(samples), _BLOCK)]
    )
    smooth = np.convolve(np.pad(power, 1, mode="edge"), np.ones(3) / 3, "valid")
    return np.asarray(10 * np.log10(smooth + 1e-12))


def _powers(samples: Floats) -> NDArray[np.float64]:
    """Mean power of each frame."""
    count = -(-len(samples) // FRAME)
    padded = np.pad(samples, (0, count * FRAME - len(samples))).reshape(count, FRAME)
    return np.asarray(np.square(padded, dtype=np.float64).mean(axis=1))


def _pauses(levels: NDArray[np.float64]) -> list[int]:
    """The quietest frame of each pause within a turn."""
    quiet = levels < np.percentile(levels, 95) - _QUIET
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    found = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if (end - start) * FRAME_SECONDS >= PAUSE and start > 0 and end < len(levels):
            found.append(start + int(levels[start:end].argmin()))
    return found


def grouped(
    rows: Floats, seconds: NDArray[np.float64], settings: SplitSettings
) -> NDArray[np.intp]:
    """The voice of each piece `[n]`, from 0.

    Pieces of a second or more are clustered. Groups with too little speech are no voices: their
    pieces, and those that are shorter, go to the voice with the nearest mean.

    Args:
        rows: embeddings of the pieces `[n, size]`.
        seconds: their lengths `[n]`.
        settings: threshold or number of speakers.
    """
    anchor = seconds >= ANCHOR
    if not anchor.any():
        anchor = np.ones(len(rows), dtype=np.bool_)
    few = min(_FEW, 0.1 * float(seconds[anchor].sum()))
    labels = clusters(
        rows[anchor],
        threshold=settings.threshold,
        count=settings.speakers,
        most=settings.most,
        weights=seconds[anchor],
        least=few,
    )
    out = np.zeros(len(rows), dtype=np.intp)
    out[anchor] = labels
    if not anchor.all():
        mean = rows[anchor].mean(axis=0, dtype=np.float64)
        means = np.stack([rows[anchor][labels == k].mean(axis=0) for k in np.unique(labels)]) - mean
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        out[~anchor] = ((rows[~anchor] - mean) @ means.T).argmax(axis=1)
    return out


def _check(samples: Floats, speech: Sequence[Segment]) -> None:
    last = 0.0
    for turn in speech:
        if not last <= turn.start < turn.end <= len(samples) / SAMPLE_RATE + FRAME_SECONDS:
            raise AudioError(
                f"a turn of speech from {turn.start:g} to {turn.end:g} s is out of order or "
                "outside of the audio: give them in order"
            )
        last = turn.end


def _wave(samples: Floats, piece: Segment) -> Floats:
    return samples[to_samples(piece.start) : to_samples(piece.end)]


def _joined(pieces: Sequence[Segment], voices: NDArray[np.intp]) -> list[Turn]:
    """Pieces as turns; those of one voice with nothing between them become one."""
    turns: list[Turn] = []
    for piece, voice in zip(pieces, (voices + 1).tolist(), strict=True):
        last = turns[-1] if turns else None
        if last is not None and last.speaker == voice and piece.start <= last.end:
            turns[-1] = last._replace(end=piece.end)
        else:
            turns.append(Turn(piece.start, piece.end, voice))
    return turns
