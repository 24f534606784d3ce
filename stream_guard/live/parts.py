"""The real source and sink of a live stream, from what its settings say."""

from __future__ import annotations

from collections.abc import Callable

from ..media.live import LiveOutput, LiveReader, LiveWriter, Retry, open_live
from .spec import LiveSpec


def open_live_source(spec: LiveSpec) -> LiveReader:
    """One connection to the source. Raises SourceError, in words and without secrets."""
    limits = spec.limits
    return open_live(
        spec.source,
        options=dict(spec.source_options),
        open_timeout_seconds=spec.open_timeout_seconds,
        read_timeout_seconds=spec.read_timeout_seconds,
        stall_seconds=spec.stall_seconds,
        max_width=limits.width,
        max_height=limits.height,
        max_rate=limits.frame_rate,
    )


def make_live_sink(spec: LiveSpec, source: LiveReader, on_event: Callable[[str, str], None]) -> LiveWriter:
    """One encode to all outputs and to the recording. Outputs that are away are tried again for ever."""
    from ..media.live import LiveSink

    backoff = spec.backoff
    return LiveSink(
        source,
        [LiveOutput(output.url, output.format, output.options) for output in spec.outputs],
        spec.encoder,
        record=spec.record,
        retry=Retry(backoff.first_seconds, backoff.most_seconds, backoff.jitter),
        on_event=on_event,
    )
