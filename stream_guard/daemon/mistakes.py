"""Settings checked against their model: every mistake in words, with its place and without secrets."""

from __future__ import annotations

import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ..config import shown, suggestion
from ..document import Document, KeyPath

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], document: Document, mistakes: list[str]) -> M | None:
    """An instance of `model` of the whole document, or None after writing each mistake down."""
    try:
        return model.model_validate(document.data)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            path = tuple(part for part in error["loc"] if part != "[key]")
            mistakes.append(f"{document.mark(path)}: {_words(error, path, model)}")
        return None


def _words(error: Any, path: KeyPath, model: type[BaseModel]) -> str:
    where = dotted(path)
    if error["type"] == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        allowed = list(owner.model_fields) if owner is not None else []
        return f"unknown key {where!r}{suggestion(str(path[-1]), allowed)}"
    if error["type"] == "missing":
        return f"{dotted(path[:-1]) or 'the file'} needs {str(path[-1])!r}"
    rule = error["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
    got = "a value that is not shown, it may be secret" if _secret(model, path) else f"got {shown(error['input'])}"
    return f"{where or 'the file'}: {got}; it {rule}" if rule.startswith("should") else f"{where}: {got}: {rule}"


def dotted(path: KeyPath) -> str:
    """`streams[0].outputs[1].url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _secret(model: type[BaseModel], path: KeyPath) -> bool:
    """Whether the value at `path`, or one around it, is one that must not be printed; so is one that holds such."""
    current: type[BaseModel] | None = model
    for index, part in enumerate(path):
        if current is None:
            return False
        if not isinstance(part, str) or part not in current.model_fields:
            continue
        found = current.model_fields[part]
        if not found.repr:
            return True
        current = _inner(found)
        if index == len(path) - 1 and current is not None:
            return any(not inner.repr for inner in current.model_fields.values())
    return current is not None and any(not inner.repr for inner in current.model_fields.values())


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in path:
        if current is not None and isinstance(part, str) and part in current.model_fields:
            current = _inner(current.model_fields[part])
    return current


def _inner(info: FieldInfo) -> type[BaseModel] | None:
    """The model inside a field's type: itself, an item of a tuple, a value of a mapping, one side of `| None`."""
    return _model_in(info.annotation)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
