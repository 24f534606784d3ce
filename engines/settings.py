"""Settings as text: `--set KEY=VALUE` and the list of settings that `--help` prints."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from typing import Any, TypeVar

from stream_guard.errors import UsageError

S = TypeVar("S")


def with_changes(settings: S, changes: list[str]) -> S:
    """Settings with KEY=VALUE changes of the field's own type. Raises UsageError listing the keys there are."""
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
    return dataclasses.replace(settings, **values)  # type: ignore[type-var]


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
