"""Enrolled voices over HTTP: what a model is told of a speaker. It needs only Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from voicetone.client.errors import ServerError
from voicetone.client.http import NOT_OURS, ask, upload


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that the server keeps until it expires; its embedding never leaves the server.

    Args:
        id: for `speaker=`.
        created: ISO 8601, UTC.
        expires: likewise.
        seconds: of speech that it is known from.
        encoder: what computed it; a server with another model has it enrolled again.
        consent: how it was given.
        warnings: about the recording, such as two voices in it.
    """

    id: str
    created: str
    expires: str
    seconds: float
    encoder: str
    consent: str
    warnings: tuple[str, ...] = ()


def enrol(
    url: str,
    path: Path | str,
    *,
    consent: str,
    expires_in: float | None = None,
    channel: int | None = None,
    subject: str | None = None,
    key: str | None = None,
) -> Voice:
    """Have a speaker enrolled from a recording of them alone; the recording is not kept.

    Args:
        url: of the server.
        path: of the recording.
        consent: how the person consented to this, such as `signed form, 3 May`; no names.
        expires_in: seconds after which the voice is deleted; the operator's default without.
        channel: which one is theirs, of several.
        subject: your own name for the person, to delete all of their voices by; kept as a hash.
        key: the credential, with the scope `voices`.

    Raises:
        ServerError: the server says no: no consent, no speech, a model that takes no speaker.
        ConnectionLostError: it can't be reached.
        AudioError: the recording can't be read.
        UsageError: an address that is none.
    """
    said = {"consent": consent, "expires_in": expires_in, "channel": channel, "subject": subject}
    words = {name: str(value) for name, value in said.items() if value is not None}
    return _voice(upload(url, "/v1/voices", Path(path), words, key))


def voices(url: str, *, key: str | None = None) -> list[Voice]:
    """The voices of this key, newest first.

    Raises:
        ServerError, ConnectionLostError, UsageError: see `enrol`.
    """
    found = ask(url, "GET", "/v1/voices", key).get("voices")
    if not isinstance(found, list):
        raise ServerError("internal", NOT_OURS)
    return [_voice(one) for one in found]


def forget(url: str, voice: str, *, key: str | None = None) -> None:
    """Have a voice deleted. A call in progress that was begun with it has it until it ends.

    Raises:
        ServerError, ConnectionLostError, UsageError: see `enrol`.
    """
    ask(url, "DELETE", f"/v1/voices/{quote(voice, safe='')}", key)


def forget_subject(url: str, subject: str, *, key: str | None = None) -> int:
    """Have all voices of one person deleted, by the name that `enrol` was given; how many.

    Raises:
        ServerError, ConnectionLostError, UsageError: see `enrol`.
    """
    body = json.dumps({"subject": subject}).encode()
    found = ask(url, "POST", "/v1/voices/forget", key, [body], len(body), "application/json")
    count = found.get("deleted")
    if not isinstance(count, int):
        raise ServerError("internal", NOT_OURS)
    return count


def _voice(found: Mapping[str, Any]) -> Voice:
    try:
        body = {field.name: found[field.name] for field in fields(Voice)}
        return Voice(**{**body, "warnings": tuple(body["warnings"])})
    except (KeyError, TypeError) as error:
        raise ServerError("internal", NOT_OURS) from error
