"""Steps: each fills one field, by asking one provider about utterances."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from voicetone.audio import read_audio
from voicetone.errors import AudioError
from voicetone.language import TextLabeller, Transcriber, primary
from voicetone.pseudolabel.fields import Field, value_of
from voicetone.pseudolabel.journal import Entry
from voicetone.types import Utterance, Waveform

NO_LANGUAGE = "language not known: name it with --language"
NO_TRANSCRIPT = "no transcript"


class Step(Protocol):
    """One field and one provider."""

    @property
    def field(self) -> Field:
        """What it fills."""

    @property
    def source(self) -> str:
        """Provider, model and version."""

    def obstacle(self, utterance: Utterance) -> str:
        """Why this utterance can't be asked about; the empty text if it can."""

    def input_of(self, utterance: Utterance) -> str:
        """A hash of what would be asked."""

    def entries(self, utterances: Sequence[Utterance]) -> Iterator[Entry]:
        """One answer for each utterance, in their order, as they come.

        Raises:
            VoicetoneError: no further utterance will be answered.
        """


class TranscriptStep:
    """Words from audio.

    Args:
        transcriber: whom to ask.
        language: of utterances that name none.
    """

    field: Field = "transcript"

    def __init__(self, transcriber: Transcriber, language: str | None = None) -> None:
        self.transcriber = transcriber
        self._language = language
        self._ear = Ear()

    @property
    def source(self) -> str:
        return self.transcriber.source

    def obstacle(self, utterance: Utterance) -> str:
        language = utterance.language or self._language
        return language_obstacle(language, self.transcriber.languages)

    def input_of(self, utterance: Utterance) -> str:
        return audio_hash(utterance, primary(utterance.language or self._language))

    def entries(self, utterances: Sequence[Utterance]) -> Iterator[Entry]:
        for u in utterances:
            key: dict[str, Any] = key_of(self, u)
            try:
                sound = self._ear.hear(u)
            except AudioError as error:
                # The same reason of many recordings is counted as one: it goes without their names.
                problem = str(error).removeprefix(f"{u.audio}: ")
                yield Entry(**key, problem=problem, failed=True)
                continue
            language = primary(u.language or self._language)
            said = self.transcriber.transcribe(sound, language)
            yield Entry(
                **key,
                value=said.text or None,
                confidence=said.confidence if said.text else None,
                problem=said.problem,
                failed=said.failed,
            )


class TextStep:
    """Sentiment from transcripts.

    Args:
        labeller: whom to ask.
        language: of utterances that name none.
    """

    field: Field = "sentiment"

    def __init__(self, labeller: TextLabeller, language: str | None = None) -> None:
        self.labeller = labeller
        self._language = language

    @property
    def source(self) -> str:
        return self.labeller.source

    def obstacle(self, utterance: Utterance) -> str:
        if value_of(utterance, "transcript") is None:
            return NO_TRANSCRIPT
        language = utterance.language or self._language
        return language_obstacle(language, self.labeller.languages)

    def input_of(self, utterance: Utterance) -> str:
        return short_hash(self._language_of(utterance) or "", utterance.transcript or "")

    def entries(self, utterances: Sequence[Utterance]) -> Iterator[Entry]:
        for batch in self._batches(utterances):
            texts = [u.transcript or "" for u in batch]
            opinions = self.labeller.label(texts, self._language_of(batch[0]))
            for u, opinion in zip(batch, opinions, strict=True):
                yield Entry(
                    **key_of(self, u),
                    value=opinion.sentiment,
                    confidence=opinion.confidence,
                    scores=opinion.scores,
                    problem=opinion.problem,
                    failed=opinion.failed,
                )

    def _language_of(self, utterance: Utterance) -> str | None:
        return primary(utterance.language or self._language)

    def _batches(self, utterances: Sequence[Utterance]) -> Iterator[list[Utterance]]:
        """Neighbours of one language, at most as many as the labeller takes."""
        batch: list[Utterance] = []
        for u in utterances:
            full = len(batch) == self.labeller.batch
            if batch and (full or self._language_of(u) != self._language_of(batch[0])):
                yield batch
                batch = []
            batch.append(u)
        if batch:
            yield batch


class Ear:
    """Reads utterances; the recording that the last one was in stays in memory."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._sound: Waveform | None = None

    def hear(self, utterance: Utterance) -> Waveform:
        """The utterance's own audio, `[1, n]`.

        Raises:
            AudioError: the recording can't be read, or has no such channel.
        """
        if self._sound is None or utterance.audio != self._path:
            self._sound, self._path = read_audio(utterance.audio), utterance.audio
        sound = self._sound
        if utterance.channel is not None:
            if utterance.channel > sound.channels:
                raise AudioError(
                    f"{utterance.audio}: no channel {utterance.channel}, it has "
                    f"{sound.channels}: mend the manifest"
                )
            only = sound.samples[utterance.channel - 1 : utterance.channel]
            sound = Waveform(only, sound.sample_rate)
        end = sound.duration if utterance.end is None else utterance.end
        return sound.mono().slice(utterance.start, end)


def language_obstacle(language: str | None, known: Sequence[str] | None) -> str:
    """Why a provider of these languages can't be asked; the empty text if it can."""
    if known is None:
        return ""
    spoken = primary(language)
    if spoken is None:
        return NO_LANGUAGE
    return "" if spoken in known else f"language {spoken}, of which {' and '.join(known)} is known"


def audio_hash(utterance: Utterance, *more: str | None) -> str:
    """Changes with the recording (its hash, or size and time), the segment and `more`."""
    what = utterance.sha256
    if what is None:
        try:
            stat = utterance.audio.stat()
            what = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            what = "gone"
    segment = (utterance.start, utterance.end, utterance.channel)
    return short_hash(what, *map(str, segment), *(part or "" for part in more))


def short_hash(*parts: str) -> str:
    """16 hexadecimal digits of SHA-256."""
    text = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest()[:16]


def key_of(step: Step, utterance: Utterance) -> dict[str, Any]:
    """What every answer to a question of this step begins with."""
    return {
        "id": utterance.id,
        "field": step.field,
        "source": step.source,
        "input": step.input_of(utterance),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
