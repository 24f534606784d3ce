"""Every metric: its name, labels and help, in one place. The registry is injected; nothing is global."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest, start_http_server
from prometheus_client.metrics_core import Metric as ClientMetric

from . import __version__
from .errors import UsageError

PREFIX = "stream_guard"
STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SCORE_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
JOB_BUCKETS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 3 * 3600.0, 12 * 3600.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as data: `kind` is a prometheus_client class; a counter's name gets its `_total` when exposed."""

    kind: Callable[..., Any]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] | None = None

    @property
    def exposed(self) -> str:
        """The name that a scrape shows."""
        suffix = "_total" if self.kind is Counter else "_info" if self.kind is Info else ""
        return f"{PREFIX}_{self.name}{suffix}"

    def create(self, registry: CollectorRegistry) -> Any:
        extra = {} if self.buckets is None else {"buckets": self.buckets}
        return self.kind(self.name, self.help, self.labels, namespace=PREFIX, registry=registry, **extra)


METRICS = (
    Metric(Info, "build", "Version of Stream Guard."),
    Metric(Info, "engine", "Engines that are loaded, one series a stage.", ("stage",)),
    Metric(Gauge, "engine_loaded", "1 while the stage's engine is loaded, 0 before and after.", ("stage",)),
    Metric(
        Gauge,
        "engine_state",
        "1 for the state that the stage's engine is in, 0 for the others: ready; building (a faster one is being "
        "compiled for this GPU, another backend works meanwhile); fallen_back (it failed and another took over).",
        ("stage", "state"),
    ),
    Metric(
        Counter,
        "engine_fallbacks",
        "Times that an engine's backend failed and the next one took over, without losing a picture, by reason: "
        "run_failed (the GPU was lost, or the backend raised), out_of_memory.",
        ("stage", "reason"),
    ),
    Metric(Gauge, "active_streams", "Streams that are being processed now."),
    Metric(Counter, "frames_in", "Pictures decoded from the source."),
    Metric(Counter, "frames_out", "Pictures handed to the encoder, replaced ones included."),
    Metric(Counter, "frames_without_face", "Pictures in which faces were looked for and none was found."),
    Metric(Counter, "faces", "Faces that left the stages, by what became of them; none of screening.", ("protection",)),
    Metric(
        Counter,
        "unprotected_frames",
        "Pictures that left with an unprotected face, by the reason of the first such face.",
        ("reason",),
    ),
    Metric(
        Counter,
        "blocked_frames",
        "Pictures replaced because a face in them could not be protected, by reason and by the policy applied.",
        ("reason", "policy"),
    ),
    Metric(
        Counter,
        "verdicts",
        "Verdicts of checking stages, one a picture and face (or one for a picture without a face), by label.",
        ("stage", "label"),
    ),
    Metric(
        Histogram,
        "verdict_score",
        "Scores of the verdicts in which something was measured, 0 to 1.",
        ("stage",),
        SCORE_BUCKETS,
    ),
    Metric(
        Histogram,
        "stage_duration_seconds",
        "Time of one picture in one stage; decode and encode count as stages.",
        ("stage",),
        STAGE_BUCKETS,
    ),
    Metric(
        Histogram,
        "frame_latency_seconds",
        "Time of one picture from the end of its decoding to the end of its encoding call.",
        (),
        LATENCY_BUCKETS,
    ),
    Metric(
        Gauge,
        "queue_frames",
        "Pictures that wait, by queue: decoded (for the stages), processed (for the encoder).",
        ("queue",),
    ),
    Metric(Counter, "source_corrupt_packets", "Packets of the source that were damaged or that its decoder refused."),
    Metric(Counter, "source_corrupt_frames", "Pictures that the decoder delivered with errors concealed."),
    Metric(Gauge, "source_missing_seconds", "Seconds by which the source ends before its own index says it does."),
    Metric(
        Counter, "dts_repaired", "Copied packets whose decoding time was repeated or ran backwards and was repaired."
    ),
    Metric(Counter, "packets_copied", "Packets of audio, subtitles and data copied unchanged."),
    Metric(Counter, "encoded_bytes", "Bytes written to the outputs and the recording."),
    Metric(
        Counter,
        "frames_dropped",
        "Pictures that did not leave, by reason: late (waited too long for the stages), stopped (still on the way when "
        "the stream ended), disordered (a time before what was written already), worker_died (in a worker that died).",
        ("reason",),
    ),
    Metric(Gauge, "frames_in_flight", "Pictures of live streams that were decoded and have not left yet."),
    Metric(Histogram, "frame_wait_seconds", "Time that one picture waited for the stages.", (), LATENCY_BUCKETS),
    Metric(Counter, "reconnects", "Connections to a live source after the first."),
    Metric(Counter, "source_gap_seconds", "Time without a live source, from its loss to the next picture."),
    Metric(Counter, "source_clock_jumps", "Jumps of a live source's clock that were joined."),
    Metric(Counter, "filled_frames", "Pictures shown while the live source was away; no other counter has them."),
    Metric(
        Gauge,
        "output_state",
        "1 for the state that an output of a live stream is in, 0 for the others; outputs are numbered from 0, and the "
        "recording is `record`.",
        ("output", "state"),
    ),
    Metric(Gauge, "stream_phase", "1 for the phase that a live stream is in, 0 for the others.", ("phase",)),
)
"""Those of one run, in the order of docs/metrics.md."""

