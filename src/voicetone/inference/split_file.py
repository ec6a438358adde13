"""A recording of which one channel holds several parties: each gets a line of its own.

The audio is heard twice. First as it is: where there is speech, and whose it is as far as voices
tell. Then once for each party, as if that were a channel: what the others say is replaced by
silence at the same times, so that windows and times stay. All of it is an estimate.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from voicetone.audio.decode import AudioSource, RawFormat, open_audio
from voicetone.audio.resample import StreamResampler
from voicetone.audio.units import FRAME, SAMPLE_RATE, to_samples, to_seconds
from voicetone.errors import AudioError, UsageError
from voicetone.features.dvector import DVector, graph_path
from voicetone.features.speaker import SpeakerEncoder, StatisticsEncoder
from voicetone.features.speaker_clusters import MOST_VOICES
from voicetone.inference.channels import rows_of
from voicetone.inference.collect import BLOCK_SECONDS, Collected, Progress, collect, file_flags
from voicetone.inference.enrolment import Speakers
from voicetone.inference.live import LiveSession
from voicetone.inference.overview import Overview
from voicetone.inference.split import SplitSettings, Turn, split_speakers, tightened
from voicetone.pretrained.predictor import Predictor
from voicetone.pretrained.speakers import ENCODERS, speaker_encoder
from voicetone.types import ChannelResult, FileResult, Floats, Split

MOST_SECONDS = 2 * 3600.0
"""Of a recording that is split: all of its sound is held, 64 kB a second."""
EDGE = 0.25  # seconds around the others' turns that are silenced too: where words begin and end

AUTO = "auto"

PartyTurn = tuple[float, float, int]
"""Start and end in seconds, and the speaker's number from 1."""


@dataclass(frozen=True, slots=True)
class Splitting:
    """How the one analysed channel of a recording is split.

    Args:
        speakers: how many there are, which is best known; None finds it out.
        encoder: `statistics` or `dvector`.
        seconds: the longest recording that is taken.

    Raises:
        UsageError: a number or an encoder that there is not.
    """

    speakers: int | None = None
    encoder: str = "statistics"
    seconds: float = MOST_SECONDS

    def __post_init__(self) -> None:
        if self.speakers is not None and not 2 <= self.speakers <= MOST_VOICES:
            raise UsageError(
                f"{self.speakers} speakers to split a channel into: give 2 to {MOST_VOICES}, or "
                "have the number found"
            )
        if self.encoder not in ENCODERS:
            raise UsageError(
                f"{self.encoder[:60]!r} tells no voices apart: use {' or '.join(ENCODERS)}"
            )

    @property
    def id(self) -> str:
        """What of it changes a result."""
        encoder = {"statistics": StatisticsEncoder.id, "dvector": DVector.id}[self.encoder]
        return f"split {self.speakers or 'auto'} {encoder}"


def speakers_in(words: str) -> int | None:
    """How many speakers `2` or `auto` asks for; None for as many as are found.

    Raises:
        UsageError: neither `auto` nor a number that can be.
    """
    number = int(words) if words.isdecimal() and len(words) < 4 else 0
    if words != AUTO and not 2 <= number <= MOST_VOICES:
        raise UsageError(f"{words[:40]}: give how many there are, 2 to {MOST_VOICES}, or {AUTO}")
    return number or None


def default_encoder() -> str:
    """`dvector` where its network has been converted, else `statistics`."""
    return "dvector" if graph_path().is_file() else "statistics"


def encoder_of(splitting: Splitting) -> SpeakerEncoder:
    """The encoder, opened once in a process.

    Raises:
        DataError: its network is not converted, or is damaged.
    """
    return _opened(splitting.encoder, str(graph_path().absolute()))


@lru_cache(maxsize=2)
def _opened(name: str, graph: str) -> SpeakerEncoder:
    return speaker_encoder(name, root=Path(graph).parent)


