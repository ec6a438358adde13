"""Whose voices a server may analyse: without a stated reason, not those of people at work.

Inferring the emotions of people at work is unlawful in places (docs/lawful-uses.md), so here,
unlike on the command line, asking for the staff's channel is not enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from voicetone.inference.channels import choose_channels, is_staff
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
        RefusedError: nobody but staff would be heard.
        UsageError: names or channels that don't fit.
    """
    if staff_reason is not None or (names is None and count == 1):
        return None if asked is None else tuple(asked)
    if names is None:
        raise RefusedError(
            "bad_request",
            f"{count} channels without names: name them, such as customer and agent, so that staff "
            "is told apart, or left and right where nobody heard is at work",
        )
    chosen = choose_channels(count, names, asked).channels
    usual = choose_channels(count, names).channels
    kept = tuple(c for c in chosen if c in usual and not is_staff(names[c - 1]))
    if not kept:
        raise RefusedError(
            "forbidden",
            "the channel of staff is not analysed here: inferring emotions of people at work is "
            "unlawful in places; name the customer's channel, or the operator sets a reason",
        )
    if kept != chosen:
        return kept
    return None if asked is None else tuple(asked)
