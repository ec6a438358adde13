"""The three voice tone operations of `chime-sdk-voice` and `chime-sdk-media-pipelines`.

What botocore's models of both services say is the contract: paths, statuses, shapes, exceptions.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, ValidationError

from voicetone.server import sigv4
from voicetone.server.chime_tasks import ChimeError, ChimeSettings, ChimeTasks, Fault, Kind, Start
from voicetone.server.incoming import first_problem
from voicetone.server.keys import LOCAL
from voicetone.server.refusal import Code, RefusedError
from voicetone.server.state import ServerState, state_of

MOST_BYTES = 64 * 1024
"""A body of more is no request of these services."""
INTERNAL = "/internal/chime"

FAULTS: Mapping[Fault, tuple[int, str]] = {
    "BadRequest": (400, "BadRequest"),
    "UnauthorizedClient": (401, "Unauthorized"),
    "Forbidden": (403, "Forbidden"),
    "NotFound": (404, "NotFound"),
    "Conflict": (409, "Conflict"),
    "Gone": (410, "Gone"),
    "UnprocessableEntity": (422, "UnprocessableEntity"),
    "ThrottledClient": (429, "Throttling"),
    "ResourceLimitExceeded": (400, "ResourceLimitExceeded"),
    "ServiceFailure": (500, "ServiceFailure"),
    "ServiceUnavailable": (503, "ServiceUnavailable"),
}
"""HTTP status and `Code` of each."""

_REFUSED: Mapping[Code, Fault] = {
    "bad_request": "BadRequest",
    "unauthorised": "UnauthorizedClient",
    "forbidden": "Forbidden",
    "not_found": "NotFound",
    "conflict": "Conflict",
    "message_too_large": "BadRequest",
    "rate_limited": "ThrottledClient",
    "overloaded": "ServiceUnavailable",
    "draining": "ServiceUnavailable",
}

Operation = Literal["start", "get", "stop"]

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CONNECTOR = re.compile(r"[a-z0-9]{21,22}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PIPELINE = re.compile(r"[A-Za-z0-9_-]{1,128}")

Token = Annotated[str, Field(pattern=r"^[-_a-zA-Z0-9]{2,64}$")]


class Stream(BaseModel):
    """`KinesisVideoStreamSourceTaskConfiguration`."""

    arn: Annotated[
        str,
        Field(
            alias="StreamArn",
            max_length=1024,
            pattern=r"^arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+$",
        ),
    ]
    channel: Annotated[int, Field(alias="ChannelId", ge=0, le=1, strict=True)]
    fragment: Annotated[
        str | None, Field(alias="FragmentNumber", max_length=128, pattern="^[0-9]+$")
    ] = None


class VoiceStart(BaseModel):
    """Body of `StartVoiceToneAnalysisTask` of `chime-sdk-voice`."""

    transaction: Annotated[
        str, Field(alias="TransactionId", min_length=1, max_length=256, pattern=r"\S")
    ]
    language: Annotated[Literal["en-US"], Field(alias="LanguageCode")]
    token: Annotated[Token | None, Field(alias="ClientRequestToken")] = None


class PipelineStart(BaseModel):
    """Body of `StartVoiceToneAnalysisTask` of `chime-sdk-media-pipelines`."""

    language: Annotated[Literal["en-US"], Field(alias="LanguageCode")]
    stream: Annotated[Stream, Field(alias="KinesisVideoStreamSourceTaskConfiguration")]
    token: Annotated[Token | None, Field(alias="ClientRequestToken")] = None


class Command(BaseModel):
    """One operation of a sender who is known: what workers pass to each other."""

    kind: Kind
    operation: Operation
    place: str
    credential: str
    task: str = ""
    caller: bool | None = None
    body: dict[str, Any] = {}


def tasks_of(state: ServerState) -> ChimeTasks:
    """The tasks of this worker."""
    tasks: ChimeTasks | None = state.extras.get("chime")
    if tasks is None:
        tasks = state.extras["chime"] = ChimeTasks(state.hub, settings_of(state), state.worker)
    return tasks


def settings_of(state: ServerState) -> ChimeSettings:
    """The operator's `[chime]`."""
    settings: ChimeSettings = state.settings.chime
    return settings


