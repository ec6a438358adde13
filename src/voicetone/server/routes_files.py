"""Recordings and texts: `POST /v1/analyze`, and the jobs of long ones."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from voicetone.audio.find import display
from voicetone.errors import UsageError
from voicetone.server.analysis import MOST_REQUEST, Wanted
from voicetone.server.jobs import FileSettings, Job, Jobs
from voicetone.server.keys import Key
from voicetone.server.refusal import RefusedError
from voicetone.server.state import ServerState, require, state_of
from voicetone.server.upload import (
    FIELD_BYTES,
    FIELDS,
    Sent,
    TextIn,
    checked,
    read_request,
    read_words,
)
from voicetone.server.voices import asked_in_words, find_voices, packed, require_fitting
from voicetone.server.words import reader_of

INTERNAL = "/internal/jobs"
POLL_SECONDS = 1.0

Scores = dict[str, float]


class WindowOut(BaseModel):
    """One window of 5 s."""

    start: float
    end: float
    speech: bool
    speech_seconds: float
    sentiment: Scores | None
    emotion: Scores | None


class CurrentOut(BaseModel):
    """Tone of the newest 30 s of speech at `end`."""

    end: float
    label: str | None
    sentiment: Scores | None
    emotion: Scores | None


class OverallOut(BaseModel):
    """Tone of the whole channel."""

    speech_seconds: float
    label: str | None
    confidence: float | None
    sentiment: Scores | None
    emotion: Scores | None


class SpeakerOut(BaseModel):
    """What a model that takes a speaker was told of a channel's; `from` is null if never."""

    model_config = ConfigDict(populate_by_name=True)

    source: Literal["enrolled", "auto", "unknown"]
    seconds: float
    since: float | None = Field(alias="from")
    warnings: list[str]


class ChannelOut(BaseModel):
    """One analysed channel."""

    channel: int
    name: str | None
    flags: list[str]
    windows: list[WindowOut]
    current: list[CurrentOut]
    overall: OverallOut
    speech: list[tuple[float, float]]
    estimated: bool = False
    speaker: SpeakerOut | None = None
    windows_with_words: int | None = None


class SplitOut(BaseModel):
    """How one channel was split into its parties; it is an estimate."""

    estimated: Literal[True]
    encoder: str
    asked: int | None
    speakers: int
    turns: list[tuple[float, float, int]]


class AudioOut(BaseModel):
    """A recording, as `voicetone analyze --json` writes it."""

    file: str
    duration: float
    model: str
    flags: list[str]
    channels: list[ChannelOut]
    speech_from: Literal["model", "energy"]
    split: SplitOut | None = None


class TextOut(BaseModel):
    """How a text reads; it says nothing about a voice."""

    label: str | None
    sentiment: Scores | None
    source: str
    problem: str | None


class AnalyzeOut(BaseModel):
    """What was found in what was sent."""

    audio: AudioOut | None
    text: TextOut | None


class ErrorOut(BaseModel):
    """What is wrong and what to do."""

    code: str
    message: str
    retry_after: float | None = None


class JobOut(BaseModel):
    """A long recording on its way."""

    id: str
    state: Literal["queued", "running", "done", "failed"]
    created: str
    progress: float | None
    result: AnalyzeOut | None
    error: ErrorOut | None


class JobCommand(BaseModel):
    """What workers pass to each other."""

    id: str
    credential: str
    drop: bool = False


def jobs_of(state: ServerState) -> Jobs:
    """The recordings of this worker."""
    jobs: Jobs | None = state.extras.get("files")
    if jobs is None:
        jobs = Jobs(settings_of(state), state.settings.model, state.clock, state.worker)
        state.extras["files"] = jobs
    return jobs


def settings_of(state: ServerState) -> FileSettings:
    """The operator's `[files]`."""
    settings: FileSettings = state.settings.files
    return settings


@asynccontextmanager
async def lifespan(state: ServerState) -> AsyncIterator[None]:
    """Recordings are analysed while this is open."""
    jobs = jobs_of(state)
    jobs.start()
    try:
        yield
    finally:
        await jobs.stop()


router = APIRouter(tags=["files"])

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut} for status in (400, 401, 403, 404, 413, 415, 429, 500, 503)
}
_FIELD_SCHEMA = {name: {"type": "string", "description": what} for name, what in FIELDS.items()}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "audio": {"type": "string", "format": "binary"},
                        **_FIELD_SCHEMA,
                    },
                }
            },
            "application/json": {"schema": TextIn.model_json_schema()},
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"},
         "description": f"{what}; for a body that is the recording itself"}
        for name, what in FIELDS.items()
        if name not in ("text", "language")
    ],
}  # fmt: skip


@router.post(
    "/v1/analyze",
    response_model=AnalyzeOut,
    responses={202: {"model": JobOut}, **ERRORS},
    openapi_extra=_BODY,
)
async def analyze(request: Request) -> Response:
    """Tone of a recording (WAV, FLAC, Ogg, MP3 …), sentiment of an English text, or both.

    A recording over the limit for immediate answers, or with `async`, becomes a job: 202.
    """
    state = state_of(request)
    key = await require(request, "files")
    if state.hub.draining:
        raise RefusedError("draining", "the server is going down: try again shortly", 5.0)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        words = await read_words(request, settings_of(state))
        return JSONResponse({"audio": None, "text": await _read(state, words)})
    with jobs_of(state).place() as submit:
        sent = await read_request(request, kind, settings_of(state))
        try:
            job = await _submitted(state, key, sent, submit)
        except BaseException:
            if sent.file is not None:
                sent.file.close()
            raise
    if job is None:
        return JSONResponse(
            {"audio": None, "text": await _read(state, _words(sent, settings_of(state)))}
        )
    return await _answer(request, jobs_of(state), job, sent.flag("async"))


