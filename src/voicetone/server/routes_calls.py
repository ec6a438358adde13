"""Calls in progress of all workers, those of the past, and what people who are heard are told."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from voicetone.server.call import LiveCall
from voicetone.server.events import iso
from voicetone.server.refusal import RefusedError
from voicetone.server.state import ServerState, require, state_of
from voicetone.server.store import Store

router = APIRouter(tags=["calls"])


class Ticket(BaseModel):
    """For a browser's WebSocket, in place of a key: `voicetone.ticket.` and this as subprotocol."""

    ticket: str
    seconds: float


class Notice(BaseModel):
    """For people who are heard."""

    notice: str


def live(call: LiveCall, worker: int) -> dict[str, Any]:
    """A call in progress as lists show it."""
    start = call.start
    return {
        "id": call.id,
        "live": True,
        "worker": worker,
        "route": start.route,
        "external": start.external,
        "queue": start.queue,
        "began": iso(call.began),
        "position": round(call.position, 3),
        "names": None if start.names is None else list(start.names),
        "analysed": list(call.session.channels),
        "tone": {str(channel): tone for channel, tone in call.latest.items()},
    }


def live_here(state: ServerState) -> list[dict[str, Any]]:
    """Calls in progress of this worker."""
    return [live(call, state.worker) for call in state.hub.calls.values()]


async def live_everywhere(state: ServerState) -> list[dict[str, Any]]:
    """Calls in progress of all workers, newest first; a worker that is down has none."""
    calls = live_here(state)
    for answer in (await state.peers.gather("/internal/calls")).values():
        calls += answer["calls"]
    return sorted(calls, key=lambda call: (call["began"], call["id"]), reverse=True)


@router.get("/v1/calls")
async def calls(
    request: Request,
    queue: str | None = None,
    past: bool = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: str | None = None,
) -> dict[str, Any]:
    """Calls in progress; with `past=true` those that the store has, newest first."""
    await require(request, "read")
    state = state_of(request)
    if past:
        found = await _store(request).calls(limit=limit, before=before, queue=queue)
        return {"calls": found}
    found = await live_everywhere(state)
    return {"calls": [c for c in found if queue is None or c["queue"] == queue][:limit]}


@router.get("/v1/calls/{id}")
async def call(request: Request, id: str) -> dict[str, Any]:
    """One call, in progress or past."""
    await require(request, "read")
    state = state_of(request)
    for one in await live_everywhere(state):
        if one["id"] == id:
            return one
    known = None if state.store is None else await state.store.call(id)
    if known is None:
        raise RefusedError("not_found", "no such call")
    return {"live": False, **known}


@router.get("/v1/calls/{id}/events")
async def events(
    request: Request,
    id: str,
    after: Annotated[int, Query(ge=0, le=1 << 53)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> dict[str, Any]:
    """The stored events of a call, in order."""
    await require(request, "read")
    state = state_of(request)
    if state.store is None or await state.store.call(id) is None:
        raise RefusedError("not_found", "no such call in the store")
    return {"events": await state.store.events(id, after=after, limit=limit)}


@router.delete("/v1/calls/{id}", status_code=204)
async def delete(request: Request, id: str) -> None:
    """Delete all results of a call, and what is still to be delivered of it."""
    await require(request, "delete")
    state = state_of(request)
    if any(one["id"] == id for one in await live_everywhere(state)):
        raise RefusedError("conflict", "the call is in progress: delete it when it has ended")
    if state.store is None or not await state.store.delete_call(id):
        raise RefusedError("not_found", "no such call in the store")


@router.get("/v1/archive")
async def archive(
    request: Request,
    since: float | None = None,
    until: float | None = None,
    queue: str | None = None,
) -> dict[str, Any]:
    """By day and queue: how many calls, how negative, and where they turn so."""
    await require(request, "read")
    return await _store(request).summary(since=since, until=until, queue=queue)


LetterId = Annotated[int, Field(ge=0, lt=1 << 63)]


class Again(BaseModel):
    """Which dead letters to send again: these, or those of a target, or with neither all."""

    ids: Annotated[list[LetterId], Field(max_length=1000)] | None = None
    target: Annotated[str, Field(pattern=r"^[^\x00]*$")] | None = None


@router.get("/v1/dead-letters")
async def dead_letters(
    request: Request,
    target: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """What could not be delivered to a target, oldest first."""
    await require(request, "delete")
    return {"letters": await _store(request).dead_letters(target, limit)}


@router.post("/v1/dead-letters/retry")
async def retry(request: Request, again: Again) -> dict[str, int]:
    """Try once more to deliver them; how many that are."""
    await require(request, "delete")
    return {"retried": await _store(request).retry(again.ids, again.target)}


def _store(request: Request) -> Store:
    """The store.

    Raises:
        RefusedError: there is none.
    """
    store: Store | None = state_of(request).store
    if store is None:
        raise RefusedError("not_found", "this server keeps no results: it has no store")
    return store


@router.get("/v1/notice")
async def notice(request: Request) -> Notice:
    """What people who are heard are told; no key is needed to read it."""
    return Notice(notice=state_of(request).settings.notice)


@router.post("/v1/tickets", status_code=201)
async def ticket(request: Request) -> Ticket:
    """A ticket for one WebSocket of a browser, which must not hold a key in a URL.

    It may do there what its key may: with `read` alone, no stream.
    """
    from voicetone.server.tickets import SECONDS

    state = state_of(request)
    try:
        key = await require(request, "read")
    except RefusedError as error:
        if error.code != "forbidden":
            raise
        key = await require(request, "stream", counted=False)
    return Ticket(ticket=state.tickets.issue(key.name), seconds=SECONDS)


@router.get("/internal/calls", include_in_schema=False)
async def calls_here(request: Request) -> dict[str, Any]:
    """For the other workers."""
    return {"calls": live_here(state_of(request))}


class _Shown(BaseModel):
    ticket: str


@router.post("/internal/tickets", include_in_schema=False)
async def redeem(request: Request, shown: _Shown) -> dict[str, str]:
    """For the other workers: the credential behind a ticket that this one issued."""
    return {"credential": state_of(request).tickets.redeem(shown.ticket)}
