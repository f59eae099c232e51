"""Counters of this process, in Prometheus' terms, on a registry of its own.

Counts of jobs come from the database and are asked by whoever serves /metrics.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from reactorcide.projections.checkpoints import Standing
from reactorcide.projections.queues import UNENDED

QUEUES_SHOWN: Final = 200
"""A series each; whoever may submit jobs makes up names of queues."""

_OTHER: Final = "other"
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """What one API process counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "reactorcide_http_requests",
            "Requests answered.",
            ("operation", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "reactorcide_http_request_duration_seconds",
            "From a request's first byte to its answer's last.",
            ("operation",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._jobs = Gauge(
            "reactorcide_jobs",
            "Jobs that have not ended, by status.",
            ("status",),
            registry=self._registry,
        )
        self._queue_jobs = Gauge(
            "reactorcide_queue_jobs",
            "Jobs that have not ended, by queue and status; beyond the largest queues as 'other'.",
            ("queue_name", "status"),
            registry=self._registry,
        )
        self._doorbell_up = Gauge(
            "reactorcide_doorbell_up",
            "1 while this process hears the rings of others, 0 while it lives on looking.",
            registry=self._registry,
        )
        self._doorbell_losses = Gauge(
            "reactorcide_doorbell_losses",
            "How often this process lost the connection that it listens on.",
            registry=self._registry,
        )
        self._lag_events = self._of_projection(
            "lag_events", "Events that an asynchronous projection has not taken yet, at most."
        )
        self._lag_seconds = self._of_projection(
            "lag_seconds", "Seconds since the first event that it has not taken was recorded."
        )
        self._followed = self._of_projection("followed", "1 while somebody runs it, else 0.")
        self._stopped = self._of_projection(
            "stopped", "1 while an event of a type that is not known stops it, else 0."
        )

    def _of_projection(self, name: str, meaning: str) -> Gauge:
        name = f"reactorcide_projection_{name}"
        return Gauge(name, meaning, ("projection",), registry=self._registry)

    def observe(self, operation: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (operation, method if operation != "unknown" else "", status)
        series = self._series.get(key)
        if series is None:
            series = self._requests.labels(*key), self._seconds.labels(operation)
            self._series[key] = series
        series[0].inc()
        series[1].observe(seconds)

    def set_jobs(self, counts: Mapping[str | None, Mapping[str, int]]) -> None:
        """Show how many jobs of each queue stand in each status; None is all other queues."""
        self._queue_jobs.clear()  # a queue that has emptied is shown no more
        totals = dict.fromkeys(UNENDED, 0)
        for queue_name, by_status in counts.items():
            for status in UNENDED:
                count = by_status.get(status, 0)
                totals[status] += count
                self._queue_jobs.labels(queue_name or _OTHER, status).inc(count)
        for status, total in totals.items():
            self._jobs.labels(status).set(total)

    def set_doorbell(self, *, is_up: bool, losses: int) -> None:
        """Show whether the process hears rings, and how often it lost its connection."""
        self._doorbell_up.set(is_up)
        self._doorbell_losses.set(losses)

    def set_projections(self, standings: Iterable[Standing]) -> None:
        """Show how the asynchronous projections stand to the log."""
        for one in standings:
            self._lag_events.labels(one.name).set(one.lag_events)
            self._lag_seconds.labels(one.name).set(one.lag_seconds)
            self._followed.labels(one.name).set(one.is_followed)
            self._stopped.labels(one.name).set(one.stopped_position is not None)

    def text(self) -> bytes:
        """Return all of it in the Prometheus text format."""
        return generate_latest(self._registry)
