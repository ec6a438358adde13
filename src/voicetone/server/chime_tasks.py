"""Voice tone tasks as the Amazon Chime SDK has them, on calls that are in progress here."""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic import dataclasses as checked

from voicetone.errors import VoicetoneError
from voicetone.inference.channels import CUSTOMER, is_staff
from voicetone.server.call import LiveCall
from voicetone.server.chime_events import LegTone, Told, status_event
from voicetone.server.events import CallEvent, iso
from voicetone.server.hub import Hub

Kind = Literal["voice", "pipeline"]
"""Of `chime-sdk-voice`, on a call's both parties; of `chime-sdk-media-pipelines`, on a channel."""

Fault = Literal[
    "BadRequest",
    "UnauthorizedClient",
    "Forbidden",
    "NotFound",
    "Conflict",
    "Gone",
    "UnprocessableEntity",
    "ThrottledClient",
    "ResourceLimitExceeded",
    "ServiceFailure",
    "ServiceUnavailable",
]
"""Errors of both services; each is an exception of that name in their models."""

Delivered = Callable[[str, Mapping[str, Any]], None]
"""Told of the call's id and one whole `VoiceToneAnalysisStatus` event."""

_LOG = logging.getLogger(__name__)


@checked.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ChimeSettings:
    """The routes that `chime-sdk-voice` and `chime-sdk-media-pipelines` clients use.

    Args:
        account: twelve digits, for events and ARNs; no account of the cloud is needed.
        region: that clients sign for.
        voice_connectors: ids that are known; all that look like one if there are none.
        pipelines: ids of media insights pipelines, the same.
        score_strings: scores in events as text instead of numbers.
        tasks: in progress at once, of one worker.
        keep_seconds: that a task is remembered after its end.
        keep: tasks that are remembered at most, of one worker.
    """

    account: Annotated[str, Field(pattern=r"^[0-9]{12}$")] = "000000000000"
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] = "us-east-1"
    voice_connectors: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    score_strings: bool = False
    tasks: Annotated[int, Field(ge=1, le=100_000)] = 1000
    keep_seconds: Annotated[float, Field(ge=0, le=366 * 86_400)] = 7 * 86_400.0
    keep: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000


