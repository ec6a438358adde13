"""Texts: how they read. Those of a request, and the transcripts that a client sends with a call.

The words themselves are kept nowhere and stand in no log and no event. For a model that reads words
those of the last seconds are in memory, until no window to come needs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from voicetone.errors import MissingExtraError
from voicetone.language.answers import Opinion, primary
from voicetone.language.vader import VaderLabeller
from voicetone.server.keys import Bucket
from voicetone.server.refusal import RefusedError

if TYPE_CHECKING:
    from voicetone.server.call import LiveCall
    from voicetone.server.hub import Hub
    from voicetone.server.native import Transcript
    from voicetone.server.state import ServerState

READERS = 2
"""Texts that are read at once."""
WAITING = 16
"""Transcripts of a call that may wait to be read."""
AHEAD_SECONDS = 1.0
"""That words may be ahead of the audio, as clocks and roundings differ."""
OVERLAP_SECONDS = 0.5
"""That a transcript may begin before the end of the one before it."""


class Reader:
    """Reads a few texts at once, in threads."""

    def __init__(self) -> None:
        self._labeller: VaderLabeller | None = None
        self._free = asyncio.Semaphore(READERS)

    async def read(self, text: str) -> dict[str, Any]:
        """How a text reads: `label`, `sentiment`, `source`, `problem`.

        Raises:
            RefusedError: the package that reads texts is not installed.
        """
        async with self._free:
            try:
                source, opinion = await asyncio.to_thread(self._read, text)
            except MissingExtraError as error:
                raise RefusedError("unsupported_media", f"no texts here: {error}") from error
        scores = opinion.scores
        return {
            "label": opinion.sentiment,
            "sentiment": None if scores is None else {k: round(v, 4) for k, v in scores.items()},
            "source": source,
            "problem": opinion.problem or None,
        }

    def _read(self, text: str) -> tuple[str, Opinion]:
        labeller = self._labeller or VaderLabeller()
        self._labeller = labeller
        return labeller.source, labeller.label([text], "en")[0]


def reader_of(state: ServerState) -> Reader:
    """The one of this worker."""
    reader: Reader | None = state.extras.get("reader")
    if reader is None:
        reader = state.extras["reader"] = Reader()
    return reader


def require_english(language: str | None) -> None:
    """Check that a text's language is one that is read.

    Raises:
        RefusedError: it is another.
    """
    if primary(language) not in (None, "en"):
        raise RefusedError("unsupported_media", "language: texts are read in English only (en)")


class _Heard:
    """What is known of one call's words."""

    def __init__(self, hub: Hub) -> None:
        most = hub.limits.transcripts
        self.bucket = Bucket(most / 60, most, hub.clock)
        self.ends: dict[int, float] = {}
        self.turn = asyncio.Lock()  # first come, first served
        self.tasks: set[asyncio.Task[None]] = set()


class Transcripts:
    """Reads the words of calls in progress beside their audio. Used from the event loop only.

    Args:
        hub: the calls.
        reader: says how words read.
    """

    def __init__(self, hub: Hub, reader: Reader) -> None:
        self._hub, self._reader = hub, reader
        self._calls: WeakKeyDictionary[LiveCall, _Heard] = WeakKeyDictionary()

    def take(self, call: LiveCall, said: Transcript) -> None:
        """Take a transcript, which is told as `text` once it is read; never waits.

        Words of a channel that is not analysed, and those that are not final, are left alone.

        Raises:
            RefusedError: it can't be, or not now; the call goes on.
        """
        if call.closing:
            raise RefusedError("conflict", "the call has ended: send words before session.close")
        if said.channel > call.start.channels:
            raise RefusedError("bad_request", f"transcript: there is no channel {said.channel}")
        require_english(said.language)
        if said.channel not in call.session.channels or not said.final:
            return
        heard = self._calls.get(call)
        if heard is None:
            heard = self._calls[call] = _Heard(self._hub)
        self._require_in_order(call, heard, said)
        if len(heard.tasks) >= WAITING:
            raise RefusedError("rate_limited", f"{WAITING} transcripts wait: send them later", 1.0)
        if (wait := heard.bucket.take()) > 0:
            most = self._hub.limits.transcripts
            text = f"more than {most} transcripts of a call in a minute: wait"
            raise RefusedError("rate_limited", text, round(wait, 1))
        heard.ends[said.channel] = said.end
        _tell_model(call, said)
        task = asyncio.create_task(self._read(call, heard, said), name="transcript")
        heard.tasks.add(task)
        task.add_done_callback(heard.tasks.discard)

    async def settled(self, call: LiveCall) -> None:
        """Wait until all that was taken of a call is told."""
        heard = self._calls.get(call)
        if heard is not None and heard.tasks:
            await asyncio.wait(heard.tasks)

    def _require_in_order(self, call: LiveCall, heard: _Heard, said: Transcript) -> None:
        if said.end > call.position + AHEAD_SECONDS:
            raise RefusedError(
                "bad_request", "transcript: of audio that has not come yet: send it after that"
            )
        last = heard.ends.get(said.channel)
        if last is not None and (said.end <= last or said.start < last - OVERLAP_SECONDS):
            raise RefusedError(
                "conflict",
                f"transcript: it overlaps what channel {said.channel} said until {last:g} s, or "
                "comes before: send each stretch once, in order",
            )

    async def _read(self, call: LiveCall, heard: _Heard, said: Transcript) -> None:
        """Read the words and tell how they read."""
        body: Mapping[str, Any]
        async with heard.turn:
            try:
                body = await self._reader.read(said.text)
            except RefusedError as error:
                if call.closed is None:
                    call.tell("error", {**error.to_dict(), "fatal": False})
                return
        if call.closed is None:
            times = {"start": round(said.start, 3), "end": round(said.end, 3)}
            call.tell("text", {**times, **body}, said.channel)


def _tell_model(call: LiveCall, said: Transcript) -> None:
    """Hand words to a model that takes them beside the voice.

    At once, before any more audio is taken: so which windows know them depends on when they came,
    and not on how long it takes to read them.
    """
    if call.session.windows_with_words(said.channel) is None:
        return
    start, end = (max(at - call.start.offset, 0.0) for at in (said.start, said.end))
    if start < end:  # else they were said to a worker before this one, or in no time
        call.session.say(said.channel, start, end, said.text)


def transcripts_of(state: ServerState) -> Transcripts:
    """Those of this worker's calls."""
    found: Transcripts | None = state.extras.get("transcripts")
    if found is None:
        found = state.extras["transcripts"] = Transcripts(state.hub, reader_of(state))
    return found
