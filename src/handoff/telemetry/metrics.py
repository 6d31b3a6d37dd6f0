"""The metrics: what the service tells its meter, kept for Prometheus. `docs/operations.md` lists them."""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from handoff.domain.refusals import Refusal
from handoff.domain.retry import Attempt, DeadReason, ErrorClass
from handoff.service.meter import Part
from handoff.service.ports import Clock
from handoff.telemetry.depth import DepthWatch

# An answered call is one of these; `error` is a mistake of ours, `disconnected` a caller who left.
CODES: Final = ("transferred", "dry_run", *(refusal.code for refusal in Refusal), "disconnected", "error")
_OTHER_STATUS: Final = "other"
CLASSES: Final = ("2xx", "3xx", "4xx", "5xx", _OTHER_STATUS, *(error.value for error in ErrorClass))
_PARTS: Final[tuple[Part, ...]] = ("transfers", "outbox", "feed", "tokens", "rates")

# From a commit on a good disk to the longest that a request may wait, in seconds.
_REQUEST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
# From a receiver next door to the longest time-out in use, in seconds.
_ATTEMPT_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)
_BATCH_REQUESTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096)


class Metrics:
    """See `handoff.service.meter.Meter`. Every labelled series exists, at 0, from the start."""

    def __init__(self, watch: DepthWatch, clock: Clock) -> None:
        self._registry = CollectorRegistry()
        self._add_requests()
        self._add_callbacks()
        self._event_streams = Gauge(
            "handoff_event_streams", "Streams of events that this process serves.", registry=self._registry
        )
        self._registry.register(_Outbox(watch, clock))

    def _add_requests(self) -> None:
        requests = Counter("handoff_requests", "Assignment calls, by outcome.", ["code"], registry=self._registry)
        self._requests = {code: requests.labels(code) for code in CODES}
        self._request_duration = self._histogram(
            "handoff_request_duration_seconds", "From an assignment call's head to its answer.", _REQUEST_S
        )
        self._queue_wait = self._histogram(
            "handoff_queue_wait_seconds", "Time that an assignment call waited for its batch to begin.", _REQUEST_S
        )
        self._batch_requests = self._histogram(
            "handoff_batch_requests", "Assignment calls written in one transaction.", _BATCH_REQUESTS
        )
        self._commit_duration = self._histogram(
            "handoff_commit_duration_seconds", "From handing a batch to the store's thread to its results.", _REQUEST_S
        )
        self._cut_short = Counter(
            "handoff_batches_cut_short", "Batches broken off because they took too long.", registry=self._registry
        )
        failures = Counter(
            "handoff_store_errors", "Steps that the store did not do, by part.", ["part"], registry=self._registry
        )
        self._store_errors = {part: failures.labels(part) for part in _PARTS}

    def _add_callbacks(self) -> None:
        attempts = Counter(
            "handoff_callback_attempts",
            "Attempts at callbacks, by class of status or of error.",
            ["class"],
            registry=self._registry,
        )
        self._attempts = {name: attempts.labels(name) for name in CLASSES}
        self._attempt_duration = self._histogram(
            "handoff_callback_attempt_duration_seconds", "Time that an attempt took.", _ATTEMPT_S
        )
        dead = Counter("handoff_callbacks_dead", "Callbacks given up, by reason.", ["reason"], registry=self._registry)
        self._dead = {reason: dead.labels(reason.value) for reason in DeadReason}
        self._claim_duration = self._histogram(
            "handoff_claim_duration_seconds", "Time that a look for due callbacks took in the store.", _REQUEST_S
        )
        self._in_flight = Gauge(
            "handoff_callbacks_in_flight", "Callbacks being posted by this process.", registry=self._registry
        )
        self._open_lanes = Gauge(
            "handoff_open_lanes", "Receivers that this process's breaker holds back.", registry=self._registry
        )

    def _histogram(self, name: str, told: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, told, buckets=buckets, registry=self._registry)

    def answered(self, code: str, seconds: float) -> None:
        """Count the call under its code."""
        self._requests.get(code, self._requests["error"]).inc()
        self._request_duration.observe(seconds)

    def committed(self, waits: Sequence[float], seconds: float) -> None:
        """Observe the batch."""
        for wait in waits:
            self._queue_wait.observe(wait)
        self._batch_requests.observe(len(waits))
        self._commit_duration.observe(seconds)

    def cut_short(self) -> None:
        """Count the batch."""
        self._cut_short.inc()

    def claimed(self, seconds: float) -> None:
        """Observe the claim."""
        self._claim_duration.observe(seconds)

    def attempted(self, attempt: Attempt) -> None:
        """Count the attempt under its class."""
        self._attempts[_class_of(attempt)].inc()
        self._attempt_duration.observe(attempt.duration_ms / 1_000)

    def died(self, reason: DeadReason, count: int = 1) -> None:
        """Count the callbacks under their reason."""
        self._dead[reason].inc(count)

    def under_way(self, *, in_flight: int, open_lanes: int) -> None:
        """Keep the newest numbers."""
        self._in_flight.set(in_flight)
        self._open_lanes.set(open_lanes)

    def streaming(self, streams: int) -> None:
        """Keep the newest number."""
        self._event_streams.set(streams)

    def store_failed(self, part: Part) -> None:
        """Count the failure."""
        self._store_errors[part].inc()

    def collect(self) -> Iterator[Metric]:
        """Every metric as it stands, without the library's further series that tell when each one was made."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric

    def render(self) -> bytes:
        """Prometheus' text format, version 0.0.4."""
        return generate_latest(self)


def _class_of(attempt: Attempt) -> str:
    if attempt.error is not None:
        return attempt.error.value
    name = f"{(attempt.status or 0) // 100}xx"
    return name if name in CLASSES else _OTHER_STATUS


class _Outbox(Collector):
    """What the store tells of the outbox, asked when somebody scrapes. Where it tells nothing, neither do we."""

    def __init__(self, watch: DepthWatch, clock: Clock) -> None:
        self._watch = watch
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        depth = self._watch.depth()
        yield GaugeMetricFamily("handoff_store_up", "Whether the store answered just now.", int(depth is not None))
        if depth is not None:
            states = GaugeMetricFamily("handoff_outbox_callbacks", "Callbacks to deliver, by state.", labels=["state"])
            states.add_metric(["pending"], depth.pending)
            states.add_metric(["sending"], depth.sending)
            yield states
            yield GaugeMetricFamily(
                "handoff_outbox_oldest_due_age_seconds",
                "How long the pending callback that is due first has been due; 0 where none is.",
                max(0, self._clock.now_ms() - depth.oldest_due_at) / 1_000 if depth.oldest_due_at is not None else 0,
            )
