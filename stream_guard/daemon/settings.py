"""The daemon's one YAML file as checked settings. `docs/daemon.md` is generated from the descriptions here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Names of streams and jobs: they become metric labels, file names and paths of the API."""


Number = Annotated[float, Field(le=1e9)]
"""Seconds, days or pictures: clocks, and the kernel's limits, cannot hold all that a float can."""


class Section(BaseModel):
    """A part of the file. Unknown keys and infinite numbers are refused; errors do not repeat what was given."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class Tls(Section):
    certificate: str = Field(description="PEM file with the certificate chain")
    key: str = Field(description="PEM file with the private key")


class Token(Section):
    name: str = Field(pattern=NAME, description="Who this is, for the log; the token itself is never printed")
    role: Literal["read", "write"] = Field(description="read looks; write also starts, changes and stops")
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        repr=False,  # it may be the token itself, by mistake
        description="SHA-256 of the token, in hex (printf %s TOKEN | sha256sum)",
    )


class Http(Section):
    address: str = Field("127.0.0.1", description="Address to listen on; anything but loopback needs tokens")
    port: int = Field(8642, ge=0, le=65535, description="Port; 0 takes a free one and prints it")
    tokens: tuple[Token, ...] = Field((), description="Bearer tokens; none is allowed on loopback only")
    tls: Tls | None = Field(None, description="Serve HTTPS with this certificate")
    max_body_bytes: int = Field(65536, ge=1024, description="Largest request body")
    max_requests: int = Field(64, ge=1, description="Requests answered at once; more get 503")


class Urls(Section):
    """What sources, outputs and webhooks may name."""

    schemes: tuple[str, ...] = Field(
        ("rtmp", "rtmps", "rtsp", "rtsps", "http", "https", "udp", "srt"), description="Schemes that may be named"
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Hosts allowed: names, patterns (*.example.org: public only), addresses and networks (10.0.0.0/8), "
        "each with :port if wished; empty: any public one. A name's addresses are checked at every connection, which "
        "goes to what passed; FFmpeg looks a name up once more for rtsps and where it is listed here in full",
    )
    paths: tuple[str, ...] = Field((), description="URL paths allowed, as patterns in which * is anything; empty: any")
    file_roots: tuple[str, ...] = Field((), description="Folders in which files may be read and written; empty: none")


class LimitSettings(Section):
    width: int = Field(3840, ge=0, description="Widest picture; 0: no limit")
    height: int = Field(2160, ge=0, description="Highest picture; 0: no limit")
    frame_rate: Number = Field(120.0, ge=0, description="Most pictures a second; 0: no limit")
    duration: Number = Field(0.0, ge=0, description="Longest run in seconds; 0: no limit")
    memory: int = Field(2 * 1024**3, ge=0, description="Resident bytes of one worker; 0: no limit")
    cpu: Number = Field(0.0, ge=0, description="CPU seconds of one worker; 0: no limit")


class EncoderChoice(Section):
    codec: str | None = Field(None, description="Video encoder; the output's usual one")
    preset: str | None = Field(None, description="The encoder's preset")
    crf: float | None = Field(None, description="Quality, lower is better; excludes bit_rate")
    bit_rate: int | None = Field(None, gt=0, description="Bits a second")
    gop: int | None = Field(None, gt=0, description="Longest distance of key frames, in frames")


class BackoffSettings(Section):
    first: Number = Field(0.5, gt=0, description="Seconds before the first new attempt")
    most: Number = Field(30.0, gt=0, description="Longest wait in seconds")
    jitter: Number = Field(0.5, ge=0, le=1, description="Share of the wait that chance may take off")
    attempts: int = Field(0, ge=0, description="Attempts in a row without a picture before giving up; 0: never")


class StreamDefaults(Section):
    """All that a stream may set; the same keys under `defaults` hold for every stream."""

    pipeline: str = Field("live", description="A bundled pipeline's name or the path of a .yaml file")
    options: dict[str, str | int | float | bool] = Field(
        {}, description="Stage options laid over the pipeline, such as disrupt.strength: 1.25"
    )
    encoder: EncoderChoice = Field(EncoderChoice(), description="How the output is encoded")
    source_options: dict[str, str] = Field(
        {},
        description="FFmpeg options of the source, such as rtsp_transport: tcp; for RTMP not timeout: see read_timeout",
    )
    on_failure: Literal["block", "black", "pass", "disconnect"] = Field(
        "block", description="What becomes of a picture with a face that could not be protected"
    )
    on_gap: Literal["slate", "freeze", "close"] = Field("slate", description="What is shown while the source is away")
    open_timeout: Number = Field(10.0, gt=0, description="Seconds to open the source")
    read_timeout: Number = Field(10.0, gt=0, description="Seconds that one read may take")
    stall: Number = Field(5.0, gt=0, description="Seconds without a new picture that count as a failure")
    max_delay: Number = Field(0.5, gt=0, description="A picture that waited longer is dropped before the disrupter")
    end_after_gap: Number = Field(
        0.0, ge=0, description="End the stream when the source was away this long, in seconds; 0: never"
    )
    backoff: BackoffSettings = Field(BackoffSettings(), description="Waits between attempts to reconnect")
    limits: LimitSettings = Field(LimitSettings(), description="What the source and the worker may take")
    restarts: int = Field(5, ge=0, description="Restarts of a crashed worker within `restart_window` before giving up")
    restart_window: Number = Field(300.0, gt=0, description="Seconds over which restarts are counted")


class OutputSettings(Section):
    url: str = Field(min_length=1, repr=False, description="Where to push to; may hold a stream key, never printed")
    format: str = Field("", description="FFmpeg's muxer; empty: what the URL implies")
    options: dict[str, str] = Field({}, description="The muxer's options")


class StreamSettings(StreamDefaults):
    name: str = Field(pattern=NAME, description="Unique name: label, path of the API, part of file names")
    source: str = Field(min_length=1, repr=False, description="Where to pull from")
    outputs: tuple[OutputSettings, ...] = Field((), description="Where to push to, from one encode")
    record: str = Field("", description="File, below a file root, that also receives the stream")
    screen: bool = Field(False, description="Only look: run the screening pipeline; excludes outputs and record")


class JobSettings(Section):
    """One file job, as posted to /v1/jobs."""

    source: str = Field(min_length=1, description="File below a file root")
    output: str = Field("", description="File below a file root; empty for kind screen")
    kind: Literal["protect", "screen"] = Field("protect", description="What to do with the file")
    pipeline: str = Field("", description="A bundled pipeline's name or a path; empty: protect or screen")
    options: dict[str, str | int | float | bool] = Field({}, description="Stage options laid over the pipeline")
    encoder: EncoderChoice = Field(EncoderChoice(), description="How the output is encoded")
    priority: int = Field(0, ge=-100, le=100, description="Higher runs first")
    retries: int = Field(2, ge=0, le=20, description="New attempts after a failure that may pass")
    overwrite: bool = Field(False, description="Replace the output if it exists")
    webhook: str = Field("", repr=False, description="URL that is told the outcome, signed with HMAC-SHA256")
    webhook_on: Literal["end", "attempts"] = Field(
        "end", description="When the URL is told: at the job's end, or also after each failed attempt"
    )
    limits: LimitSettings = Field(LimitSettings(), description="What the source and the worker may take")


class JobsSection(Section):
    database: str = Field("", description="SQLite file of the queue; empty: `state_dir`/jobs.sqlite3")
    workers: int = Field(1, ge=0, le=64, description="Jobs that run at once")
    segment_seconds: Number = Field(10.0, gt=0, description="A job can resume at the last whole segment of this length")
    keep_days: Number = Field(30.0, ge=0, description="Ended jobs are forgotten after this; 0: never")
    webhook_secret: str = Field("", repr=False, description="Key of the webhooks' signatures; empty sends none")


class HookSettings(Section):
    """How a media server's publishers become protected streams."""

    dialect: Literal["nginx-rtmp", "mediamtx", "srs", "ovenmediaengine"] = Field(description="Whose hooks these are")
    application: str = Field("live", description="The application (first part of the path) that publishers use")
    source: str = Field(
        description="URL pattern to pull from, with {app}, {name} and {query}, such as rtmp://127.0.0.1/{app}/{name}"
    )
    outputs: tuple[OutputSettings, ...] = Field(
        (), description="URL patterns to push to, such as rtmp://127.0.0.1/protected/{name}"
    )
    secret: str = Field(
        "", repr=False, description="OvenMediaEngine's HMAC key; for others, ?secret= of the hook's URL"
    )
    publish_token: str = Field("", repr=False, description="Publishers must give ?token= this; empty: anyone may")
    redirect: str = Field("", description="URL pattern to which nginx-rtmp or OvenMediaEngine sends the publisher")
    screen: Literal["off", "allow", "reject", "route"] = Field(
        "off", description="Screen what is published; what becomes of rejected content"
    )
    stream: StreamDefaults = Field(StreamDefaults(), description="Settings of the streams that this hook starts")


