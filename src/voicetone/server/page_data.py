"""What the web page shows of calls in progress, and what of it each viewer has not yet been told.

A viewer's queue holds no events but the names of calls that have changed; their state is looked up
when it is sent. So it can't grow, and a viewer who is slow is told less often, not later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.types import (
    SENTIMENTS,
    ChannelResult,
    Current,
    FileResult,
    Overall,
    Segment,
    SpeakerUse,
    Window,
)

SHOWN_SECONDS = 300.0
"""Of the call's audio that a line shows."""
MOST_POINTS = 160
"""Of a line: more than come in that time."""
MOST_ALERTS = 20
"""Of a call, the newest."""
MOST_ENDED = 100
"""Calls that have ended and are still told of."""
MOST_CHANGED = 500
"""Changed calls that may wait for a viewer: with more of them all is told anew."""

Told = Callable[[str], None]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PageSettings:
    """The web page.

    Args:
        enabled: whether there is one.
        viewers: pages that may be open at once, per worker.
    """

    enabled: bool = True
    viewers: Annotated[int, Field(ge=0, le=10_000)] = 50


class ChannelView:
    """One analysed channel as the page shows it."""

    def __init__(self, channel: int, name: str | None) -> None:
        self.head: dict[str, Any] = {
            "channel": channel,
            "name": name,
            "speaking": False,
            "label": None,
            "sentiment": None,
            "overall": None,
        }
        self.points: deque[list[Any]] = deque(maxlen=MOST_POINTS)
        """`[end, positive, neutral, negative]` of each tone, end in seconds of the call's audio."""
        self.total = 0
        """Points so far, those that are gone among them."""

    def tone(self, event: Mapping[str, Any]) -> None:
        """Take a `tone` event."""
        current, overall = event["current"], event["overall"]
        self.head["label"], self.head["sentiment"] = current["label"], current["sentiment"]
        self.head["overall"] = {k: overall[k] for k in ("label", "sentiment", "confidence")}
        if current["sentiment"] is not None:
            self.add([event["end"], *(current["sentiment"].get(s, 0.0) for s in SENTIMENTS)])

    def add(self, point: list[Any]) -> None:
        """Draw the line on."""
        self.points.append(point)
        self.total += 1
        while self.points[0][0] < point[0] - SHOWN_SECONDS:
            self.points.popleft()

    def to_dict(self, known: int) -> dict[str, Any]:
        """The channel without the first `known` points; `first` is the number of the first given.

        Args:
            known: points that the reader has.
        """
        first = max(known, self.total - len(self.points))
        start = len(self.points) - (self.total - first)
        return {**self.head, "first": first, "points": list(self.points)[start:]}

    def merge(self, said: Mapping[str, Any]) -> None:
        """Take over what another worker's `to_dict` gave."""
        self.head.update({k: said[k] for k in self.head})
        if said["first"] != self.total:
            self.points.clear()
            self.total = said["first"]
        for point in said["points"]:
            self.add(point)