@asynccontextmanager
async def lifespan(state: ServerState) -> AsyncIterator[None]:
    """Events of tasks go to the targets from the first call on."""
    tasks = tasks_of(state)
    ends = None if state.store is None else tasks.subscribe(state.store.told_chime)
    yield
    if ends is not None:
        ends()


router = APIRouter(tags=["chime"])

_VOICE = "/voice-connectors/{place}/voice-tone-analysis-tasks"
# The identifier may be an ARN, with a slash in it.
_PIPELINES = "/media-insights-pipelines/{place:path}/voice-tone-analysis-tasks"


@router.post(_VOICE, status_code=201)
async def start_voice(request: Request, place: str) -> Response:
    """`chime-sdk-voice`: start a task on a call in progress, by its TransactionId."""
    return await _served(request, "voice", "start", place)


@router.get(_VOICE + "/{task}")
async def get_voice(request: Request, place: str, task: str) -> Response:
    """`chime-sdk-voice`: how a task stands."""
    return await _served(request, "voice", "get", place, task)


@router.post(_VOICE + "/{task}", status_code=204)
async def stop_voice(request: Request, place: str, task: str) -> Response:
    """`chime-sdk-voice`: end a task (`?operation=stop`)."""
    return await _served(request, "voice", "stop", place, task)


@router.post(_PIPELINES, status_code=201)
async def start_pipeline(request: Request, place: str) -> Response:
    """`chime-sdk-media-pipelines`: start a task on a channel (`?operation=start`)."""
    return await _served(request, "pipeline", "start", place)


@router.get(_PIPELINES + "/{task}")
async def get_pipeline(request: Request, place: str, task: str) -> Response:
    """`chime-sdk-media-pipelines`: how a task stands."""
    return await _served(request, "pipeline", "get", place, task)


@router.post(_PIPELINES + "/{task}", status_code=204)
async def stop_pipeline(request: Request, place: str, task: str) -> Response:
    """`chime-sdk-media-pipelines`: end a task (`?operation=stop`)."""
    return await _served(request, "pipeline", "stop", place, task)


@router.post(INTERNAL, include_in_schema=False)
async def from_another_worker(request: Request) -> dict[str, Any]:
    """A command that came to another worker; faults come back in the body."""
    command = Command.model_validate_json(await _body(request))
    try:
        return {"body": done(state_of(request), command)}
    except ChimeError as error:
        return {"fault": error.fault, "message": str(error), "retry_after": error.retry_after}


def done(state: ServerState, command: Command) -> dict[str, Any] | None:
    """Do what is asked on this worker's own calls and tasks.

    Raises:
        ChimeError: why not.
    """
    tasks = tasks_of(state)
    if command.operation == "start":
        task = tasks.start(start_of(command))
        return {"VoiceToneAnalysisTask": task.to_dict()}
    if command.operation == "get":
        found = tasks.get(command.kind, command.place, command.task)
        return {"VoiceToneAnalysisTask": found.to_dict(command.caller)}
    tasks.stop(command.kind, command.place, command.task)
    return None


async def _served(
    request: Request, kind: Kind, operation: Operation, place: str, task: str = ""
) -> Response:
    """Check a request, do what it asks, and answer as the cloud does."""
    state = state_of(request)
    answer_id = str(uuid4())
    try:
        body = await _body(request)
        sender = _sender(state, request, body, operation)
        command = Command(
            kind=kind,
            operation=operation,
            place=_place(settings_of(state), kind, place),
            credential=sender,
            task=task,
            caller=_caller(request) if (kind, operation) == ("voice", "get") else None,
            body=_json(body) if operation == "start" else {},
        )
        _check(request, command)
        said = await _anywhere(state, command)
    except ChimeError as error:
        return _fault(error, answer_id)
    except RefusedError as error:
        fault = _REFUSED.get(error.code, "ServiceFailure")
        return _fault(ChimeError(fault, str(error), error.retry_after), answer_id)
    status = {"start": 201, "get": 200, "stop": 204}[operation]
    headers = {"x-amzn-RequestId": answer_id}
    if said is None:
        return Response(status_code=status, headers=headers)
    return Response(json.dumps(said), status, headers, "application/json")


async def _anywhere(state: ServerState, command: Command) -> dict[str, Any] | None:
    """Do it here, or on the worker that has the call or the task."""
    try:
        return done(state, command)
    except ChimeError as error:
        if error.fault != "NotFound":
            raise
        last = error
    for worker in _where(state, command):
        said = await state.peers.call(worker, "POST", INTERNAL, command.model_dump())
        if "fault" not in said:
            body: dict[str, Any] | None = said["body"]
            return body
        last = ChimeError(said["fault"], said["message"], said["retry_after"])
        if last.fault != "NotFound":
            break
    raise last


