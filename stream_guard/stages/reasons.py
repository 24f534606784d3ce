"""Why a face or a verdict falls short, in words that several stages share. They are metric labels."""

from __future__ import annotations

NO_FACE = "no_face"
TOO_SMALL = "too_small"
UNSUPPORTED = "unsupported_pixel_format"
ENGINE_MISSING = "engine_missing"
ENGINE_FAILED = "engine_failed"
NO_CHANGE = "no_change"