class CallView:
    """One call as the page shows it, from its events or from another worker's account of it.

    Args:
        id: the call's.
        worker: number of the process that has it.
    """

    def __init__(self, id: str, worker: int) -> None:
        self.id, self.worker = id, worker
        self.head: dict[str, Any] = {
            "id": id,
            "external": None,
            "queue": None,
            "route": None,
            "began": None,
            "gap_seconds": 0.0,
            "alerts": [],
            "ended": None,
        }
        self.channels: dict[int, ChannelView] = {}

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self.head["ended"] is not None

    def told(self, event: Mapping[str, Any]) -> bool:
        """Take an event of the call, as clients get it.

        Returns:
            Whether anything that is shown has changed.
        """
        channel = self.channels.get(event.get("channel", 0))
        match event["type"]:
            case "session.created":
                self._created(event)
            case "session.updated":
                self.head.update({k: event[k] for k in ("external", "queue") if k in event})
            case "tone" if channel is not None:
                channel.tone(event)
            case "speech.start" | "speech.end" as kind if channel is not None:
                channel.head["speaking"] = kind == "speech.start"
            case "gap":
                self.head["gap_seconds"] = round(
                    self.head["gap_seconds"] + event["end"] - event["start"], 3
                )
            case "alert":
                self._alarmed(event)
            case "session.closed":
                self._closed(event)
            case _:
                return False
        return True

    def to_dict(self, known: Mapping[int, int]) -> dict[str, Any]:
        """Its JSON object.

        Args:
            known: points of each channel that the reader has.
        """
        channels = [view.to_dict(known.get(c, 0)) for c, view in sorted(self.channels.items())]
        return {**self.head, "channels": channels}

    def merge(self, said: Mapping[str, Any]) -> None:
        """Take over what another worker's `to_dict` gave."""
        self.head.update({k: said[k] for k in self.head})
        for one in said["channels"]:
            number = int(one["channel"])
            view = self.channels.setdefault(number, ChannelView(number, one["name"]))
            view.merge(one)

    def _created(self, event: Mapping[str, Any]) -> None:
        self.head.update({k: event[k] for k in ("external", "queue", "route")})
        self.head["began"] = event["time"]
        names = event["names"] or ()
        for channel in event["analysed"]:
            name = names[channel - 1] if channel <= len(names) else None
            self.channels.setdefault(channel, ChannelView(channel, name))

    def _alarmed(self, event: Mapping[str, Any]) -> None:
        kept = ("seq", "time", "channel", "rule", "kind", "at", "message")
        alert = {k: event.get(k) for k in kept}
        self.head["alerts"] = [*self.head["alerts"], alert][-MOST_ALERTS:]

    def _closed(self, event: Mapping[str, Any]) -> None:
        kept = ("time", "reason", "duration")
        self.head["ended"] = {k: event[k] for k in kept}
        for one in event["channels"]:
            view = self.channels.get(one["channel"])
            if view is not None:
                overall = one["overall"]
                view.head["speaking"] = False
                view.head["overall"] = {k: overall[k] for k in ("label", "sentiment", "confidence")}


class Board:
    """All calls that one worker knows of, its own and those of the others.

    Args:
        worker: its number.
    """

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.calls: dict[str, CallView] = {}
        self._ended: deque[str] = deque()
        self._viewers: set[Viewer] = set()

    def told(self, event: Mapping[str, Any]) -> None:
        """Take an event of a call of this worker."""
        id = event["call"]
        if event["type"] == "session.created":
            self.calls[id] = CallView(id, self.worker)
        call = self.calls.get(id)
        if call is not None and call.told(event):
            self._changed(call)

    def merge(self, said: Mapping[str, Any], worker: int) -> None:
        """Take over an account of another worker's call."""
        call = self.calls.get(said["id"])
        if call is None or call.worker != worker:
            call = self.calls[said["id"]] = CallView(said["id"], worker)
        call.merge(said)
        self._changed(call)

    def heard(self, message: Mapping[str, Any], worker: int) -> None:
        """Take a message that another worker's `Viewer.next` made."""
        if message["type"] == "snapshot":
            told = {call["id"] for call in message["calls"]}
            self.forget([c.id for c in self.of(worker) if c.id not in told])
        for call in message["calls"]:
            self.merge(call, worker)
        gone = [self.calls[id] for id in message.get("gone", ()) if id in self.calls]
        self.forget([call.id for call in gone if call.worker == worker])

    def of(self, worker: int) -> list[CallView]:
        """The calls of one worker."""
        return [call for call in self.calls.values() if call.worker == worker]

    def forget(self, ids: Iterable[str]) -> None:
        """Show these calls no more."""
        for id in ids:
            if self.calls.pop(id, None) is not None:
                self._note(id)

    def watch(self, own: bool = False) -> Viewer:
        """Somebody looks.

        Args:
            own: at this worker's calls only.
        """
        viewer = Viewer(self, own)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """They look no more."""
        self._viewers.discard(viewer)

    @property
    def viewers(self) -> int:
        """How many look, other workers left out."""
        return sum(not viewer.own for viewer in self._viewers)

    def _changed(self, call: CallView) -> None:
        if call.ended and call.id not in self._ended:
            self._ended.append(call.id)
            if len(self._ended) > MOST_ENDED:
                self.forget([self._ended.popleft()])
        self._note(call.id)

    def _note(self, id: str) -> None:
        for viewer in self._viewers:
            viewer.note(id)