def _where(state: ServerState, command: Command) -> tuple[int, ...]:
    """Other workers that may know; a task's id begins with its worker's number."""
    others: tuple[int, ...] = state.peers.others
    if command.operation == "start":
        return others
    owner = int(command.task[:4], 16)
    return tuple(worker for worker in others if worker == owner)


def start_of(command: Command) -> Start:
    """What a start's body asks for.

    Raises:
        ChimeError: it is not as the service's model has it.
    """
    try:
        if command.kind == "voice":
            voice = VoiceStart.model_validate(command.body)
            return Start(
                kind="voice",
                place=command.place,
                names=(voice.transaction,),
                credential=command.credential,
                token=voice.token,
            )
        pipeline = PipelineStart.model_validate(command.body)
    except ValidationError as error:
        where, said = first_problem(error)
        raise ChimeError("BadRequest", f"{where}: {said}") from None
    stream = pipeline.stream
    return Start(
        kind="pipeline",
        place=command.place,
        names=(stream.arn, stream.arn.split("/")[1]),
        credential=command.credential,
        channel=stream.channel + 1,
        stream=(stream.arn, stream.fragment),
        token=pipeline.token,
    )


def _sender(state: ServerState, request: Request, body: bytes, operation: Operation) -> str:
    """The credential that signed a request.

    Raises:
        RefusedError: none did, or it may not do this.
    """
    keys = state.keys
    if keys.open:
        return LOCAL.name
    scope = request.scope
    signed = sigv4.Request(
        method=request.method,
        path=scope.get("raw_path", b"").decode("latin-1").partition("?")[0],
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=[(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]],
        body=body,
    )
    name = sigv4.verify(signed, keys.secret, settings_of(state).region, state.clock.wall())
    # Only starts count towards a credential's rate.
    return keys.granted(name, "chime", counted=operation == "start").name


def _place(settings: ChimeSettings, kind: Kind, text: str) -> str:
    """The id of a voice connector or pipeline that is known here.

    Raises:
        ChimeError: it can't be one, or is not.
    """
    if kind == "pipeline" and text.startswith("arn:"):
        text = text.rpartition("/")[2]
    shape, known = _CONNECTOR, settings.voice_connectors
    if kind == "pipeline":
        shape, known = _PIPELINE, settings.pipelines
    if not shape.fullmatch(text):
        what = "VoiceConnectorId" if kind == "voice" else "Identifier"
        raise ChimeError("BadRequest", f"{what}: it has not the form of one")
    if known and text not in known:
        raise ChimeError("NotFound", "no voice connector or pipeline of that id is set here")
    return text


def _check(request: Request, command: Command) -> None:
    """The word in the query, and the form of a task's id.

    Raises:
        ChimeError: they are not as the services' models have them.
    """
    asked = request.query_params.get("operation")
    wanted: str | None = command.operation
    if command.operation == "get" or (command.kind, command.operation) == ("voice", "start"):
        wanted = None
    if asked != wanted:
        raise ChimeError("BadRequest", f"operation: it must be {wanted or 'left out'}")
    if command.operation != "start" and not _UUID.fullmatch(command.task):
        raise ChimeError("BadRequest", "VoiceToneAnalysisTaskId: it is no UUID")


def _caller(request: Request) -> bool:
    text = request.query_params.get("isCaller", "").lower()
    if text not in ("true", "false"):
        raise ChimeError("BadRequest", "isCaller: it must be true or false")
    return text == "true"


async def _body(request: Request) -> bytes:
    """All of the body, which is short."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise RefusedError("message_too_large", "the body is too long for this operation")
    return bytes(body)


def _json(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ChimeError("BadRequest", "the body is no JSON object")
    return data


def _fault(error: ChimeError, answer_id: str) -> Response:
    """An error as botocore reads it."""
    status, code = FAULTS[error.fault]
    body = {"Code": code, "Message": str(error), "RequestId": answer_id}
    headers = {"x-amzn-ErrorType": f"{error.fault}Exception", "x-amzn-RequestId": answer_id}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return Response(json.dumps(body), status, headers, "application/json")
