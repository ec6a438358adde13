"""Figures for Prometheus. Each worker counts for itself; `merged` puts their pages together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from voicetone.server.events import CallEvent
from voicetone.server.hub import Hub

LEVEL_BUCKETS = (-70, -60, -50, -45, -40, -35, -30, -25, -20, -15, -10, -5, 0)
"""Decibels below full scale. Telephone speech lies about -30 to -15."""
SHARE = 0.005
"""Of the newest window in the mean of scores: about the newest 200 windows count."""
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
        self._level = Histogram(
            "voicetone_input_level_dbfs",
            "Level of the analysed channels between windows with speech",
            ["worker"],
            buckets=LEVEL_BUCKETS,
            registry=self.registry,
        ).labels(self._worker)
        self._mean: dict[str, float] = {}
        self._means = self._gauge("voicetone_score_mean", "Of windows with speech, faded")
        self._drift = self._gauge("voicetone_score_drift", "The mean less the model's reference")
        self._reference = reference(hub.engine.predictor.spec.metrics)
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
                self._scored(event)
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

    def _scored(self, event: CallEvent) -> None:
        """Level and scores of a window with speech."""
        call = self._hub.calls.get(event.call)
        level = None if call is None else call.level.taken()
        scores = event.body.get("sentiment")
        if scores is None:
            return
        if level is not None:
            self._level.observe(level)
        for label, score in scores.items():
            mean = self._mean.get(label, score)
            mean = self._mean[label] = mean + SHARE * (score - mean)
            self._means.labels(self._worker, label).set(mean)
            if label in self._reference:
                self._drift.labels(self._worker, label).set(mean - self._reference[label])

    def _gauge(self, name: str, help: str) -> Gauge:
        return Gauge(name, help, ["worker", "label"], registry=self.registry)

    def _counter(self, name: str, help: str, label: str) -> Counter:
        return Counter(name, help, ["worker", label], registry=self.registry)


def reference(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Mean scores that a bundle expects: its metrics `mean score, LABEL`, where it has them."""
    named = {k.removeprefix(_MEAN): v for k, v in metrics.items() if k.startswith(_MEAN)}
    return {k: float(v) for k, v in named.items() if isinstance(v, int | float)}


_MEAN = "mean score, "


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
