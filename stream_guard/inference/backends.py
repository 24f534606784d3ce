"""The backends there are, as data, and the one way to open a session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ..errors import EngineError, UnknownNameError
from .card import Card
from .reshaping import with_input_shapes
from .session import Session
from .zoo import find_engine

AUTO = "auto"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backend:
    """One inference package: what to import, what to install where it is missing, and the class behind it."""

    name: str
    package: str
    install: str
    description: str
    module: str
    session: str

    @property
    def installed(self) -> bool:
        return find_spec(self.package) is not None

    def load(self) -> Callable[[bytes, int], Session]:
        """The session's class. Raises EngineError naming the extra where the package is missing."""
        if not self.installed:
            raise EngineError(
                f"the backend {self.name!r} needs the package {self.package!r}, which is not installed; "
                f"install it with: {self.install}"
            )
        factory: Callable[[bytes, int], Session] = getattr(import_module(self.module, __package__), self.session)
        return factory


# In the order in which `auto` tries them: OpenVINO runs these small networks about twice as fast.
BACKENDS: tuple[Backend, ...] = (
    Backend(
        "openvino",
        "openvino",
        "pip install 'stream-guard[openvino]'",
        "Intel's runtime for processors, also fast on AMD",
        ".openvino_session",
        "OpenVinoSession",
    ),
    Backend(
        "onnxruntime",
        "onnxruntime",
        "pip install onnxruntime",
        "ONNX Runtime on the processor, always there",
        ".onnxruntime_session",
        "OnnxRuntimeSession",
    ),
)


def backend_names() -> list[str]:
    return [AUTO, *(backend.name for backend in BACKENDS)]


def open_session(
    engine: Card | Path | str | bytes,
    backend: str = AUTO,
    *,
    threads: int = 1,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Session:
    """Load an engine: its card, a name or path that `find_engine` takes, a bare .onnx file or a model's bytes.

    `shapes` restates the shape of an input (-1: any size) where the model's file is needlessly narrow. `auto` takes the
    first backend that is installed and loads the model. Raises EngineError for a model that is missing, not the one on
    its card or does not load, and for a package that is not installed; UnknownNameError for an unknown backend.
    """
    if backend not in backend_names():
        raise UnknownNameError("backend", backend, backend_names())
    model = _model_of(engine)
    if shapes is not None:
        model = with_input_shapes(model, shapes)
    if backend != AUTO:
        return _named(backend).load()(model, threads)
    return _first_that_loads(model, threads)


def _named(name: str) -> Backend:
    return next(backend for backend in BACKENDS if backend.name == name)


def _first_that_loads(model: bytes, threads: int) -> Session:
    failures = []
    for backend in (b for b in BACKENDS if b.installed):
        try:
            return backend.load()(model, threads)
        except (EngineError, ImportError) as error:
            _log.info("backend %s can't take the engine: %s", backend.name, error)
            failures.append(f"{backend.name}: {error}")
    raise EngineError("no backend can load the engine. " + " | ".join(failures or ["none is installed"]))


def _model_of(engine: Card | Path | str | bytes) -> bytes:
    if isinstance(engine, bytes):
        return engine
    if isinstance(engine, Card):
        return engine.read_model()
    path = Path(engine)
    if path.suffix != ".onnx" or (path.parent / "card.toml").exists():
        return find_engine(engine).read_model()
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"can't read the model {path}: {error.strerror or error}") from error
