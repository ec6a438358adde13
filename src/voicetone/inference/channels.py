"""Which channels of a recording or call are analysed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voicetone.errors import UsageError

# Words in a channel's name. External and internal: what some telephone systems call the two.
STAFF = (
    *("agent", "representative", "advisor", "adviser", "employee", "operator", "internal"),
    *("staff", "support", "consultant", "clerk"),
)
CUSTOMER = ("customer", "caller", "client", "external")


@dataclass(frozen=True, slots=True)
class Choice:
    """The analysed channels, counted from 1, ascending, and why these, in words for the user."""

    channels: tuple[int, ...]
    reason: str


def choose_channels(
    count: int,
    names: Sequence[str] | None = None,
    analysed: Sequence[int] | None = None,
) -> Choice:
    """Decide which channels are analysed.

    Inferring the emotions of people at work is unlawful in places, so in a call between parties
    that are named, the channel of an agent is left out unless it is asked for.

    Args:
        count: channels of the audio.
        names: one per channel.
        analysed: the channels asked for, counted from 1.

    Raises:
        UsageError: a number of names other than of channels; no channel, one that does not
            exist or one twice in `analysed`.
    """
    if names is not None and len(names) != count:
        given = "1 channel name" if len(names) == 1 else f"{len(names)} channel names"
        channels = "1 channel" if count == 1 else f"{count} channels"
        raise UsageError(f"{given} for {channels}: give one for each")
    if analysed is not None:
        return _as_asked(count, analysed)
    everything = tuple(range(1, count + 1))
    if count == 1:
        return Choice(everything, "the only channel")
    if names is None:
        return Choice(everything, "the channels have no names: all are analysed")
    numbered = list(enumerate(names, 1))
    staff = {i for i, name in numbered if is_staff(name)}
    customers = tuple(i for i, name in numbered if is_customer(name))
    others = tuple(i for i in everything if i not in staff)
    if customers and len(customers) < count:
        return Choice(customers, "the customer only: ask for the other channels to have them too")
    if staff and others:
        return Choice(others, "without the agent: ask for that channel to have it too")
    return Choice(everything, "no channel is named as an agent beside others: all are analysed")


def is_staff(name: str) -> bool:
    """Whether a channel's name is that of somebody at work."""
    return _has(name, STAFF)


def is_customer(name: str) -> bool:
    """Whether a channel's name is that of somebody who calls or is called, and not at work."""
    return _has(name, CUSTOMER) and not is_staff(name)


def rows_of(channels: Sequence[int]) -> list[int]:
    """Where channels, counted from 1, lie in an array `[channels, n]` or in a list of names."""
    return [channel - 1 for channel in channels]


def _as_asked(count: int, analysed: Sequence[int]) -> Choice:
    if not analysed:
        raise UsageError("no channel to analyse: name one, counted from 1")
    for channel in analysed:
        if not 1 <= channel <= count:
            known = "only channel 1" if count == 1 else f"channels 1 to {count}"
            raise UsageError(f"there is no channel {channel}: the audio has {known}")
    if len(set(analysed)) < len(analysed):
        raise UsageError("a channel is asked for twice: name each once")
    return Choice(tuple(sorted(analysed)), "as asked for")


def _has(name: str, words: Sequence[str]) -> bool:
    return any(word in name.lower() for word in words)
