"""An analysed call in words: where its tone turns, how it went, what to be careful with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from voicetone.types import SENTIMENTS, ChannelResult, FileResult, Scores, SpeakerUse, Window

MIN_SPEECH = 5.0  # s of speech in a stretch: less is a passing impression, no change of tone
PENALTY = 0.6  # times log(windows): how much clearer a change must make the picture to count
ROLES = ("agent", "caller", "client", "customer", "employee", "operator")
UNJUDGED = "There is speech, but the model gave no answer for it."
_TURNS = {"positive": "turns positive", "neutral": "turns neutral", "negative": "turns negative"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Speech from `start` to `end` (s) in one tone, with its mean scores.

    `label` is None where no sentiment reaches the least probability asked for.
    """

    start: float
    end: float
    speech_seconds: float
    label: str | None
    sentiment: Scores


@dataclass(frozen=True, slots=True)
class TurningPoint:
    """A moment (s) at which a channel's tone changes; `str()` says it in a sentence.

    `score` and `was` are the new label's mean probability in the speech from here to `until`
    and in the stretch before; `until` is None if the tone holds to the end.
    """

    time: float
    subject: str
    label: str
    before: str
    score: float
    was: float
    until: float | None

    def __str__(self) -> str:
        end = "the end" if self.until is None else clock(self.until)
        return (
            f"At {clock(self.time)} {self.subject} {_TURNS[self.label]} "
            f"({self.label} {self.score:.2f} on average until {end}, was {self.was:.2f})"
        )