def analyze_split(
    path: Path | str,
    predictor: Predictor,
    splitting: Splitting,
    *,
    raw: RawFormat | None = None,
    channels: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
    overview: Overview | None = None,
    speakers: Speakers = "auto",
) -> FileResult:
    """Analyse a recording's one channel party by party.

    Where there is no speech there are no parties: the channel itself is what the result holds.

    Args:
        path: file; "-" is standard input.
        predictor: the model.
        splitting: how.
        raw: what headerless audio is.
        channels: the one to split, counted from 1, where there are several.
        names: of the recording's channels.
        progress: told of the seconds done and in all; both ways through count half.
        overview: collects the outline of what each party says.
        speakers: `auto` or None, as nobody knows beforehand which party is whose voice.

    Raises:
        AudioError: the file can't be read or analysed, or is too long.
        UsageError: more than one channel would be analysed; names or channels that don't fit; a
            voice that was enrolled.
        BundleError, DataError: a model or an encoder that is missing or fails.
    """
    if speakers not in ("auto", None):
        raise UsageError(
            f"{path}: an enrolled voice and a split by speaker: nobody knows beforehand which "
            "party it is: leave one of them out"
        )
    encoder = encoder_of(splitting)
    with open_audio(path, raw) as source:
        heard = _heard(source, predictor, splitting, channels, names, progress)
    try:
        turns = _turns(heard, predictor, encoder, splitting)
    except AudioError as error:
        raise AudioError(f"{source.name}: {error}") from None
    count = len({turn.speaker for turn in turns})
    found: tuple[ChannelResult, ...]
    if count:
        found = _parties(heard, turns, predictor, speakers, progress, overview)
    else:
        found = (heard.whole,)
        if overview is not None:
            for _, block in _blocks(heard.samples):
                overview.push(block[None])
    return FileResult(
        file=str(path),
        duration=heard.seconds,
        model=predictor.spec.id,
        flags=file_flags(found),
        channels=found,
        speech_from=predictor.spec.speech_from,
        split=Split(
            encoder.id, splitting.speakers, count, tuple((t.start, t.end, t.speaker) for t in turns)
        ),
    )


@dataclass(frozen=True, slots=True)
class _Heard:
    """The channel as it is: its samples `[n]` at 16 kHz, its length in s, and its result."""

    samples: Floats
    seconds: float
    whole: ChannelResult


def _heard(
    source: AudioSource,
    predictor: Predictor,
    splitting: Splitting,
    channels: Sequence[int] | None,
    names: Sequence[str] | None,
    progress: Progress | None,
) -> _Heard:
    """Read the recording, and hear it once."""
    total = source.duration
    _check_length(source.name, total or 0.0, splitting)
    try:
        session = LiveSession(
            predictor, source.rate, source.channels, names=names, analysed=channels, speakers=None
        )
    except UsageError as error:
        raise UsageError(f"{source.name}: {error}") from None
    if len(session.channels) > 1:
        raise UsageError(
            f"{source.name}: {len(session.channels)} channels would be analysed, and only one can "
            "be split by speaker: name that one, or leave the split out"
        )
    (channel,) = session.channels
    (row,) = rows_of(session.channels)
    results = {channel: Collected()}
    resampler = StreamResampler(source.rate, 1)
    held = bytearray()  # grows in place
    for block in source.blocks(BLOCK_SECONDS):
        try:
            collect(results, session.push(block))
        except AudioError as error:
            raise AudioError(f"{source.name}: {error}") from None
        _check_length(source.name, session.seconds, splitting)
        held += resampler.push(block[row : row + 1]).tobytes()
        if progress is not None:
            progress(session.seconds / 2, total)
    held += resampler.flush().tobytes()
    collect(results, session.close())
    name = names[row] if names else None
    whole = results[channel].of_channel(
        channel, name, session.flags(channel), session.speaker(channel)
    )
    return _Heard(np.frombuffer(held, dtype=np.float32), session.seconds, whole)


def _check_length(name: str, seconds: float, splitting: Splitting) -> None:
    if seconds > splitting.seconds:
        raise AudioError(
            f"{name}: longer than {splitting.seconds:g} s, the most that is split by speaker, as "
            "all of its sound is held in memory: cut it, or analyse it without the split"
        )


def _turns(
    heard: _Heard, predictor: Predictor, encoder: SpeakerEncoder, splitting: Splitting
) -> list[Turn]:
    seconds = to_seconds(len(heard.samples))
    speech = tightened(heard.whole.speech, predictor.spec.speech, seconds)
    settings = SplitSettings(encoder.same_voice, splitting.speakers)
    return split_speakers(heard.samples, speech, encoder.embed, settings)


