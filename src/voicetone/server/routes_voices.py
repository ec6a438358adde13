"""Enrolled voices: `POST /v1/voices` and what its owner may do with them."""

from __future__ import annotations

import asyncio
import math
import os
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from voicetone.server.analysis import Wanted
from voicetone.server.jobs import Job
from voicetone.server.keys import Key
from voicetone.server.refusal import RefusedError
from voicetone.server.routes_files import ERRORS, POLL_SECONDS, jobs_of, settings_of
from voicetone.server.state import ServerState, require, state_of
from voicetone.server.store import Store
from voicetone.server.store_voices import (
    StoredVoice,
    add_voice,
    delete_subject,
    delete_voice,
    find_voice,
    find_voices,
    subject_hash,
)
from voicetone.server.upload import Sent, read_request
from voicetone.server.voices import DAY, NO_VOICE, VoiceSettings, new_id, unpacked

LEAST_CONSENT, MOST_CONSENT = 3, 200
"""Characters of how a consent was given."""
MOST_SUBJECT = 200
SHORTEST = 60.0
"""Seconds that a voice is kept at least."""

FIELDS = {
    "consent": "how the person consented to having their voice enrolled, as `signed form, 3 May`; "
    "consent to a call's analysis is none to this; no names",
    "expires_in": "seconds after which the voice is deleted",
    "channel": "which channel is the person's, where there are several",
    "subject": "your own name for the person, to delete all of their voices by; kept as a hash",
}
"""Words beside the recording."""


class VoiceOut(BaseModel):
    """An enrolled voice; its embedding is shown to nobody."""

    id: str
    created: str
    expires: str
    seconds: float
    encoder: str
    consent: str
    warnings: list[str]


class VoicesOut(BaseModel):
    """Those of a key."""

    voices: list[VoiceOut]


class Forget(BaseModel):
    """Whose voices to delete."""

    model_config = ConfigDict(extra="forbid")

    subject: Annotated[str, Field(min_length=1, max_length=MOST_SUBJECT)]


class Forgotten(BaseModel):
    """How many voices were deleted."""

    deleted: int


router = APIRouter(tags=["voices"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["audio", "consent"],
                    "properties": {
                        "audio": {"type": "string", "format": "binary"},
                        **{
                            name: {"type": "string", "description": what}
                            for name, what in FIELDS.items()
                        },
                    },
                }
            },
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"},
         "description": f"{what}; for a body that is the recording itself"}
        for name, what in FIELDS.items()
    ],
}  # fmt: skip


@router.post(
    "/v1/voices",
    status_code=201,
    response_model=VoiceOut,
    responses=ERRORS,
    openapi_extra=_BODY,
)
async def enrol(request: Request) -> Response:
    """Enrol a speaker from a recording of them alone. The recording is not kept."""
    state = state_of(request)
    key = await require(request, "voices")
    if state.hub.draining:
        raise RefusedError("draining", "the server is going down: try again shortly", 5.0)
    store = _store(state)
    if state.hub.engine.predictor.spec.speaker is None:
        raise RefusedError(
            "bad_request",
            f"{state.hub.engine.predictor.spec.id} takes no speaker: nothing to enrol",
        )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        raise RefusedError("unsupported_media", "send a recording, in a form or as the body")
    with jobs_of(state).place() as submit:
        sent = await read_request(request, kind, settings_of(state), tuple(FIELDS))
        assert sent.file is not None
        try:
            voice = _wanted(state, key, sent)
            if not os.fstat(sent.file.fileno()).st_size:
                raise RefusedError("bad_request", "empty, 0 bytes: send a recording")
            hashed = await _subject(key, sent)
            job = submit(key.name, voice.wanted, sent.file, None)
        except BaseException:
            sent.file.close()
            raise
    made = unpacked(await _result(request, state, job))
    now = state.clock.wall()
    stored = StoredVoice(
        id=new_id(),
        owner=key.name,
        encoder=made.encoder,
        embedding=made.embedding,
        seconds=made.seconds,
        warnings=made.warnings,
        consent=voice.consent,
        created=now,
        expires=now + voice.seconds,
        subject=hashed,
    )
    await store.change(lambda database: add_voice(database, stored, _settings(state).most))
    state.log.say("voice.enrolled", key=key.name)
    return JSONResponse(stored.to_dict(), 201, {"Location": f"/v1/voices/{stored.id}"})


@router.get("/v1/voices", response_model=VoicesOut, responses=ERRORS)
async def voices(request: Request) -> dict[str, Any]:
    """The voices of this key, newest first."""
    state = state_of(request)
    key = await require(request, "voices", counted=False)
    now = state.clock.wall()
    found = await _store(state).ask(lambda c: find_voices(c, key.name, now))
    return {"voices": [voice.to_dict() for voice in found]}