DAEMON_METRICS = (
    METRICS[0],
    Metric(Gauge, "streams", "Live streams of the daemon, by phase.", ("phase",)),
    Metric(
        Counter,
        "worker_restarts",
        "Workers of live streams that were started again, by reason: crashed, failed, memory, stuck.",
        ("reason",),
    ),
    Metric(Counter, "streams_given_up", "Live streams that failed for good after their restarts were used up."),
    Metric(
        Counter,
        "admissions_refused",
        "Streams that were refused and starts of jobs that were put off, by reason: draining, streams, cpu, memory.",
        ("reason",),
    ),
    Metric(Gauge, "worker_processes", "Worker processes that run now, by kind.", ("kind",)),
    Metric(Gauge, "workers_memory_bytes", "Resident memory of all workers."),
    Metric(Gauge, "daemon_engine_state", "1 for the state that the engine is in, 0 for the others.", ("state",)),
    Metric(Gauge, "draining", "1 once the daemon has been asked to stop."),
    Metric(
        Gauge,
        "configuration_reload_success",
        "1 when the configuration file was taken over the last time that it changed, 0 when it was refused.",
    ),
    Metric(
        Gauge,
        "configuration_reload_success_timestamp_seconds",
        "Unix time at which a configuration was taken over last.",
    ),
    Metric(Counter, "jobs", "File jobs that ended, by outcome.", ("outcome",)),
    Metric(Gauge, "jobs_queued", "File jobs that wait for their turn."),
    Metric(Gauge, "jobs_running", "File jobs that run now."),
    Metric(Histogram, "job_duration_seconds", "Time of one attempt at a file job.", (), JOB_BUCKETS),
    Metric(
        Counter,
        "webhook_deliveries",
        "Attempts to tell a webhook, by what became of them: delivered, retried, given_up.",
        ("outcome",),
    ),
)
"""Those of the daemon itself; its page shows them beside the ones above, which get the label `stream` there."""


class Metrics:
    """The metrics registered in one registry: `metrics["frames_in"].inc()`."""

    def __init__(self, registry: CollectorRegistry | None = None, of: Iterable[Metric] = METRICS) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._made: dict[str, Any] = {m.name: m.create(self.registry) for m in of}
        self["build"].info({"version": __version__})

    def __getitem__(self, name: str) -> Any:
        return self._made[name]


Sample = tuple[str, dict[str, str], float]
"""One line of a scrape: its name with suffix, its labels, its value."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with its samples, as plain data. `name` is without `_total`; `kind` is counter, gauge, histogram..."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def families(registry: CollectorRegistry) -> list[Family]:
    """What the registry holds now. Times of creation are left out: they tell nothing across processes."""
    return [
        Family(m.name, m.type, m.documentation, tuple((s.name, dict(s.labels), s.value) for s in _lasting(m)))
        for m in registry.collect()
    ]


def _lasting(metric: ClientMetric) -> Iterator[Any]:
    return (sample for sample in metric.samples if not sample.name.endswith("_created"))


class _Shown:
    """Families as the client library's collector."""

    def __init__(self, shown: Iterable[Family]) -> None:
        self._shown = shown

    def collect(self) -> Iterable[ClientMetric]:
        for family in self._shown:
            metric = ClientMetric(family.name, family.help, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, labels, value)
            yield metric


def expose(shown: Iterable[Family]) -> bytes:
    """The families in Prometheus' text format."""
    return generate_latest(_Shown(shown))


class MetricsServer:
    """Serves one registry over HTTP at /metrics, on a thread of its own, until it is closed."""

    def __init__(self, registry: CollectorRegistry, port: int, address: str) -> None:
        self._server, self._thread = start_http_server(port, address, registry)
        self.port: int = self._server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(registry: CollectorRegistry, port: int, address: str = "127.0.0.1") -> MetricsServer:
    """Start serving; port 0 takes a free one. Raises UsageError when the port cannot be had."""
    try:
        return MetricsServer(registry, port, address)
    except (OSError, OverflowError) as exc:
        raise UsageError(
            f"metrics cannot be served on {address}:{port}: {getattr(exc, 'strerror', None) or exc}; "
            "choose another --metrics-port or --metrics-address"
        ) from exc


def table(of: Iterable[Metric] = METRICS) -> str:
    """A table of docs/metrics.md, in Markdown."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in of:
        kind = "gauge" if metric.kind is Info else getattr(metric.kind, "__name__", "").lower()
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
        rows.append(f"| `{metric.exposed}` | {kind} | {labels} | {metric.help} |")
    return "\n".join(rows) + "\n"
