"""`stream-guard engines build`: compile an engine for the GPU that is here, before a stream needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EngineError, UsageError
from .console import emit, say
from .terminal import console, on_terminal

if TYPE_CHECKING:
    from ..inference.backends import Backend
    from ..inference.builder import Progress

BUILDABLE = "tensorrt"
EPILOG = (
    "Exit codes: 0 the plan is there; 1 it could not be built, or there is no GPU, driver or TensorRT; "
    "2 wrong usage, such as int8 without pictures; 4 stopped."
)
LINE_EVERY = 0.1
"""Of the work: so often a line is written where there is no terminal."""


def engines_build(
    name: Annotated[str, typer.Argument(help="The engine: a name from `engines list`, or the path of its folder.")],
    precision: Annotated[str, typer.Option(help="fp16, fp32 or int8.")] = "fp16",
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            help="A batch to compile for, such as face=8x3x128x128; again for more. 1, 4, 8, 32 if not given."
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help="What compiles it: tensorrt.")] = BUILDABLE,
    calibration: Annotated[
        Path | None, typer.Option(help="A folder with pictures of faces; int8 needs it.", metavar="FOLDER")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build it also where it is there already.")] = False,
) -> None:
    """Compile an engine for this GPU and keep the plan; streams that ask for it then start at once."""
    from ..inference import find_engine
    from ..inference.precision import PRECISIONS

    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; choose one of: {', '.join(PRECISIONS)}")
    if precision == "int8" and calibration is None:
        raise UsageError("int8 needs pictures to measure ranges of values on: --calibration FOLDER, with faces in it")
    profiles = [parse_shapes(text) for text in shapes or []]
    card = find_engine(name)
    usable = _buildable(backend).why_not()
    if usable:
        raise EngineError(f"{card.name!r} can't be built: the backend {backend!r} {usable}")
    _build(card.read_model(), card.name, precision, profiles, calibration, force)


def _build(
    model: bytes,
    name: str,
    precision: str,
    profiles: list[dict[str, tuple[int, ...]]],
    calibration: Path | None,
    force: bool,
) -> None:
    from ..inference.builder import build
    from ..inference.plans import PlanCache
    from ..inference.tensorrt_session import order_for

    order, cache = order_for(model, precision, profiles, calibration), PlanCache()
    with _reporting(name) as report:
        plan = build(order, cache, report, threading.Event(), force=force)
    parity: Mapping[str, float] = plan.about["conversion_parity"]
    emit(f"{plan.path}")
    say(
        f"{name}: {len(plan.data) / 1024**2:.1f} MiB for {order.key.gpu}, TensorRT {order.key.tensorrt}, {precision}; "
        f"the conversion's largest error is {parity['max_abs']:.1e} (cosine {parity['cosine']:.6f}); "
        f"{cache.size_bytes() / 1024**2:.1f} MiB of plans in {cache.folder}"
    )


def _buildable(name: str) -> Backend:
    from ..errors import UnknownNameError
    from ..inference import backends

    found = next((each for each in backends.BACKENDS if each.name == name), None)
    if found is None:
        raise UnknownNameError("backend", name, [each.name for each in backends.BACKENDS])
    if found.name != BUILDABLE:
        raise UsageError(f"the backend {name!r} builds nothing: it loads the model as it is; only {BUILDABLE} compiles")
    return found


def parse_shapes(text: str) -> dict[str, tuple[int, ...]]:
    """`face=8x3x128x128`, or several inputs with commas. Raises UsageError."""
    found = {}
    for part in text.split(","):
        name, equals, sides = part.strip().partition("=")
        try:
            shape = tuple(int(side) for side in sides.split("x"))
        except ValueError:
            shape = ()
        if not (name and equals and shape) or min(shape) < 1:
            raise UsageError(f"--shapes {text!r} is not understood; write it as face=8x3x128x128")
        found[name] = shape
    return found


@contextmanager
def _reporting(name: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not on_terminal():
        yield _lines(name)
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn(f"building {name}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[phase]}", style="dim"),
    )
    with Bar(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("building", total=None, left="", phase="")

        def report(progress: Progress) -> None:
            total = None if progress.fraction is None else 1.0
            bar.update(task, total=total, completed=progress.fraction or 0, left=_left(progress), phase=progress.phase)

        yield report


def _lines(name: str) -> Callable[[Progress], None]:
    next_fraction, waiting = 0.0, False

    def report(progress: Progress) -> None:
        nonlocal next_fraction, waiting
        if progress.fraction is None:
            if not waiting:
                say(f"{name}: {progress.phase}")
            waiting = True
        elif progress.fraction >= next_fraction:
            next_fraction = progress.fraction + LINE_EVERY
            say(f"{name}: {progress.fraction:4.0%} {progress.phase} {_left(progress)}".rstrip())

    return report


def _left(progress: Progress) -> str:
    return "" if progress.left_seconds is None else f"about {progress.left_seconds:.0f} s left"
