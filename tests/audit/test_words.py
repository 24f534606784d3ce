"""What an audit says of the kind of networks that it asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stream_guard.audit import words

OURS = {"title": "StarGAN surrogate", "surrogate": True}
THEIRS = {"title": "First Order Motion, weights of vox.pth", "surrogate": False}


def said(**generators: Any) -> str:
    return words.asked(SimpleNamespace(summary={"generators": generators}))  # type: ignore[arg-type]


def test_our_own_are_called_surrogates() -> None:
    assert said(a=OURS) == words.SURROGATE
    assert said() == words.SURROGATE


def test_others_weights_are_not() -> None:
    text = said(b=THEIRS)
    assert "surrogate" not in text
    assert text.startswith("Not trained by this project: First Order Motion, weights of vox.pth.")


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_of_both_kinds_each_is_told(order: str) -> None:
    both = {"a": OURS, "b": THEIRS}
    text = said(**{name: both[name] for name in order})
    assert text.startswith("Not trained by this project: First Order Motion")
    assert "The other generators asked here are surrogates" in text
    assert text.count("not a promise") == 1
