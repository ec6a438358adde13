"""Enrolled voices of a server: who may use which, and for how long.

A voice's embedding is biometric data: it is kept with a consent of its own, by the key that
brought it and for that key alone, until it expires or is deleted. It goes from the store to a call
and nowhere else: into no answer, event, log or target.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from voicetone.errors import DataError, UsageError
from voicetone.features.speaker_enrol import Enrolment
from voicetone.inference.enrolment import Speakers, require_voice
from voicetone.server.refusal import RefusedError

if TYPE_CHECKING:
    from voicetone.pretrained.predictor import Predictor
    from voicetone.server.store import Store
    from voicetone.server.store_voices import StoredVoice

PREFIX = "vt_"
ID = re.compile(r"vt_[A-Za-z0-9_-]{24}")
DAY = 86_400.0
AUTO, NONE = "auto", "none"
ONLY = 0
"""Stands for the one analysed channel where a voice is named without its channel, and for all of
them with `auto` and `none`."""

Asked = Mapping[int, str]
"""Channel, or `ONLY` → the id of a voice; or `ONLY` → `auto` or `none`."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VoiceSettings:
    """`[voices]`: enrolled speakers.

    Args:
        days: that a voice is kept where nobody says for how long.
        most_days: that may be asked for.
        most: voices of one key.
        seconds: of a recording to enrol from.
    """

    days: Annotated[float, Field(gt=0, le=366)] = 30.0
    most_days: Annotated[float, Field(gt=0, le=366)] = 30.0
    most: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    seconds: Annotated[float, Field(ge=1, le=3600)] = 300.0

    def __post_init__(self) -> None:
        if self.days > self.most_days:
            raise ValueError("days is over most_days")


def new_id() -> str:
    """Of a voice: 144 random bits, so that nobody finds one by trying."""
    return PREFIX + secrets.token_urlsafe(18)


def asked_of(said: Any) -> Asked | None:
    """What a message asks for about speakers: `"auto"`, `"none"`, `{"voice": ID}`, or voices by
    channel, `{"1": {"voice": ID}}`; None for what the model does by itself.

    Raises:
        ValueError: it can't be understood.
    """
    if said is None:
        return None
    if isinstance(said, dict) and said and set(said) <= {"1", "2"}:
        return {int(channel): _voice(what) for channel, what in said.items()}
    return {ONLY: said if said in (AUTO, NONE) else _voice(said)}


def asked_in_words(text: str) -> Asked:
    """The same from a field of words: `auto`, `none`, an id, or `1=ID,2=ID`.

    Raises:
        ValueError: it can't be understood.
    """
    if "=" not in text:
        text = text.strip()
        return {ONLY: text if text in (AUTO, NONE) else _id(text)}
    found: dict[int, str] = {}
    for part in text.split(","):
        channel, _, word = part.strip().partition("=")
        if not re.fullmatch(r"[1-9][0-9]{0,2}", channel) or int(channel) in found:
            raise ValueError(HOW)
        found[int(channel)] = _id(word)
    return found


def speakers_of(asked: Asked | None, found: Mapping[str, Enrolment]) -> Speakers:
    """What a session is told of its speakers.

    Args:
        asked: by the client; None for `auto`.
        found: the voices by their ids; one that is not there is nobody's.
    """
    words = {ONLY: AUTO} if asked is None else asked
    everywhere = words.get(ONLY)
    if everywhere == AUTO:
        return "auto"
    if everywhere is not None:
        return found.get(everywhere)
    return {channel: found[id] for channel, id in words.items() if id in found}


async def find_voices(
    store: Store | None, owner: str, asked: Asked | None, now: float
) -> dict[str, Enrolment]:
    """The voices that are asked for, by their ids.

    Args:
        store: that has them.
        owner: name of the key.
        asked: by the client.
        now: seconds since 1970.

    Raises:
        RefusedError: one is not there, has expired, or is somebody else's.
    """
    from voicetone.server.store_voices import find_voice

    found: dict[str, Enrolment] = {}
    for id in sorted(set((asked or {}).values()) - {AUTO, NONE}):
        voice: StoredVoice | None = None
        if store is not None:
            wanted = id
            voice = await store.ask(lambda c: find_voice(c, wanted, owner, now))  # noqa: B023
        if voice is None:
            raise RefusedError("not_found", NO_VOICE)
        found[id] = Enrolment(
            voice.embedding, voice.encoder, voice.seconds, warnings=voice.warnings
        )
    return found


def require_fitting(predictor: Predictor, voices: Mapping[str, Enrolment]) -> None:
    """Check that the model can be told of these voices.

    Raises:
        RefusedError: it takes none, or not those of what they were enrolled with.
    """
    for voice in voices.values():
        try:
            require_voice(predictor, voice)
        except UsageError as error:
            raise RefusedError("bad_request", f"speaker: {error}") from error
        except DataError as error:
            raise RefusedError("conflict", f"speaker: {error}") from error


def packed(voice: Enrolment) -> dict[str, Any]:
    """A voice as it goes between processes of one server, as JSON."""
    return {
        "embedding": base64.b64encode(np.asarray(voice.embedding, dtype="<f4").tobytes()).decode(),
        "encoder": voice.encoder,
        "seconds": voice.seconds,
        "warnings": list(voice.warnings),
    }


def unpacked(body: Mapping[str, Any]) -> Enrolment:
    """The voice again."""
    embedding = np.frombuffer(base64.b64decode(body["embedding"]), dtype="<f4").astype(np.float32)
    warnings = tuple(body["warnings"])
    return Enrolment(embedding, body["encoder"], body["seconds"], warnings=warnings)


def _voice(said: Any) -> str:
    named = said.get("voice") if isinstance(said, dict) and len(said) == 1 else None
    if isinstance(named, str) and ID.fullmatch(named):
        return named
    raise ValueError('write "auto", "none", {"voice": ID}, or {"1": {"voice": ID}}')


def _id(text: str) -> str:
    if ID.fullmatch(text):
        return text
    raise ValueError(HOW)


HOW = "write auto, none, the id of a voice, or voices by channel: 1=ID,2=ID"
NO_VOICE = "no such voice of this key, or it has expired: enrol it again"