@router.get("/v1/voices/{id}", response_model=VoiceOut, responses=ERRORS)
async def voice(request: Request, id: str) -> dict[str, Any]:
    """A voice of this key; never its embedding."""
    state = state_of(request)
    key = await require(request, "voices", counted=False)
    now = state.clock.wall()
    found = await _store(state).ask(lambda c: find_voice(c, id, key.name, now))
    if found is None:
        raise RefusedError("not_found", NO_VOICE)
    return found.to_dict()


@router.delete("/v1/voices/{id}", status_code=204, responses=ERRORS)
async def delete(request: Request, id: str) -> None:
    """Delete a voice. A call in progress that was begun with it has it until it ends."""
    state = state_of(request)
    key = await require(request, "voices", counted=False)
    if not await _store(state).change(lambda database: delete_voice(database, id, key.name)):
        raise RefusedError("not_found", NO_VOICE)
    state.log.say("voice.deleted", key=key.name)


@router.post("/v1/voices/forget", response_model=Forgotten, responses=ERRORS)
async def forget(request: Request, whom: Forget) -> dict[str, int]:
    """Delete all voices of one subject. It stands in the body, as addresses end up in logs."""
    state = state_of(request)
    key = await require(request, "voices", counted=False)
    count = await _store(state).change(
        lambda database: delete_subject(database, whom.subject, key.name)
    )
    state.log.say("voice.deleted", key=key.name, count=count)
    return {"deleted": count}


class _Asked:
    """What is asked of an enrolment, checked."""

    def __init__(self, wanted: Wanted, consent: str, seconds: float) -> None:
        self.wanted, self.consent, self.seconds = wanted, consent, seconds


def _wanted(state: ServerState, key: Key, sent: Sent) -> _Asked:
    """What the fields say.

    Raises:
        RefusedError: what is wrong with them.
    """
    settings, files = _settings(state), settings_of(state)
    consent = sent.fields.get("consent", "").strip()
    if len(consent) < LEAST_CONSENT or consent.lower() in ("true", "false", "yes"):
        raise RefusedError(
            "consent_required",
            "no consent: say in consent how the person consented to having their voice enrolled; "
            "theirs to a call's analysis is none to this",
        )
    if len(consent) > MOST_CONSENT:
        raise RefusedError("bad_request", f"consent: write {MOST_CONSENT} characters at most")
    channel = sent.fields.get("channel", "0")
    if not channel.isdecimal() or len(channel) > 2:
        raise RefusedError("bad_request", "channel: write its number, from 1 on")
    wanted = Wanted(
        name="the recording",
        names=None,
        analyse=None,
        staff_reason=None,
        seconds=min(settings.seconds, files.seconds),
        channels=files.channels,
        enrol=int(channel),
    )
    return _Asked(wanted, consent, _seconds(sent, settings))


def _seconds(sent: Sent, settings: VoiceSettings) -> float:
    """How long a voice is kept."""
    if "expires_in" not in sent.fields:
        return settings.days * DAY
    most = settings.most_days * DAY
    try:
        seconds = float(sent.fields["expires_in"][:40])
    except ValueError:
        seconds = math.nan
    if not min(SHORTEST, most) <= seconds <= most:
        raise RefusedError(
            "bad_request", f"expires_in: write seconds, from {SHORTEST:g} to {most:g}"
        )
    return seconds


async def _subject(key: Key, sent: Sent) -> str | None:
    subject = sent.fields.get("subject")
    if subject is None:
        return None
    if not 1 <= len(subject) <= MOST_SUBJECT:
        raise RefusedError("bad_request", f"subject: write 1 to {MOST_SUBJECT} characters")
    return await asyncio.to_thread(subject_hash, key.name, subject)


async def _result(request: Request, state: ServerState, job: Job) -> dict[str, Any]:
    """What a job gave, which is forgotten; it is broken off if nobody waits for it any more.

    Raises:
        RefusedError: why there is nothing.
    """
    try:
        while not job.turn.is_set():
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await job.turn.wait()
            except TimeoutError:
                if await request.is_disconnected():
                    raise RefusedError("internal", "nobody waits for the answer") from None
    finally:
        jobs_of(state).drop(job)
    if job.error is not None:
        raise job.error
    assert job.result is not None
    return job.result


def _settings(state: ServerState) -> VoiceSettings:
    settings: VoiceSettings = state.settings.voices
    return settings


def _store(state: ServerState) -> Store:
    store: Store | None = state.store
    if store is None:
        raise RefusedError("not_found", "this server keeps no voices: it has no store")
    return store
