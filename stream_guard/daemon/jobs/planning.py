"""From a job's settings to what runs. The queue asks too, to refuse at once what can never run."""

from __future__ import annotations

import hashlib
import json
import os

from ...config import Override, PipelineConfig, load_pipeline
from ...errors import ConfigError
from ...media import EncoderSettings
from ...media.containers import container_for
from ...media.settings import check_settings
from ..settings import JobSettings
from ..specs import unprotecting

LEFT_OUT = {"priority", "retries", "webhook", "webhook_on", "overwrite", "limits"}
"""Settings that change nothing of the result."""


def pipeline_of(settings: JobSettings) -> PipelineConfig:
    """Raises ConfigError and UnknownNameError; also for a pipeline that does not fit the kind."""
    overrides = [Override(key, value, f"options: {key}") for key, value in settings.options.items()]
    config = load_pipeline(settings.pipeline or settings.kind, overrides)
    if settings.kind == "protect":
        unprotecting(config)
    return config


def encoder_of(settings: JobSettings) -> EncoderSettings:
    """Raises ConfigError for values that exclude one another."""
    chosen = settings.encoder
    return EncoderSettings(
        codec=chosen.codec, preset=chosen.preset, crf=chosen.crf, bit_rate=chosen.bit_rate, gop=chosen.gop
    )


def check_job(settings: JobSettings) -> None:
    """Raises ConfigError, UsageError or UnknownNameError for a job that could never run."""
    pipeline_of(settings)
    encoder = encoder_of(settings)
    if settings.kind == "screen":
        if settings.output:
            raise ConfigError("a job of kind screen writes no file; leave output out")
        return
    if not settings.output:
        raise ConfigError("a job of kind protect needs an output; name the file to write")
    usual = container_for(settings.output).video
    if encoder.codec is not None or usual != "libvpx-vp9":  # There the source's depth may choose another encoder.
        check_settings(encoder, usual)
    if os.path.realpath(settings.output) == os.path.realpath(settings.source):
        raise ConfigError("the output is the input itself; name another file")


def settings_hash(settings: JobSettings, *, result_only: bool = False) -> str:
    """SHA-256 of the settings; with `result_only` of those that the result depends on."""
    data = settings.model_dump(mode="json", exclude=LEFT_OUT if result_only else None)
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