class ChimeError(VoicetoneError):
    """A request that is turned down in the words of the cloud's interface.

    Args:
        fault: the exception's name without its ending.
        message: one line for people.
        retry_after: seconds after which it may work.
    """

    def __init__(self, fault: Fault, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Start:
    """What a task is to be started on.

    Args:
        kind: of which service.
        place: voice connector or media insights pipeline.
        names: by which the call may be known here, tried in order.
        credential: whose task it will be.
        channel: of the call, from 1; None for all that are analysed.
        stream: ARN of the stream and number of its first fragment, of a pipeline's task.
        token: two starts with one token are one.
    """

    kind: Kind
    place: str
    names: tuple[str, ...]
    credential: str
    channel: int | None = None
    stream: tuple[str, str | None] | None = None
    token: str | None = None


State = Literal["waiting", "running", "ended", "failed", "stopped"]
_VOICE: dict[State, str] = {
    "waiting": "IN_QUEUE",
    "running": "IN_PROGRESS",
    "ended": "SUCCEEDED",
    "failed": "FAILED",
    "stopped": "STOPPED",
}
_PIPELINE: dict[State, str] = {
    "waiting": "Initializing",
    "running": "InProgress",
    "ended": "Stopped",
    "failed": "Failed",
    "stopped": "Stopped",
}


@dataclass(slots=True)
class Task:
    """One task, and the tone of each of its channels while it runs."""

    id: str
    start: Start
    call: str
    transaction: str
    callers: Mapping[int, bool]
    """Of each channel of the task, whether it is the caller's."""
    legs: dict[int, LegTone]
    created: float
    updated: float
    state: State = "waiting"
    began: float | None = None
    over: float = 0.0
    """When it ended, by the steady clock."""
    events: int = 0
    spoken: tuple[bool, ...] = field(default_factory=tuple)

    @property
    def live(self) -> bool:
        """Whether it still runs."""
        return self.state in ("waiting", "running")

    def to_dict(self, caller: bool | None = None) -> dict[str, Any]:
        """The `VoiceToneAnalysisTask` of either service.

        Args:
            caller: the party asked about, of a task on both.
        """
        body: dict[str, Any] = {
            "VoiceToneAnalysisTaskId": self.id,
            "VoiceToneAnalysisTaskStatus": self._status(caller),
            "CreatedTimestamp": iso(self.created),
            "UpdatedTimestamp": iso(self.updated),
        }
        if self.start.kind == "pipeline":
            return body
        details: dict[str, Any] = {
            "VoiceConnectorId": self.start.place,
            "TransactionId": self.transaction,
        }
        asked = any(self.callers.values()) if caller is None else caller
        body["CallDetails"] = {**details, "IsCaller": asked}
        if self.began is not None:
            body["StartedTimestamp"] = iso(self.began)
        if message := self._message(caller):
            body["StatusMessage"] = message
        return body

    def _status(self, caller: bool | None) -> str:
        if self.start.kind == "pipeline":
            return _PIPELINE[self.state]
        if self._absent(caller):
            return "FAILED"
        if self.state == "ended" and not all(self.spoken):
            return "PARTIAL_SUCCESS"
        return _VOICE[self.state]

    def _message(self, caller: bool | None) -> str:
        if self._absent(caller):
            return "this party's channel is not analysed"
        if self.state == "failed":
            return "there was no speech to analyse, or the analysis broke off"
        return ""

    def _absent(self, caller: bool | None) -> bool:
        return caller is not None and caller not in self.callers.values()


class ChimeTasks:
    """The tasks of one worker. Used from the event loop only.

    Args:
        hub: whose calls they are on.
        settings: the operator's.
        worker: its number, which every task's id begins with.
    """

    def __init__(self, hub: Hub, settings: ChimeSettings, worker: int = 0) -> None:
        self._hub, self._settings, self._worker = hub, settings, worker
        self._tasks: dict[str, Task] = {}
        self._tokens: dict[tuple[str, Kind, str], str] = {}
        self._of_call: dict[str, list[Task]] = {}
        self._ended: deque[Task] = deque()
        self._told: list[Delivered] = []
        self.close = hub.subscribe(self.told)

    def subscribe(self, told: Delivered) -> Callable[[], None]:
        """Have every event of every task told, in the loop; `told` must not wait.

        Returns:
            What ends it.
        """
        self._told.append(told)
        return lambda: self._told.remove(told)

    @property
    def running(self) -> int:
        """Tasks in progress."""
        return sum(map(len, self._of_call.values()))

    def start(self, wanted: Start) -> Task:
        """Start a task.

        Raises:
            ChimeError: no such call, one that ends, a task on it already, too many tasks.
        """
        self._forget()
        if (known := self._repeated(wanted)) is not None:
            return known
        call = self._call(wanted)
        channels = self._channels(wanted, call)
        for other in self._of_call.get(call.id, ()):
            if other.start.kind == wanted.kind and set(other.legs) & set(channels):
                raise ChimeError("Conflict", f"task {other.id} analyses this call already")
        if self._hub.draining:
            raise ChimeError("ServiceUnavailable", "the server is going down: try again", 5.0)
        if self.running >= self._settings.tasks:
            raise ChimeError("ResourceLimitExceeded", "too many tasks in progress: stop some")
        task = self._made(wanted, call, channels)
        self._tasks[task.id] = task
        self._of_call.setdefault(call.id, []).append(task)
        if wanted.token is not None:
            self._tokens[wanted.credential, wanted.kind, wanted.token] = task.id
        return task

    def get(self, kind: Kind, place: str, id: str) -> Task:
        """A task, in progress or of the last days.

        Raises:
            ChimeError: there is none of that id at that place.
        """
        self._forget()
        task = self._tasks.get(id.lower())
        if task is None or (task.start.kind, task.start.place) != (kind, place):
            raise ChimeError("NotFound", "no such task here, or its time to be kept is over")
        return task

    def stop(self, kind: Kind, place: str, id: str) -> None:
        """End a task; its last event is told.

        Raises:
            ChimeError: there is none, or it has ended.
        """
        task = self.get(kind, place, id)
        if not task.live:
            raise ChimeError("Conflict", "the task has ended already")
        self._end(task, "stopped")

    def told(self, event: CallEvent) -> None:
        """Look at an event of a call."""
        for task in list(self._of_call.get(event.call, ())):
            if event.type == "window" and event.channel in task.legs:
                self._window(task, event.channel, event.body)
            elif event.type == "session.closed":
                broken = event.body.get("reason") == "model_failed"
                self._end(task, "failed" if broken else "ended")

    # -- inside ----------------------------------------------------------------------------------

    def _repeated(self, wanted: Start) -> Task | None:
        """The task that this very start has made before."""
        if wanted.token is None:
            return None
        id = self._tokens.get((wanted.credential, wanted.kind, wanted.token))
        task = None if id is None else self._tasks.get(id)
        if task is not None and task.start != wanted:
            raise ChimeError("Conflict", "this ClientRequestToken came with another request")
        return task

    def _call(self, wanted: Start) -> LiveCall:
        found = next(filter(None, map(self._hub.find, wanted.names)), None)
        if found is None:
            raise ChimeError("NotFound", "no call of that name is in progress here")
        if found.closing:
            fault: Fault = "Gone" if wanted.kind == "voice" else "NotFound"
            raise ChimeError(fault, "the call has ended")
        return found

    def _channels(self, wanted: Start, call: LiveCall) -> tuple[int, ...]:
        analysed = call.session.channels
        if wanted.channel is None:
            return analysed
        if wanted.channel > call.start.channels:
            raise ChimeError("BadRequest", "the call has no such channel: ChannelId is too high")
        if wanted.channel not in analysed:
            raise ChimeError("Forbidden", "this channel of the call is not analysed here")
        return (wanted.channel,)

    def _made(self, wanted: Start, call: LiveCall, channels: tuple[int, ...]) -> Task:
        spec = self._hub.engine.predictor.spec
        sentiment, emotion = spec.space("sentiment"), spec.space("emotion")
        now = self._hub.clock.wall()
        legs = {
            channel: LegTone(sentiment, emotion, call.position, now, self._settings.score_strings)
            for channel in channels
        }
        return Task(
            id=self._new_id(),
            start=wanted,
            call=call.id,
            transaction=call.start.external or call.id,
            callers={channel: is_caller(call.start.names, channel) for channel in channels},
            legs=legs,
            created=now,
            updated=now,
        )

    def _new_id(self) -> str:
        """A random UUID whose first four digits are the worker's number."""
        digits = f"{self._worker:04x}{secrets.token_hex(14)}"
        return str(UUID(digits, version=4))

    def _window(self, task: Task, channel: int, body: Mapping[str, Any]) -> None:
        leg = task.legs[channel]
        told = leg.window(body)
        if leg.heard and task.state == "waiting":
            task.state = "running"
            task.began = task.updated = self._hub.clock.wall()
        if told is not None:
            self._publish(task, channel, told)

    def _end(self, task: Task, state: State) -> None:
        task.spoken = tuple(leg.spoken for leg in task.legs.values())
        if state == "ended" and not any(task.spoken):
            state = "failed"
        task.state = state
        task.updated, task.over = self._hub.clock.wall(), self._hub.clock.steady()
        for channel, leg in task.legs.items():
            self._publish(task, channel, leg.completed())
        task.legs = {}
        self._ended.append(task)
        others = [other for other in self._of_call.pop(task.call, []) if other is not task]
        if others:
            self._of_call[task.call] = others

    def _publish(self, task: Task, channel: int, told: Told) -> None:
        task.events += 1
        event = status_event(
            told,
            task=task.id,
            number=task.events,
            account=self._settings.account,
            region=self._settings.region,
            time=self._hub.clock.wall(),
            about=self._about(task, channel),
        )
        for tell in list(self._told):
            try:
                tell(task.call, event)
            except Exception:  # a target's fault must not reach the call
                _LOG.exception("a subscriber of voice tone tasks failed")

    def _about(self, task: Task, channel: int) -> dict[str, Any]:
        """Which call and channel an event is of."""
        start = task.start
        if start.stream is None:
            return {
                "isCaller": task.callers[channel],
                "transactionId": task.transaction,
                "voiceConnectorId": start.place,
                "callId": task.call,
            }
        arn, fragment = start.stream
        at = f"{self._settings.region}:{self._settings.account}"
        first = {} if fragment is None else {"startFragmentNumber": fragment}
        return {
            **first,
            "mediaInsightsPipelineId": start.place,
            "sourceArn": f"arn:aws:chime:{at}:media-pipeline/{start.place}",
            "streamArn": arn,
            "channelId": channel - 1,
        }

    def _forget(self) -> None:
        """Tasks that ended long ago, and the oldest of too many."""
        before = self._hub.clock.steady() - self._settings.keep_seconds
        ended = self._ended
        while ended and (len(ended) > self._settings.keep or ended[0].over < before):
            task = ended.popleft()
            del self._tasks[task.id]
            if task.start.token is not None:
                del self._tokens[task.start.credential, task.start.kind, task.start.token]


def is_caller(names: tuple[str, ...] | None, channel: int) -> bool:
    """Whether a channel is the caller's: by its name, or else the first of the call.

    Args:
        names: of the call's channels.
        channel: from 1.
    """
    name = names[channel - 1].lower() if names else ""
    if is_staff(name):
        return False
    return any(word in name for word in CUSTOMER) or channel == 1
