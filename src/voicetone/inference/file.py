"""A recording as a whole: the live route, fed block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from voicetone.audio.decode import AudioSource, RawFormat, open_audio
from voicetone.errors import AudioError, UsageError
from voicetone.inference.channels import rows_of
from voicetone.inference.collect import (
    BLOCK_SECONDS,
    Collected,
    Progress,
    collect,
    file_flags,
)
from voicetone.inference.enrolment import Speakers
from voicetone.inference.live import LiveSession
from voicetone.inference.overview import Overview
from voicetone.inference.split_file import Splitting, analyze_split
from voicetone.inference.words import Telling, Transcripts
from voicetone.pretrained import load
from voicetone.pretrained.predictor import Predictor
from voicetone.types import FileResult, Floats

__all__ = ["Overview", "Progress", "Splitting", "analyze"]


def analyze(
    path: Path | str,
    predictor: Predictor | None = None,
    *,
    raw: RawFormat | None = None,
    channels: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
    overview: Overview | None = None,
    speakers: Speakers = "auto",
    split: Splitting | None = None,
    transcripts: Transcripts = None,
) -> FileResult:
    """Analyse one recording.

    Args:
        path: file; "-" is standard input.
        predictor: the model; by default the installed one.
        raw: what headerless audio is.
        channels: those to analyse, counted from 1; by default the customer's if the names tell
            which that is, else all.
        names: one per channel.
        progress: told of the seconds done and in all after each block.
        overview: collects the outline of the analysed channels.
        speakers: whose voices are known; see `voicetone.inference.enrolment.Speakers`.
        split: gives each party on the one analysed channel a line of its own.
        transcripts: what is said, for a model that reads words; see `LiveSession.say`. Each
            stretch is told when the audio up to its end is there.

    Raises:
        AudioError: the file can't be read or analysed.
        UsageError: names, channels, voices or transcripts that don't fit the file or the model.
        DataError: a voice that was enrolled for another model.
        BundleError: no model, or one that fails.
    """
    predictor = load() if predictor is None else predictor
    if split is not None:
        _require_no_words(path, transcripts)
        return analyze_split(
            path,
            predictor,
            split,
            raw=raw,
            channels=channels,
            names=names,
            progress=progress,
            overview=overview,
            speakers=speakers,
        )
    with open_audio(path, raw) as source:
        session = _session(source, predictor, channels, names, speakers)
        results = {channel: Collected() for channel in session.channels}
        rows = rows_of(session.channels)
        _read(source, session, results, progress, overview, transcripts)
    found = tuple(
        result.of_channel(
            channel,
            names[row] if names else None,
            session.flags(channel),
            session.speaker(channel),
            windows_with_words=session.windows_with_words(channel),
        )
        for row, (channel, result) in zip(rows, results.items(), strict=True)
    )
    return FileResult(
        file=str(path),
        duration=session.seconds,
        model=predictor.spec.id,
        flags=file_flags(found),
        channels=found,
        speech_from=predictor.spec.speech_from,
    )


def _require_no_words(path: Path | str, transcripts: Transcripts) -> None:
    """That no words are told of parties that are found out later.

    Raises:
        UsageError: there are some.
    """
    if transcripts:
        raise UsageError(
            f"{path}: a transcript and a split by speaker: nobody knows beforehand which party "
            "said what: give one of them"
        )


def _session(
    source: AudioSource,
    predictor: Predictor,
    channels: Sequence[int] | None,
    names: Sequence[str] | None,
    speakers: Speakers,
) -> LiveSession:
    try:
        return LiveSession(
            predictor,
            source.rate,
            source.channels,
            names=names,
            analysed=channels,
            speakers=speakers,
        )
    except UsageError as error:
        raise UsageError(f"{source.name}: {error}") from None


def _read(
    source: AudioSource,
    session: LiveSession,
    results: Mapping[int, Collected],
    progress: Progress | None,
    overview: Overview | None,
    transcripts: Transcripts,
) -> None:
    """The whole source through a session, to its end."""
    rows = rows_of(session.channels)

    def take(samples: Floats) -> None:
        collect(results, session.push(samples))

    try:
        telling = Telling(session, source.rate, session.channels, transcripts)
    except UsageError as error:
        raise UsageError(f"{source.name}: {error}") from None
    for block in source.blocks(BLOCK_SECONDS):
        try:
            telling.push(block, take)
        except (AudioError, UsageError) as error:
            raise type(error)(f"{source.name}: {error}") from None
        if overview is not None:
            overview.push(block[rows])
        if progress is not None:
            progress(session.seconds, source.duration)
    telling.end()
    collect(results, session.close())
