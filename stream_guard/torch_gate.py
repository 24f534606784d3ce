"""The one door to torch, which the runtime does without: it is imported when something on a GPU asks for it.

torch is loaded by name, so that nothing else of the runtime may (`tests/test_imports.py`); what comes back is untyped.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .errors import EngineError

Tensor = Any
"""A `torch.Tensor`; torch's own types are not named in the runtime."""


@lru_cache(maxsize=1)
def load_torch() -> Any:
    """The module `torch`. Raises EngineError where it is not installed or cannot be loaded."""
    if find_spec("torch") is None:
        raise EngineError("this needs the package 'torch', which is not installed; install it from pytorch.org")
    try:
        return import_module("torch")
    except (ImportError, OSError) as error:  # OSError: a shared library of another version
        raise EngineError(f"the package 'torch' is installed but can't be loaded: {error}") from error


def cuda_trouble() -> str:
    """Why torch can't compute on a CUDA device here, in words; empty where it can."""
    try:
        torch = load_torch()
    except EngineError as error:
        return str(error)
    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} was built without CUDA"
    try:
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    except RuntimeError as error:  # a driver that is older than the runtime
        return str(error).splitlines()[0]
    return "" if found else "torch finds no CUDA device"