class AdmissionSettings(Section):
    max_streams: int = Field(0, ge=0, description="Most live streams at once; 0: by measured headroom alone")
    cpu_headroom: Number = Field(0.1, ge=0, lt=1, description="Share of all CPU time that must stay free")
    memory_headroom: int = Field(512 * 1024**2, ge=0, description="Bytes of memory that must stay free")


class MetricsSection(Section):
    stream_label: bool = Field(True, description="Label series with the stream's name; off adds all streams up")
    max_streams: int = Field(
        200, ge=1, description="Streams beyond this share the label `other`; one that is gone makes room after a minute"
    )
    tracing: str = Field(
        "",
        repr=False,
        description="OTLP/HTTP endpoint for OpenTelemetry traces, such as http://127.0.0.1:4318 (extra `otel`): a "
        "picture a second with its stages, connections and gaps, jobs and segments; empty: none. Workers take it when "
        "they start; keys go into OTEL_EXPORTER_OTLP_HEADERS",
    )


class DaemonSettings(Section):
    """The whole file."""

    state_dir: str = Field(
        "",
        description="Where the job queue and unfinished segments are kept; empty: systemd's state folder, "
        "/var/lib/stream-guard for root, ~/.local/state/stream-guard for others",
    )
    http: Http = Field(Http(), description="API, page and metrics")
    urls: Urls = Field(Urls(), description="What may be pulled from and pushed to")
    defaults: StreamDefaults = Field(StreamDefaults(), description="Defaults of every stream")
    streams: tuple[StreamSettings, ...] = Field((), description="Streams that are kept running")
    hooks: dict[str, HookSettings] = Field({}, description="Ingest hooks by name, served at /hooks/NAME")
    jobs: JobsSection = Field(JobsSection(), description="File jobs")
    admission: AdmissionSettings = Field(AdmissionSettings(), description="When new work is refused")
    metrics: MetricsSection = Field(MetricsSection(), description="What Prometheus sees")
    drain_seconds: Number = Field(20.0, gt=0, description="How long a stop may take before workers are killed")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged")
    _variables: frozenset[str] = PrivateAttr(frozenset())

    @property
    def variables(self) -> frozenset[str]:
        """Names of the environment's variables that stand in the file's texts as ${NAME}."""
        return self._variables

    def naming(self, variables: frozenset[str]) -> DaemonSettings:
        """The same settings, with these variables in their texts."""
        made = self.model_copy()
        made._variables = variables
        return made
