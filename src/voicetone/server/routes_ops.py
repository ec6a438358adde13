"""What those who run the server ask it: is it alive, is it ready, how does it do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from voicetone.server.metrics import merged
from voicetone.server.state import require, state_of

router = APIRouter(tags=["operations"])

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/healthz")
async def healthz(request: Request) -> JSONResponse:
    """The worker answers, and runs the model; 500 where nothing but a new start helps."""
    if not state_of(request).hub.engine.running:
        return JSONResponse({"status": "failed"}, 500)
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """The worker takes calls: its model runs, it is not going down, its store answers.

    A store that is away does not make it unready: events wait for it, and calls go on.
    """
    state = state_of(request)
    said: dict[str, Any] = {
        "model": state.hub.engine.running,
        "draining": state.hub.draining,
        "store": None if state.store is None else await state.store.ready(),
    }
    ready = said["model"] and not said["draining"]
    return JSONResponse({"ready": ready, **said}, 200 if ready else 503)


@router.get("/metrics")
async def metrics(request: Request) -> PlainTextResponse:
    """The figures of all workers for Prometheus, whichever of them is asked."""
    await require(request, "read")
    state = state_of(request)
    others = await state.peers.gather("/internal/metrics")  # one that is starting is left out
    pages = [state.metrics.page(), *(said["page"] for said in others.values())]
    return PlainTextResponse(merged(pages), media_type=PROMETHEUS)


@router.get("/internal/metrics", include_in_schema=False)
async def metrics_here(request: Request) -> dict[str, str]:
    """For the other workers."""
    return {"page": state_of(request).metrics.page()}