def _parties(
    heard: _Heard,
    turns: Sequence[Turn],
    predictor: Predictor,
    speakers: Speakers,
    progress: Progress | None,
    overview: Overview | None,
) -> tuple[ChannelResult, ...]:
    """Each party's result, as if it were a channel."""
    count = max(turn.speaker for turn in turns)
    mask = PartyMask(turns, SAMPLE_RATE, background(heard.samples, turns))
    session = LiveSession(
        predictor, SAMPLE_RATE, count, analysed=range(1, count + 1), speakers=speakers
    )
    results = {party: Collected() for party in session.channels}
    for first, block in _blocks(heard.samples):
        rows = mask.rows(block, first)
        collect(results, session.push(rows))
        if overview is not None:
            overview.push(rows)
        if progress is not None:
            progress(min((heard.seconds + session.seconds) / 2, heard.seconds), heard.seconds)
    collect(results, session.close())
    whole = heard.whole
    return tuple(
        found.of_channel(
            whole.channel,
            f"speaker {party}",
            whole.flags,
            session.speaker(party),
            estimated=True,
        )
        for party, found in results.items()
    )


def _blocks(samples: Floats) -> Iterator[tuple[int, Floats]]:
    """Blocks of 10 s, each with the number of its first sample."""
    step = to_samples(BLOCK_SECONDS)
    for first in range(0, len(samples), step):
        yield first, samples[first : first + step]


class PartyMask:
    """One channel → one per party, in which the others are silent.

    What others say, and a quarter of a second around it, is silenced; a party's own turns and what
    lies between all turns stay.

    Args:
        turns: who speaks when, in order, not overlapping; speakers from 1 without gaps.
        rate: of the samples to come, Hz.
        level: RMS of the white noise that silence is: beside zeros, a room's own noise between
            the turns would stand out as if somebody spoke.
    """

    def __init__(self, turns: Sequence[PartyTurn], rate: int, level: float = 0.0) -> None:
        noise = np.random.default_rng(0).standard_normal(rate)
        self._second = (level * noise).astype(np.float32)  # over and over
        speakers = range(1, max((who for _, _, who in turns), default=0) + 1)
        self._silent = [_silenced(turns, speaker, rate) for speaker in speakers]

    def rows(self, block: Floats, first: int) -> Floats:
        """The parties' samples `[parties, n]` of a block `[n]` that starts at sample `first`."""
        rows = np.tile(block, (len(self._silent), 1))
        for row, spans in zip(rows, self._silent, strict=True):
            at = bisect_left(spans, first, key=lambda span: span[1])
            for start, end in spans[at:]:
                if start >= first + len(block):
                    break
                begin, stop = max(start, first), min(end, first + len(block))
                silence = np.take(self._second, np.arange(begin, stop), mode="wrap")
                row[begin - first : stop - first] = silence
        return rows


def background(samples: Floats, turns: Sequence[Turn]) -> float:
    """RMS of the quiet parts of a channel `[n]` at 16 kHz: a tenth of what is no turn is softer."""
    count = len(samples) // FRAME
    frames = samples[: count * FRAME].reshape(count, FRAME)
    still = np.ones(count, dtype=np.bool_)
    for turn in turns:
        first, last = (to_samples(t) // FRAME for t in (max(turn.start - EDGE, 0), turn.end + EDGE))
        still[first : last + 1] = False
    chosen = frames[still] if still.any() else frames
    levels = np.sqrt(np.square(chosen).mean(axis=1))
    return float(np.percentile(levels, 10)) if count else 0.0


def _silenced(turns: Sequence[PartyTurn], speaker: int, rate: int) -> list[tuple[int, int]]:
    """Spans of samples in which only others speak, in order of start and of end."""
    ends = [0.0]  # of the speaker's own turns so far
    starts = [start for start, _, who in turns if who == speaker]
    spans = []
    for start, end, who in turns:
        if who == speaker:
            ends.append(end)
            continue
        following = bisect_left(starts, end)
        until = starts[following] if following < len(starts) else np.inf
        span = max(start - EDGE, ends[-1]), min(end + EDGE, until)
        spans.append((to_samples(span[0], rate), to_samples(span[1], rate)))
    return spans