def clock(seconds: float) -> str:
    """`0:32`, `12:05`, `1:02:03`; whole seconds, rounded down."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def newest_parts(windows: Sequence[Window], duration: float) -> list[tuple[Window, float, float]]:
    """Each window with the stretch (s) that it alone stands for; together they tile the audio."""
    parts = []
    previous = 0.0
    for window in windows:
        end = min(window.end, duration)
        if end > previous:
            parts.append((window, previous, end))
            previous = end
    return parts


def turning_points(
    channel: ChannelResult, sure_from: float = 0.0, subject: str | None = None
) -> list[TurningPoint]:
    """Where the tone of a channel changes from one sentiment to another, in order.

    Args:
        channel: one channel of a result.
        sure_from: probability under which a sentiment counts as not known; a stretch of that
            kind neither is a turning point nor hides one.
        subject: whose tone, as the subject of a sentence; by default from the channel's name.
    """
    who = subject or tone_of(channel)
    known = _known(stretches(channel, sure_from))
    points = []
    for before, after in pairwise(known):
        label = str(after.label)
        points.append(
            TurningPoint(
                time=after.start,
                subject=who,
                label=label,
                before=str(before.label),
                score=after.sentiment[label],
                was=before.sentiment[label],
                until=None if after is known[-1] else after.end,
            )
        )
    return points


def stretches(channel: ChannelResult, sure_from: float = 0.0) -> list[Stretch]:
    """The channel's speech, divided where the windows' sentiment changes most clearly.

    The division is the one with the least squared distance of the scores to their stretch's
    mean, in seconds of speech, plus a penalty for each stretch; none holds less than
    `MIN_SPEECH` (Jackson et al. 2005, "An algorithm for optimal partitioning of data on an
    interval", IEEE Signal Processing Letters 12). Neighbours with the same label are one.
    """
    last = channel.windows[-1].end if channel.windows else 0.0
    parts = [
        (window, start, end)
        for window, start, end in newest_parts(channel.windows, last)
        if window.sentiment is not None and window.speech_seconds > 0
    ]
    if not parts:
        return []
    weights = np.array([window.speech_seconds for window, _, _ in parts])
    scores = np.array([_triple(window.sentiment or {}) for window, _, _ in parts])
    cuts = _partition(weights, scores)
    found: list[Stretch] = []
    for first, stop in pairwise(cuts):
        seconds = float(weights[first:stop].sum())
        mean = weights[first:stop] @ scores[first:stop] / seconds
        start = _speech_start(channel, parts[first][1], parts[first][2])
        stretch = _stretch(start, parts[stop - 1][2], seconds, mean, sure_from)
        if found and found[-1].label == stretch.label:
            found[-1] = _joined(found[-1], stretch)
        else:
            found.append(stretch)
    return found


def how_it_went(channel: ChannelResult, sure_from: float = 0.0, subject: str | None = None) -> str:
    """One sentence on how the tone of a channel went."""
    who = subject or tone_of(channel)
    who = who[:1].upper() + who[1:]
    found = stretches(channel, sure_from)
    if not found:
        return UNJUDGED if channel.speech else "No speech was heard."
    known = _known(found)
    if not known:
        return f"{who} stays unclear: no sentiment is probable enough to be named."
    first, last = known[0], known[-1]
    if len(known) == 1:
        unclear = any(stretch.label is None for stretch in found)
        where = "wherever it is clear" if unclear else "throughout"
        return f"{who} is {first.label} {where}."
    if len(known) == 2:
        return f"{who} starts {first.label} and {_TURNS[str(last.label)]} at {clock(last.start)}."
    if len(known) == 3:
        middle = known[1]
        return (
            f"{who} starts {first.label}, {_TURNS[str(middle.label)]} at {clock(middle.start)} "
            f"and ends {last.label}, from {clock(last.start)}."
        )
    return f"{who} starts {first.label}, changes {len(known) - 1} times and ends {last.label}."


def speaker_words(use: SpeakerUse) -> str:
    """What the model knew of whose voice it is, and from when on."""
    if use.since is None:
        return "not known: scored as anybody's voice"
    if use.source == "enrolled":
        return f"known beforehand, from {use.seconds:.1f} s of speech"
    return (
        f"known from {clock(use.since)} on, from the first {use.seconds:.1f} s of speech; "
        "before, scored as anybody's voice"
    )


def cautions(result: FileResult) -> list[str]:
    """What the flags of a result mean for its reader, a sentence each."""
    found = []
    if not result.channels:
        found.append("No channel was analysed.")
    if "short" in result.flags:
        found.append(
            f"The recording lasts {result.duration:.2f} s: under a second is too little to judge a "
            "tone by, so its scores say next to nothing."
        )
    if result.speech_from == "energy":
        found.append(
            "Where there is speech was estimated from the energy of the sound alone: noise and "
            "music can pass for it."
        )
    found += split_cautions(result)
    sole = len(result.channels) == 1
    for channel in result.channels:
        who = "The recording" if sole else title_of(channel, sole)
        if "silent" in channel.flags:
            found.append(f"{who} is silent: it holds nothing but zeros.")
        elif channel.overall.sentiment is None:
            if channel.speech:
                found.append(
                    f"{who} holds speech, but the model gave no answer, as for less than a second."
                )
            else:
                found.append(f"{who} holds no speech, so it has no tone.")
        if "clipped" in channel.flags:
            found.append(
                f"{who} is clipped: it was recorded too loud, and the distortion can pass for a "
                "raised voice."
            )
        found += [*channel.speaker.warnings] if channel.speaker else []
        other = [flag for flag in channel.flags if flag not in ("short", "silent", "clipped")]
        found += [f"{who} is flagged “{flag}”." for flag in other]
    return found


def split_cautions(result: FileResult) -> list[str]:
    """What it means that one channel was split into its parties, a sentence each."""
    split = result.split
    if split is None or not split.speakers:
        return []
    found = [
        "Who speaks is an estimate: one recorded channel was split by how the voices sound. Where "
        "voices are alike, one voice changes, or several speak at once, words of one party count "
        "for another."
    ]
    if split.encoder.startswith("statistics"):
        found.append(
            "The voices were told apart by plain statistics, which err more than d-vectors do."
        )
    if split.speakers == 1:
        asked = "" if split.asked is None else f", though {split.asked} were said to be there"
        found.append(f"Only one voice could be told{asked}: all speech stands on its line.")
    elif split.asked is not None and split.speakers < split.asked:
        found.append(
            f"Only {split.speakers} voices could be told, though {split.asked} were said to be "
            "there."
        )
    return found


def verdict(channel: ChannelResult) -> str:
    """The overall tone: its label, `don't know` in doubt, `no speech` where there was none, and
    `no answer` where there was some that the model could not judge."""
    if channel.overall.label is not None:
        return channel.overall.label
    if channel.overall.sentiment is not None:
        return "don't know"
    return "no answer" if channel.speech else "no speech"


def title_of(channel: ChannelResult, sole: bool) -> str:
    """What a heading calls the channel."""
    if channel.name is None:
        return "Recording" if sole else f"Channel {channel.channel}"
    title = channel.name[:1].upper() + channel.name[1:]
    return f"{title} (estimated)" if channel.estimated else title


def tone_of(channel: ChannelResult, sole: bool = False) -> str:
    """The channel's tone as the subject of a sentence."""
    if channel.name is None:
        return "the tone" if sole else f"the tone of channel {channel.channel}"
    article = "the " if channel.name.lower() in ROLES else ""
    return f"{article}{channel.name}'s tone"


def _known(found: Sequence[Stretch]) -> list[Stretch]:
    """Without the unclear stretches; what then are neighbours with one label are joined."""
    known: list[Stretch] = []
    for stretch in found:
        if stretch.label is None:
            continue
        if known and known[-1].label == stretch.label:
            known[-1] = _joined(known[-1], stretch)
        else:
            known.append(stretch)
    return known


def _triple(sentiment: Scores) -> tuple[float, ...]:
    return tuple(sentiment.get(label, 0.0) for label in SENTIMENTS)


def _stretch(
    start: float, end: float, seconds: float, mean: NDArray[np.float64], sure_from: float
) -> Stretch:
    sentiment = dict(zip(SENTIMENTS, mean.tolist(), strict=True))
    label = max(sentiment, key=lambda name: sentiment[name])
    return Stretch(start, end, seconds, label if sentiment[label] >= sure_from else None, sentiment)


def _joined(a: Stretch, b: Stretch) -> Stretch:
    seconds = a.speech_seconds + b.speech_seconds
    sentiment = {
        label: (a.sentiment[label] * a.speech_seconds + b.sentiment[label] * b.speech_seconds)
        / seconds
        for label in SENTIMENTS
    }
    return Stretch(a.start, b.end, seconds, a.label, sentiment)


def _speech_start(channel: ChannelResult, start: float, end: float) -> float:
    """Where speech begins between two times, so that a jump there is heard at once."""
    for turn in channel.speech:
        if turn.end > start and turn.start < end:
            return max(start, turn.start)
    return start


def _partition(weights: NDArray[np.float64], scores: NDArray[np.float64]) -> list[int]:
    """The first index of each stretch, and the number of windows at the end."""
    count = len(weights)
    penalty = PENALTY * float(np.log(max(count, 4)))
    seconds = np.concatenate([[0.0], weights.cumsum()])
    sums = np.concatenate([np.zeros((1, scores.shape[1])), (weights[:, None] * scores).cumsum(0)])
    squares = np.concatenate([[0.0], (weights * (scores**2).sum(1)).cumsum()])
    best = np.full(count + 1, np.inf)
    best[0] = 0.0
    came_from = np.zeros(count + 1, dtype=int)
    for stop in range(1, count + 1):
        within = seconds[stop] - seconds[:stop]
        cost = squares[stop] - squares[:stop] - ((sums[stop] - sums[:stop]) ** 2).sum(1) / within
        if stop < count or seconds[stop] >= MIN_SPEECH:
            cost[within < MIN_SPEECH] = np.inf
        total = best[:stop] + cost + penalty
        came_from[stop] = int(total.argmin())
        best[stop] = total[came_from[stop]]
    cuts = [count]
    while cuts[-1]:
        cuts.append(int(came_from[cuts[-1]]))
    return cuts[::-1]
