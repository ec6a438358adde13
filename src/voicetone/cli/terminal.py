"""Results in the terminal: a table per channel, readable without colour and in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any

from voicetone.audio.find import display
from voicetone.cli.tracks import display_name, top
from voicetone.evaluation.call_words import (
    newest_parts,
    speaker_words,
    split_cautions,
    turning_points,
    verdict,
)
from voicetone.types import ChannelResult, FileResult, Overall, Scores

if TYPE_CHECKING:
    from rich.text import Text

MARKS = {"positive": "+", "neutral": "0", "negative": "-"}
COLOURS = {"positive": "green", "neutral": "blue", "negative": "red"}
NO_SPEECH, UNSURE = ".", "?"
LEGEND = "+ positive  0 neutral  - negative  ? not sure  . no speech"
MOST_MARKS = 96
BAR = 20  # cells


def show(result: FileResult, sure_from: float, stream: IO[str]) -> str:
    """A table per channel as text for this stream: coloured only if it is a terminal."""
    from rich.text import Text

    def draw(console: Any) -> None:
        title = Text(display(result.file), style="bold")
        title.append(f"  {clock(result.duration)}  {result.model}", style="not bold")
        if result.flags:
            title.append(f"  {', '.join(result.flags)}", style="yellow")
        console.print(title, soft_wrap=True)  # a path is not to be cut in two
        for channel in result.channels:
            console.print(_channel_table(result, channel, sure_from, console.width))
        for line in split_cautions(result):
            console.print(Text(line, style="yellow"))
        console.print(Text(LEGEND, style="dim"))

    return _draw(draw, stream)


def summary(results: Iterable[FileResult], stream: IO[str]) -> str:
    """One row per channel of many files."""
    from rich.table import Table
    from rich.text import Text

    def draw(console: Any) -> None:
        table = Table(box=None, pad_edge=False)
        table.add_column("file", overflow="fold")
        for name in ("channel", "tone", "speech", "flags"):
            table.add_column(name, no_wrap=name in ("tone", "speech"))
        for result in results:
            for channel in result.channels:
                table.add_row(
                    Text(display(result.file)),
                    Text(display(display_name(channel))),
                    _verdict(channel),
                    clock(channel.overall.speech_seconds),
                    ", ".join(channel.flags),
                )
        console.print(table)

    return _draw(draw, stream)


def strip(channel: ChannelResult, duration: float, sure_from: float, most: int) -> list[str | None]:
    """Tone over time in at most `most` cells: a label, "" for no speech, None for not sure."""
    parts = list(newest_parts(channel.windows, duration))
    count = max(1, min(most, len(parts)))
    totals: list[dict[str, float]] = [{} for _ in range(count)]
    for i, (window, _, _) in enumerate(parts):
        cell = i * count // len(parts)
        for label, value in (window.sentiment or {}).items():
            totals[cell][label] = totals[cell].get(label, 0.0) + value * window.speech_seconds
    cells: list[str | None] = []
    for total in totals:
        weight = sum(total.values())
        if not weight:
            cells.append("")
        else:
            cells.append(top({k: v / weight for k, v in total.items()}, sure_from))
    return cells


def clock(seconds: float) -> str:
    """Seconds as people read them: 4.2 s, 3:05, 1:02:30."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _draw(draw: Callable[[Any], None], stream: IO[str]) -> str:
    from rich.console import Console

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        draw(console)
    return capture.get()


def _channel_table(
    result: FileResult, channel: ChannelResult, sure_from: float, width: int
) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.ROUNDED, show_header=False, title_justify="left", title_style="bold")
    name = display_name(channel) if channel.name else ""
    table.title = Text(f"channel {channel.channel}  {display(name)}".rstrip())
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    overall = channel.overall
    tone = _verdict(channel)
    if overall.confidence is not None and width >= 60:
        tone.append("  ").append_text(_bar(overall))
    table.add_row("overall", tone)
    if overall.sentiment:
        table.add_row("sentiment", _scores(overall.sentiment))
    if overall.emotion:
        table.add_row("emotion", _scores(overall.emotion, most=3))
    spoken = f"{clock(overall.speech_seconds)} of {clock(result.duration)}"
    table.add_row("speech", spoken)
    if channel.speaker is not None:
        table.add_row("speaker", speaker_words(channel.speaker))
    if channel.flags:
        table.add_row("flags", Text(", ".join(channel.flags), style="yellow"))
    if overall.speech_seconds > 0:
        most = max(8, min(MOST_MARKS, width - 16))
        table.add_row("over time", _strip_text(channel, result.duration, sure_from, most))
        for i, point in enumerate(turning_points(channel, sure_from, subject="the tone")):
            table.add_row("turning points" if i == 0 else "", str(point))
    return table


def _verdict(channel: ChannelResult) -> Text:
    from rich.text import Text

    overall = channel.overall
    if overall.sentiment is None:
        return Text(verdict(channel), style="dim")
    percent = "" if overall.confidence is None else f" {overall.confidence:.0%}"
    if overall.label is None:
        return Text(f"not sure ({top(overall.sentiment)}{percent})", style="yellow")
    return Text(f"{overall.label}{percent}", style=f"bold {COLOURS.get(overall.label, 'default')}")


def _bar(overall: Overall) -> Text:
    from rich.text import Text

    full = round((overall.confidence or 0.0) * BAR)
    colour = COLOURS.get(overall.label or "", "yellow")
    return Text("█" * full, style=colour).append("░" * (BAR - full), style="dim")


def _scores(scores: Scores, most: int | None = None) -> str:
    ranked = sorted(scores.items(), key=lambda item: -item[1]) if most else list(scores.items())
    return "  ".join(f"{label} {value:.2f}" for label, value in ranked[:most])


def _strip_text(channel: ChannelResult, duration: float, sure_from: float, most: int) -> Text:
    from rich.text import Text

    cells = strip(channel, duration, sure_from, most)
    text = Text()
    for label in cells:
        if label == "":
            text.append(NO_SPEECH, style="dim")
        elif label is None:
            text.append(UNSURE, style="yellow")
        else:
            text.append(MARKS.get(label, label[:1]), style=f"bold {COLOURS.get(label, 'default')}")
    if len(cells) > 1:
        text.append(f"\none mark is {clock(duration / len(cells))}", style="dim")
    return text
