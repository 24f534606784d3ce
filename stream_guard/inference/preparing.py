"""What `auto` does about TensorRT's plan: nothing where it is there, a build in the background where it is not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ..errors import EngineError
from .builder import Progress
from .session import Session
from .standby import Prepare

_log = logging.getLogger(__name__)


def preparation(model: bytes) -> Prepare | None:
    """How to come by a TensorRT session; None where one can be opened at once, or never (opening it then says why)."""
    try:
        from . import tensorrt_session
    except Exception as error:  # the package is there, a library that it needs is not, or is another's
        _log.warning("TensorRT is installed but can't be loaded: %s", error)
        return None
    try:
        if tensorrt_session.ready_plan(model) is not None:
            return None
    except EngineError as error:
        _log.info("TensorRT can't take the engine: %s", error)
        return None

    def prepare(watch: Callable[[Progress], None], stop: threading.Event) -> Session:
        return tensorrt_session.TensorRtSession.of_plan(tensorrt_session.built_plan(model, watch, stop), model)

    return prepare
