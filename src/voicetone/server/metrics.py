"""Figures for Prometheus. Each worker counts for itself; `merged` puts their pages together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from voicetone.server.events import CallEvent
from voicetone.server.hub import Hub

LEVEL_BUCKETS = (-70, -60, -50, -45, -40, -35, -30, -25, -20, -15, -10, -5, 0)
"""Decibels below full scale. Telephone speech lies about -30 to -15."""
SHARE = 0.005
"""Of the newest window in the mean of scores: about the newest 200 windows count."""
LAG_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
"""Seconds. The promise is 0.5."""


Health = Callable[[], Mapping[str, Any]]
"""`Store.health`."""


class Metrics:
    """What one worker counts.

    Args:
        hub: its calls.
        worker: its number.
        health: how its store does; None without one.
    """

    def __init__(self, hub: Hub, worker: int, health: Health | None = None) -> None:
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
            ("voicetone_draining", "1 while going down", lambda: hub.draining),
        ):
            gauge = Gauge(name, help, ["worker"], registry=self.registry).labels(self._worker)
            gauge.set_function(read)
        name, help = "voicetone_calls_refused", "Turned down for want of room"
        told = _Told(name, help, "counter", None, self._worker, lambda: hub.refused)
        self.registry.register(told)
        for name, help, kind, label, key in STORE:
            told = _Told(name, help, kind, label, self._worker, _asked(health, key))
            self.registry.register(told)

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


STORE: tuple[tuple[str, str, str, str | None, str], ...] = (
    ("voicetone_store_away", "1 while the database can't be reached", "gauge", None, "away"),
    ("voicetone_store_queued", "Events that wait in memory", "gauge", None, "queued"),
    ("voicetone_store_spilled", "Events that wait on disk", "gauge", None, "spilled"),
    ("voicetone_store_stored", "Events stored", "counter", None, "stored"),
    ("voicetone_store_lost", "Events lost for want of room", "counter", None, "lost"),
    ("voicetone_store_bad", "Events that no database takes", "counter", None, "bad"),
    ("voicetone_target_sent", "Events delivered", "counter", "target", "sent"),
    ("voicetone_target_failed", "Attempts that failed", "counter", "target", "failed"),
    ("voicetone_target_dead", "Events given up", "counter", "target", "dead"),
)
"""Name, help, kind, label besides the worker, key of the store's health."""


class _Told(Collector):
    """One family whose numbers somebody else counts; asked when the page is made.

    Args:
        name: of the family.
        help: for people.
        kind: counter or gauge.
        label: besides the worker.
        worker: its number.
        read: gives a number, one for each label, or None for none.
    """

    def __init__(
        self,
        name: str,
        help: str,
        kind: str,
        label: str | None,
        worker: str,
        read: Callable[[], Any],
    ) -> None:
        self._name, self._help, self._kind = name, help, kind
        self._labelnames = ("worker",) if label is None else ("worker", label)
        self._worker, self._read = worker, read

    def describe(self) -> list[Metric]:
        """The family without samples."""
        made = CounterMetricFamily if self._kind == "counter" else GaugeMetricFamily
        return [made(self._name, self._help, labels=self._labelnames)]

    def collect(self) -> list[Metric]:
        """The family with what is counted now."""
        (family,) = self.describe()
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
        said = self._read()
        if isinstance(said, Mapping):
            for label, value in said.items():
                family.add_metric((self._worker, str(label)), float(value))
        elif said is not None:
            family.add_metric((self._worker,), float(said))
        return [family]


def _asked(health: Health | None, key: str) -> Callable[[], Any]:
    return lambda: None if health is None else health()[key]


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
