"""Which engine is taken where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_guard.errors import UnknownNameError
from stream_guard.inference import BACKENDS, choose_engine, choosing, list_engines

from ..support.detector_engines import write_detector
from ..support.engines import write_disrupter


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A detector for all, and one for processors."""
    write_detector(tmp_path, name="all")
    card = write_detector(tmp_path, name="small") / "card.toml"
    text = card.read_text(encoding="utf-8").replace("default = true", "default_on_processor = true")
    card.write_text(text, encoding="utf-8")
    write_disrupter(tmp_path, name="tiny")
    return tmp_path


def with_gpu(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(choosing, "usable_backends", lambda: [b for b in BACKENDS if there or not b.on_gpu])


@pytest.mark.parametrize(
    ("backend", "gpu", "name"),
    [
        ("auto", False, "small"),
        ("auto", True, "all"),
        ("openvino", True, "small"),
        ("onnxruntime", False, "small"),
        ("tensorrt", False, "all"),
        ("torch", False, "all"),
    ],
)
def test_on_a_processor_its_own_default_is_taken(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, backend: str, gpu: bool, name: str
) -> None:
    with_gpu(monkeypatch, gpu)
    assert choose_engine(None, "detector", backend, zoo).name == name


def test_what_is_named_is_taken_and_so_is_the_only_default(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, False)
    assert choose_engine("all", "detector", "auto", zoo).name == "all"
    assert choose_engine(None, "disrupter", "auto", zoo).name == "tiny"
    with pytest.raises(UnknownNameError, match="choose one of: all, small"):
        choose_engine("none", "detector", "auto", zoo)


def test_the_projects_zoo_has_one_default_of_a_kind_for_processors_at_most() -> None:
    kinds = [card.kind for card in list_engines() if card.default_on_processor]
    assert kinds == ["detector"]
    assert not [card.name for card in list_engines() if card.default and card.default_on_processor]
