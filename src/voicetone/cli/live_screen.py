"""A call in progress, drawn: per channel its tone now and as a whole, a meter, and a moving line.

Nothing is told by colour alone: labels are words, and the line's height and marks say what its
colours say. Colours are the terminal's own, so that they fit a light and a dark one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from voicetone.cli.live_board import QUIETEST, Board, Channel
from voicetone.cli.terminal import COLOURS, MARKS, NO_SPEECH, UNSURE, clock
from voicetone.cli.tracks import top
from voicetone.types import Scores, Window

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

ROWS = 7
AXIS = {0: "positive", ROWS // 2: "neutral", ROWS - 1: "negative"}
AXIS_WIDTH = max(len(word) for word in AXIS.values()) + 2
BAR = 10
METER = 10
FRAME = 4
"""Cells that a panel takes at its sides."""
NOTES = 4
NARROW, LOW = 78, 66
"""Widths below which the bars and half of the meter are left out."""
LONGEST = len("not sure (negative 100%)")
STYLES = COLOURS | {"neutral": "default"}
"""Blue is hard to read on many dark terminals."""
LEGEND = "+ positive  0 neutral  - negative  ? not sure  . no speech"


def screen(board: Board, console: Console) -> RenderableType:
    """Everything, for a terminal of this width and height."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_title(board)]
    rows = _rows(board, console.height)
    parts += [_panel(channel, board, console.width, rows) for channel in board.channels.values()]
    parts += [
        Text(f"! {note}", style="bold yellow", overflow="ellipsis", no_wrap=True)
        for note in list(board.notes)[-NOTES:]
    ]
    foot = LEGEND if board.ended else f"{LEGEND}   Ctrl-C ends"
    parts.append(Text(foot, style="dim", overflow="ellipsis", no_wrap=True))
    return Group(*parts)


def line(channel: Channel, board: Board) -> str:
    """The newest window as one line for a log."""
    window = channel.windows[-1]
    found = tone(window, board.sure_from)
    words = "no speech" if window.sentiment is None else _label(found, window.sentiment)
    now = channel.current
    parts = [
        f"{window.end:8.1f} s",
        channel.name,
        f"window {words}",
        f"speech {window.speech_seconds:.1f} s",
        f"current {_label(now.label, now.sentiment) if now else 'no speech'}",
    ]
    if channel.overall is not None:
        parts.append(f"overall {_label(channel.overall.label, channel.overall.sentiment)}")
    return "  ".join(parts)


def ending(board: Board) -> list[str]:
    """What the call came to, one line per channel."""
    lines = []
    for channel in board.channels.values():
        overall = channel.overall
        words = "none" if overall is None else _label(overall.label, overall.sentiment)
        spoken = 0.0 if overall is None else overall.speech_seconds
        lines.append(
            f"overall  {channel.name}  {words}  speech {clock(spoken)} of {clock(board.seconds)}"
        )
    return lines


def tone(window: Window, sure_from: float) -> str | None:
    """A window's sentiment; None if it is not sure or there is none."""
    return top(window.sentiment, sure_from)


def chart(windows: Sequence[Window], columns: int, sure_from: float, rows: int = ROWS) -> list[str]:
    """The newest windows as marks, one column each, in rows from positive to negative.

    The height is the probability of positive less that of negative; the newest is at the right.
    """
    shown = list(windows)[-columns:]
    grid = [[" "] * columns for _ in range(rows)]
    for at, window in enumerate(shown, columns - len(shown)):
        row, mark = rows // 2, NO_SPEECH
        if window.sentiment:
            scores = window.sentiment
            value = scores.get("positive", 0.0) - scores.get("negative", 0.0)
            row = min(max(round((1 - value) / 2 * (rows - 1)), 0), rows - 1)
            mark = MARKS.get(tone(window, sure_from) or "", UNSURE)
        grid[row][at] = mark
    return ["".join(cells) for cells in grid]


