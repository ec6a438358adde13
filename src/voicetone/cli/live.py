"""`voicetone live`: a microphone or a file at the pace of speech, drawn in the terminal."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from voicetone.cli.analyze import by_name, names_of
from voicetone.cli.output import complain, say
from voicetone.client.errors import ServerError
from voicetone.errors import UsageError
from voicetone.types import Floats

if TYPE_CHECKING:
    from voicetone.cli.live_board import Board
    from voicetone.cli.live_sources import Source

REDRAW = 0.1
"""Seconds between two pictures."""
KEY = "VOICETONE_KEY"

HELP = """Tone as it is spoken: from the microphone, or from a file at the pace of speech.

It is analysed on this machine, or with --server on a server. Ctrl-C ends the call and shows its
overall tone. Where the output is no terminal, each window is a line, as with --plain."""


def live(
    file: Annotated[str | None, typer.Option(help="A recording instead of the microphone.")] = None,
    speed: Annotated[
        float, typer.Option(min=0.1, max=1000.0, help="How much quicker a file runs.")
    ] = 1.0,
    device: Annotated[
        str | None, typer.Option(help="Microphone: its number, or a part of its name.")
    ] = None,
    channel_names: Annotated[
        str | None, typer.Option(metavar="A,B", help="A name for each channel.")
    ] = None,
    analyse: Annotated[
        str | None, typer.Option(metavar="A,B|all", help="Which channels to analyse, by name.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="An installed model or the folder of a bundle."),
    ] = None,
    speaker_enrol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="auto|none|[CHANNEL=]FILE",
            help="Whose voice it is, for models that take a speaker. With --server the id of a "
            "voice that was enrolled there, instead of a file.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=f"Analyse on a server; its key, if it needs one, is read from {KEY}.",
        ),
    ] = None,
    consent: Annotated[
        bool,
        typer.Option("--consent", help="Those who are heard know and agree. A server asks for it."),
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="One line per window.")] = False,
) -> None:
    """Read the options and run the call. What users read is `HELP`."""
    from voicetone.cli.live_sources import file_source, microphone

    if file is not None and device is not None:
        raise UsageError("--file and --device both say what to hear: give one of them")
    if server is not None and model is not None:
        raise UsageError("--model is for this machine, and --server analyses elsewhere: give one")
    if server is not None and not consent:
        raise UsageError(
            "--server needs --consent: say by it that those who are heard know and agree"
        )
    names = names_of(channel_names)
    analysed = None if analyse is None else by_name(analyse, names)
    lost: list[float] = []
    opened: AbstractContextManager[Source] = (
        microphone(device, lost.append) if file is None else file_source(file, speed)
    )
    with opened as source:
        if server is None:
            analyser: Analyser = Local(source, model, names, analysed, speaker_enrol)
        else:
            analyser = Remote(source, server, names, analysed, speaker_enrol)
        run(source, analyser, lost, plain or not sys.stdout.isatty())


class Analyser(Protocol):
    """What hears the sound and fills a board."""

    board: Board

    def push(self, block: Floats) -> None:
        """Take the next block."""

    def close(self) -> None:
        """No more comes: fill the rest in."""


class Local:
    """The model of this machine.

    Raises:
        BundleError: no model, or a damaged one.
        AudioError, UsageError: sound, names or channels that can't be.
    """

    def __init__(
        self,
        source: Source,
        model: str | None,
        names: Sequence[str] | None,
        analysed: Sequence[int] | None,
        enrol: Sequence[str] | None,
    ) -> None:
        from voicetone.cli.enrolling import enrolling_of, known
        from voicetone.cli.live_board import Board
        from voicetone.inference.live import LiveSession
        from voicetone.pretrained import load

        predictor = load(model)
        spec = predictor.spec
        if spec.notice:
            complain(spec.notice)
        voices = known(enrolling_of(enrol, names), lambda: predictor)
        for warning in voices.warnings:
            complain(warning)
        self._session = LiveSession(
            predictor,
            source.rate,
            source.channels,
            names=names,
            analysed=analysed,
            speakers=voices.speakers,
        )
        sure = spec.dont_know.sentiment
        channels = self._session.channels
        self.board = Board(source.name, spec.id, channels, names, sure, source.duration)

    def push(self, block: Floats) -> None:
        """Take the next block."""
        for event in self._session.push(block):
            self.board.channels[event.channel].overall = self._session.overall(event.channel)
            self.board.of_session(event)

    def close(self) -> None:
        """Analyse the rest."""
        for event in self._session.close():
            self.board.of_session(event)


class Remote:
    """A server.

    Raises:
        ServerError, ConnectionLostError: it says no, or can't be reached.
        MissingExtraError: websockets is not installed.
    """

    def __init__(
        self,
        source: Source,
        url: str,
        names: Sequence[str] | None,
        analysed: Sequence[int] | None,
        enrol: Sequence[str] | None,
    ) -> None:
        from voicetone.cli.enrolling import voices_of
        from voicetone.cli.live_board import Board
        from voicetone.client.sync import Stream

        self._stream = Stream.open(
            url,
            sample_rate=source.rate,
            consent=True,
            channels=source.channels,
            channel_names=names,
            analyse=analysed,
            speaker=voices_of(enrol, names),
            key=os.environ.get(KEY) or None,
        )
        created = self._stream.created
        where = f"{source.name} on {url}"
        self.board = Board(where, created.model, created.analysed, names, duration=source.duration)
        self._resumed = 0

    def push(self, block: Floats) -> None:
        """Send the next block, and look what has come."""
        self._look()
        if self.board.ended:
            return
        try:
            self._stream.send(block)
        except ServerError:
            self._look()
            if not self.board.ended:
                raise
        if self._stream.resumed > self._resumed:
            self._resumed = self._stream.resumed
            self.board.note("the connection was cut and is back: nothing was lost")

    def close(self) -> None:
        """Have the rest analysed."""
        self._stream.close()
        self._look()

    def _look(self) -> None:
        for event in self._stream.poll():
            self.board.of_server(event)


def run(source: Source, analyser: Analyser, lost: list[float], plain: bool) -> None:
    """Hear all of it, or until Ctrl-C."""
    board = analyser.board
    with _plain(board) if plain else _drawn(board) as show, _interrupts() as interrupted:
        for block in source.blocks:
            while lost:
                board.note(f"{lost.pop():.1f} s of sound were lost: this machine was too slow")
            board.heard(block, source.rate)
            if block.shape[1]:
                analyser.push(block)
            show(False)
            if board.ended or interrupted:
                break
        reason = board.ended or ("Ctrl-C" if interrupted else "all heard")
        analyser.close()
        board.finish(reason)
        show(True)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that the first Ctrl-C puts something into; a second one interrupts as usual."""
    found: list[int] = []

    def note(number: int, _frame: object) -> None:
        found.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _plain(board: Board) -> Iterator[Callable[[bool], None]]:
    """One line per window and note."""
    from voicetone.cli.live_screen import ending, line

    def show(last: bool) -> None:
        if last:
            say("".join(f"{text}\n" for text in ending(board)))

    board.on_note = lambda text: say(f"{text}\n")
    board.on_window = lambda channel: say(f"{line(channel, board)}\n")
    yield show


@contextmanager
def _drawn(board: Board) -> Iterator[Callable[[bool], None]]:
    """A picture that is drawn again as things change."""
    from rich.console import Console
    from rich.live import Live

    from voicetone.cli.live_screen import screen

    console = Console(highlight=False, markup=False, emoji=False)
    due = 0.0
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as picture:

        def show(last: bool) -> None:
            nonlocal due
            now = time.monotonic()
            if now >= due or last:
                due = now + REDRAW
                picture.update(screen(board, console), refresh=True)

        yield show