@router.get("/v1/jobs/{id}", response_model=JobOut, responses=ERRORS)
async def job(request: Request, id: str) -> Response:
    """How a job stands, and its result once it is done."""
    return JSONResponse(await _job(request, id, drop=False))


@router.delete("/v1/jobs/{id}", status_code=204, responses=ERRORS)
async def drop_job(request: Request, id: str) -> Response:
    """Break off a job, or forget its result."""
    await _job(request, id, drop=True)
    return Response(status_code=204)


@router.post(INTERNAL, include_in_schema=False)
async def from_another_worker(request: Request, command: JobCommand) -> Response:
    """About a job of this worker, asked of another."""
    return JSONResponse(_done(state_of(request), command))


async def _job(request: Request, id: str, drop: bool) -> Any:
    state = state_of(request)
    key = await require(request, "files", counted=False)
    command = JobCommand(id=id, credential=key.name, drop=drop)
    number = id.partition("-")[0]
    worker = int(number) if number.isdecimal() and len(number) < 4 else state.worker
    if worker in state.peers.others:
        return await state.peers.call(worker, "POST", INTERNAL, command.model_dump())
    return _done(state, command)


def _done(state: ServerState, command: JobCommand) -> dict[str, Any]:
    jobs = jobs_of(state)
    found = jobs.get(command.id, command.credential)
    if command.drop:
        jobs.drop(found)
    return found.to_dict()


async def _submitted(
    state: ServerState, key: Key, sent: Sent, submit: Callable[..., Job]
) -> Job | None:
    """The job of what was sent; None for a text alone.

    Raises:
        RefusedError: what is wrong with it.
    """
    sent.flag("async")
    if sent.file is None:
        return None
    if not (sent.flag("consent") or key.consent):
        raise RefusedError(
            "consent_required",
            "no consent: send consent = true once those who are heard know that their voice's "
            "tone is analysed and agree, or have it set for the credential",
        )
    if not os.fstat(sent.file.fileno()).st_size:
        raise RefusedError("bad_request", f"{sent.name}: empty, 0 bytes: send a recording")
    settings = settings_of(state)
    wanted = Wanted(
        name=sent.name,
        names=sent.list("channel_names"),
        analyse=sent.list("analyse"),
        staff_reason=state.settings.limits.staff_reason,
        seconds=settings.seconds,
        channels=settings.channels,
        split=_split(sent),
    )
    if len(wanted.to_json()) > FIELD_BYTES // 2:
        raise RefusedError("bad_request", "channel_names or analyse are too long")
    if "speaker" in sent.fields:
        wanted = await _with_speaker(state, key, wanted, sent.fields["speaker"])
    text = await _read(state, _words(sent, settings_of(state))) if "text" in sent.fields else None
    return submit(key.name, wanted, sent.file, text)


def _split(sent: Sent) -> str | None:
    """How many speakers a channel is split into, as it was said.

    Raises:
        RefusedError: no number that can be.
    """
    said = sent.fields.get("split_speakers")
    if said is None:
        return None
    from voicetone.inference.split_file import speakers_in

    try:
        speakers_in(said)
    except UsageError as error:
        raise RefusedError("bad_request", f"split_speakers: {display(str(error))}") from None
    return said


async def _with_speaker(state: ServerState, key: Key, wanted: Wanted, said: str) -> Wanted:
    """What is asked, with whose voices are heard.

    Raises:
        RefusedError: what is wrong with the field, or a voice that is not there or does not fit.
    """
    try:
        asked = asked_in_words(said)
    except ValueError as error:
        raise RefusedError("bad_request", f"speaker: {error}") from None
    found = await find_voices(state.store, key.name, asked, state.clock.wall())
    require_fitting(state.hub.engine.predictor, found)
    voices = {id: packed(voice) for id, voice in found.items()}
    wanted = replace(wanted, speaker=tuple(asked.items()), voices=voices)
    if len(wanted.to_json()) > MOST_REQUEST:
        raise RefusedError("bad_request", "speaker: these voices are too large together")
    return wanted


async def _answer(request: Request, jobs: Jobs, job: Job, at_once: bool) -> Response:
    """The result of a short recording, or where to ask for that of a long one."""
    while not at_once and not job.turn.is_set():
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await job.turn.wait()
        except TimeoutError:
            if await request.is_disconnected():
                jobs.drop(job)
                raise RefusedError("internal", "nobody waits for the answer") from None
    if not job.settled:
        where = f"/v1/jobs/{job.id}"
        return JSONResponse(job.to_dict(), 202, {"Location": where, "Retry-After": "2"})
    if not at_once:
        jobs.drop(job)  # its answer goes out now: nothing is kept
    if job.error is not None:
        raise job.error
    return JSONResponse(job.response)


def _words(sent: Sent, settings: FileSettings) -> TextIn:
    words = TextIn(text=sent.fields["text"], language=sent.fields.get("language"))
    return checked(words, settings)


async def _read(state: ServerState, words: TextIn) -> dict[str, Any]:
    """How a text reads, off the event loop."""
    return await reader_of(state).read(words.text)