def _title(board: Board) -> Text:
    from rich.text import Text

    text = Text(board.source, style="bold", overflow="ellipsis", no_wrap=True)
    length = "" if board.duration is None else f" of {clock(board.duration)}"
    text.append(f"  {clock(board.seconds)}{length}  {board.model}", style="not bold")
    if board.ended:
        text.append(f"  ended: {board.ended}", style="not bold")
    return text


def _rows(board: Board, height: int) -> int:
    """Rows of each line, so that all channels fit a low terminal."""
    each = (height - 3 - min(len(board.notes), NOTES)) // max(len(board.channels), 1) - 5
    return ROWS if each >= ROWS else 5 if each >= 5 else 3


def _panel(channel: Channel, board: Board, width: int, rows: int) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    name = channel.name
    own = f"channel {channel.number}"
    title = Text(own if name == own else f"{own}  {name}", style="bold")
    inside = Group(_facts(channel, board, width), *_drawn(channel, board, width, rows))
    return Panel(inside, title=title, title_align="left", box=box.ROUNDED, border_style="default")


def _facts(channel: Channel, board: Board, width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), expand=False)
    now, overall = channel.current, channel.overall
    spoken = clock(overall.speech_seconds) if overall else "0.0 s"
    table.add_row(
        Text("current", style="dim"),
        _verdict(now.label if now else None, now.sentiment if now else None, width),
        Text("now", style="dim"),
        _meter(channel, width),
    )
    table.add_row(
        Text("overall", style="dim"),
        _verdict(overall.label if overall else None, overall.sentiment if overall else None, width),
        Text("speech", style="dim"),
        Text(f"{spoken} of {clock(board.seconds)}"),
    )
    return table


def _verdict(label: str | None, scores: Scores | None, width: int) -> Text:
    from rich.text import Text

    style = STYLES.get(label or "", "yellow") if scores else "dim"
    text = Text(f"{_label(label, scores):<{LONGEST}}", style=f"bold {style}" if scores else "dim")
    if width < NARROW:
        return text
    full = round(max(scores.values()) * BAR) if scores else 0
    return text.append("  " + "█" * full, style=style).append("░" * (BAR - full), style="dim")


def _label(label: str | None, scores: Scores | None) -> str:
    if not scores:
        return "no speech"
    best = f"{max(scores.values()):.0%}"
    return f"not sure ({top(scores)} {best})" if label is None else f"{label} {best}"


def _meter(channel: Channel, width: int) -> Text:
    from rich.text import Text

    cells = METER if width >= LOW else METER // 2
    full = round((channel.level - QUIETEST) / -QUIETEST * cells)
    words = "speaking" if channel.speaking else "quiet   "
    text = Text(f"{words} ", style="bold" if channel.speaking else "dim")
    return text.append("▮" * full, style="not dim").append("▯" * (cells - full), style="dim")


def _drawn(channel: Channel, board: Board, width: int, rows: int) -> list[Text]:
    from rich.text import Text

    columns = max(width - FRAME - AXIS_WIDTH, 8)
    words = {0: AXIS[0], rows // 2: AXIS[ROWS // 2], rows - 1: AXIS[ROWS - 1]}
    colours = {mark: STYLES[label] for label, mark in MARKS.items()} | {UNSURE: "yellow"}
    lines = []
    for number, cells in enumerate(chart(channel.windows, columns, board.sure_from, rows)):
        word = words.get(number, "")
        text = Text().append(f"{word:>{AXIS_WIDTH - 2}} {'┤' if word else '│'}", style="dim")
        for mark in cells:
            text.append(mark, style=f"bold {colours[mark]}" if mark in colours else "dim")
        lines.append(text)
    back = f"{clock(columns * 2.5)} ago"
    space = " " * max(columns - len(back) - len("now"), 1)
    lines.append(Text(f"{'':{AXIS_WIDTH}}{back}{space}now", style="dim"))
    return lines
