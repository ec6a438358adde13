"""What all targets of the fuzzing share."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from voicetone.audio.telephony import s16le_encode
from voicetone.server.refusal import RefusedError

NOW = 1_700_000_000.0
SECRET = b"0123456789abcdef0123456789abcdef"
RNG = np.random.default_rng(3)
NOISE = (0.1 * RNG.standard_normal(1600)).astype(np.float32)
SOME_AUDIO = s16le_encode(NOISE[:80])


class Refusals:
    """Lets a session go on after a message that was refused, and tells of it in the end."""

    def __init__(self) -> None:
        self.first: RefusedError | None = None

    def note(self, error: RefusedError) -> None:
        """A message was refused; what is said of it can be sent."""
        self.first = self.first or error
        sendable(error.to_dict())

    def tell(self) -> None:
        """Raise what was refused first."""
        if self.first is not None:
            raise self.first


def sendable(said: Any) -> None:
    """Whatever is told must be writable as JSON in UTF-8."""
    json.dumps(said, ensure_ascii=False, allow_nan=False).encode()


def as_text(message: str | bytes) -> str:
    """As it comes out of a socket, which has no halves of characters but escaped ones."""
    data = message if isinstance(message, bytes) else message.encode("utf-8", "replace")
    return data.decode("utf-8", "replace")


def as_raw(message: str | bytes) -> bytes:
    """Its bytes."""
    return message if isinstance(message, bytes) else message.encode("utf-8", "replace")
