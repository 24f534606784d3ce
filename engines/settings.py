"""Settings as text: `--set KEY=VALUE` and the list of settings that `--help` prints."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import textwrap
from typing import Any, TypeVar

from stream_guard.errors import UsageError

S = TypeVar("S")

FROM_ZERO = {"blocks", "bottleneck", "detectors_per_step", "down", "per_step", "seed", "warm_steps"}
"""Whole numbers that may be 0: the other ones must be at least 1."""
ABOVE_ZERO = {"epsilon_levels", "kp_scale", "lr", "motion_scale", "warm_lr", "width"}
"""Fractions that may not be 0; none may be negative."""


def with_changes(settings: S, changes: list[str]) -> S:
    """Settings with KEY=VALUE changes of the field's own type. Raises UsageError listing the keys there are.

    Settings that have a `check` are asked whether they go together.
    """
    fields = {f.name: type(getattr(settings, f.name)) for f in dataclasses.fields(settings)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for change in changes:
        key, _, text = change.partition("=")
        if key not in fields:
            raise UsageError(f"unknown setting {key!r}; choose one of: {', '.join(sorted(fields))}")
        try:
            values[key] = _flag(text) if fields[key] is bool else fields[key](text)
        except ValueError as error:
            raise UsageError(f"setting {key} takes a {fields[key].__name__}, got {text!r}") from error
        _in_range(key, values[key])
    changed = dataclasses.replace(settings, **values)  # type: ignore[type-var]
    if hasattr(changed, "check"):
        changed.check()
    return changed


def sized(size: int, least: int, multiple: int = 1) -> None:
    """Raises UsageError for a side in pixels that a network can't halve as often as it has to."""
    if size < least or size % multiple:
        of = f" and a multiple of {multiple}" if multiple > 1 else ""
        raise UsageError(f"setting size must be at least {least}{of}, got {size}")


def _in_range(key: str, value: Any) -> None:
    if isinstance(value, bool | str):
        return
    if not math.isfinite(value):
        raise UsageError(f"setting {key} must be a finite number, got {value}")
    if isinstance(value, int) and key not in FROM_ZERO and value < 1:
        raise UsageError(f"setting {key} must be 1 or more, got {value}")
    if value < 0 or (value == 0 and key in ABOVE_ZERO):
        raise UsageError(f"setting {key} must be {'more than 0' if key in ABOVE_ZERO else '0 or more'}, got {value:g}")


def described(kind: type) -> str:
    """One line a setting: its name, its default, and the string written below the field, if there is one."""
    notes = _notes(kind)
    lines = []
    for f in dataclasses.fields(kind):
        head = f"  {f.name}={f.default}"
        note = notes.get(f.name)
        lines += textwrap.wrap(f"{head:26}  {note}" if note else head, 110, subsequent_indent=" " * 28)
    return "\n".join(lines)


def _flag(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


def _notes(kind: type) -> dict[str, str]:
    """The string literals that follow the fields in the bodies of the class and its bases, on one line each."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                found[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return found
