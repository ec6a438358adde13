"""Logs: one JSON object per line on standard error. No audio, no key, no clear external id."""

from __future__ import annotations

import hmac
import json
import logging
import sys
import traceback
from contextlib import suppress
from typing import Any, TextIO

from voicetone.server.clock import Clock
from voicetone.server.events import CallEvent, iso

SHOWN = frozenset(("session.created", "gap", "alert", "error", "session.closed"))
"""Event types that are logged; windows and tones are too many, and are the caller's own."""
LONGEST = 500


class Log:
    """Writes lines.

    Args:
        clock: the time.
        worker: its number; None for the supervisor.
        secret: for the short forms of external ids.
        out: where to.
    """

    def __init__(
        self, clock: Clock, worker: int | None, secret: bytes, out: TextIO | None = None
    ) -> None:
        self._clock, self._worker, self._secret = clock, worker, secret
        self._out = out

    def say(self, event: str, **fields: Any) -> None:
        """One line; strings are cut, so that no stranger fills the disk with one.

        A line that nobody takes any more (a closed pipe, a full disk) is dropped: calls go on.
        """
        head: dict[str, Any] = {"time": iso(self._clock.wall()), "event": event}
        if self._worker is not None:
            head["worker"] = self._worker
        shown = {k: v[:LONGEST] if isinstance(v, str) else v for k, v in fields.items()}
        line = json.dumps({**head, **shown}, ensure_ascii=True, default=str)
        out = self._out or sys.stderr
        with suppress(OSError, ValueError):  # ValueError: it was closed
            out.write(f"{line}\n")  # in one piece: other workers write there, too
            out.flush()

    def short(self, external: str | None) -> str | None:
        """Of an id that may be a telephone number's: the same for the same, and no way back."""
        if external is None:
            return None
        name = external.encode("utf-8", "replace")
        return hmac.new(self._secret, name, "sha256").hexdigest()[:16]

    def told(self, event: CallEvent) -> None:
        """A subscriber of the hub."""
        if event.type not in SHOWN:
            return
        body = event.body
        kept = {k: body[k] for k in ("reason", "code", "duration", "route", "rule") if k in body}
        if event.type == "session.created":
            kept["external"] = self.short(body.get("external"))
        if event.type == "gap":
            kept["seconds"] = round(body["end"] - body["start"], 3)
        self.say(event.type, call=event.call, **kept)

    def defect(self, where: str, error: BaseException) -> None:
        """Something of ours went wrong: the whole trace, as nobody can ask for it again."""
        trace = "".join(traceback.format_exception(error))[-8000:]
        self.say("defect", where=where, error=type(error).__name__, trace=trace.splitlines())


class Lines(logging.Handler):
    """Brings what libraries log into the same form."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One record."""
        if record.exc_info and record.exc_info[1] is not None:
            self._log.defect(record.name, record.exc_info[1])
        else:
            self._log.say("log", logger=record.name, message=record.getMessage())


def everything_through(log: Log) -> None:
    """Have all that this process logs, ours and libraries', written in one form."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, Lines)]:
        root.removeHandler(handler)
    root.addHandler(Lines(log))
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
