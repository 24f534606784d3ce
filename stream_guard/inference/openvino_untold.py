"""OpenVINO without its telemetry.

Each import of it is told to Google Analytics, by a process that it forks, with our signal handlers, where its package
for that is found; its own stand-in serves where it is not.
"""

from __future__ import annotations

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: there is no such module

import openvino  # noqa: E402

__all__ = ["openvino"]
