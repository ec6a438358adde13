"""What a call in progress tells: one record for clients, store, targets, alerts and pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

EventType = Literal[
    "session.created",
    "session.updated",
    "window",
    "tone",
    "speech.start",
    "speech.end",
    "session.speaker",
    "text",
    "gap",
    "alert",
    "error",
    "session.closed",
]
"""`window`: one scored window of a channel. `tone`: the channel's tone over the newest 30 s of
speech (`current`) and over the call (`overall`), after each window that added speech. `gap`: audio
that was not analysed. `session.speaker`: from when a channel's scores know whose voice it is.
`text`: how words read that a client sent. All others say what their names say."""


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One thing that happened in a call.

    Args:
        call: id of the call, ours.
        seq: its number among the call's events, from 1, without holes.
        time: when it was made, seconds since 1970 by the wall clock.
        type: what kind.
        channel: which channel it is about, from 1; None for the call as a whole.
        body: the rest, ready for JSON; times in seconds of the call's audio.
    """

    call: str
    seq: int
    time: float
    type: EventType
    channel: int | None
    body: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that clients and targets get."""
        head = {"type": self.type, "call": self.call, "seq": self.seq, "time": iso(self.time)}
        if self.channel is not None:
            head["channel"] = self.channel
        return {**head, **self.body}


def iso(time: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
    return moment.removesuffix("+00:00") + "Z"
