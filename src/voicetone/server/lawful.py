"""Whose voices a server may analyse: without a stated reason, not those of people at work.

Inferring the emotions of people at work is unlawful in places (docs/lawful-uses.md), so here,
unlike on the command line, asking for the staff's channel is not enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from voicetone.inference.channels import choose_channels, is_customer, is_staff
from voicetone.server.refusal import RefusedError


def lawful_channels(
    count: int,
    names: Sequence[str] | None,
    asked: Sequence[int] | None,
    staff_reason: str | None,
) -> tuple[int, ...] | None:
    """Channels that may be analysed of those asked for; None for what the names tell.

    Args:
        count: channels of the audio.
        names: of the channels.
        asked: channels asked for, from 1; None for what the names tell.
        staff_reason: why the staff's channel may be analysed; None forbids it.

    Raises:
        RefusedError: nobody but staff would be heard, or it is not said who is at work.
        UsageError: names or channels that don't fit.
    """
    if staff_reason is not None or (names is None and count == 1):
        return None if asked is None else tuple(asked)
    chosen = choose_channels(count, names, asked).channels
    staff = {c for c in chosen if names is not None and is_staff(names[c - 1])}
    customers = {c for c in chosen if names is not None and is_customer(names[c - 1])}
    # One channel is whose the asker says it is; of several only those that are named as customers'.
    one = len(chosen) == 1 and (count == 1 or asked is not None)
    kept = tuple(c for c in chosen if c in customers or (one and c not in staff))
    if not kept and staff:
        raise RefusedError(
            "forbidden",
            "the channel of staff is not analysed here: inferring emotions of people at work is "
            "unlawful in places; name the customer's channel, or the operator sets a reason",
        )
    if not kept:
        raise RefusedError(
            "bad_request",
            f"{count} channels, and none is said to be the customer's: name it customer, caller, "
            "client or external, or ask for that one channel alone",
        )
    if kept != chosen:
        return kept
    return None if asked is None else tuple(asked)


def require_lawful_split(
    count: int,
    names: Sequence[str] | None,
    channels: Sequence[int] | None,
    staff_reason: str | None,
) -> None:
    """A split gives everybody on the channel a line, those at work too, and can't tell who is.

    Args:
        count: channels of the audio.
        names: of the channels.
        channels: that will be analysed, from 1; None for what the names tell.
        staff_reason: why those at work may be analysed; None forbids it.

    Raises:
        RefusedError: it is not said that only customers are on the channel.
        UsageError: names or channels that don't fit.
    """
    chosen = choose_channels(count, names, channels).channels
    if staff_reason is None and not all(names and is_customer(names[c - 1]) for c in chosen):
        raise RefusedError(
            "forbidden",
            "a split by speaker gives staff on the channel a line of their own, and inferring "
            "emotions of people at work is unlawful in places: name the channel customer if "
            "nobody on it is at work, or the operator sets a reason",
        )
