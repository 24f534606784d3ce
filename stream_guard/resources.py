"""Where the files that travel with the package are: beside it in a checkout, inside it in a wheel; and its programs."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).split(chr(10)); "  # first of all: every other import looks there
    "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__')"
)


def program(module: str) -> tuple[str, ...]:
    """The command that runs a module of ours in a process of its own, which finds modules where this one does.

    `python -m` would look in the working folder first: a `json.py` that lies among somebody's videos would run.
    """
    return (sys.executable, "-c", _START, "\n".join(sys.path), module)


def bundled(wheel: str, checkout: str) -> Path:
    """`_bundled/<wheel>` of an installed package, or `<checkout>` of the repository around it."""
    inside = PACKAGE / "_bundled" / wheel
    return inside if inside.exists() else PACKAGE.parent / checkout
