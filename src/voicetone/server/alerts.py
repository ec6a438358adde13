"""Alerts: rules that an operator writes, looked at in each call's own events.

Everything is in seconds of the call's audio, so a recording gives the alerts that the call gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.errors import UsageError
from voicetone.server.call import CallStart, Watch
from voicetone.server.events import CallEvent

_STRICT = ConfigDict(extra="forbid")
Kind = Literal["negative", "drop", "silence", "both_negative"]
Score = Annotated[float, Field(gt=0, lt=1)]

SECONDS: dict[Kind, float] = {
    "negative": 20.0,
    "drop": 0.0,
    "silence": 30.0,
    "both_negative": 10.0,
}
"""What `seconds` is where a rule doesn't say."""


@dataclass(frozen=True, config=_STRICT)
class AlertRule:
    """When to alert."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_. -]{1,80}$")]
    kind: Kind
    """`negative`: `current` is negative; `drop`: `current` is worse than the call's average;
    `silence`: nobody speaks; `both_negative`: two parties are negative at once."""
    seconds: Annotated[float, Field(ge=0, le=3600)] | None = None
    """For how long, in the call's audio; by default 20 s of negative, 30 s of silence, 10 s of both
    negative, a drop at once."""
    over: Score | None = None
    """Of `negative` and `both_negative`: the negative score that counts as negative; without it
    the label does."""
    by: Annotated[float, Field(gt=0, le=2)] | None = None
    """Of `drop`: how far positive minus negative falls below that of the whole call; 0.4."""
    speech_seconds: Annotated[float, Field(ge=0, le=3600)] | None = None
    """Of `drop`: speech that a channel must have had before; 60 s."""
    channels: tuple[int | str, ...] | None = None
    """Numbers or names of the channels looked at; by default all that are analysed."""
    cool_down: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """Seconds without the same alert of the same channel."""
    message: Annotated[str, Field(max_length=300)] | None = None
    """Said with the alert, in place of the usual words."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing for this kind."""
        if self.over is not None and self.kind not in ("negative", "both_negative"):
            raise ValueError(f"over is not of kind {self.kind}")
        for key in ("by", "speech_seconds"):
            if getattr(self, key) is not None and self.kind != "drop":
                raise ValueError(f"{key} is of kind drop only")
        if self.channels is not None and len(self.channels) == 0:
            raise ValueError("channels is empty: leave it out for all")

    @property
    def lasting(self) -> float:
        """Seconds that its condition must last."""
        return SECONDS[self.kind] if self.seconds is None else self.seconds


@dataclass(frozen=True, config=_STRICT)
class AlertSettings:
    """Rules of alerts; none by default."""

    rules: Annotated[tuple[AlertRule, ...], Field(max_length=100)] = ()


def make_watch(settings: AlertSettings) -> Callable[[CallStart], Watch]:
    """What the hub makes a call's watch with.

    Raises:
        UsageError: two rules have one name.
    """
    names = [rule.name for rule in settings.rules]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two alert rules are called {name}: give each a name of its own")
    return lambda start: CallWatch(settings.rules, start)


Body = dict[str, Any]


class _Check(Protocol):
    """One rule in one call."""

    def see(self, event: CallEvent) -> list[Body]:
        """Bodies of the alerts that an event gives rise to."""


class CallWatch:
    """All rules in one call.

    Args:
        rules: of the operator.
        start: what is known of the call.
    """

    def __init__(self, rules: Sequence[AlertRule], start: CallStart) -> None:
        self._checks: list[_Check] = [CHECKS[rule.kind](rule, start) for rule in rules]

    def see(self, event: CallEvent) -> list[Mapping[str, Any]]:
        """Bodies of the alerts that an event gives rise to."""
        return [body for check in self._checks for body in check.see(event)]

    def ended(self) -> None:
        """No more events will come."""
        self._checks = []


class _Rule:
    """What all kinds have in common: their channels, cool-down and an alert's body."""

    def __init__(self, rule: AlertRule, start: CallStart) -> None:
        self.rule = rule
        self._channels = None if rule.channels is None else _numbers(rule.channels, start)
        self._quiet: dict[int | None, float] = {}  # until when, by channel

    def about(self, channel: int | None) -> bool:
        """Whether a channel is looked at."""
        return channel is not None and (self._channels is None or channel in self._channels)

    def alert(
        self, at: float, since: float, value: float | None, words: str, channel: int | None = None
    ) -> list[Body]:
        """The alert, unless there was the same one shortly before.

        Args:
            at: seconds of the call's audio, now.
            since: when what it is about began.
            value: the score, fall or seconds that it is about.
            words: for people, where the rule has none of its own.
            channel: that it is about; None for the call.
        """
        if at < self._quiet.get(channel, 0.0):
            return []
        self._quiet[channel] = at + self.rule.cool_down
        return [
            {
                "rule": self.rule.name,
                "kind": self.rule.kind,
                "channel": channel,
                "at": round(at, 3),
                "since": round(since, 3),
                "value": None if value is None else round(value, 4),
                "message": self.rule.message or words,
            }
        ]


