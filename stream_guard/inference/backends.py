"""The backends there are, as data, and the one way to open a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ..errors import EngineError, UnknownNameError
from .card import Card
from .gpu import gpu_missing
from .reshaping import with_input_shapes
from .session import Session
from .standby import Choice, StandbySession, first_open
from .zoo import find_engine

AUTO = "auto"


def _nothing() -> str:
    return ""


def _no_cuda_provider() -> str:
    """The GPU first: where there is none, ONNX Runtime need not be loaded to know."""
    if missing := gpu_missing():
        return missing
    from .onnxruntime_cuda_session import provider_missing

    return provider_missing()


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run engines: what to import, what to install where it is missing, and the class behind it.

    `lacks` says what else is missing here, such as a GPU; `auto_lacks` why `auto` leaves it out though it would work.
    """

    name: str
    package: str
    install: str
    description: str
    module: str
    session: str
    needs: tuple[str, ...] = ()
    lacks: Callable[[], str] = _nothing
    auto_lacks: Callable[[], str] = _nothing
    on_gpu: bool = False
    tolerance: str = "fp32"
    """The precision that it runs in, and by which its outputs are judged (`precision.TOLERANCES`)."""

    @property
    def installed(self) -> bool:
        return not self._missing()

    def why_not(self) -> str:
        """Why it can't be used here; empty where it can."""
        missing = self._missing()
        if missing:
            return f"needs the package {missing!r}, which is not installed; install it with: {self.install}"
        lacking = self.lacks()
        return f"can't be used here: {lacking}" if lacking else ""

    def load(self) -> Callable[[bytes, int], Session]:
        """The session's class. Raises EngineError saying what is missing, and how it is installed."""
        why = self.why_not()
        if why:
            raise EngineError(f"the backend {self.name!r} {why}")
        factory: Callable[[bytes, int], Session] = getattr(import_module(self.module, __package__), self.session)
        return factory

    def _missing(self) -> str:
        return next((name for name in (self.package, *self.needs) if not _there(name)), "")


def _there(package: str) -> bool:
    """Whether a package is installed, without importing it (but for the parents of a dotted name)."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # its parent is not there either
        return False


# In the order in which `auto` tries them: a GPU first where one can really be used, then OpenVINO, which runs these
# small networks about twice as fast as ONNX Runtime.
BACKENDS: tuple[Backend, ...] = (
    Backend(
        "tensorrt",
        "tensorrt",
        "pip install 'stream-guard[tensorrt]'",
        "NVIDIA's compiler, fastest on a GPU; half precision",
        ".tensorrt_session",
        "TensorRtSession",
        needs=("cuda.bindings",),
        lacks=gpu_missing,
        on_gpu=True,
        tolerance="fp16",
    ),
    Backend(
        "onnxruntime-cuda",
        "onnxruntime",
        "pip install onnxruntime-gpu",
        "ONNX Runtime on an NVIDIA GPU",
        ".onnxruntime_cuda_session",
        "OnnxRuntimeCudaSession",
        lacks=_no_cuda_provider,
        on_gpu=True,
    ),
    Backend(
        "torch",
        "torch",
        "pip install torch",
        "PyTorch, in half precision on a GPU; slow on a processor",
        ".torch_session",
        "TorchSession",
        auto_lacks=gpu_missing,
        on_gpu=True,
        tolerance="fp16",
    ),
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


def backend_words() -> str:
    """What an option that takes a backend says of itself."""
    *names, last = backend_names()
    return f"inference backend: {', '.join(names)} or {last}; auto takes a GPU where there is one"


def open_session(
    engine: Card | Path | str | bytes,
    backend: str = AUTO,
    *,
    threads: int = 1,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    finite: bool = False,
) -> Session:
    """Load an engine: its card, a name or path that `find_engine` takes, a bare .onnx file or a model's bytes.

    `shapes` restates the shape of an input (-1: any size) where the model's file is needlessly narrow. A named backend
    is used and no other; where it has to build a plan first, this waits for it. `auto` takes the first that can be
    used here and loads the model, and moves to the next when one fails in use (`standby.StandbySession`), or, with
    `finite`, gives NaN or infinity; of a backend that is alone the caller checks that itself (`check_finite`). Raises
    EngineError for a model that is missing, not the one on its card or does not load, and for a backend that can't be
    used here, saying why; UnknownNameError for an unknown backend.
    """
    if backend not in backend_names():
        raise UnknownNameError("backend", backend, backend_names())
    model = _model_of(engine)
    if shapes is not None:
        model = with_input_shapes(model, shapes)
    if backend != AUTO:
        return _named(backend).load()(model, threads)
    return _first_that_loads(model, threads, finite)


def _named(name: str) -> Backend:
    return next(backend for backend in BACKENDS if backend.name == name)


def usable_backends() -> list[Backend]:
    """Those that `auto` may take here, in its order."""
    return [backend for backend in BACKENDS if not (backend.why_not() or backend.auto_lacks())]


def _first_that_loads(model: bytes, threads: int, finite: bool) -> Session:
    """Without a GPU the session itself: there is nothing to stand by for, and it costs nothing more than before."""
    usable = usable_backends()
    choices = [Choice(backend.name, partial(_opened, backend, model, threads)) for backend in usable]
    prepare = None
    if usable and usable[0].name == "tensorrt":
        from .preparing import preparation

        prepare = preparation(model)
        if prepare is not None:  # no plan yet: begin with the next
            choices = choices[1:]
    if any(backend.on_gpu for backend in usable):
        return StandbySession(choices, "tensorrt", prepare, finite)
    return first_open(choices)[1]


def _opened(backend: Backend, model: bytes, threads: int) -> Session:
    return backend.load()(model, threads)


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
