"""What the telephone systems' protocols share: what they ask of the server, and careful reading.

A protocol is a class that takes messages and gives back a list of what is to be done. It knows no
socket and no clock, so that it can be tested, and fed with anything, without a server.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voicetone.errors import UsageError
from voicetone.server.call import CallStart
from voicetone.server.incoming import read_json
from voicetone.server.refusal import RefusedError

MOST_TEXT = 65_536
"""Characters of a text message; the systems' own are under 4,000."""
MOST_WORDS = 256
"""Characters of a name, an id or a value that a stranger gives."""
MOST_METADATA = 32
"""Values that a stranger may give a call."""


@dataclass(frozen=True, slots=True)
class Open:
    """Begin the call."""

    start: CallStart


@dataclass(frozen=True, slots=True)
class Audio:
    """The next bytes of audio, all channels interleaved."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing is known of the next seconds on any channel."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Hole:
    """One channel's audio is missing there; silence stands in the audio for it.

    Args:
        channel: from 1.
        start: seconds of the audio.
        end: seconds of the audio.
        reason: in a word.
    """

    channel: int
    start: float
    end: float
    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send this text to the other side."""

    text: str


@dataclass(frozen=True, slots=True)
class Update:
    """Something about the call has changed."""

    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alive:
    """The call goes on, though no audio comes."""


@dataclass(frozen=True, slots=True)
class End:
    """The call is over."""

    reason: str


Action = Open | Audio | Lost | Hole | Send | Update | Alive | End


# -- reading what strangers send -----------------------------------------------------------------


def read_object(text: str) -> dict[str, Any]:
    """A message as a JSON object.

    Raises:
        RefusedError: too long, or no JSON object.
    """
    if len(text) > MOST_TEXT:
        raise RefusedError(
            "message_too_large", f"a message of {len(text)} characters: send at most {MOST_TEXT}"
        )
    try:
        found = read_json(text)
    except (ValueError, RecursionError):
        raise RefusedError("bad_request", "a message that is no JSON: send JSON objects") from None
    if not isinstance(found, dict):
        raise RefusedError("bad_request", "a message that is no JSON object: send objects")
    return found


def part(found: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """An object within an object, under the first of its names that is there.

    Raises:
        RefusedError: there is none.
    """
    value = _first(found, keys)
    if not isinstance(value, dict):
        raise RefusedError("bad_request", f"a message without the object `{keys[0]}`: send it")
    return value


def words(found: Mapping[str, Any], *keys: str) -> str:
    """A text under the first of its names that is there.

    Raises:
        RefusedError: there is none, or it is too long.
    """
    value = _first(found, keys)
    if not isinstance(value, str) or not value or len(value) > MOST_WORDS:
        raise RefusedError(
            "bad_request",
            f"a message without `{keys[0]}`: send it, a text of at most {MOST_WORDS} characters",
        )
    return value


def number(found: Mapping[str, Any], *keys: str, most: int) -> int:
    """A whole number of 0 to `most`, which may come as a text.

    Raises:
        RefusedError: it is missing or out of bounds.
    """
    value = _first(found, keys)
    if isinstance(value, str) and len(value) <= 18 and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise RefusedError(
            "bad_request", f"`{keys[0]}` is no whole number from 0 to {most}: send such a one"
        )
    return value


def choice(found: Mapping[str, Any], key: str, default: bool) -> bool:
    """A yes or no, which may come as a text."""
    value = found.get(key, default)
    return value if isinstance(value, bool) else str(value).lower() in ("true", "yes", "1")


def texts(found: object) -> dict[str, str]:
    """The texts and numbers of an object from a stranger, cut to a bounded size."""
    if not isinstance(found, dict):
        return {}
    kept: dict[str, str] = {}
    for key, value in found.items():
        if len(kept) < MOST_METADATA and isinstance(value, str | int | float):
            kept[str(key)[:MOST_WORDS]] = str(value)[:MOST_WORDS]
    return kept


_DURATION = re.compile(r"PT([0-9]{0,9}\.)?[0-9]{1,9}S", re.ASCII)


def duration(found: Mapping[str, Any], key: str) -> float:
    """Seconds from an ISO 8601 duration such as `PT1.5S`.

    Raises:
        RefusedError: it is missing or of another form.
    """
    value = found.get(key)
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise RefusedError("bad_request", f"`{key}` is no duration: send one such as PT1.5S")
    seconds = float(value[2:-1])
    if not seconds < math.inf:  # nine digits can't reach it; kept for whoever loosens the form
        raise RefusedError("bad_request", f"`{key}` is no duration: send one such as PT1.5S")
    return seconds


def _first(found: Mapping[str, Any], keys: tuple[str, ...]) -> object:
    for key in keys:
        if key in found:
            return found[key]
    return None


# -- settings --------------------------------------------------------------------------------------


def from_environment(name: str) -> str:
    """A secret.

    Raises:
        UsageError: the variable is not set or empty.
    """
    value = os.environ.get(name, "")
    if not value:
        raise UsageError(
            f"the environment has no {name}: set it to the secret, or drop the setting"
        )
    return value
