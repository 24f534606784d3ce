"""`python -m tests.support.build_slowly CACHE`: builds a plan with fake_gpu on the path, printing each phase."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from stream_guard.inference.builder import build
from stream_guard.inference.plans import PlanCache
from stream_guard.inference.tensorrt_session import order_for

from .engines import disrupter_model

order = order_for(disrupter_model("follows", 16, 8), "fp16")
build(order, PlanCache(Path(sys.argv[1])), lambda progress: print(progress.phase, flush=True), threading.Event())
