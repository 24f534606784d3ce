"""Where the files that travel with the package are: beside it in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def bundled(wheel: str, checkout: str) -> Path:
    """`_bundled/<wheel>` of an installed package, or `<checkout>` of the repository around it."""
    inside = PACKAGE / "_bundled" / wheel
    return inside if inside.exists() else PACKAGE.parent / checkout
