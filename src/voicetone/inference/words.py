"""Words that a session is told of: which of its windows know which of them.

That must depend on nothing but the audio that had come when they came: neither on how the audio is
cut into pieces nor on how busy the model is. So each stretch of words keeps its place in the
audio, and counts for windows that end behind it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from voicetone.audio.units import SAMPLE_RATE
from voicetone.errors import UsageError
from voicetone.inference.layout import CHUNK, WINDOW, Placement
from voicetone.pretrained.predictor import Predictor
from voicetone.pretrained.text_reader import TextReader
from voicetone.pretrained.window_predictor import WindowPredictor
from voicetone.types import Floats, Said

MOST_TEXT = 20_000
"""Characters of one stretch of words."""
MOST_WAITING = 1_000
"""Stretches of a channel that windows to come may need."""

Transcripts = Mapping[int, Sequence[Said]] | Sequence[Said] | None
"""What is said in a recording: by channel, counted from 1, or on the only one that is analysed."""


def reader_of(predictor: Predictor) -> TextReader | None:
    """What reads words for a model; None where it takes none."""
    return predictor.reader if isinstance(predictor, WindowPredictor) else None


@dataclass(frozen=True, slots=True)
class _Told:
    said: Said
    came: float  # samples at 16 kHz that were there before it


class Wording:
    """The words of one channel, as long as a window to come may overlap them.

    Args:
        predictor: the model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._reader = reader_of(predictor)
        self._model = predictor.spec.id
        self._told: list[_Told] = []
        self.windows: int | None = None if self._reader is None else 0
        """Those whose scores know words."""

    def say(self, said: Said, came: float) -> None:
        """Take words. Those that the model knows none of are left out.

        Args:
            said: the words.
            came: samples of the audio at 16 kHz that were there before them.

        Raises:
            UsageError: the model takes no words; times or words that can't be; too many.
        """
        require_said(said)
        if self._reader is None:
            raise UsageError(
                f"{self._model} takes no words: leave the transcript out, or choose a model that "
                "reads"
            )
        if len(self._told) >= MOST_WAITING:
            raise UsageError(f"over {MOST_WAITING} stretches of words in a few seconds: join them")
        if self._reader.knows(said.text):
            self._told.append(_Told(said, came))

    def taken(self, windows: Sequence[Placement], chunk: int) -> tuple[str | None, ...]:
        """The words of windows, None for those without.

        Args:
            windows: that are to be scored now.
            chunk: number of the first chunk that is scored with them; what ends before every
                later window is forgotten.
        """
        found = tuple(self._of(place) for place in windows)
        passed = (chunk - 1) * CHUNK / SAMPLE_RATE  # the window at the end may reach back to here
        self._told = [told for told in self._told if told.said.end > passed]
        return found

    def counted(self) -> None:
        """A window has scores that know words."""
        assert self.windows is not None
        self.windows += 1

    def _of(self, place: Placement) -> str | None:
        """The stretches that overlap a window and came before it was complete, in their order."""
        whole = place.end >= WINDOW and place.end % CHUNK == 0  # others are added by the end
        found = [
            told.said
            for told in self._told
            if told.said.start < place.end_seconds
            and told.said.end > place.start_seconds
            and (told.came < place.end or not whole)
        ]
        found.sort(key=lambda said: (said.start, said.end))
        return " ".join(said.text for said in found) or None


def require_said(said: Said) -> None:
    """Check the times and the length of words.

    Raises:
        UsageError: they can't be.
    """
    if not (0 <= said.start < said.end < math.inf):
        raise UsageError(
            f"words from {said.start:g} to {said.end:g} s: give seconds of the audio, the start "
            "before the end"
        )
    if len(said.text) > MOST_TEXT:
        raise UsageError(
            f"words of {len(said.text):,} characters at {said.start:g} s: give them in stretches "
            f"of at most {MOST_TEXT:,}"
        )


class Hearing(Protocol):
    """What a session is, as far as words go."""

    def say(self, channel: int, start: float, end: float, text: str) -> None:
        """See `LiveSession.say`."""


class Telling:
    """Cuts a recording where words are due, and tells a session of them there.

    Words are due when the audio up to their end is there but for its last sample: so windows that
    end with them know them.

    Args:
        session: of the recording.
        rate: of its samples, Hz.
        channels: that are analysed.
        transcripts: what is said.

    Raises:
        UsageError: one transcript for several channels, or one of a channel that is not analysed.
    """

    def __init__(
        self, session: Hearing, rate: int, channels: Sequence[int], transcripts: Transcripts
    ) -> None:
        self._session = session
        due = []
        for channel, stretches in _by_channel(channels, transcripts).items():
            for said in stretches:
                require_said(said)
                due.append((max(math.ceil(said.end * rate) - 1, 0), channel, said))
        due.sort(key=lambda one: (one[0], one[1], one[2].start))
        self._due = deque(due)
        self._at = 0  # samples that were pushed

    def push(self, block: Floats, take: Callable[[Floats], None]) -> None:
        """Hand out samples `[channels, n]` in pieces, and the words between them."""
        end = self._at + block.shape[1]
        while self._due and self._due[0][0] < end:
            count = max(self._due[0][0] - self._at, 0)
            if count:
                take(block[:, :count])
                block = block[:, count:]
                self._at += count
            self._tell()
        take(block)
        self._at = end

    def end(self) -> None:
        """Tell what ends behind the audio, as recognisers round."""
        while self._due:
            self._tell()

    def _tell(self) -> None:
        _, channel, said = self._due.popleft()
        self._session.say(channel, said.start, said.end, said.text)


def _by_channel(channels: Sequence[int], transcripts: Transcripts) -> Mapping[int, Sequence[Said]]:
    """Transcripts by the channels that they are of.

    Raises:
        UsageError: see `Telling`.
    """
    if transcripts is None:
        return {}
    if not isinstance(transcripts, Mapping):
        if len(channels) != 1:
            raise UsageError(
                f"one transcript, and {len(channels)} channels are analysed: say whose it is by "
                "the channel's number, or analyse one channel"
            )
        return {channels[0]: transcripts}
    for channel in transcripts:
        if channel not in channels:
            there = ", ".join(map(str, channels))
            raise UsageError(
                f"a transcript of channel {channel}, which is not analysed: there are {there}"
            )
    return transcripts