class Viewer:
    """What one who looks at the board has been told, and has not.

    Args:
        board: looked at.
        own: whether only the worker's own calls are shown.
    """

    def __init__(self, board: Board, own: bool) -> None:
        self.own = own
        self._board = board
        self._all = True
        self._changed: dict[str, None] = {}
        self._known: dict[str, dict[int, int]] = {}
        self._some = asyncio.Event()
        self._some.set()

    @property
    def waiting(self) -> int:
        """Changed calls not yet told of."""
        return len(self._changed)

    def note(self, id: str) -> None:
        """A call has changed."""
        if not self._all:
            self._changed[id] = None
            if len(self._changed) > MOST_CHANGED:
                self._all = True
                self._changed.clear()
        self._some.set()

    async def wait(self) -> None:
        """Until there is something to tell."""
        await self._some.wait()

    def next(self) -> dict[str, Any] | None:
        """A message: all calls the first time and after too many changes, else what changed.

        Returns:
            None where what changed is not for this viewer.
        """
        self._some.clear()
        board, everything = self._board, self._all
        if everything:
            self._known.clear()
        ids = list(board.calls) if everything else list(self._changed)
        self._all = False
        self._changed.clear()
        calls = [
            self._tell(call) for id in ids if (call := board.calls.get(id)) and self._sees(call)
        ]
        if everything:
            return {"type": "snapshot", "calls": calls}
        gone = [id for id in ids if id not in board.calls and self._known.pop(id, None) is not None]
        return {"type": "changes", "calls": calls, "gone": gone} if calls or gone else None

    def _sees(self, call: CallView) -> bool:
        return not self.own or call.worker == self._board.worker

    def _tell(self, call: CallView) -> dict[str, Any]:
        said = call.to_dict(self._known.get(call.id, {}))
        self._known[call.id] = {number: view.total for number, view in call.channels.items()}
        return said


def result_of(call: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> FileResult:
    """A stored call as the result that a report is made of.

    Args:
        call: as the store has it.
        events: all of its events, in order.
    """
    created = next((e for e in events if e["type"] == "session.created"), {})
    closed = next((e for e in reversed(events) if e["type"] == "session.closed"), None)
    names = created.get("names") or ()
    analysed = created.get("analysed") or sorted({e["channel"] for e in events if "channel" in e})
    channels = tuple(
        _channel(number, names[number - 1] if number <= len(names) else None, events, closed)
        for number in analysed
    )
    last = max((float(e.get("end", 0.0)) for e in events), default=0.0)
    flags = dict.fromkeys(flag for channel in channels for flag in channel.flags)
    return FileResult(
        file=_title(call),
        duration=float(closed["duration"]) if closed is not None else last,
        model=str(created.get("model") or call.get("model") or "not named"),
        flags=tuple(flags),
        channels=channels,
    )


def _title(call: Mapping[str, Any]) -> str:
    """A call's name where a report has a file's: it must not be taken for a path or a sign."""
    name = str(call.get("external") or call["id"]).replace("/", "\u2215")
    return name if name.strip(".-") else f"call {name}"


def _channel(
    number: int,
    name: str | None,
    events: Sequence[Mapping[str, Any]],
    closed: Mapping[str, Any] | None,
) -> ChannelResult:
    own = [e for e in events if e.get("channel") == number]
    tones = [e for e in own if e["type"] == "tone"]
    end = next((c for c in (closed or {}).get("channels", ()) if c["channel"] == number), None)
    overall = end["overall"] if end else tones[-1]["overall"] if tones else _NOTHING
    keys = Window.__dataclass_fields__
    return ChannelResult(
        channel=number,
        name=name,
        flags=tuple(end["flags"]) if end else (),
        windows=tuple(Window(**{k: e[k] for k in keys}) for e in own if e["type"] == "window"),
        current=tuple(Current(**e["current"]) for e in tones),
        overall=Overall(**overall),
        speech=tuple(Segment(e["start"], e["end"]) for e in own if e["type"] == "speech.end"),
        speaker=SpeakerUse.from_dict(end["speaker"]) if end and end.get("speaker") else None,
    )


_NOTHING: dict[str, Any] = {
    "speech_seconds": 0.0,
    "label": None,
    "confidence": None,
    "sentiment": None,
    "emotion": None,
}