def _numbers(channels: Sequence[int | str], start: CallStart) -> frozenset[int]:
    names = start.names or ()
    numbers = {at for at, name in enumerate(names, 1) if name in channels}
    return frozenset(numbers | {channel for channel in channels if isinstance(channel, int)})


def _negative(body: Mapping[str, Any], over: float | None) -> tuple[bool, float | None]:
    """Whether a `tone` event's `current` is negative, and its negative score."""
    current = body["current"]
    score = (current["sentiment"] or {}).get("negative")
    if over is None:
        return current["label"] == "negative", score
    return score is not None and score > over, score


class Negative(_Rule):
    """`current` is negative for so long."""

    def __init__(self, rule: AlertRule, start: CallStart) -> None:
        super().__init__(rule, start)
        self._since: dict[int, float] = {}

    def see(self, event: CallEvent) -> list[Body]:
        """Look at the tone of a channel."""
        if event.type != "tone" or event.channel is None or not self.about(event.channel):
            return []
        at, channel = float(event.body["end"]), event.channel
        negative, score = _negative(event.body, self.rule.over)
        if not negative:
            self._since.pop(channel, None)
            return []
        since = self._since.setdefault(channel, at)
        if at - since < self.rule.lasting:
            return []
        return self.alert(at, since, score, f"negative for {at - since:.0f} s", channel)


class Drop(_Rule):
    """`current` is that much worse than the channel's own average, for so long."""

    def __init__(self, rule: AlertRule, start: CallStart) -> None:
        super().__init__(rule, start)
        self._by = 0.4 if rule.by is None else rule.by
        self._least = 60.0 if rule.speech_seconds is None else rule.speech_seconds
        self._since: dict[int, float] = {}

    def see(self, event: CallEvent) -> list[Body]:
        """Look at the tone of a channel."""
        if event.type != "tone" or event.channel is None or not self.about(event.channel):
            return []
        at, channel, overall = float(event.body["end"]), event.channel, event.body["overall"]
        now, usual = _balance(event.body["current"]), _balance(overall)
        fallen = None if now is None or usual is None else usual - now
        if fallen is None or fallen < self._by or overall["speech_seconds"] < self._least:
            self._since.pop(channel, None)
            return []
        since = self._since.setdefault(channel, at)
        if at - since < self.rule.lasting:
            return []
        words = f"the tone fell by {fallen:.2f} against the call's average"
        return self.alert(at, since, fallen, words, channel)


def _balance(tone: Mapping[str, Any]) -> float | None:
    """Positive minus negative, from -1 to 1; None without scores."""
    scores = tone["sentiment"]
    if not scores:
        return None
    return float(scores.get("positive", 0.0)) - float(scores.get("negative", 0.0))


class Silence(_Rule):
    """Nobody speaks on the channels looked at. Audio that was lost is not taken for silence."""

    def __init__(self, rule: AlertRule, start: CallStart) -> None:
        super().__init__(rule, start)
        self._last = start.offset
        self._speaking: set[int] = set()

    def see(self, event: CallEvent) -> list[Body]:
        """Follow turns and gaps; windows, which come in silence, too, are the clock."""
        if event.type == "gap":
            self._last = max(self._last, float(event.body["end"]))
            return []
        if event.channel is None or not self.about(event.channel):
            return []
        match event.type:
            case "speech.start":
                self._speaking.add(event.channel)
            case "speech.end":
                self._speaking.discard(event.channel)
                self._last = max(self._last, float(event.body["end"]))
            case "window" if not self._speaking and not event.body["speech_seconds"]:
                return self._look(float(event.body["end"]))
        return []

    def _look(self, at: float) -> list[Body]:
        silent = at - self._last
        if silent < max(self.rule.lasting, 1e-3):
            return []
        return self.alert(at, self._last, silent, f"nobody has spoken for {silent:.0f} s")


class BothNegative(_Rule):
    """Two channels are negative at once, for so long; where two are analysed."""

    def __init__(self, rule: AlertRule, start: CallStart) -> None:
        super().__init__(rule, start)
        self._scores: dict[int, float | None] = {}
        self._since: float | None = None
        self._at = 0.0

    def see(self, event: CallEvent) -> list[Body]:
        """Look at the tone of all channels."""
        if event.type != "tone" or event.channel is None or not self.about(event.channel):
            return []
        self._at = max(self._at, float(event.body["end"]))
        negative, score = _negative(event.body, self.rule.over)
        if negative:
            self._scores[event.channel] = score
        else:
            self._scores.pop(event.channel, None)
        if len(self._scores) < 2:
            self._since = None
            return []
        self._since = self._at if self._since is None else self._since
        lasted = self._at - self._since
        if lasted < self.rule.lasting:
            return []
        scores = [score for score in self._scores.values() if score is not None]
        words = f"both sides negative for {lasted:.0f} s"
        return self.alert(self._at, self._since, min(scores, default=None), words)


CHECKS: dict[Kind, Callable[[AlertRule, CallStart], _Check]] = {
    "negative": Negative,
    "drop": Drop,
    "silence": Silence,
    "both_negative": BothNegative,
}
