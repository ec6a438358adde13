"""Figures for Prometheus. Each worker counts for itself; `merged` puts their pages together."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from voicetone.server.events import CallEvent
from voicetone.server.hub import Hub

LAG_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
"""Seconds. The promise is 0.5."""


class Metrics:
    """What one worker counts.

    Args:
        hub: its calls.
        worker: its number.
    """

    def __init__(self, hub: Hub, worker: int) -> None:
        self._hub, self._worker = hub, str(worker)
        self.registry = CollectorRegistry()
        self._lag = Histogram(
            "voicetone_window_lag_seconds",
            "From a window's last sample to its event",
            ["worker"],
            buckets=LAG_BUCKETS,
            registry=self.registry,
        ).labels(self._worker)
        self._events = self._counter("voicetone_events", "Events told", "type")
        self._ended = self._counter("voicetone_calls_ended", "Calls that ended", "reason")
        self._begun = self._counter("voicetone_calls_begun", "Calls taken on", "route")
        self._gaps = self._counter("voicetone_gap_seconds", "Audio not analysed", "reason")
        self._messages = self._counter("voicetone_messages_refused", "Bad messages", "code")
        for name, help, read in (
            ("voicetone_calls", "Calls in progress", lambda: len(hub.calls)),
            ("voicetone_channels", "Analysed channels in progress", lambda: hub.channels),
            ("voicetone_queue_jobs", "Jobs that wait for the model", lambda: hub.engine.waiting),
            ("voicetone_model_busy_ratio", "Share of time it works", lambda: hub.engine.busy),
            ("voicetone_calls_refused", "Turned down for want of room", lambda: hub.refused),
            ("voicetone_draining", "1 while going down", lambda: hub.draining),
        ):
            gauge = Gauge(name, help, ["worker"], registry=self.registry).labels(self._worker)
            gauge.set_function(read)

    def told(self, event: CallEvent) -> None:
        """A subscriber of the hub."""
        self._events.labels(self._worker, event.type).inc()
        body = event.body
        match event.type:
            case "window":
                self._lag.observe(float(body["lag_ms"]) / 1000)
            case "session.created":
                self._begun.labels(self._worker, str(body["route"])).inc()
            case "session.closed":
                self._ended.labels(self._worker, str(body["reason"])).inc()
            case "gap":
                lasted = max(float(body["end"]) - float(body["start"]), 0.0)
                self._gaps.labels(self._worker, str(body["reason"])).inc(lasted)
            case _:
                pass

    def refused(self, code: str) -> None:
        """A client's message was turned down."""
        self._messages.labels(self._worker, code).inc()

    def page(self) -> str:
        """This worker's figures as text."""
        return generate_latest(self.registry).decode()

    def _counter(self, name: str, help: str, label: str) -> Counter:
        return Counter(name, help, ["worker", label], registry=self.registry)


def merged(pages: Iterable[str]) -> str:
    """Pages of several workers as one: each family once, with the samples of all."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for page in pages:
        family = ""
        for line in page.splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
            if line.startswith("#"):
                known = heads.setdefault(family, [])
                if line not in known:
                    known.append(line)
            elif line:
                samples.setdefault(family, []).append(line)
    lines = [line for family, head in heads.items() for line in head + samples.get(family, [])]
    return "\n".join(lines) + "\n"
