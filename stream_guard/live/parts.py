"""The real source and sink of a live stream, from what its settings say."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import cast

from ..media.live import Dial, LiveReader, LiveSink, LiveSource, LiveWriter, Tell, as_named, open_live
from .nowhere import Nowhere
from .spec import LiveSpec


def open_live_source(spec: LiveSpec, cancelled: threading.Event, dial: Dial = as_named) -> LiveReader:
    """One connection to the source; `cancelled` ends the wait for it. Raises SourceError, without secrets."""
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
        hwaccel=spec.pipeline.hwaccel,
        cancelled=cancelled,
        dial=dial,
    )


def make_live_sink(spec: LiveSpec, source: LiveReader, on_event: Tell, dial: Dial = as_named) -> LiveWriter:
    """One encode to all outputs and to the recording; nothing where there are none.

    Outputs that are away are tried again for ever.
    """
    if not spec.outputs and not spec.record:
        return Nowhere()
    opened = cast(LiveSource, source)
    made = LiveSink(
        opened,
        spec.outputs,
        replace(spec.encoder, hwaccel=opened.acceleration.used),
        record=spec.record,
        retry=replace(spec.backoff, attempts=0),
        on_event=on_event,
        dial=dial,
    )
    return cast(LiveWriter, made)
