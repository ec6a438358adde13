"""Why a server says no: one list of stable codes for all routes."""

from __future__ import annotations

from typing import Literal

from voicetone.errors import VoicetoneError

Code = Literal[
    "bad_request",
    "unauthorised",
    "forbidden",
    "not_found",
    "conflict",
    "consent_required",
    "unsupported_media",
    "message_too_large",
    "invalid_audio_frame",
    "rate_limited",
    "too_many_calls",
    "overloaded",
    "draining",
    "idle_timeout",
    "call_too_long",
    "too_slow",
    "model_failed",
    "internal",
]

STATUS: dict[Code, int] = {
    "bad_request": 400,
    "unauthorised": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "consent_required": 403,
    "unsupported_media": 415,
    "message_too_large": 413,
    "invalid_audio_frame": 400,
    "rate_limited": 429,
    "too_many_calls": 429,
    "overloaded": 503,
    "draining": 503,
    "idle_timeout": 408,
    "call_too_long": 408,
    "too_slow": 408,
    "model_failed": 500,
    "internal": 500,
}
"""The HTTP status of each code; also what AudioHook's errors carry."""


class RefusedError(VoicetoneError):
    """A request or message that is turned down.

    Args:
        code: stable, for programs.
        message: one line for people: what is wrong and what to do.
        retry_after: seconds after which it may work.
    """

    def __init__(self, code: Code, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    def to_dict(self) -> dict[str, object]:
        """Its JSON object; the same on every route of our own."""
        said: dict[str, object] = {"code": self.code, "message": str(self)}
        if self.retry_after is not None:
            said["retry_after"] = self.retry_after
        return said
