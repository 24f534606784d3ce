"""From checked settings to what a worker runs. The supervisor builds them too, to refuse what cannot be built."""

from __future__ import annotations

from ..backoff import Backoff
from ..config import OnFailure, Override, PipelineConfig, load_pipeline
from ..errors import ConfigError
from ..live.spec import Limits, LiveSpec, OnGap
from ..media import EncoderSettings, LiveOutput
from .settings import EncoderChoice, StreamDefaults, StreamSettings


def pipeline_config(settings: StreamDefaults) -> PipelineConfig:
    """The pipeline with the settings' options laid over it. Raises ConfigError, UnknownNameError."""
    overrides = [Override(key, value, f"options: {key}") for key, value in settings.options.items()]
    return load_pipeline(settings.pipeline, overrides)


def unprotecting(config: PipelineConfig, instead: str = "add the stage disrupt") -> str:
    """What to say of a pipeline that changes faces without protecting them, as one that restores; else empty.

    Raises ConfigError for one that changes none, with what to do `instead`.
    """
    if config.protects:
        return ""
    words = f"the pipeline {config.name!r} protects no face (its stages: {', '.join(s.name for s in config.stages)})"
    if not any(spec.factory.changes(spec.options) for spec in config.stages):
        raise ConfigError(f"{words}; {instead}")
    return f"{words}: what is written is not protected"


def encoder_settings(choice: EncoderChoice) -> EncoderSettings:
    return EncoderSettings(
        codec=choice.codec, preset=choice.preset, crf=choice.crf, bit_rate=choice.bit_rate, gop=choice.gop
    )


def live_spec(settings: StreamSettings) -> LiveSpec:
    """Raises ConfigError for the pipeline and for encoder settings that exclude another, UnknownNameError.

    A stream that only looks writes nothing, whatever its settings say: what it would write is not protected.
    """
    outputs = () if settings.screen else settings.outputs
    return LiveSpec(
        name=settings.name,
        source=settings.source,
        outputs=tuple(LiveOutput(o.url, o.format, tuple(o.options.items())) for o in outputs),
        pipeline=pipeline_config(settings),
        encoder=encoder_settings(settings.encoder),
        source_options=tuple(settings.source_options.items()),
        record="" if settings.screen else settings.record,
        on_failure=OnFailure(settings.on_failure),
        on_gap=OnGap(settings.on_gap),
        open_timeout_seconds=settings.open_timeout,
        read_timeout_seconds=settings.read_timeout,
        stall_seconds=settings.stall,
        max_delay_seconds=settings.max_delay,
        end_after_gap_seconds=settings.end_after_gap,
        backoff=_backoff(settings),
        limits=_limits(settings),
    )


def _backoff(settings: StreamSettings) -> Backoff:
    chosen = settings.backoff
    return Backoff(chosen.first, chosen.most, chosen.jitter, chosen.attempts)


def _limits(settings: StreamSettings) -> Limits:
    """Without that on memory: the supervisor watches it, and starts the stream again where it is exceeded."""
    chosen = settings.limits
    return Limits(chosen.width, chosen.height, chosen.frame_rate, chosen.duration, 0, chosen.cpu)
